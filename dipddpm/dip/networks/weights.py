"""Initial weights that depend on a generator alone, and the repair of channels that start dead."""

from __future__ import annotations

import math

import torch
from torch import nn


@torch.no_grad()
def draw(conv: nn.Conv2d, generator: torch.Generator) -> None:
    """Draw the weights of a convolution in place, by PyTorch's default law for convolutions.

    Uniform within 1 / sqrt(fan in) for weights and bias (``kaiming_uniform_`` with a = sqrt(5)).
    """
    assert conv.bias is not None
    bound = 1 / math.sqrt(conv.in_channels * conv.kernel_size[0] * conv.kernel_size[1])
    for p in (conv.weight, conv.bias):
        p.copy_(torch.empty(p.shape).uniform_(-bound, bound, generator=generator))


def dead_channels(output: torch.Tensor) -> list[int]:
    """Return the channels of a (1, 3, H, W) output that are zero everywhere."""
    return [c for c in range(output.shape[1]) if not output[:, c].any()]


@torch.no_grad()
def revive(net: nn.Module, last: nn.Conv2d, z: torch.Tensor, generator: torch.Generator, attempts: int = 1000) -> int:
    """Redraw the last layer until no output channel is zero everywhere.

    A channel whose ReLU is dead for the one input has no gradient, ever. Over 100 seeds 5% of 4x64
    plain networks start with all three dead and most with at least one.

    Args:
        net: Maps z to a picture.
        last: Its last convolution.
        z: The fixed input, shape (1, 3, H, W).
        generator: CPU generator of the redraws.
        attempts: Redraws after which it gives up.

    Returns:
        How many redraws it took; 0 when every channel was alive.

    Raises:
        RuntimeError: When ``attempts`` redraws did not help.
    """
    for attempt in range(attempts + 1):
        if not dead_channels(net(z)):
            return attempt
        draw(last, generator)
    raise RuntimeError(f"output channels still dead after {attempts} redraws of the last layer")
