"""The average of a fit's outputs over its epochs, with weights that fall exponentially into the past.

Reference: Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, 2018, https://arxiv.org/abs/1711.10925: an exponential
average of the outputs is 1 dB better than the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


class Average:
    """Exponential moving average of N outputs: m' = d m + (1 - d) x, divided by 1 - d^n after n outputs.

    The division gives the weights of the n outputs the sum 1, as Adam does (https://arxiv.org/abs/1412.6980, section
    3). An update does not wait for the device.

    Args:
        decay: d, from 0 (the newest output) to below 1.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.sum: torch.Tensor | None = None
        self.count: torch.Tensor | None = None

    def start(self, like: torch.Tensor) -> None:
        """Make room for outputs of the shape (N, 3, H, W) of ``like``, on its device; a loaded state moves there."""
        if self.sum is None or self.count is None:
            self.sum, self.count = torch.zeros_like(like, dtype=torch.float32), like.new_zeros((), dtype=torch.float64)
        self.sum, self.count = self.sum.to(like.device), self.count.to(like.device)

    def tensors(self) -> list[torch.Tensor]:
        return [t for t in (self.sum, self.count) if t is not None]

    def update(self, x: torch.Tensor) -> None:
        """Add the next outputs, shape (N, 3, H, W)."""
        assert self.sum is not None and self.count is not None
        self.sum.lerp_(x, 1 - self.decay)
        self.count += 1

    def value(self) -> torch.Tensor:
        """Return the averages, shape (N, 3, H, W)."""
        assert self.sum is not None and self.count is not None
        return (self.sum / (1 - self.decay**self.count)).to(torch.float32)

    def state_dict(self, i: int = 0) -> dict[str, Any]:
        """Return the state of picture ``i``."""
        return {} if self.sum is None else {"sum": self.sum[i].clone(), "count": self.count}

    def load_state_dicts(self, states: Sequence[dict[str, Any]]) -> None:
        """Restore the states of N pictures, after the same number of outputs."""
        if states[0]:
            self.sum = torch.stack([state["sum"] for state in states]).clone()
            self.count = states[0]["count"].clone()
