"""The noise schedule of a denoising diffusion chain.

The state at noise level t is x_t = sqrt(ab) x_0 + sqrt(1 - ab) eps, with eps ~ N(0, I). ab = ``alpha_bar(t)`` falls
from 1 at level 0 to nearly 0 at level T.

References:
    Ho et al., Denoising Diffusion Probabilistic Models, https://arxiv.org/abs/2006.11239
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

VARIANCE_TYPES = ("fixed_small", "fixed_small_log", "fixed_large")


def to_state(picture: Tensor) -> Tensor:
    """Map a picture from [0, 1] to a state in [-1, 1]; any shape."""
    return picture * 2 - 1


def to_picture(state: Tensor) -> Tensor:
    """Map a state from [-1, 1] to a picture in [0, 1], without clipping; any shape."""
    return (state + 1) / 2


@dataclass(frozen=True, eq=False)
class Schedule:
    """The noise schedule that a network was trained with.

    Args:
        alphas_cumprod: diffusers' tensor: float32, shape (T,), strictly falling, inside (0, 1).
        variance_type: The variance of a DDPM step (Ho et al., section 3.2). ``fixed_small`` and ``fixed_small_log``
            take that of q(x_s | x_t, x_0), and ``fixed_large`` takes that of q(x_t | x_s).

    Raises:
        ValueError: When ``alphas_cumprod`` is not falling inside (0, 1), or ``variance_type`` is unknown.
    """

    alphas_cumprod: Tensor
    variance_type: str = "fixed_small"

    def __post_init__(self) -> None:
        ab = self.alphas_cumprod
        if ab.ndim != 1 or not len(ab) or not (0 < ab[-1] <= ab[0] < 1) or (ab.diff() >= 0).any():
            raise ValueError("alphas_cumprod: must be 1-D, strictly falling and inside (0, 1)")
        if self.variance_type not in VARIANCE_TYPES:
            raise ValueError(f"variance_type={self.variance_type!r}: must be one of {', '.join(VARIANCE_TYPES)}")

    @property
    def T(self) -> int:
        """The number of levels, which is also the noisiest level."""
        return len(self.alphas_cumprod)

    def alpha_bar(self, level: int) -> Tensor:
        """Return the share of signal at a level in 0..T: a 0-d float32 tensor, 1 at level 0.

        Raises:
            ValueError: For a level outside 0..T.
        """
        if not 0 <= level <= self.T:
            raise ValueError(f"level={level}: must be in 0..{self.T}")
        return self.alphas_cumprod[level - 1] if level else torch.ones((), dtype=self.alphas_cumprod.dtype)

    def sigma(self, level: int) -> float:
        """Return the rms noise of a level in 0..T on the 0-255 scale: 127.5 sqrt((1 - ab) / ab)."""
        ab = float(self.alpha_bar(level))
        return 127.5 * math.sqrt((1 - ab) / ab)

    def level_of_sigma(self, sigma: float) -> int:
        """Return the level in 1..T whose sigma is nearest to ``sigma``.

        Args:
            sigma: rms noise on the 0-255 scale, finite, 0 or more.

        Raises:
            ValueError: For another sigma.
        """
        if not (math.isfinite(sigma) and sigma >= 0):
            raise ValueError(f"sigma={sigma}: must be finite and at least 0")
        ab = self.alphas_cumprod.double()
        return int((127.5 * ((1 - ab) / ab).sqrt() - sigma).abs().argmin()) + 1
