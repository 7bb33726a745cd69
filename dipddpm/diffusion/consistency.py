"""Data consistency: make a window's clean estimates agree with y = A x + noise.

At noise level t the network gives an estimate x0 of the clean picture, and y holds a part of that picture. The step
takes the picture x with the least |A x - y|^2 / sigma^2 + |x - x0|^2 / r_t^2, where r_t is the noise of the level. With
A A' = I / s^2 (`dipddpm.degradation.operators`) that is

    x = x0 + w P (y - x0),   w = r_t^2 / (r_t^2 + s^2 sigma^2).

The part of the picture that A measures moves by w towards y, and the rest stays. Without noise w = 1: the measured part
becomes that of y.

References:
    Zhu et al., Denoising Diffusion Models for Plug-and-Play Image Restoration, 2023 (DiffPIR, eq. 13 with lambda = 1),
    https://arxiv.org/abs/2305.08995.
    Wang, Yu and Zhang, Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model, 2022 (DDNM, without
    noise), https://arxiv.org/abs/2212.00490.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from dipddpm.degradation.operators import Operator
from dipddpm.diffusion.schedule import Schedule, to_state


def data_consistency(
    y: torch.Tensor, operator: Operator, sigmas: Sequence[float], schedule: Schedule
) -> Callable[[torch.Tensor, int], torch.Tensor]:
    """Return the function that `dipddpm.diffusion.sampler.sample_window` calls for each clean estimate.

    Args:
        y: Completed y, shape (1 or N, 3, H, W), in [0, 1] units.
        operator: A.
        sigmas: rms of the noise of each picture of y on the 0-255 scale, 0 for no noise.
        schedule: The noise levels of the window.

    Returns:
        A function of a clean estimate, shape (N, 3, H, W) in [-1, 1] units, and its level. It returns the estimate that
        agrees with y, in the same shape.
    """
    state = to_state(y)
    noises = [sigma * operator.spread for sigma in sigmas]

    def agree(x0: torch.Tensor, level: int) -> torch.Tensor:
        r, given = schedule.sigma(level), state.to(x0)
        if not any(noises):
            return operator.replace(x0, given.expand_as(x0))
        weights = [r**2 / (r**2 + noise**2) for noise in noises]
        w = weights[0]  # a number, which needs no copy to the device
        if len(set(weights)) > 1:
            w = torch.tensor(weights).to(x0).reshape(-1, 1, 1, 1)
        nearer = x0 + w * (given - x0)
        return operator.replace(x0, nearer)

    return agree
