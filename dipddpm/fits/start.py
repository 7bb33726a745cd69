"""The picture that a window starts from."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dipddpm.fits.choice import Choice
from dipddpm.fits.manifest import Fit


@dataclass(frozen=True)
class Start:
    """The picture that a window starts from: a DIP output, or y where no DIP is asked for.

    Attributes:
        picture: Shape (1, 3, H, W); a DIP output clipped to [0, 1], y as it is.
        source: What it is, for people: ``epoch 610 (loss_floor)`` or a file's name.
        fit: The stored fit, None for a picture from a file and for y.
        choice: Which of its epochs.
        made: Whether this run had to fit or extend.
        has_dip: Whether it is a DIP output.
    """

    picture: torch.Tensor
    source: str
    fit: Fit | None = None
    choice: Choice | None = None
    made: bool = False
    has_dip: bool = True

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of the fit up to where its answer was known; 0 where there is none.

        The fit's seconds in proportion to those of its steps, which may have been made under different loads: so
        another epoch's share does not change when the fit is extended.
        """
        if self.fit is None or self.choice is None:
            return 0.0
        steps = self.fit.curves.column("seconds")
        return self.fit.seconds * float(steps[: self.choice.needed].sum() / steps.sum())
