"""What lies in a sweep's folder, read as it is at this moment.

A job is a folder with ``.hydra/overrides.yaml`` (there from its start). It is

    complete     when metrics.json, which is written last, is whole
    failed       otherwise, when there is an error.txt: the one line of its last attempt
    unfinished   otherwise: stopped, killed, or still running

A file that is truncated, invalid or vanishes while it is read counts as absent.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from dipddpm.names import MACHINE, RESTORATIONS, STOPPED
from dipddpm.study.composed import LOADER, composed
from dipddpm.study.find import check_holds_jobs, job_folders
from dipddpm.study.order import natural

STATUSES = ("complete", "failed", "unfinished")
OUTPUTS = {"result": "result", "dip": "DIP output"}  # what a study is about, by its row


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Attributes:
        name: Of its folder.
        folder: Where it lies.
        overrides: What it was started with, values as typed: ``{"dip.layers": "4"}``; a key that other jobs of the
            study typed and it did not, with its value as composed.
        known: False when its overrides could not be read; it then says nothing of what was swept.
        status: One of `STATUSES`.
        error: The line of error.txt; a complete job has one when a later attempt failed. Otherwise None.
        metrics: What metrics.json says; empty unless the job is complete.
        files: Names of the files in the folder.
    """

    name: str
    folder: Path
    overrides: Mapping[str, str]
    status: str
    known: bool = True
    error: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    files: frozenset[str] = frozenset()

    def figure(self, *names: str) -> float | None:
        """Return a finite number of metrics.json by its path, such as ``("result", "psnr")``, or None."""
        value: Any = self.metrics
        for name in names:
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        return value

    @property
    def has_dip(self) -> bool:
        """Whether the window started from a DIP output, which costs something: not y, not pure noise."""
        return self.figure("cost", "fit_evaluations_worth") != 0

    @property
    def fit_key(self) -> str | None:
        """The name of the stored fit that the job used, or None."""
        fit = self.metrics.get("fit")
        key = fit.get("key") if isinstance(fit, Mapping) else None
        return key if isinstance(key, str) else None


@dataclass(frozen=True)
class Study:
    """The jobs of one sweep.

    Attributes:
        folder: The sweep's.
        jobs: In the natural order of their names.
        swept: The override keys whose values differ between the jobs, sorted.
    """

    folder: Path
    jobs: tuple[Job, ...]
    swept: tuple[str, ...]

    @property
    def title(self) -> str:
        """The last two parts of the folder: a sweep's date and time."""
        return "/".join(self.folder.resolve().parts[-2:])

    @property
    def counts(self) -> dict[str, int]:
        """How many jobs there are of each status."""
        return {status: sum(job.status == status for job in self.jobs) for status in STATUSES}

    @cached_property
    def row(self) -> str:
        """The row of metrics.json that the study is about: ``result``, or ``dip`` where jobs only fitted."""
        told = [job.metrics for job in self.jobs if job.metrics]
        return "dip" if told and not any(isinstance(each.get("result"), Mapping) for each in told) else "result"

    @property
    def output(self) -> str:
        """What people call that row."""
        return OUTPUTS[self.row]

    @property
    def commands(self) -> dict[str, int]:
        """How many complete jobs there are of each command, by its name in metrics.json."""
        names = (job.metrics.get("command") for job in self.jobs)
        return dict(sorted(Counter(name for name in names if isinstance(name, str)).items()))

    def psnr(self, job: Job) -> float | None:
        """Return the quality of a job: the PSNR of `row`, in dB."""
        return job.figure(self.row, "psnr")

    def worth(self, job: Job) -> float | None:
        """Return the cost of a job: its total evaluations-worth, or GFLOP of its fit where jobs only fitted.

        None for a start from a file: what made it is not known.
        """
        path = ("cost", "total_evaluations_worth") if self.row == "result" else ("fit", "gflop")
        return job.figure(*path)

    @property
    def constant(self) -> dict[str, str]:
        """The overrides that all jobs have in common."""
        known = [job.overrides for job in self.jobs if job.known]
        first = known[0].items() if known else ()
        return {key: value for key, value in first if all(other.get(key) == value for other in known)}


def read_study(folder: Path | str) -> Study:
    """Read the jobs of a sweep.

    Args:
        folder: Of the sweep, such as ``multirun/2026-01-31/12-00-00``.

    Returns:
        The study; jobs that failed, were killed or still run are in it.

    Raises:
        UserError: When the folder does not exist or holds no job.
    """
    folder = Path(folder)
    check_holds_jobs(folder)
    jobs = sorted((job for path in job_folders(folder) if (job := _job(path))), key=lambda job: natural(job.name))
    jobs = completed(jobs)
    return Study(folder, tuple(jobs), swept_keys(jobs))


def swept_keys(jobs: Iterable[Job]) -> tuple[str, ...]:
    """Return the override keys whose values differ between jobs, sorted; a key that one job lacks differs.

    Keys that say how a job runs and not what are among them only where nothing else tells the jobs apart: a sweep may
    have gone on elsewhere, with other threads.
    """
    known = [job.overrides for job in jobs if job.known]
    first = known[0] if known else {}
    swept: set[str] = set()
    for overrides in known[1:]:
        if overrides != first:
            swept |= {k for k in overrides.keys() | first.keys() if overrides.get(k) != first.get(k)}
    what = sorted(swept.difference(MACHINE))
    apart = len({tuple(overrides.get(key) for key in what) for overrides in known}) == len(known)
    return tuple(what if apart else sorted(swept))


def completed(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs, one that lacks a key which others swept with the key's value where its configuration has it."""
    typed = {key: {job.overrides[key]: None for job in jobs if key in job.overrides} for key in swept_keys(jobs)}
    full = []
    for job in jobs:
        missing = {key: values for key, values in typed.items() if key not in job.overrides}
        found = composed(job.folder, missing) if missing and job.known else {}
        full.append(replace(job, overrides={**job.overrides, **found}) if found else job)
    return full


def _job(folder: Path) -> Job | None:
    try:
        files = frozenset(os.listdir(folder))
    except OSError:
        return None
    metrics = _metrics(folder / "metrics.json") if "metrics.json" in files else {}
    error = _error(folder / "error.txt") if "error.txt" in files else None
    overrides = _overrides(folder / ".hydra" / "overrides.yaml")
    if overrides is None:
        overrides = parse_overrides(metrics.get("overrides"))
    status = "complete" if metrics else "unfinished" if error in (None, STOPPED) else "failed"
    return Job(folder.name, folder, overrides or {}, status, overrides is not None, error, metrics, files)


def _metrics(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    rows = isinstance(value, dict) and any(isinstance(value.get(name), dict) for name in RESTORATIONS)
    return value if rows else {}


def _error(path: Path) -> str | None:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return None
    return next((line.strip() for line in lines if line.strip()), "no reason was written")


def _overrides(path: Path) -> dict[str, str] | None:
    try:
        return parse_overrides(yaml.load(path.read_text(encoding="utf-8"), LOADER))
    except (OSError, ValueError, yaml.YAMLError):
        return None


def parse_overrides(value: Any) -> dict[str, str] | None:
    """Return ``["+a.b=1"]`` as ``{"a.b": "1"}``; None for what is no list of overrides."""
    if not isinstance(value, list):
        return None
    pairs = (str(text).partition("=") for text in value)
    return {key.lstrip("+~"): text for key, _, text in pairs}
