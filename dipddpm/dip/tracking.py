"""TensorBoard events: curves and grids of a fit, snapshots and hparams of a window.

A fit is a run with curves and grids, and no session of the HParams tab; a job is a run with pictures, and one
session with the figures it ended with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams as hparams_summaries
from torch.utils.tensorboard.summary import image

LAYOUT = {
    "DIP": {
        "loss to the noisy and to the clean picture": ["Multiline", ["loss/noisy", "loss/clean"]],
        "variance of the output": ["Multiline", ["variance/window", "variance/moving"]],
    }
}
TAGS = {
    "loss_noisy": "loss/noisy",
    "loss_clean": "loss/clean",
    "psnr": "psnr",
    "lr": "lr",
    "seconds": "step_seconds",
    "window_variance": "variance/window",
    "moving_variance": "variance/moving",
}


def writer(trainer: pl.Trainer) -> SummaryWriter:
    """Return the event writer of a trainer's TensorBoardLogger."""
    assert trainer.logger is not None
    return trainer.logger.experiment  # type: ignore[attr-defined]


def log_layout(events: SummaryWriter) -> None:
    """Put both losses into one chart (the Custom Scalars tab)."""
    events.add_custom_scalars(LAYOUT)


def log_epoch(events: SummaryWriter, row: Mapping[str, float], epoch: int) -> None:
    """Write an epoch's row; what is not known (NaN) is left out."""
    for name, tag in TAGS.items():
        if name in row and not math.isnan(row[name]):
            events.add_scalar(tag, row[name], epoch)


def log_pictures(
    events: SummaryWriter, tag: str, pictures: Mapping[str, torch.Tensor], step: int, description: str = ""
) -> None:
    """Write pictures, each (N, 3, H, W) in [0, 1] (clipped), as one grid a name."""
    assert events.file_writer is not None
    for name, picture in pictures.items():
        summary = image(f"{tag}/{name}", picture.detach().float().cpu().clamp(0, 1).numpy(), dataformats="NCHW")
        summary.value[0].metadata.summary_description = description
        events.file_writer.add_summary(summary, step)


def log_hparams(events: SummaryWriter, hparams: Mapping[str, Any], results: Mapping[str, float], step: int) -> None:
    """Write hyperparameters and final figures as one session of the HParams tab.

    ``SummaryWriter.add_hparams`` would open a second run for them, and it declares the columns in every run, of
    which TensorBoard believes one. Undeclared, they are read from all runs: the hyperparameters that differ come
    first, each with its domain, and every figure is a column whichever command wrote it.

    Args:
        events: The run's own.
        hparams: None leaves a cell empty; what is no number is written as a word. TensorBoard fails to sort a column
            that has numbers in some runs and words in others.
        results: By the names of their columns.
        step: Where the figures stand in the charts of the Scalars tab.
    """
    known = {k: v for k, v in hparams.items() if v is not None}
    plain = {k: v if isinstance(v, int | float) and not isinstance(v, bool) else str(v) for k, v in known.items()}
    _, start, end = hparams_summaries(plain, dict(results))  # the first declares the columns
    assert events.file_writer is not None
    for summary in (start, end):
        events.file_writer.add_summary(summary)
    for name, value in results.items():
        events.add_scalar(name, value, step)
