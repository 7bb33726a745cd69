"""Make a window's clean estimates agree with what is known of the picture: y = A x + noise.

At level t the network's estimate x0 is one source of the clean picture and y another. Of all pictures x the one with
the least |A x - y|^2 / sigma^2 + |x - x0|^2 / r_t^2 is taken, where r_t is the noise of the level. With
A A^T = I / s^2 that is x0 + w P (y - x0), w = r_t^2 / (r_t^2 + s^2 sigma^2) (`dipddpm.degradation.operators`): known
pixels, or the means over squares, move by w towards those of y, and the rest stays. Without noise w = 1: they are put
back.

References:
    Zhu et al., Denoising Diffusion Models for Plug-and-Play Image Restoration, 2023 (DiffPIR, eq. 13 with lambda = 1),
    https://arxiv.org/abs/2305.08995.
    Wang, Yu and Zhang, Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model, 2022 (DDNM, without
    noise), https://arxiv.org/abs/2212.00490.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from dipddpm.degradation.operators import Operator
from dipddpm.diffusion.schedule import Schedule, to_state


def data_consistency(
    y: torch.Tensor, operator: Operator, sigma: float, schedule: Schedule
) -> Callable[[torch.Tensor, int], torch.Tensor]:
    """Return what `dipddpm.diffusion.sampler.sample_window` calls with each clean estimate and its level.

    Args:
        y: Shape (1, 3, H, W), [0, 1] units, completed.
        operator: A.
        sigma: Noise of y on the 0-255 scale, 0 for none.
        schedule: Of the window.
    """
    state = to_state(y)
    noise = sigma * operator.spread

    def agree(x0: torch.Tensor, level: int) -> torch.Tensor:
        r = schedule.sigma(level)
        nearer = x0 + r**2 / (r**2 + noise**2) * (state.to(x0) - x0) if noise else state.to(x0).expand_as(x0)
        return operator.replace(x0, nearer)

    return agree
