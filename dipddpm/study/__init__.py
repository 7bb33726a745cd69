"""A study of a sweep: a table of its jobs, and a page of their quality against their cost.

`read_frame` reads one or several sweeps into a pandas DataFrame with one row for each job. All else in this package is
a function of that frame. `build` writes ``index.html``, ``summary.csv`` and ``summary.md`` into a sweep's folder. From
a shell, type ``python -m dipddpm.study multirun/<date>/<time>``. An unfinished or killed sweep can be read, too.

The charts are made by plotly. Its script inside the page (4.8 MB) lets a reader hover, zoom and click offline, and its
import takes a fifth of matplotlib's time. This package imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dipddpm.study.summary import build

if TYPE_CHECKING:
    from dipddpm.study.frame import read_frame

__all__ = ["build", "read_frame"]


def __getattr__(name: str) -> object:
    if name != "read_frame":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dipddpm.study.frame import (
        read_frame,  # late: pandas takes a second to import, and each job imports the callback
    )

    return read_frame
