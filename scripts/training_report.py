"""What training shows on the way: TensorBoard curves by level, held-out error, sample grids, and a diffusers folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMPipeline
from torch.utils.tensorboard import SummaryWriter

from scripts.one_evaluation import errors_by_level
from scripts.training import Training

BANDS = 10  # of timesteps, for the loss by level


class Report:
    """Writes about a training into its folder.

    Args:
        folder: Gets the TensorBoard events and, at each checkpoint, the averaged weights as a diffusers folder.
        held_out: uint8, shape (N, 3, H, W).
    """

    def __init__(self, folder: Path, held_out: torch.Tensor):
        self.folder, self.held_out = folder, held_out
        self.writer = SummaryWriter(str(folder))

    def batch(self, training: Training, index_t: torch.Tensor, errors: torch.Tensor) -> None:
        """Write the error of a batch, as a whole and by band of timesteps, and the learning rate."""
        self.writer.add_scalar("train/loss", errors.mean().item(), training.seen)
        self.writer.add_scalar("train/lr", training.optimizer.param_groups[0]["lr"], training.seen)
        width = len(training.scheduler.alphas_cumprod) // BANDS
        for band in range(BANDS):
            members = errors[index_t // width == band]
            if len(members):
                self.writer.add_scalar(f"train_loss_by_level/{band * width:03d}", members.mean().item(), training.seen)

    def checkpoint(self, training: Training) -> None:
        """Write the averaged weights, their held-out error and pictures drawn with them; print the PSNRs."""
        with averaged(training) as unet:
            pipeline = DDPMPipeline(unet=unet, scheduler=training.scheduler)
            pipeline.save_pretrained(self.folder)
            rows = errors_by_level(unet, training.scheduler.alphas_cumprod, self.held_out)
            grid = ddim_samples(pipeline, 16, torch.Generator().manual_seed(0))
        for level, mse, psnr in rows:
            self.writer.add_scalar(f"held_out_epsilon_error/level_{level}", mse, training.seen)
            self.writer.add_scalar(f"held_out_psnr/level_{level}", psnr, training.seen)
        self.writer.add_images("samples_ddim_25", grid, training.seen)
        self.writer.flush()
        psnrs = " ".join(f"{level}:{psnr:.2f}" for level, _, psnr in rows)
        print(f"{training.seen} pictures, {training.seconds:.0f} s: {psnrs}", flush=True)


@contextmanager
def averaged(training: Training) -> Iterator[Any]:
    """Let the network have its averaged weights, in evaluation mode, for a while."""
    unet, ema = training.unet, training.ema
    ema.store(unet.parameters())
    ema.copy_to(unet.parameters())
    unet.eval()
    try:
        yield unet
    finally:
        unet.train()
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
