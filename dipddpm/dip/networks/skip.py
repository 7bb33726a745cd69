"""The hourglass network of the Deep Image Prior paper: down to coarse resolutions and up again, with skips."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import interpolate

from dipddpm.dip.networks.weights import draw
from dipddpm.names import most_halvings

SKIP_CHANNELS = 4  # the paper's number for denoising: enough for edges, too few for the noise


class Skip(nn.Module):
    """The denoising network of Ulyanov et al., "skip" in their code (https://arxiv.org/abs/1711.10925).

    Each scale halves the resolution by a strided convolution, and convolves there. Its output is enlarged bilinearly,
    and joined with 4 channels made of the scale's input. The coarse scales see the whole picture. Like the original
    the network pads by reflection, normalises each channel over the picture, and ends in a sigmoid. Unlike the original
    it takes a z of 3 channels and a picture of any size.

    Args:
        layers: Number of halvings, 1 or more. The coarsest resolution must have 2 pixels or more a side.
        channels: Channels at every scale, 1 or more.
        kernel_size: Side of the convolutions in pixels, odd.
        generator: CPU generator of the initial weights, which have PyTorch's default distribution for convolutions.
        final_relu: Must be False. The keyword exists because all networks are made with the same keywords.

    Raises:
        ValueError: For an even ``kernel_size``, ``layers`` below 1, or ``final_relu``.
    """

    memory_format = torch.contiguous_format  # on one core 0.8 of the time of channels_last at 64x64, 0.6 at 256x256

    def __init__(
        self, *, layers: int, channels: int, kernel_size: int, generator: torch.Generator, final_relu: bool = False
    ) -> None:
        super().__init__()
        if final_relu:
            raise ValueError("final_relu must be False for the skip network, which ends in a sigmoid")
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        if layers < 1:
            raise ValueError(f"layers must be 1 or more, got {layers}")
        self.kernel_size = kernel_size
        inputs = [3] + [channels] * (layers - 1)
        self.down = nn.ModuleList(
            nn.Sequential(*_step(a, channels, kernel_size, stride=2), *_step(channels, channels, kernel_size))
            for a in inputs
        )
        self.skip = nn.ModuleList(nn.Sequential(*_step(a, SKIP_CHANNELS, 1)) for a in inputs)
        joined = channels + SKIP_CHANNELS
        self.up = nn.ModuleList(
            nn.Sequential(_norm(joined), *_step(joined, channels, kernel_size), *_step(channels, channels, 1))
            for _ in inputs
        )
        self.last = nn.Conv2d(channels, 3, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                draw(module, generator)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Map z, shape (N, 3, H, W), to a picture of the same shape in (0, 1).

        Raises:
            ValueError: For a picture that is too small for the halvings.
        """
        if (layers := len(self.down)) > (most := most_halvings(min(z.shape[-2:]), self.kernel_size)):
            raise ValueError(
                f"layers must be at most {most} for a picture of {z.shape[-2]}x{z.shape[-1]}, got {layers}"
            )
        x, kept = z, []
        for down, skip in zip(self.down, self.skip, strict=True):
            kept.append(skip(x))
            x = down(x)
        for up, skipped in zip(reversed(self.up), reversed(kept), strict=True):
            x = interpolate(x, skipped.shape[-2:], mode="bilinear")
            x = up(torch.cat([x, skipped], dim=1))
        return self.last(x).sigmoid()


def _step(a: int, b: int, kernel_size: int, stride: int = 1) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(a, b, kernel_size, stride, padding=kernel_size // 2, padding_mode="reflect")
    return conv, _norm(b), nn.LeakyReLU(0.2)


def _norm(channels: int) -> nn.Module:
    return nn.GroupNorm(channels, channels)  # for one picture equal to batch normalisation, without its state
