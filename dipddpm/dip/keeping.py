"""What a fit hands over to be kept, and where that goes: a `Keeper`, in memory here, on disk in `dipddpm.fits`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from dipddpm.dip.curves import Curves


@dataclass(frozen=True)
class Trajectory:
    """A fit so far.

    Attributes:
        curves: One row an epoch.
        kept: PSNR in dB of each kept epoch's picture, None where there is no clean picture.
        seconds: Wall-clock seconds spent on the fit, over all its extensions.
        revived: Redraws of the last layer before the first step.
        environments: Versions, threads, precision, memory format and device. Each has ``from_epoch``, the first epoch
            that was run so.
    """

    curves: Curves
    kept: dict[int, float | None]
    seconds: float
    revived: int
    environments: list[dict[str, Any]]

    @property
    def epochs(self) -> int:
        """How many epochs the fit has."""
        return len(self.curves)


class Keeper(Protocol):
    """Takes kept epochs and commits while a fit runs.

    At a commit the fit first writes its state to `state_file`, where there is one, and then calls `commit`. So a kill
    at any moment leaves the previous commit with all that it names.
    """

    @property
    def name(self) -> str:
        """What log lines call the fit."""
        ...

    def before(self) -> tuple[Trajectory, Path] | None:
        """Return the trajectory that the fit goes on from and the file of its state; None for a new fit."""
        ...

    def keep(self, epoch: int, weights: Mapping[str, torch.Tensor], picture: torch.Tensor) -> None:
        """Keep the weights after an epoch, by name, and their picture, shape (1, 3, H, W)."""
        ...

    def picture(self, epoch: int) -> torch.Tensor:
        """Return the picture of a kept epoch: float32, shape (1, 3, H, W), not clipped."""
        ...

    def state_file(self, epoch: int) -> Path | None:
        """Return where the state after an epoch goes; None where the fit is never gone on from."""
        ...

    def commit(self, trajectory: Trajectory) -> None:
        """Make the trajectory so far the kept one; its epochs and its state are in place."""
        ...


class Memory:
    """A keeper in memory: every kept epoch's weights and picture, on the CPU."""

    name = "a picture"

    def __init__(self) -> None:
        self.trajectory: Trajectory | None = None
        self._kept: dict[int, tuple[dict[str, torch.Tensor], torch.Tensor]] = {}

    def before(self) -> None:
        return None

    def keep(self, epoch: int, weights: Mapping[str, torch.Tensor], picture: torch.Tensor) -> None:
        # Clones: the next step writes over the tensors of a network on the CPU.
        copies = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
        self._kept[epoch] = copies, picture.detach().float().cpu().contiguous().clone()

    def picture(self, epoch: int) -> torch.Tensor:
        return self._kept[epoch][1]

    def weights(self, epoch: int) -> dict[str, torch.Tensor]:
        """Return the weights of a kept epoch, by name."""
        return self._kept[epoch][0]

    def state_file(self, epoch: int) -> None:
        return None

    def commit(self, trajectory: Trajectory) -> None:
        self.trajectory = trajectory
