"""Gaussian data, whose best noise prediction is known in closed form."""

from types import SimpleNamespace
from typing import Any, cast

import torch
from diffusers.models.unets.unet_2d import UNet2DOutput
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from dipddpm.diffusion.prior import Prior
from dipddpm.diffusion.schedule import Schedule

LINEAR = Schedule(DDPMScheduler().alphas_cumprod)
M, S = 0.1, 0.2  # mean and standard deviation of the Gaussian data, [-1, 1] units


class Oracle:
    """The best noise prediction for values that are N(M, S^2), independently; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def __call__(self, x: torch.Tensor, t: torch.Tensor) -> UNet2DOutput:
        self.asked.append((len(x), int(t)))
        ab = LINEAR.alphas_cumprod[self.asked[-1][1]]
        return UNet2DOutput(sample=(1 - ab).sqrt() * (x - ab.sqrt() * M) / (ab * S**2 + 1 - ab))


def gaussian_prior() -> tuple[Prior, Oracle]:
    oracle = Oracle()
    on_cpu = cast(Any, SimpleNamespace(device=torch.device("cpu"), dtype=torch.float32))
    facts: Any = {"unet": on_cpu, "sample_size": 16, "name": "oracle", "fingerprint": "0" * 16}
    return Prior(oracle, LINEAR, clip_sample=False, **facts), oracle


def data(sigma: float, size=(199, 211)) -> tuple[torch.Tensor, torch.Tensor]:
    """Clean Gaussian data and the same with noise, as pictures in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    clean = (M + S * torch.randn(1, 3, *size, generator=generator) + 1) / 2
    return clean, clean + sigma / 255 * torch.randn(clean.shape, generator=generator)
