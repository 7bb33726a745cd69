"""Write the outputs of a training: TensorBoard curves and samples, its record, the diffusers folder, the model card."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.ddpm.pipeline_ddpm import DDPMPipeline
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch.utils.tensorboard import SummaryWriter

from dipddpm.config.compose import plain
from dipddpm.diffusion.schedule import Schedule
from dipddpm.errors import UserError
from dipddpm.files import write_json
from prior_training import card
from prior_training.evaluation import errors_by_level
from prior_training.pictures import Pictures, evenly
from prior_training.samples import draw, grid
from prior_training.settings import RECORD
from prior_training.training import Training

BANDS = 10  # bands of noise levels, each with its own curve of the error
STEPS = 50  # steps between two points of the curves
DDIM_STEPS = 25  # evaluations for a sample


class Report:
    """The writer of a training's outputs.

    Args:
        training: The training, before its first step in this process. Curves that a killed run wrote after its
            checkpoint are dropped.
        pictures: All pictures that were read.
        held_out: Indices of the held-out pictures.
    """

    def __init__(self, training: Training, pictures: Pictures, held_out: Sequence[int]):
        settings = training.settings
        self.data = {
            "name": Path(settings.data).expanduser().resolve().name,
            "pictures": len(pictures.names),
            "left_out": pictures.left_out,
            "enlarged": pictures.enlarged,
            "held_out": [pictures.names[i] for i in held_out],
        }
        self.training = training
        chosen = [held_out[i] for i in evenly(len(held_out), settings.eval_pictures)]
        self.judged = torch.from_numpy(pictures.pixels[chosen])
        self.writer = SummaryWriter(str(settings.work), purge_step=training.seen + 1)
        if not training.seen:
            self.writer.add_image("held_out", grid(self.judged[:16]), 0)
        self._steps: list[tuple[torch.Tensor, torch.Tensor]] = []

    def step(self, index_t: torch.Tensor, errors: torch.Tensor) -> float | None:
        """Add the result of `Training.step`. Every `STEPS` steps, write the mean error, and that of each band.

        Returns:
            The mean error since the last point of the curves; None between two points.

        Raises:
            UserError: When the mean error is not finite. No further checkpoint is then written.
        """
        self._steps.append((index_t, errors))
        if len(self._steps) < STEPS:
            return None
        index_t, errors = (torch.cat(parts) for parts in zip(*self._steps, strict=True))
        self._steps.clear()
        seen, mean = self.training.seen, errors.mean().item()
        self._refuse_unless_finite(mean)
        self.writer.add_scalar("train/epsilon_error", mean, seen)
        self.writer.add_scalar("train/learning_rate", self.training.learning_rate, seen)
        width = len(self.training.scheduler.alphas_cumprod) // BANDS
        for band in range(BANDS):
            members = errors[index_t // width == band]
            if len(members):
                levels = f"levels_{band * width + 1:03d}-{(band + 1) * width}"
                self.writer.add_scalar(f"train_epsilon_error/{levels}", members.mean().item(), seen)
        return mean

    def checkpoint(self) -> None:
        """Write the averaged weights as a diffusers folder, their held-out error, samples, the record and the card."""
        training, settings, seen = self.training, self.training.settings, self.training.seen
        with training.averaged() as unet:
            rows = errors_by_level(unet, Schedule(training.scheduler.alphas_cumprod), self.judged)
            self._refuse_unless_finite(sum(row["epsilon_error"] for row in rows))
            save_pipeline(DDPMPipeline(unet, training.scheduler), Path(settings.out))
            if settings.samples:
                drawn = draw(unet, training.scheduler, range(settings.samples), DDIM_STEPS)
                self.writer.add_image(f"samples_ddim_{DDIM_STEPS}", grid(drawn), seen)
        for row in rows:
            for key in ("epsilon_error", "psnr"):
                self.writer.add_scalar(f"held_out_{key}/level_{row['level']:03d}", row[key], seen)
        self.writer.flush()
        record: dict[str, Any] = {"pictures": seen, "seconds": round(training.seconds), "device": training.device}
        record |= {"settings": plain(settings), "data": self.data}
        record["evaluation"] = {"pictures": len(self.judged), "levels": rows}
        write_json(settings.work / RECORD, record)
        card.write_own(Path(settings.out), record)
        psnrs = ", ".join(f"{row['psnr']:.2f} at {row['level']}" for row in rows if row["level"] in (50, 100, 300))
        print(f"{seen} pictures, {training.seconds:.0f} s: PSNR of held-out pictures by level {psnrs} (dB)", flush=True)

    def _refuse_unless_finite(self, error: float) -> None:
        if not error < float("inf"):
            raise UserError(
                f"lr={self.training.settings.lr:g} is too large: the error is not finite after "
                f"{self.training.seen} pictures; type a smaller lr, and another out=<folder>"
            )


def save_pipeline(pipeline: DiffusionPipeline, folder: Path) -> None:
    """Write a diffusers folder. Each of its files is replaced whole."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        pipeline.save_pretrained(temporary)
        for file in (path for path in Path(temporary).rglob("*") if path.is_file()):
            target = folder / file.relative_to(temporary)
            target.parent.mkdir(exist_ok=True)
            os.replace(file, target)
