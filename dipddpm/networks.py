"""Networks of the Deep Image Prior: z, shape (1, 3, H, W) in [0, 1], to a picture of the same shape.

Deep Image Prior: Ulyanov, Vedaldi and Lempitsky, https://arxiv.org/abs/1711.10925.
"""

from __future__ import annotations

import math

import torch
from torch import nn


class CNN(nn.Module):
    """The plain network: ``Conv-ReLU``, ``layers`` times ``Conv-ReLU``, ``Conv`` to RGB (and a ReLU).

    Args:
        layers: Hidden layers, 0 or more.
        channels: Width of every hidden layer.
        kernel_size: Odd; zero padding keeps the size.
        final_relu: Whether the output passes a ReLU, as in the original.
        generator: CPU generator of the initial weights (PyTorch's default law for convolutions).

    Raises:
        ValueError: For an even ``kernel_size``.
    """

    def __init__(
        self,
        *,
        layers: int,
        channels: int,
        kernel_size: int,
        final_relu: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        widths = [3] + [channels] * (layers + 1) + [3]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, kernel_size, padding=kernel_size // 2) for a, b in zip(widths, widths[1:], strict=False)
        )
        self.final_relu = final_relu
        for conv in self.convs:
            draw(conv, generator)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Map z, shape (N, 3, H, W), to a picture of the same shape; at least 0 with ``final_relu``."""
        x = z
        for conv in self.convs[:-1]:
            x = conv(x).relu()
        x = self.convs[-1](x)
        return x.relu() if self.final_relu else x

    @torch.no_grad()
    def revive(self, z: torch.Tensor, generator: torch.Generator, attempts: int = 1000) -> int:
        """Redraw the last layer until no output channel is zero everywhere.

        A channel whose ReLU is dead for the one input has no gradient, ever. Over 100 seeds 5% of 4x64
        networks start with all three dead and most with at least one.

        Args:
            z: The fixed input, shape (1, 3, H, W).
            generator: CPU generator of the redraws.
            attempts: Give up after so many.

        Returns:
            How many redraws it took; 0 when every channel was alive.

        Raises:
            RuntimeError: When ``attempts`` redraws did not help.
        """
        for attempt in range(attempts + 1):
            if not dead_channels(self(z)):
                return attempt
            draw(self.convs[-1], generator)
        raise RuntimeError(f"output channels still dead after {attempts} redraws of the last layer")


def draw(conv: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of a convolution in place, by PyTorch's default law for convolutions.

    Uniform within 1 / sqrt(fan in) for weights and bias (``kaiming_uniform_`` with a = sqrt(5)).
    """
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None
    bound = 1 / math.sqrt(conv.in_channels * conv.kernel_size[0] * conv.kernel_size[1])
    with torch.no_grad():
        for p in (conv.weight, conv.bias):
            p.copy_(torch.empty(p.shape).uniform_(-bound, bound, generator=generator))


def dead_channels(output: torch.Tensor) -> list[int]:
    """Return the channels of a (1, 3, H, W) output that are zero everywhere."""
    return [c for c in range(output.shape[1]) if not output[:, c].any()]


def build(network: str, *, generator: torch.Generator, **options: int | bool) -> CNN:
    """Return the network called ``network`` (only ``cnn`` so far).

    Raises:
        ValueError: For another name.
    """
    if network != "cnn":
        raise ValueError(f"network must be cnn, got {network}")
    return CNN(generator=generator, **options)  # type: ignore[arg-type]
