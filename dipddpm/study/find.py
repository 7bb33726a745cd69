"""Find the job folders of a sweep, and refuse a folder that holds none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from dipddpm.errors import UserError


def check_holds_jobs(folder: Path) -> None:
    """Refuse a folder that is not the folder of a sweep.

    Raises:
        UserError: When the folder does not exist or holds no job.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the folder of a sweep, such as multirun/<date>/<time>")
    if not any(True for _ in job_folders(folder)):
        deeper = sorted(p.parents[2] for p in folder.glob("*/*/.hydra/overrides.yaml"))
        deeper += sorted(p.parents[2] for p in folder.glob("*/*/*/.hydra/overrides.yaml"))
        if _is_job(folder):
            deeper = [folder.resolve().parent]
        hint = f"did you mean {deeper[-1]}?" if deeper else "give the folder of a sweep, such as multirun/<date>/<time>"
        raise UserError(f"{folder} holds no jobs (folders with .hydra/overrides.yaml): {hint}")


def job_folders(folder: Path) -> Iterator[Path]:
    """Yield the folders of a sweep's jobs, in no particular order."""
    with os.scandir(folder) as entries:
        yield from (path for entry in entries if entry.is_dir() and _is_job(path := Path(entry.path)))


def _is_job(folder: Path) -> bool:
    return (folder / ".hydra" / "overrides.yaml").is_file() or (folder / "metrics.json").is_file()
