"""Smaller pictures: means over squares, and bicubic interpolation."""

from __future__ import annotations

import functools
from numbers import Integral
from typing import Any

import torch
import torch.nn.functional as F

from dipddpm.degradation.operators import OPERATORS, Operator, Weight
from dipddpm.degradation.transforms import constant
from dipddpm.pictures.check import check_area


@OPERATORS.register("downscale")
class Downscale(Operator):
    """A x = means over squares: a picture ``factor`` times smaller each way.

    Each mean is over n = factor^2 pixels. Hence A A' = I / n, and A+ repeats each pixel over its square.

    Args:
        factor: Side of a square in pixels, 2 or more; a divisor of both sides of the picture.

    Raises:
        ValueError: When ``factor`` is no whole number from 2. When it does not divide the sides of a picture, `measure`
            raises it, and `complete` when the large picture has too many pixels.
    """

    name = "downscale"
    shown_as = "downscaled"
    completion = "upscaled"

    def __init__(self, factor: int = 4):
        super().__init__()
        if not isinstance(factor, Integral) or factor < 2:
            raise ValueError(f"factor={factor}: must be 2 or more, and whole")
        self.factor = int(factor)
        self.spread = float(factor)

    @property
    def words(self) -> str:
        return f"{self.factor} times smaller"

    def measure(self, x: torch.Tensor) -> torch.Tensor:
        """Return A x, shape (N, 3, H / factor, W / factor)."""
        self.check(x)
        return F.avg_pool2d(x, self.factor)

    def check(self, x: torch.Tensor) -> None:
        """Refuse a picture whose sides the factor does not divide.

        Raises:
            ValueError: The line begins with ``factor``.
        """
        height, width = x.shape[-2:]
        if height % self.factor or width % self.factor:
            raise ValueError(f"factor={self.factor}: must divide both sides of the picture, {height}x{width}")

    def adjoint(self, u: torch.Tensor) -> torch.Tensor:
        return self.pseudo_inverse(u) / self.factor**2

    def pseudo_inverse(self, u: torch.Tensor) -> torch.Tensor:
        """Return A+ u: each pixel repeated over its square."""
        return F.interpolate(u, scale_factor=self.factor, mode="nearest")

    def complete(self, y: torch.Tensor, sigma: float = 0.0) -> torch.Tensor:
        """Return y at full size by bicubic interpolation, corrected: the means over its squares are the pixels of y."""
        return self.put_back(self.enlarged(y), y)

    def enlarged(self, y: torch.Tensor) -> torch.Tensor:
        """Return y at full size by bicubic interpolation.

        Raises:
            ValueError: When the large picture has too many pixels.
        """
        check_area(f"y, {self.words},", *(self.factor * side for side in y.shape[-2:]))
        return F.interpolate(y, scale_factor=self.factor, mode="bicubic", align_corners=False)

    def request(self) -> dict[str, Any]:
        return {"downscale": self.factor}

    def record(self) -> dict[str, Any]:
        return super().record() | {"factor": self.factor}


class BicubicDownscale(Operator):
    """A x = L x R': a smaller picture by bicubic interpolation with antialiasing, as Pillow and MATLAB make it.

    The singular values of L and R make `replace` exact. They lie within a factor of 1.5, so that A+ is stable.

    Args:
        factor: As for `Downscale`.

    Raises:
        ValueError: As for `Downscale`.
    """

    name = "downscale"
    faint = 0
    shown_as = "downscaled"
    completion = "upscaled"

    def __init__(self, factor: int = 4):
        super().__init__()
        self.means = Downscale(factor)
        self.factor = factor

    @property
    def words(self) -> str:
        return f"{self.means.words}, bicubic"

    @property
    def closed(self) -> bool:
        return True

    def measure(self, x: torch.Tensor) -> torch.Tensor:
        """Return A x, shape (N, 3, H / factor, W / factor)."""
        self.means.check(x)
        left, right = (constant(_bicubic, side, self.factor, like=x) for side in x.shape[-2:])
        return left @ x @ right.T

    def replace(self, x: torch.Tensor, y: torch.Tensor, rho: Weight = 0.0) -> torch.Tensor:
        error = y.to(x) - self.measure(x)
        (u, s, v), (p, q, w) = (
            [constant(_svd, side, self.factor, part, like=x) for part in range(3)] for side in x.shape[-2:]
        )
        values = s[:, None] * q
        inner = u.T @ error @ p * (values / (values.square() + rho))
        return x + v.T @ inner @ w

    def complete(self, y: torch.Tensor, sigma: float = 0.0) -> torch.Tensor:
        """Return y at full size by bicubic interpolation, corrected: made smaller, the picture is y."""
        return self.put_back(self.means.enlarged(y), y)

    def request(self) -> dict[str, Any]:
        return {"downscale": self.factor, "method": "bicubic"}

    def record(self) -> dict[str, Any]:
        return super().record() | {"factor": self.factor, "method": "bicubic"}


def _bicubic(size: int, factor: int) -> torch.Tensor:
    """Return the matrix of a line, float64, shape (size / factor, size)."""
    eye = torch.eye(size, dtype=torch.float64)[None, None]
    return F.interpolate(eye, (size // factor, size), mode="bicubic", antialias=True)[0, 0]


def _svd(size: int, factor: int, part: int) -> torch.Tensor:
    """Return a part of the singular value decomposition of `_bicubic`: 0 for U, 1 for the values, 2 for V'."""
    return _parts(size, factor)[part]


@functools.lru_cache(maxsize=1)  # a side's three parts are asked for one after the other
def _parts(size: int, factor: int) -> tuple[torch.Tensor, ...]:
    return torch.linalg.svd(_bicubic(size, factor), full_matrices=False)
