"""Data consistency: make a window's clean estimates agree with y = A x + noise.

At noise level t the network gives an estimate x0 of the clean picture, and y holds a part of that picture. The step
takes the picture v with the least |A v - y|^2 / sigma^2 + |v - x0|^2 / r_t^2, where r_t is the noise of the level.

| operator | step |
|---|---|
| A A' = I / s^2, or another closed form | `Operator.replace` with rho = s^2 sigma^2 / r_t^2 |
| another linear A | conjugate gradients, from the step before, to a residual of `TOLERANCE` |
| another A | steps along gradients (`dipddpm.diffusion.gradient`) |

With A A' = I / s^2 (`dipddpm.degradation.operators`) the step is v = x0 + w A+ (y - A x0), with w = 1 / (1 + rho). The
part of the picture that A measures moves by w towards y, and the rest stays. Without noise w = 1: the measured part
becomes that of y. The iterations need noise, and so does the closed form of a blur: `ROUNDING` is the least sigma that
they take.

References:
    Zhu et al., Denoising Diffusion Models for Plug-and-Play Image Restoration, 2023 (DiffPIR, the data subproblem
    with lambda = 1), https://arxiv.org/abs/2305.08995.
    Wang, Yu and Zhang, Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model, 2022 (DDNM, without
    noise), https://arxiv.org/abs/2212.00490.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from dipddpm.degradation.operators import Operator, Weight
from dipddpm.diffusion.gradient import descend
from dipddpm.diffusion.schedule import Schedule, to_picture, to_state
from dipddpm.environment import arithmetic

ROUNDING = 0.29  # 0-255 scale: rms of rounding to 8 bits
# |residual| / |right-hand side| at which conjugate gradients end, for each picture. With 1e-4 they take up to 1.6 times
# as long. A window from a picture blurred by a motion then gains nothing with noise, and 2 dB at 42 dB without.
TOLERANCE = 1e-3
MOST = 100  # iterations of conjugate gradients
LOOK = 8  # iterations between two looks at the end on a GPU, which waits for each look


def data_consistency(
    y: torch.Tensor, operator: Operator, sigmas: Sequence[float], schedule: Schedule, *, gradient: bool = False
) -> Callable[[torch.Tensor, int], torch.Tensor]:
    """Return the function that `dipddpm.diffusion.sampler.sample_window` calls for each clean estimate.

    Args:
        y: y itself, shape (1 or N, 3, h, w), in [0, 1] units.
        operator: A.
        sigmas: rms of the noise of each picture of y on the 0-255 scale, 0 for no noise.
        schedule: The noise levels of the window.
        gradient: Whether gradient steps are taken for every operator.

    Returns:
        A function of a clean estimate, shape (N, 3, H, W) in [-1, 1] units, and its level. It returns the estimate that
        agrees with y, in the same shape. It serves one window: it remembers its last answer.
    """
    closed = operator.closed and not gradient
    spread = 1.0 if operator.spread is None else operator.spread
    noises = [sigma * spread if closed and operator.stable else max(sigma, ROUNDING) for sigma in sigmas]
    given: torch.Tensor | None = None
    last: torch.Tensor | None = None

    @arithmetic("fp32")  # TF32, which a process may allow and convolutions take by default, has three digits
    def agree(x0: torch.Tensor, level: int) -> torch.Tensor:
        nonlocal given, last
        r, linear = schedule.sigma(level), operator.linear
        x = x0 if linear else to_picture(x0)
        if given is None:  # a linear A of the state 2 x - 1 is 2 A x - A 1
            given = y.to(x0) * 2 - operator.measure(torch.ones_like(x0)) if linear else y.to(x0)
        rho = _of_each([noise**2 / r**2 for noise in noises], x)
        if closed:
            v = operator.replace(x, given, rho)
        elif linear and not gradient:
            v = last = conjugate_gradients(operator, x, given, rho, last)
        else:
            v = descend(operator, x, given, rho)
        return v if linear else to_state(v)

    return agree


def conjugate_gradients(
    operator: Operator,
    x: torch.Tensor,
    y: torch.Tensor,
    rho: Weight,
    start: torch.Tensor | None = None,
    tolerance: float = TOLERANCE,
) -> torch.Tensor:
    """Return the picture v with the least |A v - y|^2 + rho |v - x|^2 for a linear A.

    Each picture of a batch ends at its own tolerance: its result does not depend on the others.

    Args:
        operator: A.
        x: Shape (N, 3, H, W), in the units of y.
        y: Shape (1 or N, 3, h, w).
        rho: Above 0; one number, or one for each picture, shape (N, 1, 1, 1).
        start: A picture near the answer, shape (N, 3, H, W); None: x. For each picture the nearer one is taken.
        tolerance: |residual| / |right-hand side| of the end.
    """
    pull = operator.pull(x)

    def normal(d: torch.Tensor) -> torch.Tensor:
        return pull(operator.measure(d)) + rho * d

    d = torch.zeros_like(x)
    residual = right = pull(y - operator.measure(x))
    if start is not None:
        other = right - normal(start - x)
        nearer = _square(other) < _square(residual)
        d, residual = torch.where(nearer, start - x, d), torch.where(nearer, other, residual)
    least, square = tolerance**2 * _square(right), _square(residual)
    direction, look = residual, LOOK if x.is_cuda else 1
    for i in range(MOST):
        active = square > least
        if i % look == look - 1 and not active.any():  # a GPU begins while the network is still evaluated
            break
        of_normal = normal(direction)
        step = torch.where(active, square / _dot(direction, of_normal), 0.0)
        d, residual = d + step * direction, residual - step * of_normal
        before, square = square, _square(residual)
        direction = residual + torch.where(active, square / before, 0.0) * direction
    return x + d


def _of_each(values: Sequence[float], like: torch.Tensor) -> Weight:
    """Return one number for all pictures, which needs no copy to the device, or a column of them."""
    if len(set(values)) == 1:
        return values[0]
    return torch.tensor(values).to(like).reshape(-1, 1, 1, 1)


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the scalar product of each picture with its partner, shape (N, 1, 1, 1)."""
    return (a * b).sum((1, 2, 3), keepdim=True)


def _square(a: torch.Tensor) -> torch.Tensor:
    return _dot(a, a)
