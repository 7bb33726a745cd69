"""A job of an entry point: its folder, how a sweep names it, and the rows that it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """Where a job writes, whether it is one of a sweep, and the overrides it was started with."""

    folder: Path
    sweep: bool = False
    overrides: tuple[str, ...] = ()
