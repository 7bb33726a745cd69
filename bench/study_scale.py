"""Measure how the time to read and summarise a sweep, and to find a fit, grows with the number of jobs and of fits.

    python bench/study_scale.py --sizes 100 1000 10000

Writes N job folders like those of a sweep (one in fifty failed, one in fifty unfinished) and N stored fits into a
temporary folder. Prints each time as a multiple of the time at the smallest N; the row "linear" has the ratio of N.
Times are processor times of this process, so that other work on the machine does not count. The first build of each
size is not measured, because it imports pandas and plotly.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `bench` run as files
from dipddpm.config.folder_names import job_slug
from dipddpm.dip.curves import COLUMNS, Curves
from dipddpm.dip.keeping import Trajectory
from dipddpm.fits import FitStore, fit_key, manifest
from dipddpm.study import build, read_frame

LAYERS, LEVELS = (2, 4, 6, 8, 10), (10, 25, 50, 100, 200, 300, 400, 500, 600, 700)


def main() -> None:
    """Measure every size, and print the table of ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[100, 1000, 10000])
    sizes = sorted(parser.parse_args().sizes)
    measured: dict[str, list[float]] = {}
    for n in sizes:
        with tempfile.TemporaryDirectory() as folder:
            for name, seconds in measure(Path(folder), n).items():
                measured.setdefault(name, []).append(seconds)
        print(f"measured N={n}", file=sys.stderr)
    table = Table(title=f"time as a multiple of that at N={sizes[0]}")
    table.add_column("")
    for n in sizes:
        table.add_column(f"N={n}", justify="right")
    table.add_row("linear", *(f"{n / sizes[0]:.1f}" for n in sizes))
    for name, seconds in measured.items():
        table.add_row(name, *(f"{s / seconds[0]:.1f}" for s in seconds))
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def measure(folder: Path, n: int) -> dict[str, float]:
    """Return the processor seconds of each operation with ``n`` jobs and ``n`` fits."""
    sweep = folder / "sweep"
    write_sweep(sweep, n)
    build(sweep)
    store, wanted = write_store(folder / "fits", n)
    far = wanted | {"seed": -1}
    found = {
        "read_frame": best(lambda: read_frame(sweep)),
        "build": best(lambda: build(sweep)),
        "FitStore.find": best(lambda: store.find(fit_key(wanted))),
        "FitStore.nearest": best(lambda: store.nearest(far)),
        "FitStore.keys": best(store.keys),
    }
    assert store.find(fit_key(wanted)) is not None
    assert len(read_frame(sweep)) == n
    return found


def best(work: Callable[[], object]) -> float:
    """Return the shortest of three runs, in processor seconds: disturbances only lengthen a run."""
    taken = []
    for _ in range(3):
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    return min(taken)


def write_sweep(folder: Path, n: int) -> None:
    """Write ``n`` jobs over layers, start_t and seeds, with one fit for each pair of layers and seed."""
    draw = random.Random(0)
    folder.mkdir()
    Image.new("RGB", (64, 64), (90, 120, 150)).save(folder / "picture.png")
    picture = (folder / "picture.png").read_bytes()
    for i in range(n):
        layers, start_t, seed = LAYERS[i % 5], LEVELS[i // 5 % 10], i // 50
        overrides = [f"dip.layers={layers}", f"ddpm.start_t={start_t}", f"seed={seed}", "threads=1"]
        job = folder / job_slug(overrides)
        (job / ".hydra").mkdir(parents=True)
        (job / ".hydra" / "overrides.yaml").write_text("".join(f"- {o}\n" for o in overrides))
        for name in ("config.yaml", "sample.log"):
            (job / name).write_text("\n")
        for name in ("result.png", "panel.png", "strip.png"):
            (job / name).write_bytes(picture)
        if i % 50 == 7:
            (job / "error.txt").write_text(f"the fit diverged at epoch {i}: try a smaller dip.lr\n")
        elif i % 50 != 8:
            said = metrics(draw.gauss(25, 1), layers, start_t, f"{layers:08d}{seed:08d}")
            (job / "metrics.json").write_text(json.dumps(said | {"overrides": overrides}, indent=2))


def metrics(psnr: float, layers: int, start_t: int, key: str) -> dict[str, Any]:
    """Return a metrics.json of about the size of a real one."""

    def row(value: float, nfe: int = 0) -> dict[str, float]:
        return {"psnr": value, "ssim": value / 40, "nfe": nfe, "seconds": nfe / 10}

    environment = {f"library {i}": "1.2.3" for i in range(10)}
    return {
        "noisy": row(20.0), "dip": row(psnr - 2), "result": row(psnr, start_t), "posterior_mean": row(26.0, 1),
        "noisy_window": row(26.5, 57), "window": {"start_t": start_t, "samples": 1}, "environment": environment,
        "fit": {"key": key, "epoch": 500, "seconds": layers * 10.0, "made_by_this_run": start_t == LEVELS[0],
                "environments": [environment]},
        "cost": {"evaluation_seconds": 0.1, "fit_seconds": layers * 10.0,
                 "total_evaluations_worth": layers * 100 + start_t},
    }  # fmt: skip


def write_store(root: Path, n: int) -> tuple[FitStore, dict[str, Any]]:
    """Write ``n`` fits, one of them whole; return the store and the request of the whole fit."""
    store = FitStore(root)
    request: dict[str, Any] = {
        "version": 1, "pixels": "ab" * 8, "size": [64, 64], "degrade": {"kind": "gaussian", "sigma": 25.0},
        "dip": {"network": "cnn", "layers": 4, "channels": 64, "kernel_size": 3, "lr": 0.001}, "seed": 0,
    }  # fmt: skip
    for seed in range(n):
        asked = request | {"seed": seed}
        folder = store.folder(fit_key(asked))
        folder.mkdir(parents=True)
        (folder / "fit.json").write_text(json.dumps(asked))
    key = fit_key(request)
    folder = store.folder(key)
    curves = Curves()
    curves.append(**dict.fromkeys(COLUMNS, 0.1))
    manifest.write_epoch(folder, 1, {"w": torch.zeros(3)}, torch.zeros(1, 3, 64, 64), "pixels")
    (folder / manifest.state_name(1)).write_bytes(b"state")
    manifest.commit(folder, key, Trajectory(curves, kept={1: 20.0}, seconds=1.0, revived=0, environments=[{}]))
    return store, request


if __name__ == "__main__":
    main()
