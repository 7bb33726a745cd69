"""A sweep is a study: its jobs as one table, and one page of quality against cost.

`read_frame` reads one or several sweeps into a pandas DataFrame with one row a job. Everything else in this package is
a function of that frame. `build` writes ``index.html``, ``summary.csv`` and ``summary.md`` into a sweep's folder; from
a shell, ``python -m dipddpm.study multirun/<date>/<time>``. A killed sweep can be read like a finished one.

The charts are plotly's: its script inside the page (4.8 MB) lets a reader hover, zoom and click without a network, and
plotly is imported in a fifth of matplotlib's time. This package imports no torch.
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
