"""What a study cost, with every fit counted once however many jobs started from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dipddpm.study.read import Job


@dataclass(frozen=True)
class SharedFit:
    """A stored fit and the jobs that started from it.

    Attributes:
        key: Its name in the store.
        seconds: Wall-clock, to the furthest epoch that any of the jobs needed.
        jobs: Names of the jobs.
        found: Whether it was there before all of them: none made or extended it.
    """

    key: str
    seconds: float
    jobs: tuple[str, ...]
    found: bool


@dataclass(frozen=True)
class Cost:
    """Seconds of the complete jobs' fits and windows; the baselines without a DIP are not in them.

    Attributes:
        fits: In the order of the first job of each.
        window_seconds: Of all windows, for every picture they sampled.
        unshared_seconds: Fits and windows, had every job made its fit for itself.
    """

    fits: tuple[SharedFit, ...]
    window_seconds: float
    unshared_seconds: float

    @property
    def fit_seconds(self) -> float:
        """Every fit once."""
        return sum(fit.seconds for fit in self.fits)

    @property
    def seconds(self) -> float:
        """Every fit once, and all windows."""
        return self.fit_seconds + self.window_seconds


def cost(jobs: Sequence[Job]) -> Cost:
    """Return what complete jobs cost together; figures that a job lacks count as nothing."""
    seconds: dict[str, float] = {}
    names: dict[str, list[str]] = {}
    made: set[str] = set()
    windows = unshared = 0.0
    for job in jobs:
        # the row's seconds are per picture; a window samples several from one start
        windows += (job.figure("result", "seconds") or 0.0) * (job.figure("window", "samples") or 1)
        if key := job.fit_key:
            own = job.figure("fit", "seconds") or 0.0  # up to the epoch that this job needed
            unshared += own
            seconds[key] = max(seconds.get(key, 0.0), own)
            names.setdefault(key, []).append(job.name)
            if job.metrics["fit"].get("made_by_this_run"):
                made.add(key)
    fits = tuple(SharedFit(key, seconds[key], tuple(names[key]), key not in made) for key in names)
    return Cost(fits, windows, unshared + windows)


def duration(seconds: float) -> str:
    """Return seconds as people say them: ``0.36 s``, ``2 min 05 s``, ``1 h 02 min``."""
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left:02d} min" if hours else f"{minutes} min {rest:02d} s"
