"""A sweep is a study: its jobs' folders read as one table of quality against cost, and shown on one page.

`read_study` gives the jobs as they lie on disk, `read_frame` the same table as a pandas DataFrame, and `build`
writes ``summary.csv``, ``summary.md``, plots and ``index.html`` into the sweep's folder; from a shell,
``python -m dipddpm.study multirun/<date>/<time>``. A killed sweep reads as well as a whole one. Imports no torch.
"""

from dipddpm.study.build import build
from dipddpm.study.frame import read_frame
from dipddpm.study.read import Job, Study, read_study

__all__ = ["Job", "Study", "build", "read_frame", "read_study"]
