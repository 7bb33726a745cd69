"""Two running variances of a DIP's outputs over the epochs, for the stopping rules ``wmv`` and ``emv``.

All variances are means over the values of a picture, in [0, 1]^2 units. An update takes a few passes over a picture,
and does not wait for the device.

Reference: Wang et al., Early Stopping for Deep Image Prior, TMLR 2023, https://arxiv.org/abs/2112.06074, Algorithms 1
and 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.linalg import vecdot


class _Running:
    """Running sums over the outputs of N pictures. Each tensor has a row for each picture, but for ``count``."""

    NAMES: tuple[str, ...]  # the attributes that are the state
    count: torch.Tensor | None = None  # outputs so far, 0-d int64

    def start(self, like: torch.Tensor) -> None:
        """Make room for outputs of the shape (N, ...) of ``like``, on its device; a loaded state moves there."""
        if self.count is None:
            self.count = torch.zeros((), dtype=torch.int64)
            self._zero(len(like), like[0].numel())
        for name in self.NAMES:
            setattr(self, name, getattr(self, name).to(like.device))

    def _zero(self, n: int, values: int) -> None:
        raise NotImplementedError

    def tensors(self) -> list[torch.Tensor]:
        return [getattr(self, name) for name in self.NAMES]

    def state_dict(self, i: int = 0) -> dict[str, Any]:
        """Return the state of picture ``i`` as tensors. After `load_state_dicts` the next values are bit-equal."""
        if self.count is None:
            return {}
        values = {name: getattr(self, name) for name in self.NAMES}
        return {name: (t if name == "count" else t[i]).clone() for name, t in values.items()}

    def load_state_dicts(self, states: Sequence[dict[str, Any]]) -> None:
        """Restore the states of N pictures, after the same number of outputs."""
        for name in self.NAMES if states[0] else ():
            parts = [state[name] for state in states]
            setattr(self, name, parts[0].clone() if name == "count" else torch.stack(parts).clone())


class WindowedVariance(_Running):
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

    def _zero(self, n: int, values: int) -> None:
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


class MovingVariance(_Running):
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

    def _zero(self, n: int, values: int) -> None:
        self.mean, self.variance = torch.zeros(n, values), torch.zeros(n, dtype=torch.float64)

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
