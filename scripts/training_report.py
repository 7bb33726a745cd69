"""What training shows on the way: TensorBoard curves, held-out error by level, sample grids, a diffusers folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMPipeline
from torch.utils.tensorboard import SummaryWriter

from dipddpm.config.compose import plain
from dipddpm.files import write_json
from scripts.one_evaluation import errors_by_level
from scripts.train_prior_config import RECORD
from scripts.training import Training

BANDS = 10  # of timesteps, for the error by level
STEPS = 100  # between points of the curves


class Report:
    """Writes about a training into its folder.

    Args:
        folder: Gets the TensorBoard events and, at each checkpoint, the averaged weights as a diffusers folder.
        held_out: uint8, shape (N, 3, H, W).
        training: About to go on, or to begin; what a killed one wrote beyond its checkpoint is dropped from the curves.
    """

    def __init__(self, folder: Path, held_out: torch.Tensor, training: Training):
        self.folder, self.held_out = folder, held_out
        self.before = _runs_before(folder / RECORD, training)
        self.writer = SummaryWriter(str(folder), purge_step=training.seen + 1)
        self._steps: list[tuple[torch.Tensor, torch.Tensor]] = []

    def step(self, training: Training, index_t: torch.Tensor, errors: torch.Tensor) -> None:
        """Take in what `Training.step` returned; every `STEPS`, write the mean error, also by band of timesteps."""
        self._steps.append((index_t, errors))
        if len(self._steps) < STEPS:
            return
        index_t, errors = (torch.cat(parts) for parts in zip(*self._steps, strict=True))
        self._steps.clear()
        self.writer.add_scalar("train/epsilon_error", errors.mean().item(), training.seen)
        self.writer.add_scalar("train/lr", training.optimizer.param_groups[0]["lr"], training.seen)
        width = len(training.scheduler.alphas_cumprod) // BANDS
        for band in range(BANDS):
            members = errors[index_t // width == band]
            if len(members):
                levels = f"levels_{band * width + 1:03d}-{(band + 1) * width}"
                self.writer.add_scalar(f"train_epsilon_error/{levels}", members.mean().item(), training.seen)

    def checkpoint(self, training: Training) -> None:
        """Write the averaged weights and how they came about, their held-out error and samples; print the PSNRs."""
        with averaged(training) as unet:
            pipeline = DDPMPipeline(unet=unet, scheduler=training.scheduler)
            pipeline.save_pretrained(self.folder)
            rows = errors_by_level(unet, training.scheduler.alphas_cumprod, self.held_out)
            grid = ddim_samples(pipeline, 16, torch.Generator().manual_seed(0))
        for level, mse, psnr in rows:
            self.writer.add_scalar(f"held_out_epsilon_error/level_{level}", mse, training.seen)
            self.writer.add_scalar(f"held_out_psnr/level_{level}", psnr, training.seen)
        record: dict[str, Any] = {"pictures": training.seen, "seconds": training.seconds}
        record |= {"precision": _precision(training), "settings": plain(training.cfg)}
        write_json(self.folder / RECORD, record | {"before": self.before})
        self.writer.add_images("samples_ddim_25", grid, training.seen)
        self.writer.flush()
        psnrs = " ".join(f"{level}:{psnr:.2f}" for level, _, psnr in rows)
        print(f"{training.seen} pictures, {training.seconds:.0f} s: {psnrs}", flush=True)


def _precision(training: Training) -> str:
    return "bf16" if training.bf16 else "fp32"


def _runs_before(file: Path, training: Training) -> list[dict[str, Any]]:
    """Return the records of the runs that this training goes on from, where they had other settings or precision."""
    if not training.seen:
        return []
    last = json.loads(file.read_text())
    before = last.pop("before", [])
    if last["settings"] == plain(training.cfg) and last["precision"] == _precision(training):
        return before
    return [*before, last | {"pictures": training.seen, "seconds": training.seconds}]


@contextmanager
def averaged(training: Training) -> Iterator[Any]:
    """Let the network have its averaged weights for a while."""
    unet, ema = training.unet, training.ema
    ema.store(unet.parameters())
    ema.copy_to(unet.parameters())
    try:
        yield unet
    finally:
        ema.restore(unet.parameters())


@torch.no_grad()
def ddim_samples(pipeline: Any, count: int, generator: torch.Generator, steps: int = 25) -> torch.Tensor:
    """Return unconditional samples by DDIM from noise: float, shape (count, 3, H, W), in [0, 1]."""
    unet = pipeline.unet
    scheduler: Any = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=True)
    scheduler.set_timesteps(steps)
    x = torch.randn(count, 3, unet.config.sample_size, unet.config.sample_size, generator=generator)
    x = x.to(unet.device)
    for t in scheduler.timesteps:
        x = scheduler.step(unet(x, t).sample.float(), t, x).prev_sample
    return ((x + 1) / 2).clamp(0, 1).cpu()
