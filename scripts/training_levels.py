"""The levels that training draws: most of them where windows are, some everywhere.

A share of each batch has a log-normal ratio of noise to picture, as EDM draws it (Karras et al.,
https://arxiv.org/abs/2206.00364, table 1); the rest has level T u^p, u uniform. The u of a batch are
stratified, one to each of its equal parts (low-discrepancy as in Kingma et al., https://arxiv.org/abs/2107.00630,
appendix I.1), so that every batch sees every part of the chain.
"""

from __future__ import annotations

import torch


def stratified(n: int, generator: torch.Generator) -> torch.Tensor:
    """Return n numbers in [0, 1), the i-th uniform in [i / n, (i + 1) / n); float32, shape (n,)."""
    device = generator.device
    return (torch.arange(n, device=device) + torch.rand(n, generator=generator, device=device)) / n


def draw_levels(
    u: torch.Tensor, alphas_cumprod: torch.Tensor, share: float, mean: float, std: float, power: float
) -> torch.Tensor:
    """Turn uniform numbers into timesteps.

    Args:
        u: Shape (N,), in [0, 1).
        alphas_cumprod: Of the schedule, shape (T,), falling.
        share: In [0, 1]: u below it become log-normal, the others a power.
        mean: Of the natural logarithm of sqrt((1 - a) / a), a from ``alphas_cumprod``.
        std: Of the same.
        power: 1 draws all timesteps alike, a larger one draws low ones more often.

    Returns:
        int64 timesteps as a network takes them, shape (N,), in [0, T - 1].
    """
    T = len(alphas_cumprod)
    log_ratio = ((1 - alphas_cumprod) / alphas_cumprod).sqrt().log()  # rises with the timestep
    z = torch.special.ndtri((u / max(share, 1e-9)).clamp(1e-6, 1 - 1e-6))
    log_normal = torch.searchsorted(log_ratio, mean + std * z)
    spread = (T * ((u - share) / max(1 - share, 1e-9)).clamp(min=0) ** power).long()
    return torch.where(u < share, log_normal, spread).clamp(0, T - 1)
