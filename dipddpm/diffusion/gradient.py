"""Data consistency by gradients, for any operator that can be differentiated, linear or not.

`descend` corrects a clean estimate without a closed form. The network is not evaluated again. `distance_to` is the
distance |A x0 - y|, whose gradient through the network a sampler follows (DPS).

References:
    Zhu et al., Denoising Diffusion Models for Plug-and-Play Image Restoration, 2023 (DiffPIR, the data subproblem
    by gradients), https://arxiv.org/abs/2305.08995.
    Chung et al., Diffusion Posterior Sampling for General Noisy Inverse Problems, 2023 (DPS, algorithm 1),
    https://arxiv.org/abs/2209.14687.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dipddpm.degradation.operators import Operator
from dipddpm.diffusion.schedule import to_picture

STEPS = 10  # of `descend`: each measures two pictures, and takes one gradient
TRIAL = 1e-2  # rms of the step, in picture units, whose change of A v gives the derivative of A along it
TINY = 1e-20  # the least divisor: where a gradient is zero, the divisors are zero, too


def descend(operator: Operator, x: Tensor, y: Tensor, rho: Tensor | float, steps: int = STEPS) -> Tensor:
    """Take steps on |A v - y|^2 + rho |v - x|^2 from v = x, by nonlinear conjugate gradients.

    The length of a step is that of Gauss and Newton: A is taken to be linear along it. For a linear A these are the
    usual conjugate gradients. For another A the minimum may be a local one. No step raises the objective.

    Args:
        operator: A. Its `measure` is differentiable.
        x: Shape (N, 3, H, W), in the units of y.
        y: Shape (1 or N, 3, h, w).
        rho: Above 0; one number, or one for each picture, shape (N, 1, 1, 1).
        steps: The number of steps.

    Returns:
        v, shape (N, 3, H, W). A picture's result does not depend on the others.
    """

    def look(v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return A v, half the objective of each picture, shape (N, 1, 1, 1), and its gradient."""
        measured, pull = operator.measure_at(v)
        half = (_squares(measured - y) + rho * _squares(v - x)) / 2
        return measured, half, pull(measured - y) + rho * (v - x)

    v, (measured, value, slope) = x, look(x)
    direction, share = -slope, torch.ones_like(value)
    for _ in range(steps):
        trial = TRIAL * (direction[0].numel() / _squares(direction).clamp(min=TINY)).sqrt()
        change = (operator.measure(v + trial * direction) - measured) / trial
        curvature = _squares(change) + rho * _squares(direction)
        there = v - share * _sums(slope * direction) / curvature.clamp(min=TINY) * direction
        new = look(there)
        better = new[1] <= value  # a step can be too long for an A that is not linear: the next one is shorter
        turn = _sums(new[2] * (new[2] - slope)) / _squares(slope).clamp(min=TINY)  # Polak and Ribiere
        direction = torch.where(better, turn.clamp(min=0), 0) * direction
        share = torch.where(better, 1, share / 4)
        pairs = zip((there, *new), (v, measured, value, slope), strict=True)
        v, measured, value, slope = (torch.where(better, one, other) for one, other in pairs)
        direction = direction - slope
    return v


def distance_to(y: Tensor, operator: Operator, scale: float) -> Callable[[Tensor], Tensor]:
    """Return the distance that a sampler makes smaller (`dipddpm.diffusion.sampler.Consistency.distance`).

    Args:
        y: The values that A measured, shape (1 or N, 3, h, w), in [0, 1] units.
        operator: A. Its `measure` is differentiable.
        scale: zeta of DPS, the factor of the gradient.

    Returns:
        A function of clean estimates, shape (N, 3, H, W) in [-1, 1] units. It returns scale |A x0 - y| for each picture
        in [-1, 1] units, shape (N,).
    """

    def distance(x0: Tensor) -> Tensor:
        residual = 2 * (operator.measure(to_picture(x0)) - y.to(x0))  # pictures: A may depend on the units
        return scale * residual.flatten(1).norm(dim=1)

    return distance


def _sums(x: Tensor) -> Tensor:
    """Return the sum of each picture's values, shape (N, 1, 1, 1)."""
    return x.flatten(1).sum(1).reshape(-1, 1, 1, 1)


def _squares(x: Tensor) -> Tensor:
    """Return the sum of each picture's squares, shape (N, 1, 1, 1)."""
    return _sums(x.square())
