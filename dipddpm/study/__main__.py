"""Summarise sweeps, also unfinished ones: ``python -m dipddpm.study multirun/<date>/<time> [...]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dipddpm.errors import UserError, typed_as
from dipddpm.study.frame import output, read_frame, swept, title
from dipddpm.study.labels import short
from dipddpm.study.summary import build
from dipddpm.study.tables import for_people, numeric
from dipddpm.study.words import summary
from dipddpm.surroundings import settle

MOST = 100  # jobs in the terminal's table; the files have all
COLUMNS = [
    "status",
    "noisy_psnr",
    "dip_psnr",
    "result_psnr",
    "result_psnr_interval",
    "posterior_mean_psnr",
    "noisy_window_psnr",
    "result_minus_noisy_window",
    "result_minus_noisy_window_interval",
    "nfe",
    "fit_seconds",
]


def main(argv: list[str] | None = None) -> int:
    """Build and print the studies; return the exit code, 2 when a folder is not that of a sweep."""
    settle()
    parser = argparse.ArgumentParser(
        prog=typed_as("dipddpm.study"), description="Summarise sweeps, also unfinished ones."
    )
    parser.add_argument("folder", nargs="+", type=Path, help="folder of a sweep: multirun/<date>/<time>")
    bad = False
    for folder in parser.parse_args(argv).folder:
        try:
            page = build(folder)
            show(read_frame(folder))
            print(page.resolve())
        except (UserError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            bad = True
    return 2 if bad else 0


def show(frame: pd.DataFrame) -> None:
    """Print the table of a sweep's first `MOST` jobs, and the summary in sentences."""
    cost = "fit_gflop" if output(frame) == "dip" else "total_evaluations_worth"
    cells = for_people(frame, [*COLUMNS, cost]).map(short)
    for long, brief in {
        " PSNR (dB)": "",
        " (dB)": "",
        "cost (evaluations-worth)": "(evals)",
        "1 evaluation": "1",
    }.items():
        cells = cells.rename(columns=lambda head, long=long, brief=brief: head.replace(long, brief))
    if not swept(frame):
        cells.insert(0, "job", frame["job"])
    table = Table(title=Text(f"{title(frame)}, PSNR in dB"), title_justify="left", box=None, header_style="bold")
    for name, number in zip(cells, numeric(cells), strict=True):
        table.add_column(Text(str(name)), justify="right" if number else "left", overflow="fold")
    for row in cells[:MOST].itertuples(index=False, name=None):
        table.add_row(*map(Text, row))  # Text, so that a value such as [1,2] is not read as markup
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    for sentence in summary(frame):
        console.print(sentence, soft_wrap=True, highlight=False, markup=False)
    if len(frame) > MOST:
        console.print(f"The table shows {MOST} of {len(frame)} jobs; all are in summary.csv.")


if __name__ == "__main__":
    sys.exit(main())
