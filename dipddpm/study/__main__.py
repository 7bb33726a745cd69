"""Summarise sweeps, killed ones too: ``python -m dipddpm.study multirun/<date>/<time> [...]``."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dipddpm.errors import UserError, typed_as
from dipddpm.study.build import build
from dipddpm.study.cost import cost
from dipddpm.study.order import short_names
from dipddpm.study.read import Study, read_study
from dipddpm.study.table import in_words, rows
from dipddpm.study.words import against_no_dip, commands, cost_line, plural

MOST = 100  # jobs in the terminal; all are in the files
COLUMNS = [
    ("noisy_psnr", "noisy", 2),
    ("dip_psnr", "DIP", 2),
    ("result_psnr", "result (dB)", 2),
    ("posterior_mean_psnr", "no DIP: 1", 2),
    ("noisy_window_psnr", "no DIP: window", 2),
    ("nfe", "NFE", 0),
    ("fit_seconds", "fit (s)", 1),
    ("fit_gflop", "fit (GFLOP)", 1),
    ("total_evaluations_worth", "total (evals)", 1),
]


def main(argv: list[str] | None = None) -> int:
    """Build and print the studies; returns the exit code (2 when a folder is no sweep's)."""
    parser = argparse.ArgumentParser(prog=typed_as("dipddpm.study"), description="Summarise sweeps, killed ones too.")
    parser.add_argument("folder", nargs="+", type=Path, help="of a sweep: multirun/<date>/<time>")
    bad = False
    for folder in parser.parse_args(argv).folder:
        try:
            page = build(folder)
            show(read_study(folder))
            print(page.resolve())
        except (UserError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            bad = True
    return 2 if bad else 0


def show(study: Study) -> None:
    """Print the table of a study, its first `MOST` jobs, and what it cost."""
    names = short_names(study.swept)
    table = Table(title=study.title, title_justify="left", box=None, header_style="bold")
    for title in [names[key] for key in study.swept] or ["job"]:
        table.add_column(Text(title), overflow="fold")
    table.add_column("status")
    jobs = study.jobs[:MOST]
    found = rows(jobs, study.swept)
    used = [column for column in COLUMNS if any(row[column[0]] is not None for row in found)]
    used = [column for column in used if column[0] != "fit_gflop" or study.row == "dip"]  # a part of the total
    for _, title, _ in used:
        table.add_column(title, justify="right")
    for job, row in zip(jobs, found, strict=True):
        told = [job.overrides.get(key, "") for key in study.swept] or [job.name]
        figures = [in_words(row[name], digits) for name, _, digits in used]
        table.add_row(*map(Text, told), job.status, *figures)  # Text: a value such as [1,2] is no markup
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    more = len(study.jobs) - MOST
    notes = [f"{plural(more, 'more job')} {'is' if more == 1 else 'are'} in summary.csv"] if more > 0 else []
    notes += [commands(study)] if commands(study) else []
    notes += [f"{job.name}: {job.error}" for job in jobs if job.status == "failed"]
    notes += [f"{n} {status}" for status, n in study.counts.items() if n and status != "complete"]
    notes += [cost_line(cost(study.jobs))] if any(job.metrics for job in study.jobs) else []
    notes += [against] if (against := against_no_dip(study)) else []
    for note in notes:
        console.print(note, soft_wrap=True, highlight=False, markup=False)


def command() -> int:
    """Run the console command; `main` without what a caller from Python would not want."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `... | head` ends it without a traceback
    return main()


if __name__ == "__main__":
    sys.exit(command())
