"""The average of a fit's outputs over its epochs, with weights that fall exponentially into the past.

Reference: Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, 2018, https://arxiv.org/abs/1711.10925: an exponential
average of the outputs is 1 dB better than the last one.
"""

from __future__ import annotations

import torch

from dipddpm.dip.running import Running


class Average(Running):
    """Exponential moving average of N outputs: m' = d m + (1 - d) x, divided by 1 - d^n after n outputs.

    The division gives the weights of the n outputs the sum 1, as Adam does (https://arxiv.org/abs/1412.6980, section
    3). An update does not wait for the device.

    Args:
        decay: d, from 0 (the newest output) to below 1.
    """

    NAMES = ("count", "sum")
    sum: torch.Tensor  # float32, (N, 3, H, W)

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def _zero(self, like: torch.Tensor) -> None:
        self.sum = torch.zeros(like.shape)

    def update(self, x: torch.Tensor) -> None:
        """Add the next outputs, shape (N, 3, H, W)."""
        assert self.count is not None
        self.sum.lerp_(x, 1 - self.decay)
        self.count += 1

    def value(self) -> torch.Tensor:
        """Return the averages, shape (N, 3, H, W)."""
        assert self.count is not None
        return (self.sum / (1 - self.decay ** self.count.double())).to(torch.float32)
