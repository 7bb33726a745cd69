"""Let a UNet2DModel tell how strong the noise is, not only what it looks like.

The last GroupNorm divides by the standard deviation of its input, which where little of the picture is left is
that of the noise: the estimate then has the same norm whatever the norm of the noise in x_t. Noise 1% too strong
at level T is 1% too strong after every deterministic step, and at level 0, where the picture is 157 times as large
beside it, as strong as the picture. Constants of opposite sign in the channels of a group dominate its standard
deviation; the rest of the input then passes nearly linearly, as it does in the residual path before. But they
dominate, too, what a group of two channels can tell of the mean of a picture, which is the difference of the two: there
the groups that tell most of it stay as they are. Four channels have room for both.

    python scripts/train_prior.py init_from=<diffusers folder> scale_offset=2.5 unet.norm_num_groups=8
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch.nn.functional import conv2d, silu

LEVELS = (50, 100, 200, 500, 1000)
FOR_THE_MEAN = 4  # one group in so many, where they have two channels


@torch.no_grad()
def pass_scale(unet: Any, scheduler: DDPMScheduler, offset: float) -> None:
    """Add constants before the last GroupNorm, and scale after it so that typical inputs give what they gave.

    Other inputs do not, so the network has to be trained further.

    Args:
        unet: diffusers UNet2DModel whose last GroupNorm has an even number of channels a group; changed.
        scheduler: For noise at several levels; a group's typical deviation is that for grey pictures there.
        offset: The constants in units of that deviation. A change of the input's scale then changes the output by
            offset^2 / (1 + offset^2) of what it does without a normalisation.
    """
    norm, shortcut = unet.conv_norm_out, unet.up_blocks[-1].resnets[-1].conv_shortcut
    each = norm.num_channels // norm.num_groups
    deviation = _typical_deviation(unet, scheduler)
    offsets = torch.full_like(deviation, offset)
    if each == 2:
        telling = _mean_response(unet, scheduler).argsort(descending=True)
        offsets[telling[: norm.num_groups // FOR_THE_MEAN]] = 0
    sign = torch.ones(norm.num_channels)
    sign[1::2] = -1
    signed = sign * offsets.repeat_interleave(each)
    shortcut.bias += signed * deviation.repeat_interleave(each)
    norm.bias -= signed * norm.weight
    norm.weight *= (1 + signed**2) ** 0.5


def _typical_deviation(unet: Any, scheduler: DDPMScheduler) -> torch.Tensor:
    """Return the standard deviation in each group before the last GroupNorm, shape (groups,)."""
    noise, groups = _noise(unet), unet.conv_norm_out.num_groups
    with around(unet.conv_norm_out) as seen:
        for level in LEVELS:
            unet((1 - scheduler.alphas_cumprod[level - 1]).sqrt() * noise, level - 1)
    return torch.stack([h.reshape(len(h), groups, -1).std(-1).mean(0) for h, _ in seen]).mean(0)


def _mean_response(unet: Any, scheduler: DDPMScheduler, change: float = 0.05) -> torch.Tensor:
    """Return how far the mean of the estimate follows that of pure noise by way of each group, shape (groups,)."""
    noise, norm, conv = _noise(unet), unet.conv_norm_out, unet.conv_out
    with around(norm) as seen:
        for shift in (change, -change):
            unet(noise + shift, len(scheduler.alphas_cumprod) - 1)

    def by_group(after: torch.Tensor) -> torch.Tensor:
        parts = zip(silu(after).chunk(norm.num_groups, 1), conv.weight.chunk(norm.num_groups, 1), strict=True)
        return torch.stack([conv2d(part, weight, padding=conv.padding).mean() for part, weight in parts])

    stronger, weaker = (by_group(after) for _, after in seen)
    return (stronger - weaker) / (2 * change)


def _noise(unet: Any) -> torch.Tensor:
    size = unet.config["sample_size"]
    return torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))


@contextmanager
def around(module: torch.nn.Module) -> Iterator[list[tuple[torch.Tensor, torch.Tensor]]]:
    """Collect what goes into a module and what comes out of it."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def collect(_module: torch.nn.Module, given: Any, output: Any) -> None:
        seen.append((given[0], output))

    hook = module.register_forward_hook(collect)
    try:
        yield seen
    finally:
        hook.remove()
