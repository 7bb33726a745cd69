"""A job of an entry point."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dipddpm.errors import UserError
from dipddpm.names import PICTURE_FILES, PICTURES, RESTORATIONS, RESULTS, TEXTS
from dipddpm.ownership import claim

EVENTS = ".dipddpm"  # the end of the names of this project's TensorBoard events: others may log to the same folder


@dataclass(frozen=True)
class Job:
    """The folder that a job writes to, whether the job is part of a sweep, and its overrides as typed."""

    folder: Path
    sweep: bool = False
    overrides: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The key of the configuration that names the folder."""
        return "hydra.sweep.dir" if self.sweep else "hydra.run.dir"

    def claim(self, samples: int = 1, *more: str) -> None:
        """Record the names of the run's files.

        Args:
            samples: Results from the one start.
            more: Further names.

        Raises:
            UserError: When the folder holds a file of such a name that is not this project's.
        """
        names = [f"{name}.png" for name in (*RESTORATIONS, *PICTURES)]
        names += [f"{name}-{i}.png" for name in RESTORATIONS for i in range(1, samples)]
        names += [*TEXTS, *more]
        older = (*PICTURE_FILES, "events.out.tfevents.*")
        claim(self.folder, names, f"type {self.key}=<another folder>", lock=".job.lock", older=older)

    def claim_results(self, names: Iterable[str]) -> None:
        """Record the names of the results of many pictures, which have a folder of their own; errors as for `claim`."""
        folder, advice = self.folder / RESULTS, f"type {self.key}=<another folder>"
        if os.path.lexists(folder) and not folder.is_dir():
            raise UserError(f"{self.folder} holds {RESULTS}, which is no folder: {advice}")
        claim(folder, names, advice, lock=".job.lock")
