"""Judge a network by one evaluation for each picture: the error of its noise estimate, the PSNR of its clean estimate.

At noise level t a clean picture x0 becomes x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps. One evaluation estimates
eps, and with it the posterior mean of x0 (Ho et al., https://arxiv.org/abs/2006.11239, eq. 15).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from dipddpm.diffusion.schedule import Schedule, to_picture, to_state
from dipddpm.diffusion.steps import x0_from_eps
from dipddpm.metrics.quality import psnr

LEVELS = (5, 20, 50, 100, 200, 300, 500, 700, 900)
BATCH_SIZE = 50
Watch = Callable[[int], None]


def noisy_states(pictures: torch.Tensor, ab: torch.Tensor, level: int) -> tuple[torch.Tensor, ...]:
    """Return (x0, eps, x_t), float32, in [-1, 1] units. Only the level determines the noise.

    Args:
        pictures: uint8, shape (N, 3, H, W).
        ab: ``alpha_bar`` of the level, a 0-d tensor.
        level: The noise level, 1..T.
    """
    x0 = to_state(pictures.float() / 255)
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(level))
    return x0, eps, ab.sqrt() * x0 + (1 - ab).sqrt() * eps


@torch.no_grad()
def estimate_once(unet: torch.nn.Module, x_t: torch.Tensor, level: int, watch: Watch | None = None) -> torch.Tensor:
    """Return the network's noise estimate for states at a noise level: float32, on the CPU, in the states' shape."""
    device, estimates = next(unet.parameters()).device, []
    for chunk in x_t.split(BATCH_SIZE):
        estimates.append(unet(chunk.to(device), level - 1).sample.float().cpu())
        if watch:
            watch(len(chunk))
    return torch.cat(estimates)


def errors_by_level(
    unet: torch.nn.Module,
    schedule: Schedule,
    pictures: torch.Tensor,
    levels: Iterable[int] = LEVELS,
    watch: Watch | None = None,
) -> list[dict[str, Any]]:
    """Measure one evaluation of the network at each level.

    Args:
        unet: diffusers UNet2DModel that predicts epsilon.
        schedule: The noise schedule that the network was trained with.
        pictures: uint8, shape (N, 3, H, W).
        levels: Noise levels in 1..T.
        watch: Called after each evaluation with the number of its pictures.

    Returns:
        One row for each level, of JSON types: ``level``, ``sigma`` (0-255 scale), ``epsilon_error`` (mean squared error
        of the noise estimate) and ``psnr`` (dB, of the clipped clean estimate, mean over the pictures). Every call uses
        the same noise.
    """
    rows = []
    for level in levels:
        ab = schedule.alpha_bar(level)
        x0, eps, x_t = noisy_states(pictures, ab, level)
        estimate = estimate_once(unet, x_t, level, watch)
        quality = psnr(to_picture(x0_from_eps(x_t, estimate, ab)), to_picture(x0))
        error = float((estimate - eps).square().mean())
        rows.append(
            {"level": level, "sigma": schedule.sigma(level), "epsilon_error": error, "psnr": float(quality.mean())}
        )
    return rows


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Return the rows of `errors_by_level` as a Markdown table."""
    lines = ["| level | sigma | epsilon error | PSNR (dB) |", "|---:|---:|---:|---:|"]
    for row in rows:
        lines.append(f"| {row['level']} | {row['sigma']:.1f} | {row['epsilon_error']:.4f} | {row['psnr']:.2f} |")
    return "\n".join(lines) + "\n"
