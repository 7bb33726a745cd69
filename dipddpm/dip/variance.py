"""Two running variances of a DIP's outputs over the epochs, for the stopping rules ``wmv`` and ``emv``.

All variances are means over the values of a picture, in [0, 1]^2 units. An update takes a few passes over a picture,
and does not wait for the device.

Reference: Wang et al., Early Stopping for Deep Image Prior, TMLR 2023, https://arxiv.org/abs/2112.06074, Algorithms 1
and 2.
"""

from __future__ import annotations

import torch
from torch.linalg import vecdot

from dipddpm.dip.running import Running


class WindowedVariance(Running):
    """The variance of the last ``window`` outputs: the mean of |x - their mean|^2.

    It is computed with a ring buffer and running sums. The sums are float64: otherwise rounding would hide a variance
    of 1e-7.

    Args:
        window: Number of outputs; 100 in the paper.
    """

    NAMES = ("count", "ring", "sum", "squares")
    ring: torch.Tensor  # float32, (N, window, values)
    sum: torch.Tensor  # float64, (N, values)
    squares: torch.Tensor  # float64, (N,)

    def __init__(self, window: int = 100) -> None:
        self.window = window

    def _zero(self, like: torch.Tensor) -> None:
        n, values = len(like), like[0].numel()
        self.ring = torch.zeros(n, self.window, values)
        self.sum, self.squares = torch.zeros(n, values, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)

    def update(self, x: torch.Tensor) -> torch.Tensor:
        """Add the next outputs, shape (N, ...); return their variances, float64, shape (N,), NaN before the window."""
        if self.count is None:
            self.start(x)
        assert self.count is not None
        x = x.detach().float().reshape(len(x), -1)
        slot = (self.count % self.window).reshape(1)
        old, new = self.ring.index_select(1, slot)[:, 0].double(), x.double()  # 0 before the ring is full
        self.ring.index_copy_(1, slot, x[:, None])
        self.sum += new - old
        self.squares += vecdot(new, new) - vecdot(old, old)
        self.count += 1
        variance = (self.squares - vecdot(self.sum, self.sum) / self.window) / (self.window * x.shape[1])
        return variance.clamp(min=0).masked_fill(self.count < self.window, torch.nan)


class MovingVariance(Running):
    """Exponential moving variance. It needs no buffer, but is noisier than the windowed variance.

        mean' = (1 - a) mean + a x,   variance' = (1 - a) variance + a (1 - a) |x - mean|^2

    Args:
        alpha: a, in (0, 1]; 0.1 in the paper.
    """

    NAMES = ("count", "mean", "variance")
    mean: torch.Tensor  # float32, (N, values)
    variance: torch.Tensor  # float64, (N,)

    def __init__(self, alpha: float = 0.1) -> None:
        self.alpha = alpha

    def _zero(self, like: torch.Tensor) -> None:
        self.mean, self.variance = torch.zeros(len(like), like[0].numel()), torch.zeros(len(like), dtype=torch.float64)

    def update(self, x: torch.Tensor) -> torch.Tensor:
        """Add the next outputs, shape (N, ...); return their variances, float64, shape (N,), 0 for the first ones."""
        if self.count is None:
            self.start(x)
        assert self.count is not None
        x = x.detach().float().reshape(len(x), -1)
        a = 1 - (1 - self.alpha) * (self.count > 0).double()  # 1 for the first output, with which the mean begins
        difference = x - self.mean
        squared = vecdot(difference.double(), difference.double()) / x.shape[1]
        self.variance.copy_((1 - a) * self.variance + a * (1 - a) * squared)
        self.mean += a * difference
        self.count += 1
        return self.variance.clone()
