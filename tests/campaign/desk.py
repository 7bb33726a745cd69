"""Where a kind of trial works: its folder, its draws, its number of trials, its counts."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

LINES = 6  # of a failed trial's output that are printed


@dataclass
class Desk:
    """The place of one kind of trial.

    Attributes:
        kind: The name of the kind.
        work: Its folder, made anew.
        rng: The source of all its draws.
        times: How many times the usual number of trials are wanted.
        keep: Whether the folders of failed trials are kept.
        seen: What a kind counts beside its trials, such as kills.
        skipped: Why the kind, or a part of it, was not run.
    """

    kind: str
    work: Path
    rng: random.Random
    times: float = 1.0
    keep: bool = False
    tried: int = 0
    failed: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    skipped: str = ""

    def __post_init__(self) -> None:
        self.work.mkdir(parents=True)

    def number(self, few: int) -> int:
        """Return the number of trials where ``few`` is the usual one."""
        return max(1, round(few * self.times))

    def folder(self, name: str) -> Path:
        """Return a new and empty folder; kept folders of failed trials stay beside it, with a number."""
        path = self.work / name
        if path.exists():
            path.rename(self.work / f"{name}-{self.tried}")
        path.mkdir()
        return path

    def judge(self, name: str, faults: Sequence[str], text: str = "", folder: Path | None = None) -> None:
        """Count a trial; print its name, its faults and the end of its output if there are faults.

        Args:
            name: The name of the trial, which says what was done.
            faults: What was not as promised; none for a trial that passed.
            text: The output of its last command.
            folder: Its folder, which is removed unless the trial failed and failed ones are kept.
        """
        self.tried += 1
        if faults:
            self.failed += 1
            print(f"FAIL {self.kind} {name}: {'; '.join(faults)}", flush=True)
            for line in [line for line in text.splitlines() if line.strip()][-LINES:]:
                print(f"     | {line[:300]}", flush=True)
        if folder and not (faults and self.keep):
            shutil.rmtree(folder, ignore_errors=True)

    def clear(self) -> None:
        """Remove the folder of the kind, unless failed trials are kept in it."""
        if not (self.failed and self.keep):
            shutil.rmtree(self.work, ignore_errors=True)


def counts(desk: Desk) -> str:
    """Return the counts of a kind for the last line of a campaign."""
    seen = [f"{number} {what}" for what, number in sorted(desk.seen.items())]
    skipped = [f"skipped: {desk.skipped}"] if desk.skipped else []
    tried = [f"{desk.tried - desk.failed} of {desk.tried} passed"] if desk.tried else []
    return f"{desk.kind} {', '.join([*tried, *seen, *skipped])}"
