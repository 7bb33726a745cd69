"""A window of the chain: the noise levels that a sampler passes, and the settings of its steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Integral

from dipddpm import seeds
from dipddpm.diffusion.inits import INITS, Init
from dipddpm.diffusion.schedule import Schedule
from dipddpm.names import FORMS, SCHEDULERS

LEAST = {"start_t": 1, "end_t": 0, "steps": 1, "samples": 1, "snapshot_every": 1}


@dataclass(frozen=True)
class Window:
    """From noise level ``start_t`` down to ``end_t``: one network evaluation a step.

    Attributes:
        start_t: First level, 1..T. ``auto`` is the level whose noise equals the error of the picture (`at_error`).
        end_t: Last level, 0..start_t - 1. Above 0 the result is still noisy.
        steps: Network evaluations, evenly spaced over the window; None: one a level.
        init: The rule for the first state: a name in `dipddpm.diffusion.inits.INITS`, or your own rule.
        scheduler: ``ddpm`` (Ho et al.), or one that draws no noise: ``ddim`` (Song et al., eta = 0), ``dpmpp``
            (DPM-Solver++ 2M, Lu et al.).
        samples: Results from each picture, each with its own noise; 1 or more.
        snapshot_every: Levels between snapshots, 1 or more.
        seed: Seed of the noise.
        exact: Evaluate one picture at a time, so that the last bits do not depend on the number of pictures.
        consistency: The form of data consistency (`dipddpm.diffusion.agreement`): ``auto``, ``ddnm``, ``diffpir``,
            ``gradient``, ``dip`` (needs a DIP for each picture) or ``dps``.
        prior_weight: The weight of the prior against y in each step with data consistency, above 0: lambda of DiffPIR.

    Raises:
        ValueError: When a value is outside its range.
    """

    start_t: int | str = 25
    end_t: int = 0
    steps: int | None = None
    init: str | Init = "scaled"
    scheduler: str = "ddpm"
    samples: int = 1
    snapshot_every: int = 10
    seed: int = 0
    exact: bool = False
    consistency: str = "auto"
    prior_weight: float = 1.0

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            if (name, value) not in (("start_t", "auto"), ("steps", None)):
                object.__setattr__(self, name, _whole(name, value, least))
        object.__setattr__(self, "seed", seeds.whole(self.seed))
        if not isinstance(self.exact, bool):
            raise ValueError(f"exact={self.exact!r}: must be True or False")
        if self.scheduler not in SCHEDULERS:
            raise ValueError(f"scheduler={self.scheduler!r}: must be one of {', '.join(SCHEDULERS)}")
        if self.consistency not in FORMS:
            raise ValueError(f"consistency={self.consistency!r}: must be one of {', '.join(FORMS)}")
        if not 0 < self.prior_weight < math.inf:
            raise ValueError(f"prior_weight={self.prior_weight!r}: must be above 0")
        if isinstance(self.init, str):
            INITS[self.init]  # refuses a name that it does not have
        elif not callable(self.init):
            raise ValueError(f"init={self.init!r}: must be a name or a function; there are: {', '.join(INITS)}")
        if isinstance(self.start_t, int):
            start_t, end_t, span = self.start_t, self.end_t, self.start_t - self.end_t
            if span < 1:
                raise ValueError(f"end_t={end_t}: must be in 0..{start_t - 1}, below start_t={start_t}")
            if self.steps is not None and self.steps > span:
                raise ValueError(
                    f"steps={self.steps}: must be in 1..{span}, the levels from start_t={start_t} to end_t={end_t}"
                )

    @property
    def first(self) -> int:
        """The first level as a number.

        Raises:
            ValueError: When ``start_t`` is ``auto``.
        """
        if not isinstance(self.start_t, int):
            raise ValueError("start_t='auto' has no level yet: call Window.at_error")
        return self.start_t

    @property
    def takes_error(self) -> bool:
        """Whether the first level or the init depends on the error of the picture."""
        return self.start_t == "auto" or self.init not in ("raw", "scaled", "diffused", "noise")

    @property
    def learns(self) -> bool:
        """Whether the DIP that made the start goes on learning in the window."""
        return self.consistency == "dip"

    @property
    def nfe(self) -> int:
        """Network evaluations per result."""
        return self.steps or self.first - self.end_t

    @property
    def levels(self) -> list[int]:
        """The levels that the window passes: strictly falling, both ends included, evenly spaced up to rounding."""
        span, steps = self.first - self.end_t, self.nfe
        # Integers only: floor(x + 1/2) keeps levels that are at least 1 apart distinct.
        return [self.first - (2 * i * span + steps) // (2 * steps) for i in range(steps + 1)]

    def at_error(self, sigma: float, schedule: Schedule) -> Window:
        """Return this window with ``start_t=auto`` replaced by the level whose noise equals the picture's error.

        Args:
            sigma: The rms error of the picture on the 0-255 scale.
            schedule: The noise schedule of the network.

        Returns:
            This window where ``start_t`` is a number already. ``steps`` is at most the number of levels.

        Raises:
            ValueError: When the level is not above ``end_t``.
        """
        if self.start_t != "auto":
            return self
        start_t = schedule.level_of_sigma(sigma)
        steps = min(self.steps, max(1, start_t - self.end_t)) if self.steps else None
        return replace(self, start_t=start_t, steps=steps)


def _whole(name: str, value: object, least: int) -> int:
    """Return a whole number in the range of a window's attribute."""
    if isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least:
        return int(value)
    levels = {"start_t": "'auto' or a noise level of 1 or more", "end_t": "a noise level of 0 or more"}
    allowed = levels.get(name, f"a whole number of {least} or more")
    raise ValueError(f"{name}={value!r}: must be {allowed}")
