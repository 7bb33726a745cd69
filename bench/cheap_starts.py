"""Starts that need no network: y itself, and classical restorations of y."""

from __future__ import annotations

from collections.abc import Callable

import torch

import dipddpm as dd
from dipddpm.degradation.blur import Blur
from dipddpm.degradation.clip import Clip
from dipddpm.degradation.masks import fill

BALANCES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)  # of the Wiener filter


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
    planes = y.flatten(0, 1)[:, None, None]
    return torch.cat([fill(plane, (plane > 0) & (plane < 1)) for plane in planes])[:, 0].unflatten(0, y.shape[:2])


def cheap_starts(problem: dd.Problem) -> dict[str, Callable[[], torch.Tensor]]:
    """Return the starts of a problem that need no network, by name; the best known one is the last."""
    a, y = problem.operator, problem.y
    starts: dict[str, Callable[[], torch.Tensor]] = {}
    if isinstance(a, Blur):
        starts["blurred picture"] = lambda: y
        kernel = a.kernel
        starts |= {f"Wiener filter {b:g}": lambda b=b: wiener(y, kernel, b) for b in BALANCES}
        starts["total variation"] = lambda: problem.noisy
    elif a.name == "sensing":
        starts |= {"A+ y": lambda: a.pseudo_inverse(y), "total variation": lambda: problem.noisy}
    elif a.name == "jpeg":
        starts["decoded file"] = lambda: problem.noisy
    elif isinstance(a, Clip):
        threshold = a.threshold
        starts |= {"over-exposed picture": lambda: y, "darkened": lambda: threshold * y}
        starts["filled"] = lambda: problem.noisy
    elif a.name == "identity":
        starts |= {"noisy picture": lambda: y, "median of 3x3": lambda: median(y)}
        starts["black and white values filled"] = lambda: without_extremes(y)
    else:
        starts |= {"repeated pixels": lambda: a.pseudo_inverse(y), "bicubic": lambda: problem.noisy}
    return starts
