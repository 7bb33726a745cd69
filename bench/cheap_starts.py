"""Starts that need no network: y itself, and classical restorations of y."""

from __future__ import annotations

from collections.abc import Callable

import torch

import dipddpm as dd
from dipddpm.degradation.blur import Blur
from dipddpm.degradation.clip import Clip
from dipddpm.degradation.masks import fill
from dipddpm.degradation.noise import RandomImpulse
from dipddpm.degradation.variation import gradient, gradient_adjoint, total_variation

BALANCES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # of the Wiener filter
SMOOTHNESS = (0.5, 0.6, 0.7, 0.8, 1.0)  # weight of the total variation against the mean absolute error
DEVIATIONS = (0.06, 0.1, 0.15, 0.2)  # from the median around it; a value that deviates more is an outlier
PASSES = 300  # of the iteration of `least_absolute`


def wiener(y: torch.Tensor, kernel: torch.Tensor, balance: float) -> torch.Tensor:
    """Return y deblurred by scikit-image's Wiener filter. Beyond the border y is mirrored."""
    from skimage.restoration import wiener as filtered

    rows, columns = (side // 2 + 1 for side in kernel.shape)
    padded = torch.nn.functional.pad(y, (columns, columns, rows, rows), mode="reflect")
    planes = [filtered(p.double().numpy(), kernel.double().numpy(), balance, clip=False) for p in padded.flatten(0, 1)]
    whole = torch.stack([torch.from_numpy(plane) for plane in planes]).to(y).unflatten(0, y.shape[:2])
    return whole[..., rows : rows + y.shape[-2], columns : columns + y.shape[-1]]


def median(y: torch.Tensor) -> torch.Tensor:
    """Return the median of the 3x3 pixels around each pixel, of each colour."""
    around = torch.nn.functional.pad(y, (1, 1, 1, 1), mode="reflect").unfold(2, 3, 1).unfold(3, 3, 1)
    return around.flatten(4).median(4).values


def without_extremes(y: torch.Tensor) -> torch.Tensor:
    """Return y with the values that are 0 or 1 filled from the others of their colour (biharmonic equation)."""
    return _filled(y, (y > 0) & (y < 1))


def without_outliers(y: torch.Tensor, deviation: float) -> torch.Tensor:
    """Return y with its outliers filled from the others of their colour.

    Outliers are found twice: by the median of y, then by the median of the filled picture (as in the progressive
    switching median filter, Wang and Zhang 1999, https://doi.org/10.1109/82.749102).
    """
    found = y
    for _ in range(2):
        found = _filled(y, (y - median(found)).abs() <= deviation)
    return found


def _filled(y: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Return y with the values that are not known filled, each colour by itself (biharmonic equation)."""
    planes, masks = (of.flatten(0, 1)[:, None, None] for of in (y, known))
    return torch.cat([fill(p, m) for p, m in zip(planes, masks, strict=True)])[:, 0].unflatten(0, y.shape[:2])


def least_absolute(y: torch.Tensor, weight: float) -> torch.Tensor:
    """Return the v with the least |v - y|_1 + weight TV(v): total variation that outliers hardly change.

    The iteration is algorithm 1 of Chambolle and Pock, 2011, https://doi.org/10.1007/s10851-010-0251-1.
    """
    step = 8**-0.5  # |gradient|^2 is at most 8
    v, ahead, slopes = y, y, torch.zeros(2, *y.shape)
    for _ in range(PASSES):
        slopes = slopes + step * gradient(ahead)
        slopes = slopes / (slopes.square().sum(0).sqrt() / weight).clamp(min=1)
        off = v - step * gradient_adjoint(slopes) - y
        moved = y + off.sign() * (off.abs() - step).clamp(min=0)
        v, ahead = moved, 2 * moved - v
    return v


def cheap_starts(problem: dd.Problem) -> dict[str, Callable[[], torch.Tensor]]:
    """Return the starts of a problem that need no network, by name; the best known one is the last.

    A name that ends in a number has a parameter. Names that differ in this number alone stand side by side.
    """
    a, y = problem.operator, problem.y
    starts: dict[str, Callable[[], torch.Tensor]] = {}
    if isinstance(a, Blur):
        starts["blurred picture"] = lambda: y
        kernel = a.kernel
        starts |= {f"Wiener filter {b:g}": lambda b=b: wiener(y, kernel, b) for b in BALANCES}
        starts["total variation"] = lambda: problem.noisy
    elif a.name == "sensing":
        starts |= {"A+ y": lambda: a.pseudo_inverse(y), "total variation": lambda: problem.noisy}
        starts["total variation (1000 iterations)"] = lambda: total_variation(a, y, a.adjoint(y), 0.003, 1000)
    elif a.name == "jpeg":
        starts["decoded file"] = lambda: problem.noisy
    elif isinstance(a, Clip):
        threshold = a.threshold
        starts |= {"over-exposed picture": lambda: y, "darkened": lambda: threshold * y}
        starts["filled"] = lambda: problem.noisy
    elif problem.added is not None and isinstance(problem.added[0], RandomImpulse):
        starts |= {"noisy picture": lambda: y, "median of 3x3": lambda: median(y)}
        starts |= {f"total variation, absolute error, {w:g}": lambda w=w: least_absolute(y, w) for w in SMOOTHNESS}
        starts |= {f"outliers filled, {d:g}": lambda d=d: without_outliers(y, d) for d in DEVIATIONS}
    elif a.name == "identity":
        starts |= {"noisy picture": lambda: y, "median of 3x3": lambda: median(y)}
        starts["black and white values filled"] = lambda: without_extremes(y)
    else:
        starts |= {"repeated pixels": lambda: a.pseudo_inverse(y), "bicubic": lambda: problem.noisy}
    return starts
