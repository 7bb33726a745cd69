"""Smaller pictures: means over squares."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from dipddpm.degradation.operators import OPERATORS, Operator
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
        if not isinstance(factor, int) or factor < 2:
            raise ValueError(f"factor={factor}: must be 2 or more, and whole")
        self.factor = factor
        self.spread = float(factor)

    @property
    def words(self) -> str:
        return f"{self.factor} times smaller"

    def measure(self, x: torch.Tensor) -> torch.Tensor:
        """Return A x, shape (N, 3, H / factor, W / factor)."""
        height, width = x.shape[-2:]
        if height % self.factor or width % self.factor:
            raise ValueError(f"factor={self.factor}: must divide both sides of the picture, {height}x{width}")
        return F.avg_pool2d(x, self.factor)

    def adjoint(self, u: torch.Tensor) -> torch.Tensor:
        return self.pseudo_inverse(u) / self.factor**2

    def pseudo_inverse(self, u: torch.Tensor) -> torch.Tensor:
        """Return A+ u: each pixel repeated over its square."""
        return F.interpolate(u, scale_factor=self.factor, mode="nearest")

    def complete(self, y: torch.Tensor, sigma: float = 0.0) -> torch.Tensor:
        """Return y at full size by bicubic interpolation, corrected: the means over its squares are the pixels of y."""
        check_area(f"y, {self.words},", *(self.factor * side for side in y.shape[-2:]))
        x = F.interpolate(y, scale_factor=self.factor, mode="bicubic", align_corners=False)
        return x + self.pseudo_inverse(y - self.measure(x))

    def request(self) -> dict[str, Any]:
        return {"downscale": self.factor}

    def record(self) -> dict[str, Any]:
        return super().record() | {"factor": self.factor}
