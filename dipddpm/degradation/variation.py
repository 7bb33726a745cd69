"""A picture of small total variation whose A is near y: the cheap start of linear operators.

The picture v has the least |A v - y|^2 / 2 + lambda TV(v), where TV is the sum of the lengths of the gradients, each
over both directions and one channel.

References:
    Rudin, Osher and Fatemi, Nonlinear total variation based noise removal algorithms, 1992,
    https://doi.org/10.1016/0167-2789(92)90242-F
    Condat, A primal-dual splitting method for convex optimization, 2013 (algorithm 3.1),
    https://doi.org/10.1007/s10957-012-0245-9
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dipddpm.degradation.operators import Operator

ITERATIONS = 200
POWERS = 15  # multiplications by A'A that estimate |A|^2


@torch.no_grad()
def total_variation(
    operator: Operator, y: torch.Tensor, start: torch.Tensor, weight: float, iterations: int = ITERATIONS
) -> torch.Tensor:
    """Return the picture of small total variation, shape (N, 3, H, W).

    Args:
        operator: A linear A.
        y: Shape (N, 3, h, w), in [0, 1] units.
        start: The picture that the iteration starts from, shape (N, 3, H, W).
        weight: lambda, above 0.
        iterations: 200 are enough for a start. Where most of the picture is unknown, 1000 come nearer to the minimum.
    """
    pull, v = operator.pull(start), start
    bend = 1.2 * _largest(operator, start)
    dual = min(max((weight / 0.1) ** 2 / bend, 1e-3), 1.0)  # step of the dual variable: pictures are wrong by about 0.1
    step = 1 / (bend / 2 + 8 * dual)  # |gradient|^2 is at most 8
    slopes = torch.stack([torch.zeros_like(v)] * 2)
    for _ in range(iterations):
        back = pull(operator.measure(v) - y) + gradient_adjoint(slopes)
        moved = v - step * back
        slopes = slopes + dual * gradient(2 * moved - v)
        slopes = slopes / (slopes.square().sum(0).sqrt() / weight).clamp(min=1)
        v = moved
    return v


def _largest(operator: Operator, like: torch.Tensor) -> float:
    """Estimate |A|^2, the largest eigenvalue of A'A, by powers."""
    v = torch.randn(like[:1].shape, generator=torch.Generator().manual_seed(0)).to(like)
    pull, value = operator.pull(v), 1.0
    for _ in range(POWERS):
        v = pull(operator.measure(v / v.norm()))
        value = v.norm().item()
    return value


def gradient(x: torch.Tensor) -> torch.Tensor:
    """Return the differences of x, shape (N, 3, H, W), to the next row and column, 0 at the last: (2, N, 3, H, W)."""
    return torch.stack([F.pad(x.diff(dim=2), (0, 0, 0, 1)), F.pad(x.diff(dim=3), (0, 1))])


def gradient_adjoint(slopes: torch.Tensor) -> torch.Tensor:
    """Return the adjoint of `gradient`, shape (N, 3, H, W)."""
    rows, columns = slopes[0, ..., :-1, :], slopes[1, ..., :-1]
    return -F.pad(rows, (0, 0, 1, 1)).diff(dim=2) - F.pad(columns, (1, 1)).diff(dim=3)
