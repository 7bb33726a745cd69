"""Draw the noise levels of a training: most of them at the levels of windows, the others over the whole chain.

A share of each batch has a log-normal ratio of noise to picture, as in EDM (Karras et al.,
https://arxiv.org/abs/2206.00364, table 1). The others have uniform levels. The random numbers of a batch are stratified
(Kingma et al., https://arxiv.org/abs/2107.00630, appendix I.1), so that every batch covers the whole chain.
"""

from __future__ import annotations

import torch


def stratified(n: int, generator: torch.Generator) -> torch.Tensor:
    """Return n numbers in [0, 1), the i-th uniform in [i / n, (i + 1) / n); float32, shape (n,)."""
    return (torch.arange(n) + torch.rand(n, generator=generator)) / n


def draw_levels(u: torch.Tensor, alphas_cumprod: torch.Tensor, share: float, mean: float, std: float) -> torch.Tensor:
    """Turn uniform numbers into timesteps.

    Args:
        u: Shape (N,), in [0, 1).
        alphas_cumprod: diffusers' tensor of the schedule, shape (T,), falling.
        share: In [0, 1]. A u below it becomes log-normal, any other uniform.
        mean: Mean of the natural logarithm of sqrt((1 - a) / a), a from ``alphas_cumprod``.
        std: Standard deviation of that logarithm.

    Returns:
        int64 timesteps for the network (noise levels less 1), shape (N,), in [0, T - 1].
    """
    T = len(alphas_cumprod)
    log_ratio = ((1 - alphas_cumprod) / alphas_cumprod).sqrt().log()  # rises with the timestep
    z = torch.special.ndtri((u / max(share, 1e-9)).clamp(1e-6, 1 - 1e-6))
    log_normal = torch.searchsorted(log_ratio, mean + std * z)
    uniform = (T * (u - share) / max(1 - share, 1e-9)).clamp(min=0).long()
    return torch.where(u < share, log_normal, uniform).clamp(0, T - 1)
