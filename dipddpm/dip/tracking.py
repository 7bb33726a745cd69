"""Write the TensorBoard events of a fit: curves, and pictures of a fit or of a job.

Every tag has a description, which TensorBoard shows beside its chart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import google_crc32c
import numpy as np
import torch
from tensorboard.compat.proto import summary_pb2
from tensorboard.compat.tensorflow_stub import pywrap_tensorflow
from torch.utils.tensorboard import SummaryWriter

from dipddpm.pictures.write import as_bytes, png

Summary: Any = getattr(summary_pb2, "Summary")  # noqa: B009  # messages that protobuf makes when it is imported
Metadata: Any = getattr(summary_pb2, "SummaryMetadata")  # noqa: B009
# Without TensorFlow, TensorBoard computes the checksum of an event in Python: 50 ms for a picture of 256x256 pixels.
pywrap_tensorflow.crc32c = google_crc32c.value
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
    "holdout": "loss/holdout",
}
DESCRIPTIONS = {
    "loss/noisy": "Mean squared error of the output to y, the noisy picture, in [0, 1] units. Step: epoch.",
    "loss/clean": "Mean squared error of the output to the clean picture, in [0, 1] units. Step: epoch.",
    "loss/holdout": "Mean squared error of the kept picture to y at the values that the fit does not see, in [0, 1] "
    "units; the mean absolute error with dip.loss=l1. stopping=holdout stops at its minimum. Step: epoch.",
    "psnr": "PSNR of the output against the clean picture, in dB. Step: epoch.",
    "lr": "Learning rate of Adam. Step: epoch.",
    "step_seconds": "Seconds of an optimiser step, mean over the epoch. Step: epoch.",
    "variance/window": "Variance of the output over 100 epochs, per value: wmv stops at its minimum. Step: epoch.",
    "variance/moving": "Moving variance of the output, per value: emv stops at its minimum. Step: epoch.",
}


def log_epoch(events: SummaryWriter, row: Mapping[str, float], epoch: int, described: set[str]) -> None:
    """Write the row of an epoch as one event, without unknown values (NaN).

    TensorBoard reads the description of a chart from the chart's first point. Tags in ``described`` have one; the
    others get theirs, and are added.
    """
    values = []
    for name, tag in TAGS.items():
        if not math.isnan(row[name]):
            text = None if tag in described else Metadata(summary_description=DESCRIPTIONS[tag])
            values.append(Summary.Value(tag=tag, simple_value=row[name], metadata=text))
            described.add(tag)
    assert events.file_writer is not None
    events.file_writer.add_summary(Summary(value=values), epoch)


def log_pictures(
    events: SummaryWriter, tag: str, pictures: Mapping[str, torch.Tensor], step: int, description: str = ""
) -> None:
    """Write pictures, each of shape (N, 3, H, W) in [0, 1] and clipped here. The N of a name stand side by side."""
    for name, picture in pictures.items():
        rows = picture.detach().float().cpu().numpy().transpose(0, 2, 3, 1)
        log_pixels(events, f"{tag}/{name}", as_bytes(np.concatenate(list(rows), axis=1)), step, description)


def log_pixels(events: SummaryWriter, tag: str, pixels: np.ndarray, step: int, description: str = "") -> None:
    """Write a picture of 8-bit pixels, shape (H, W, 3)."""
    assert events.file_writer is not None
    height, width, _ = pixels.shape
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png(pixels))
    metadata = Metadata(summary_description=description)
    events.file_writer.add_summary(Summary(value=[Summary.Value(tag=tag, image=image, metadata=metadata)]), step)
