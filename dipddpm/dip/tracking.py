"""Write TensorBoard events.

A fit is a run of TensorBoard with curves and pictures. A job is a run with pictures and one session of the HParams tab,
which has the job's settings and final figures.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams as hparams_summaries
from torch.utils.tensorboard.summary import image

from dipddpm.files import printable

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


def path_for_writers(folder: Path) -> str:
    """Return a path of a folder that TensorBoard's writers take. They take no name that is not UTF-8."""
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        folder.mkdir(parents=True, exist_ok=True)
        return f"/proc/self/fd/{os.open(folder, os.O_RDONLY | os.O_DIRECTORY)}"  # open to the end of the process
    return str(folder)


def writer(trainer: pl.Trainer) -> SummaryWriter:
    """Return the event writer of a trainer's TensorBoardLogger."""
    assert trainer.logger is not None
    return trainer.logger.experiment  # type: ignore[attr-defined]


def log_layout(events: SummaryWriter) -> None:
    """Put both losses into one chart of the Custom Scalars tab."""
    events.add_custom_scalars(LAYOUT)


def log_epoch(events: SummaryWriter, row: Mapping[str, float], epoch: int) -> None:
    """Write the row of an epoch, without unknown values (NaN)."""
    for name, tag in TAGS.items():
        if name in row and not math.isnan(row[name]):
            events.add_scalar(tag, row[name], epoch)


def log_pictures(
    events: SummaryWriter, tag: str, pictures: Mapping[str, torch.Tensor], step: int, description: str = ""
) -> None:
    """Write pictures, each of shape (N, 3, H, W) in [0, 1] and clipped here, as one grid for each name."""
    assert events.file_writer is not None
    for name, picture in pictures.items():
        summary = image(f"{tag}/{name}", picture.detach().float().cpu().clamp(0, 1).numpy(), dataformats="NCHW")
        summary.value[0].metadata.summary_description = description
        events.file_writer.add_summary(summary, step)


def log_hparams(events: SummaryWriter, hparams: Mapping[str, Any], results: Mapping[str, float], step: int) -> None:
    """Write hyperparameters and final figures as one session of the HParams tab.

    ``SummaryWriter.add_hparams`` is not used. It opens a second run, and declares the columns in every run, of which
    TensorBoard reads one. Without a declaration TensorBoard collects the columns of all runs: hyperparameters that
    differ come first, and every figure is a column.

    Args:
        events: The event writer of the run.
        hparams: Hyperparameters by column. None leaves the cell empty. Values that are no numbers become words;
            TensorBoard cannot sort a column of both numbers and words.
        results: Final figures by column.
        step: The step of the figures in the charts of the Scalars tab.
    """
    known = {k: v for k, v in hparams.items() if v is not None}
    plain = {k: v if isinstance(v, int | float) and not isinstance(v, bool) else printable(v) for k, v in known.items()}
    _, start, end = hparams_summaries(plain, dict(results))  # the first result declares the columns
    assert events.file_writer is not None
    for summary in (start, end):
        events.file_writer.add_summary(summary)
    for name, value in results.items():
        events.add_scalar(name, value, step)
