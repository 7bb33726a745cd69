"""Write the TensorBoard events of a fit: curves, and pictures of a fit or of a job.

Every tag has a description, which TensorBoard shows beside its chart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import google_crc32c
import numpy as np
import torch
from tensorboard.compat.proto import summary_pb2
from tensorboard.compat.tensorflow_stub import pywrap_tensorflow
from torch.utils.tensorboard import SummaryWriter

from dipddpm.dip.keeping import Keeper
from dipddpm.dip.kept import Entry
from dipddpm.files import utf8_path
from dipddpm.pictures.write import as_bytes, png

Summary: Any = getattr(summary_pb2, "Summary")  # noqa: B009  # messages that protobuf makes when it is imported
Metadata: Any = getattr(summary_pb2, "SummaryMetadata")  # noqa: B009
# Without TensorFlow, TensorBoard computes the checksum of an event in Python: 50 ms for a picture of 256x256 pixels.
pywrap_tensorflow.crc32c = google_crc32c.value
FEW = 16  # fits at once whose charts have a point for each epoch, and pictures
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


class Charts:
    """TensorBoard's events of a fit: the rows of all epochs, and pictures every ``every`` epochs and at the end.

    The pictures are the kept one, and the one of the highest PSNR so far if it is new. The first time y, z and the
    clean picture are written, too.

    Args:
        keeper: The keeper of the fit. It has a folder.
        every: Epochs between the pictures.
        fixed: y, z and the clean picture by name, each of shape (1, 3, H, W).
        epochs: Epochs that the fit has had.
        best: The kept epoch of the highest PSNR so far and its PSNR, or None.
        sparse: Whether there is a point for kept epochs only, and no picture.
    """

    def __init__(
        self,
        keeper: Keeper,
        every: int,
        fixed: Mapping[str, torch.Tensor],
        epochs: int,
        best: tuple[int, float] | None,
        *,
        sparse: bool = False,
    ) -> None:
        self.every, self.fixed, self.sparse = every, dict(fixed), sparse
        self.shown = epochs
        self.best = best[1] if best else -math.inf
        self.best_picture = keeper.picture(best[0]) if best and not sparse else None
        self.described: set[str] = set()
        self.stack = ExitStack()
        assert keeper.folder is not None
        folder = self.stack.enter_context(utf8_path(keeper.folder))
        # A killed run may have logged epochs after its last commit.
        self.events = self.stack.enter_context(SummaryWriter(str(folder), purge_step=epochs + 1))
        self.events.add_custom_scalars(LAYOUT)

    def write(self, entry: Entry, weights: Mapping[str, torch.Tensor], picture: torch.Tensor) -> None:
        rows = entry.rows[-1:] if self.sparse else entry.rows
        for epoch, row in enumerate(rows, entry.epoch - len(rows) + 1):
            log_epoch(self.events, row, epoch, self.described)
        if self.sparse:
            return
        if self.best_picture is None or (entry.psnr is not None and entry.psnr > self.best):
            self.best, self.best_picture = entry.psnr or self.best, picture.clone()
        if entry.epoch // self.every > self.shown // self.every or entry.last:
            self._show(entry.epoch, picture)

    def _show(self, epoch: int, picture: torch.Tensor) -> None:
        pictures = {**self.fixed, "output": picture}
        if self.best > -math.inf and self.best_picture is not None:
            pictures["best"] = self.best_picture
        log_pictures(self.events, "dip", pictures, epoch)
        self.shown, self.fixed = epoch, {}

    def close(self) -> None:
        self.stack.close()


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
