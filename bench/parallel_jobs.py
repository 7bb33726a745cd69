"""Compare the throughput of two jobs at once, which share the cores, with that of the same jobs one after the other.

    python bench/parallel_jobs.py --epochs 200 --rounds 2

Runs `train_dip.py -m` on two fits of the default network in a fresh store, in turn with Hydra's own launcher and with
`hydra/launcher=joblib hydra.launcher.n_jobs=2`, which needs the extra `joblib`. Prints epochs per second of the fits
alone (from their manifests), seconds of the whole sweep (with imports and summary), and the ratios: above 1, two jobs
at once are faster. Other work on the machine slows both, so the load is printed. Use a machine with idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
LAUNCHERS = {"in turn": [], "at once": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]}


def main() -> None:
    """Measure both launchers in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    loads = [os.getloadavg()[0]]
    measured: dict[str, list[tuple[float, float, list[int]]]] = {name: [] for name in LAUNCHERS}
    for _ in range(args.rounds):
        for name, launcher in LAUNCHERS.items():
            measured[name].append(sweep(launcher, args.epochs))
            loads.append(os.getloadavg()[0])
    table = Table(title=f"two fits of {args.epochs} epochs, 4x64 at 64x64, {os.cpu_count()} cores")
    for column in ("", "threads each", "fits: epochs a second", "whole sweep: seconds"):
        table.add_column(column, justify="right")
    rates: dict[str, float] = {}
    wholes: dict[str, float] = {}
    for name, rounds in measured.items():
        rates[name] = statistics.median(2 * args.epochs / fits for fits, _, _ in rounds)
        wholes[name] = statistics.median(whole for _, whole, _ in rounds)
        threads = " and ".join(map(str, rounds[0][2]))
        table.add_row(name, threads, f"{rates[name]:.1f}", f"{wholes[name]:.1f}")
    table.add_row(
        "ratio", "", f"{rates['at once'] / rates['in turn']:.2f}", f"{wholes['in turn'] / wholes['at once']:.2f}"
    )
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    print(f"load before and after each sweep: {', '.join(f'{load:.1f}' for load in loads)} on {os.cpu_count()} cores")


def sweep(launcher: list[str], epochs: int) -> tuple[float, float, list[int]]:
    """Return the seconds of both fits, the seconds of the whole sweep, and the threads of each fit.

    One after the other, the fits take the sum of their seconds. At once they take about the seconds of the longer one.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, str(ROOT / "train_dip.py"), "-m", "seed=0,1", "stopping=never", f"dip.max_epochs={epochs}",
            "panel_every=100000", "hydra.sweep.dir=sweep", "store=fits", *launcher,
        ]  # fmt: skip
        environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
        begun = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, capture_output=True, env=environment)
        whole = time.perf_counter() - begun
        fits = [json.loads(p.read_text()) for p in Path(folder, "fits").glob("*/manifest.json")]
    seconds = [fit["seconds"] for fit in fits]
    return max(seconds) if launcher else sum(seconds), whole, [fit["environments"][-1]["threads"] for fit in fits]


if __name__ == "__main__":
    main()
