"""Draw initial weights from a generator, and redraw those of output channels that start dead."""

from __future__ import annotations

import math

import torch
from torch import nn

from dipddpm.errors import FitFailed


@torch.no_grad()
def draw(conv: nn.Conv2d, generator: torch.Generator) -> None:
    """Draw the weights of a convolution in place, from PyTorch's default distribution for convolutions.

    Weights and bias are uniform within +-1 / sqrt(fan in), as ``kaiming_uniform_`` with a = sqrt(5) gives them.
    """
    assert conv.bias is not None
    bound = 1 / math.sqrt(conv.in_channels * conv.kernel_size[0] * conv.kernel_size[1])
    for p in (conv.weight, conv.bias):
        p.copy_(torch.empty(p.shape).uniform_(-bound, bound, generator=generator))


def dead_channels(output: torch.Tensor) -> list[int]:
    """Return the indices of the channels of an output, shape (1, 3, H, W), that are zero everywhere."""
    return [c for c in range(output.shape[1]) if not output[:, c].any()]


@torch.no_grad()
def revive(net: nn.Module, last: nn.Conv2d, z: torch.Tensor, generator: torch.Generator, attempts: int = 1000) -> int:
    """Redraw the last layer until no output channel is zero everywhere.

    A channel that the final ReLU sets to zero everywhere never gets a gradient. Over 100 seeds, 5% of the plain
    networks of 4 layers and 64 channels start with three dead channels, and most start with one or more.

    Args:
        net: The network, which maps z to a picture.
        last: The last convolution of the network.
        z: The fixed input, shape (1, 3, H, W).
        generator: CPU generator of the redraws.
        attempts: The largest number of redraws.

    Returns:
        The number of redraws; 0 when no channel was dead.

    Raises:
        FitFailed: When a channel is still dead after ``attempts`` redraws.
    """
    for attempt in range(attempts + 1):
        if not dead_channels(net(z)):
            return attempt
        draw(last, generator)
    raise FitFailed(f"output channels still dead after {attempts} redraws of the last layer")
