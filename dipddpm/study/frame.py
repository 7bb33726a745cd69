"""Read sweeps into a pandas DataFrame, from the present state of their folders, with one row for each job.

A job is a folder with ``.hydra/overrides.yaml``, which Hydra writes first. Its status is

    complete     when metrics.json, which is written last, can be read
    failed       otherwise, when error.txt has the line of a failed attempt
    unfinished   otherwise: the job was stopped or killed, or is still running

A file that is truncated or invalid counts as missing.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from dipddpm.files import open_file, read_json, read_yaml
from dipddpm.names import MACHINE, STOPPED
from dipddpm.study.columns import COLUMNS, FIXED, OUTPUTS, Column
from dipddpm.study.find import check_holds_jobs, job_folders
from dipddpm.study.labels import as_text, is_number, natural

TEXT = pd.StringDtype("python")  # with pyarrow installed, plain "string" is another type, with other results
PROBLEM_GROUPS = ("image", "noise", "operator", "degrade", "seed")  # groups whose keys define the problem of a job


def read_frame(folder: Path | str, *more: Path | str) -> pd.DataFrame:
    """Read one or several sweeps.

    Args:
        folder: The folder of a sweep, such as ``multirun/2026-01-31/12-00-00``.
        *more: The folders of other sweeps.

    Returns:
        One row for each job, with failed and unfinished jobs. The columns are ``study`` (the folder as given), ``job``
        (the name of the job's folder), every key that any job typed, and `dipddpm.study.columns.COLUMNS`. PSNR is in
        dB, seconds are per picture, counts are Int64, names are string. An unknown figure is missing, never 0.

        A typed key is Int64, Float64 or boolean if all its values can be, otherwise string; ``null`` is missing. A job
        that did not type a key has the value of its configuration. A key with the name of a fixed column, such as
        ``status``, is called ``override.status``.

    Raises:
        UserError: When a folder does not exist or holds no job.
    """
    records: list[dict[str, Any]] = []
    typed: list[dict[str, str]] = []
    paths: list[Path] = []
    for each in map(Path, (folder, *more)):
        check_holds_jobs(each)
        for path in sorted(job_folders(each), key=lambda path: natural(path.name)):
            metrics = _metrics(path / "metrics.json")
            records.append({"study": str(each), "job": path.name, **_record(path, metrics)})
            typed.append(_overrides(path / ".hydra" / "overrides.yaml", metrics))
            paths.append(path)
    keys = sorted(set().union(*typed))
    for path, overrides in zip(paths, typed, strict=True):
        if missing := [key for key in keys if key not in overrides]:
            overrides |= _composed(path, missing)
    frame = pd.DataFrame(records, columns=list(FIXED), dtype=object)
    frame["fit_jobs"] = frame.groupby("fit_key")["job"].transform("count")
    kinds = {name: {None: TEXT, 0: "Int64"}.get(column.digits, "Float64") for name, column in COLUMNS.items()}
    frame = frame.astype({"study": TEXT, "job": TEXT, **kinds})
    values = {key if key not in FIXED else f"override.{key}": _typed([o.get(key) for o in typed]) for key in keys}
    return pd.concat([frame[["study", "job"]], pd.DataFrame(values, frame.index), frame[list(COLUMNS)]], axis=1)


def keys_of(frame: pd.DataFrame) -> list[str]:
    """Return the columns that are typed keys, sorted."""
    return sorted(name for name in frame.columns if name not in FIXED)


def swept(frame: pd.DataFrame) -> list[str]:
    """Return the keys whose values differ between the jobs, sorted.

    Keys such as ``threads``, which do not change the result, count only where the other keys do not distinguish the
    jobs: a sweep may have continued on another machine. Jobs without a known key are ignored.
    """
    told = frame[keys_of(frame)].dropna(how="all")
    varied = [key for key in keys_of(frame) if told[key].nunique(dropna=False) > 1]
    what = [key for key in varied if key not in MACHINE]
    return what if what and not told.duplicated(what).any() else varied


def constants(frame: pd.DataFrame) -> dict[str, str]:
    """Return the keys that have one value in all jobs, with that value as text."""
    told = frame[keys_of(frame)].dropna(how="all")
    return {key: as_text(told[key].iloc[0]) for key in keys_of(told) if told[key].nunique(dropna=False) == 1}


def output(frame: pd.DataFrame) -> str:
    """Return the row of metrics.json that the study is about: ``result``, or ``dip`` if no job ran a window."""
    complete = frame["status"].eq("complete").any()
    return "dip" if complete and frame["nfe"].isna().all() else "result"


def output_name(frame: pd.DataFrame) -> str:
    """Return the name of that row for people."""
    return OUTPUTS[output(frame)]


def psnr_of(frame: pd.DataFrame) -> str:
    """Return the column of the study's quality."""
    return f"{output(frame)}_psnr"


def cost_of(frame: pd.DataFrame) -> str:
    """Return the column of the study's cost: evaluations-worth, or GFLOP if no job ran a window."""
    return "total_evaluations_worth" if output(frame) == "result" else "fit_gflop"


def title(frame: pd.DataFrame) -> str:
    """Return the last two parts of the sweep's folder: its date and time."""
    return "/".join(Path(frame["study"].iloc[0]).resolve().parts[-2:])


def _record(folder: Path, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job's figures and texts by their columns."""
    error = _error(folder / "error.txt")
    status = "complete" if metrics else "unfinished" if error in (None, STOPPED) else "failed"
    found = {name: next(_values(metrics, column), None) for name, column in COLUMNS.items()}
    return found | {"status": status, "error": error, "problem": _problem(metrics) if metrics else None}


def _values(metrics: Mapping[str, Any], column: Column) -> Iterator[str | float]:
    """Yield the texts or finite numbers of a column in metrics.json."""
    for value in (_at(metrics, source) for source in column.sources):
        if column.digits is None and isinstance(value, str):
            yield value
        elif column.digits is not None and isinstance(value, int | float) and not isinstance(value, bool):
            if math.isfinite(value):
                yield value if column.digits else round(value)


def _problem(metrics: Mapping[str, Any]) -> str:
    """Return a short hash of the problem of a job: its picture, its degradation, and the files of both."""
    said = [_at(metrics, "picture.content")]
    for entries in (metrics, metrics.get("inputs")):
        known = entries.items() if isinstance(entries, Mapping) else ()
        said.append({key: value for key, value in known if key.split(".")[0] in PROBLEM_GROUPS})
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]


def _at(tree: Any, path: str) -> Any:
    """Return the value at a dotted path, or None."""
    for name in path.split("."):
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree


def _metrics(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return {}
    return value if any(isinstance(value.get(row), dict) for row in OUTPUTS) else {}


def _error(path: Path) -> str | None:
    try:
        with open_file(path) as file:
            lines = file.read().decode(errors="replace").split("\n")
    except (OSError, ValueError):
        return None
    return next((line.strip() for line in lines if line.strip()), "no reason was written")


def _yaml(path: Path) -> Any:
    try:
        return read_yaml(path)
    except (OSError, ValueError):
        return None


def _overrides(path: Path, metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return overrides such as ``["+a.b=1"]`` as ``{"a.b": "1"}``; from metrics.json if Hydra's file is unreadable."""
    found = _yaml(path)
    found = found if isinstance(found, list) else metrics.get("overrides")
    texts = [text for text in found if isinstance(text, str)] if isinstance(found, list) else []  # no lists of aliases
    pairs = [text.partition("=") for text in texts]
    return {key.lstrip("+~"): text for key, _, text in pairs}


def _composed(folder: Path, keys: Collection[str]) -> dict[str, str]:
    """Return the values of keys that a job did not type, from its configuration; for a group the choice."""
    config = _yaml(folder / ".hydra" / "config.yaml")
    found = {key: _at(config, key) for key in keys}
    if groups := [key for key, value in found.items() if isinstance(value, Mapping)]:
        choices = _at(_yaml(folder / ".hydra" / "hydra.yaml"), "hydra.runtime.choices")
        found |= {key: _at({"choices": choices}, f"choices.{key}") for key in groups}
    return {key: as_text(value) for key, value in found.items() if isinstance(value, str | int | float)}


def _typed(texts: Sequence[str | None]) -> pd.Series:
    """Return the values of a key in the narrowest type that holds them all."""
    values = pd.Series([None if text == "null" else text for text in texts], dtype=TEXT)
    known = values.dropna()
    for kind in ("Int64", "Float64") if all(map(is_number, known)) else ():
        with suppress(ValueError, OverflowError):
            return values.astype(kind)
    return values.str.lower() == "true" if known.str.lower().isin(["true", "false"]).all() else values
