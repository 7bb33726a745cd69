"""TensorBoard events: curves and grids of a fit, snapshots and hparams of a window."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams as hparams_summaries

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


def log_pictures(events: SummaryWriter, tag: str, pictures: Mapping[str, torch.Tensor], step: int) -> None:
    """Write pictures, each (N, 3, H, W) in [0, 1] (clipped), as one grid a name."""
    for name, picture in pictures.items():
        events.add_images(f"{tag}/{name}", picture.detach().float().cpu().clamp(0, 1), step)


def log_hparams(events: SummaryWriter, hparams: Mapping[str, Any], results: Mapping[str, float]) -> None:
    """Write hyperparameters and final metrics as one session of the HParams tab.

    ``SummaryWriter.add_hparams`` would open a second run for them; here they join the run's own.
    """
    plain = {k: v if isinstance(v, int | float | str | bool) else str(v) for k, v in hparams.items()}
    assert events.file_writer is not None
    for summary in hparams_summaries(plain, dict(results)):
        events.file_writer.add_summary(summary)
    for name, value in results.items():
        events.add_scalar(name, value, 0)
