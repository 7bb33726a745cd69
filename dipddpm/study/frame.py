"""The table of one or several sweeps as a pandas DataFrame."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dipddpm.study.read import completed, read_study, swept_keys
from dipddpm.study.table import FIXED, columns, rows

if TYPE_CHECKING:
    import pandas as pd

MISSING = ("null", None)  # of an override among numbers: not set at all, or set to nothing
WHOLE = re.compile(r"[+-]?[0-9]{1,18}")  # fits 64 bits


def read_frame(folder: Path | str, *more: Path | str) -> pd.DataFrame:
    """Read the table of one or several sweeps.

    Args:
        folder: Of a sweep.
        *more: Of others; read together, so that what differs between two of them counts as swept.

    Returns:
        One row a job: ``study`` (the folder as given), then the columns of summary.csv. PSNR in dB, seconds per
        picture, counts as Int64, names as string; what is not known is missing, never 0. A swept key is Int64,
        Float64 or boolean if every value of it (``null`` aside, which becomes missing) can be, otherwise string.

    Raises:
        ModuleNotFoundError: Without pandas.
        UserError: When a folder does not exist or holds no job.
    """
    try:
        import pandas as pd
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'read_frame needs pandas, which the extra "pandas" brings: pip install -e ".[pandas]"', name="pandas"
        ) from error
    studies = [read_study(folder) for folder in (folder, *more)]
    jobs = completed([job for study in studies for job in study.jobs])
    swept, rest = swept_keys(jobs), iter(jobs)
    studies = [replace(study, jobs=tuple(islice(rest, len(study.jobs)))) for study in studies]
    table = [{"study": str(study.folder), **row} for study in studies for row in rows(study.jobs, swept)]
    shape = columns(swept)
    frame = pd.DataFrame(table, columns=["study", *(column.name for column in shape)], dtype=object)
    kinds = {column.name: "string" if column.digits is None else "Float64" for column in FIXED}
    kinds |= {column.name: "Int64" for column in FIXED if column.digits == 0} | {"study": "string"}
    for column in shape:
        if column.key is not None:
            kinds[column.name], values = _typed([row[column.name] for row in table])
            frame[column.name] = pd.Series(values, dtype=object, index=frame.index)
    return frame.astype(kinds)


def _typed(values: Sequence[Any]) -> tuple[str, list[Any]]:
    """Return the narrowest type that holds every value of a swept key, and the values in it."""
    texts = [value for value in values if value not in MISSING]
    readers: list[tuple[str, Callable[[str], Any]]] = [("Int64", _whole), ("Float64", _real), ("boolean", _truth)]
    for kind, reader in readers:
        try:
            read = {text: reader(text) for text in texts}
        except (ValueError, KeyError):
            continue
        if read:
            return kind, [read.get(value) for value in values]
    return "string", list(values)


def _whole(text: str) -> int:
    if not WHOLE.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _real(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _truth(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]
