"""What one evaluation of a network is worth: the error of its noise estimate, the PSNR of its clean one.

At level t a clean picture x0 becomes x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps; one evaluation
estimates eps, hence the posterior mean of x0 (Ho et al., https://arxiv.org/abs/2006.11239, eq. 15).
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from dipddpm.diffusion.schedule import to_picture, to_state
from dipddpm.diffusion.steps import x0_from_eps
from dipddpm.metrics.quality import psnr

LEVELS = (5, 20, 50, 100, 200, 300, 500, 700, 900)
Watch = Callable[[int], None]


def noisy_states(pictures: torch.Tensor, ab: torch.Tensor, level: int) -> tuple[torch.Tensor, ...]:
    """Return (x0, eps, x_t), float32, [-1, 1]; the noise depends on the level alone."""
    x0 = to_state(pictures.float() / 255)
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(level))
    return x0, eps, ab.sqrt() * x0 + (1 - ab).sqrt() * eps


@torch.no_grad()
def estimate_once(
    unet: torch.nn.Module, x_t: torch.Tensor, level: int, batch_size: int = 50, watch: Watch | None = None
) -> torch.Tensor:
    """Return the network's noise estimate for the states of a level, float32 on the CPU."""
    device, estimates = next(unet.parameters()).device, []
    for chunk in x_t.split(batch_size):
        estimates.append(unet(chunk.to(device), level - 1).sample.float().cpu())
        if watch:
            watch(len(chunk))
    return torch.cat(estimates)


def errors_by_level(
    unet: torch.nn.Module,
    alphas_cumprod: torch.Tensor,
    pictures: torch.Tensor,
    levels: tuple[int, ...] = LEVELS,
    batch_size: int = 50,
    watch: Watch | None = None,
) -> list[tuple[int, float, float]]:
    """Measure one evaluation of the network at each level.

    Args:
        unet: diffusers UNet2DModel that predicts epsilon.
        alphas_cumprod: shape (T,), the scheduler's.
        pictures: uint8, shape (N, 3, H, W).
        levels: Levels in 1..T; the network receives level - 1.
        batch_size: Pictures an evaluation.
        watch: Called with the number of pictures after each evaluation.

    Returns:
        One (level, mean squared error of epsilon, PSNR in dB of the clipped clean estimate averaged
        over the pictures) a level. The noise is the same in every call.
    """
    rows = []
    for level in levels:
        ab = alphas_cumprod[level - 1].cpu()
        x0, eps, x_t = noisy_states(pictures, ab, level)
        estimate = estimate_once(unet, x_t, level, batch_size, watch)
        quality = psnr(to_picture(x0_from_eps(x_t, estimate, ab)), to_picture(x0))
        rows.append((level, float((estimate - eps).square().mean()), float(quality.mean())))
    return rows
