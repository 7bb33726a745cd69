"""A of y = A x + noise: what a degradation keeps of a picture.

    P = A^+ A             the part of a picture that y tells
    A A^T = I / spread^2  both operators here have this, so that noise stays white under A^+

Everywhere y is a picture as large as the clean one, any with the same A x (``complete`` makes one). ``replace(x, y)``
is x with that part of y in place of its own, x + P (y - x).

References:
    Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, 2018, eq. 4 and 5, https://arxiv.org/abs/1711.10925
    Wang, Yu and Zhang, Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model, 2022 (DDNM),
    https://arxiv.org/abs/2212.00490
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dipddpm.degradation import filling as degrade


class MissingPixels(torch.nn.Module):
    """A takes pixels away, all three colours of each.

    Args:
        known: bool, shape (1, 1, H, W), False where pixels are missing.
    """

    known: torch.Tensor
    spread = 1.0
    shown_as, completed = "masked", "filled"  # the name of P y, and what is done to y before it looks like a picture

    def __init__(self, known: torch.Tensor):
        super().__init__()
        self.register_buffer("known", known, persistent=False)

    @property
    def missing(self) -> float:
        """Share of the pixels that are missing."""
        return 1 - self.known.double().mean().item()

    @property
    def words(self) -> str:
        return f"{self.missing:.0%} missing"

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """Return P x, shape as x: black where pixels are missing."""
        return x * self.known.to(x.device)

    def replace(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return x with the known pixels of y, to the bit; shapes (N, 3, H, W) and (1 or N, 3, H, W)."""
        return torch.where(self.known.to(x.device), y.to(x), x)

    def loss(self, residual: torch.Tensor) -> torch.Tensor:
        """Return the mean square of A r over the values of y, for r = output - y."""
        known = self.known.to(residual.device)
        return (residual.square() * known).sum() / (residual.shape[1] * known.sum())

    def complete(self, y: torch.Tensor) -> torch.Tensor:
        """Return y with its missing pixels filled, which no network is needed for."""
        return degrade.fill(y, self.known)


class Downscaling(torch.nn.Module):
    """A takes means over squares of pixels, which makes a picture smaller.

    P x holds at each pixel the mean of its square. With n = factor^2 pixels to a mean A A^T = I / n.

    Args:
        factor: Side of a square; divides both sides of the picture.
    """

    missing = 0.0
    shown_as, completed = "downscaled", "upscaled"

    def __init__(self, factor: int):
        super().__init__()
        self.factor, self.spread = factor, float(factor)

    @property
    def words(self) -> str:
        return f"{self.factor} times smaller"

    def smaller(self, x: torch.Tensor) -> torch.Tensor:
        """Return A x, shape (N, 3, H / factor, W / factor)."""
        return F.avg_pool2d(x, self.factor)

    def larger(self, small: torch.Tensor) -> torch.Tensor:
        """Return A^+ of a small picture: each of its pixels as a square."""
        return F.interpolate(small, scale_factor=self.factor, mode="nearest")

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """Return P x, shape as x: a square at its mean."""
        return self.larger(self.smaller(x))

    def replace(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return x with the means of y; shapes (N, 3, H, W) and (1 or N, 3, H, W)."""
        return x + self.project(y.to(x) - x)

    def loss(self, residual: torch.Tensor) -> torch.Tensor:
        """Return the mean square of A r over the values of y, for r = output - y."""
        return self.smaller(residual).square().mean()

    def complete(self, small: torch.Tensor) -> torch.Tensor:
        """Return a small picture at full size, by bicubic interpolation, with the small one's pixels as its means."""
        y = F.interpolate(small, scale_factor=self.factor, mode="bicubic", align_corners=False)
        return y + self.larger(small - self.smaller(y))


Operator = MissingPixels | Downscaling
