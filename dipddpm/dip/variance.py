"""Two running variances of a DIP's output over the epochs, for the stopping rules ``wmv`` and ``emv``.

All variances are means over the values of the picture, in [0, 1]^2 units. An update takes a few passes over a picture.

Reference: Wang et al., Early Stopping for Deep Image Prior, TMLR 2023, https://arxiv.org/abs/2112.06074, Algorithms 1
and 2.
"""

from __future__ import annotations

import math
from typing import Any

import torch


class WindowedVariance:
    """The variance of the last ``window`` outputs: the mean of |x - their mean|^2.

    It is computed with a ring buffer and running sums. The sums are float64 and of differences to the first output:
    otherwise rounding would hide a variance of 1e-7.

    Args:
        window: Number of outputs; 100 in the paper.
    """

    def __init__(self, window: int = 100) -> None:
        self.window = window
        self.count = 0
        self.ring: torch.Tensor | None = None  # float32, (window, values)
        self.first: torch.Tensor | None = None
        self.sum: torch.Tensor | None = None  # float64, (values,)
        self.squares = 0.0

    def update(self, x: torch.Tensor) -> float:
        """Add the next output, of any shape; return the variance, NaN until the window is full."""
        x = x.detach().float().reshape(-1).cpu()
        if self.ring is None or self.first is None or self.sum is None:
            self.ring = torch.zeros(self.window, x.numel())
            self.first, self.sum = x.clone(), torch.zeros(x.numel(), dtype=torch.float64)
        slot = self.count % self.window
        new = x.double() - self.first
        if self.count >= self.window:
            old = self.ring[slot].double() - self.first
            self.sum -= old
            self.squares -= float(old @ old)
        self.ring[slot] = x
        self.sum += new
        self.squares += float(new @ new)
        self.count += 1
        if self.count < self.window:
            return math.nan
        mean_square = float(self.sum @ self.sum) / self.window**2
        return max(0.0, self.squares / self.window - mean_square) / x.numel()

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors and numbers. After `load_state_dict` the next values are bit-equal."""
        return {k: getattr(self, k) for k in ("window", "count", "ring", "first", "sum", "squares")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""
        for name, value in state.items():
            setattr(self, name, value.cpu().clone() if isinstance(value, torch.Tensor) else value)


class MovingVariance:
    """Exponential moving variance. It needs no buffer, but is noisier than the windowed variance.

        mean' = (1 - a) mean + a x,   variance' = (1 - a) variance + a (1 - a) |x - mean|^2

    Args:
        alpha: a, in (0, 1]; 0.1 in the paper.
    """

    def __init__(self, alpha: float = 0.1) -> None:
        self.alpha = alpha
        self.mean: torch.Tensor | None = None
        self.variance = 0.0

    def update(self, x: torch.Tensor) -> float:
        """Add the next output, of any shape; return the variance, 0 for the first output."""
        x = x.detach().float().reshape(-1).cpu()
        if self.mean is None:
            self.mean = x.clone()
            return 0.0
        difference = x - self.mean
        squared = float(difference.double() @ difference.double()) / x.numel()
        a = self.alpha
        self.variance = (1 - a) * self.variance + a * (1 - a) * squared
        self.mean = self.mean + a * difference
        return self.variance

    def state_dict(self) -> dict[str, Any]:
        """Return the state as a tensor and numbers. After `load_state_dict` the next values are bit-equal."""
        return {k: getattr(self, k) for k in ("alpha", "mean", "variance")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""
        for name, value in state.items():
            setattr(self, name, value.cpu().clone() if isinstance(value, torch.Tensor) else value)
