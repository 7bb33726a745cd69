"""Job folders as a sweep leaves them, written by hand: what the tests of the study read."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from dipddpm.config.folder_names import job_slug


def metrics(
    psnr: float | None = 25.0, *, nfe: int = 50, fit: str | None = "f00d", fit_seconds: float = 8.0, **more: Any
) -> dict[str, Any]:
    """Return what metrics.json says of a run of sample.py; without a clean picture for psnr=None.

    An evaluation takes 10 GFLOP and 0.1 s, and so does a part of the fit; fit=None is a start from a file.
    """

    def row(value: float, nfe: int = 0, seconds: float = 0.0) -> dict[str, Any]:
        quality = {} if psnr is None else {"psnr": value, "ssim": value / 100}
        return {**quality, "nfe": nfe, "seconds": seconds}

    psnr_or = psnr or 0.0
    record: dict[str, Any] = {
        "noisy": row(20.0),
        "dip": row(psnr_or - 2, seconds=fit_seconds),
        "result": row(psnr_or, nfe, nfe / 10),
        "posterior_mean": row(26.0, 1, 0.1),
        "noisy_window": row(26.5, 57, 5.7),
        "window": {"start_t": nfe, "end_t": 0, "samples": 1},
        "cost": {"evaluation_seconds": 0.1, "evaluation_gflop": 10.0},
        "command": "sample",
    }
    if fit is not None:
        gflop = 100 * fit_seconds
        record["fit"] = {
            "key": fit, "epoch": 100, "seconds": fit_seconds, "gflop": gflop, "made_by_this_run": nfe == 50,
        }  # fmt: skip
        worth = gflop / 10
        record["cost"] |= {"fit_seconds": fit_seconds, "fit_gflop": gflop, "fit_evaluations_worth": worth,
                           "total_evaluations_worth": worth + nfe}  # fmt: skip
    return record | more


def fit_metrics(psnr: float = 23.0, **more: Any) -> dict[str, Any]:
    """Return what metrics.json says of a run of train_dip.py: no window, no result, no cost."""
    record = metrics(psnr + 2, **more)
    kept = {name: record[name] for name in ("noisy", "dip", "fit")}
    return {**kept, "command": "fit"}


def job(
    study: Path,
    overrides: list[str],
    said: dict[str, Any] | str | None = None,
    *,
    error: str | None = None,
    name: str | None = None,
    pictures: bool = False,
    config: str | None = None,
) -> Path:
    """Write a job's folder.

    Args:
        study: Folder of the sweep.
        overrides: As typed.
        said: metrics.json: what it says, or its text as it is; None for none.
        error: The text of error.txt.
        name: Of the folder; None for the one that a sweep gives it.
        pictures: Whether there are pictures, a config and a log.
        config: The text of .hydra/config.yaml; None for none.
    """
    folder = study / (name or job_slug(overrides))
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides, allow_unicode=True), encoding="utf-8")
    if config is not None:
        (folder / ".hydra" / "config.yaml").write_text(config, encoding="utf-8")
    if error is not None:
        (folder / "error.txt").write_text(error, encoding="utf-8")
    if pictures:
        shade = sum(map(ord, folder.name)) % 200
        for i, picture in enumerate(("result", "panel", "dip", "noisy", "clean", "strip")):
            Image.new("RGB", (16, 16), (shade, 40 * i, 255 - shade)).save(folder / f"{picture}.png")
        (folder / "config.yaml").write_text("seed: 0\n")
        (folder / "sample.log").write_text("done\n")
    if said is not None:
        text = said if isinstance(said, str) else json.dumps(said)
        (folder / "metrics.json").write_text(text, encoding="utf-8")
    return folder


def mixed_sweep(folder: Path) -> Path:
    """Write a sweep with a job of every kind."""
    job(folder, ["dip.layers=4", "dip.lr=0.01", "seed=1"], metrics(25.5, nfe=50, fit="aa"), pictures=True)
    job(folder, ["dip.layers=4", "dip.lr=0.1", "seed=1"], metrics(24.5, nfe=100, fit="aa"), pictures=True)
    job(folder, ["dip.layers=10", "dip.lr=0.01", "seed=1"], error="the fit diverged: try a smaller dip.lr\nmore\n")
    job(folder, ["dip.layers=10", "dip.lr=0.1", "seed=1"])  # killed, or still running
    job(folder, ["dip.layers=12", "dip.lr=0.1", "seed=1"], json.dumps(metrics())[:100])  # truncated
    job(folder, ["dip.layers=14", "dip.lr=0.1", "seed=1"], metrics(None, fit=None), pictures=True)  # no clean picture
    (folder / "multirun.yaml").write_text("hydra: {}\n")
    (folder / "notes").mkdir()
    return folder


def table(folder: Path) -> list[dict[str, str]]:
    """Return the rows of summary.csv."""
    with (folder / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def by_override(folder: Path, **wanted: str) -> dict[str, str]:
    """Return the one row with these overrides (``dip__lr`` for ``dip.lr``)."""
    (row,) = [r for r in table(folder) if all(r[k.replace("__", ".")] == v for k, v in wanted.items())]
    return row
