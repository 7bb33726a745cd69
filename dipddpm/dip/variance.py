"""Two running variances of a DIP's outputs over the epochs, for the stopping rules ``wmv`` and ``emv``.

All variances are means over the values of a picture, in [0, 1]^2 units. An update takes the outputs of several epochs,
and does not wait for the device. The variances do not depend on how many epochs an update takes.

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
        self.ring = torch.zeros(n, self.window, values, device=like.device)
        self.sum = torch.zeros(n, values, dtype=torch.float64, device=like.device)
        self.squares = torch.zeros(n, dtype=torch.float64, device=like.device)

    def update(self, x: torch.Tensor) -> torch.Tensor:
        """Add outputs, and return the variance after each: float64, shape (N, E), NaN before the window is full.

        Args:
            x: The outputs of the next E epochs, shape (N, E, ...); E is at most ``window``.
        """
        x, counts = self._taken(x)
        replaced = self.ring.index_select(1, counts % self.window)  # 0 before the ring is full
        self.ring.index_copy_(1, counts % self.window, x)
        deviations = []
        for old, new in zip(replaced.unbind(1), x.unbind(1), strict=True):
            old, new = old.double(), new.double()
            self.sum += new - old
            self.squares += _square(new) - _square(old)
            deviations.append(self.squares - _square(self.sum) / self.window)
        variances = torch.stack(deviations, 1) / (self.window * x.shape[2])
        return variances.clamp(min=0).masked_fill(counts + 1 < self.window, torch.nan)


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
        """Add outputs, and return the variance after each: float64, shape (N, E), 0 for the first output.

        Args:
            x: The outputs of the next E epochs, shape (N, E, ...).
        """
        x, counts = self._taken(x)
        weights = 1 - (1 - self.alpha) * (counts > 0).double()  # 1 for the first output, with which the mean begins
        variances = []
        for output, a in zip(x.unbind(1), weights, strict=True):
            difference = output - self.mean
            self.mean += a * difference
            squares = _square(difference.double()) / x.shape[2]
            self.variance.lerp_((1 - a) * squares, a)
            variances.append(self.variance.clone())
        return torch.stack(variances, 1)


def _square(x: torch.Tensor) -> torch.Tensor:
    """Return the sum of the squares of each row, shape (N,), for x of the shape (N, values)."""
    # On a GPU a scalar product is a product of matrices of one row. Of a stack each takes one thread block: 0.4 ms for
    # 131,072 values (https://github.com/pytorch/pytorch/issues/114911).
    return x.square().sum(1) if x.is_cuda else vecdot(x, x)
