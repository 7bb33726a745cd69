"""A study of a sweep: a table of its jobs, and a page of their quality against their cost.

`read_frame` reads one or several sweeps into a pandas DataFrame with one row for each job. All else in this package is
a function of that frame. `build` writes ``index.html``, ``summary.csv`` and ``summary.md`` into a sweep's folder. From
a shell, type ``python -m dipddpm.study multirun/<date>/<time>``. An unfinished or killed sweep can be read, too.

The charts are made by plotly. Its script inside the page (4.8 MB) lets a reader hover, zoom and click offline, and its
import takes a fifth of matplotlib's time. This package imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from dipddpm.study.frame import read_frame as read_frame
    from dipddpm.study.summary import build as build

# Late: pandas takes a second to import, and each job imports the callback.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"frame": ["read_frame"], "summary": ["build"]}
)
