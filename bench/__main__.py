"""Compare the times of this project with those of other ways to the same result: pairs of programs, in turn.

    python -m bench --quick            on two CPU cores, in about five minutes
    python -m bench --gpu              on a GPU, in about five minutes
    python -m bench                    everything that this machine can measure, with more rounds
    python -m bench --row plain        one row; --row again adds one
    python -m bench --list             the names of the rows

A row is a pair: A is a program of this project, B is the program that A is compared with. The first run of both shows
whether their quality is equal. Each round runs both. The figure of a row is the median of the rounds' ratios. Other
work on the machine shows in the spread, and in the load before and after. The results are
outputs/bench/performance.json and outputs/bench/performance.md. No row needs an internet connection.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging
from rich.console import Console

from bench import command_rows, fit_rows, machine, prior_rows, report
from bench.pairs import Outcome, Row, measure
from bench.setting import GPU, QUICK, Setting
from dipddpm.files import write_json, write_text

ROWS: tuple[Row, ...] = (*command_rows.ROWS, *fit_rows.ROWS, *prior_rows.ROWS)
FIVE_MINUTES = 300.0


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the rows of a command line."""
    args = parsed(argv)
    if args.list:
        for row in ROWS:
            print(f"{row.name:16} {row.subject}, against {row.against}: {row.limit}")
        return
    if args.threads:
        torch.set_num_threads(args.threads)
    setting = replace(QUICK if args.quick else GPU if args.gpu else Setting(), prior=args.prior, old=args.old)
    names = args.row or [row.name for row in ROWS if _wanted(row, args)]
    rows = [row for row in ROWS if row.name in names]
    limited = (args.quick or args.gpu) and not args.row
    command = "python -m bench " + shlex.join(sys.argv[1:] if argv is None else argv)
    run(rows, setting, args.output, command.strip(), FIVE_MINUTES if limited else float("inf"))


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--quick", action="store_true", help="the rows of a CPU, in about five minutes")
    kind.add_argument("--gpu", action="store_true", help="the rows of a GPU, in about five minutes")
    parser.add_argument(
        "--row", action="append", choices=[row.name for row in ROWS], metavar="NAME", help="this row only"
    )
    parser.add_argument("--list", action="store_true", help="print the names of the rows, and end")
    parser.add_argument("--output", type=Path, default=Path("outputs/bench/performance"), metavar="PATH",
                        help="the results: PATH.json and PATH.md")  # fmt: skip
    parser.add_argument("--old", type=Path, help=f"a clone at commit {command_rows.OLD}, for the row demo")
    parser.add_argument("--prior", type=Path, help="a 256x256 prior (default: a random one)")
    parser.add_argument("--threads", type=int, help="threads of torch (default: all cores)")
    args = parser.parse_args(argv)
    for path in (args.old, args.prior):
        if path is not None and not path.is_dir():
            parser.error(f"{path} is no folder: type an existing one")
    if args.old is not None:
        args.old = args.old.absolute()
    return args


def _wanted(row: Row, args: argparse.Namespace) -> bool:
    if args.quick or args.gpu:
        return row.device == ("cuda" if args.gpu else "cpu")
    return True


def run(rows: Sequence[Row], setting: Setting, output: Path, command: str, seconds: float) -> list[Outcome]:
    """Measure rows, print their table, and write both files.

    Args:
        rows: The rows.
        setting: Their sizes.
        output: The path of both files, without their suffixes.
        command: The command, for the reader.
        seconds: The time after which no further row is begun.
    """
    console = Console(width=None if sys.stdout.isatty() else 160)
    device = "cuda" if torch.cuda.is_available() and any(row.device == "cuda" for row in rows) else "cpu"
    logging.set_verbosity_error()  # diffusers warns of a package that it does not need
    facts: dict[str, Any] = machine.describe(device) | {"load before": machine.load()}
    began, outcomes = time.perf_counter(), []
    with setting.closing:
        for row in rows:
            print(f"measuring {row.name}: {row.subject}", file=sys.stderr, flush=True)
            outcomes.append(_outcome(row, setting, seconds - (time.perf_counter() - began)))
            _write(outcomes, facts, command, output)  # a kill leaves the rows so far
    facts["load after"] = machine.load()
    _write(outcomes, facts, command, output)
    console.print(report.table(outcomes))
    print(f"load before and after: {facts['load before']:.1f}, {facts['load after']:.1f} on {facts['cores']} cores")
    print(f"wrote {output}.json and {output}.md")
    return outcomes


def _outcome(row: Row, setting: Setting, left: float) -> Outcome:
    if row.device == "cuda" and not torch.cuda.is_available():
        return Outcome(row, row.limit, why_not="this machine has no GPU")
    if not row.quick and left < float("inf"):
        return Outcome(row, row.limit, why_not=f"takes more than five minutes: type python -m bench --row {row.name}")
    if left <= 0:
        return Outcome(row, row.limit, why_not=f"the five minutes were over: type python -m bench --row {row.name}")
    return measure(row, setting, setting.rounds, setting.seconds)


def _write(outcomes: Sequence[Outcome], facts: dict[str, Any], command: str, output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    write_json(Path(f"{output}.json"), report.as_json(outcomes, facts, command))
    write_text(Path(f"{output}.md"), report.markdown(outcomes, facts, command))


if __name__ == "__main__":
    main()
