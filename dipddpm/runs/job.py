"""A job of an entry point."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """The folder that a job writes to, whether the job is part of a sweep, and its overrides as typed."""

    folder: Path
    sweep: bool = False
    overrides: tuple[str, ...] = ()
