"""Let a UNet2DModel tell how strong the noise is, not only what it looks like.

The last GroupNorm divides by the standard deviation of its input, which where little of the picture is left is
that of the noise: the estimate then has the same norm whatever the norm of the noise in x_t. Noise 1% too strong
at level T is 1% too strong after every deterministic step, and at level 0, where the picture is 157 times as large
beside it, as strong as the picture. Constants of opposite sign in the channels of a group dominate its standard
deviation; the rest of the input then passes nearly linearly, as it does in the residual path before.

    python scripts/train_prior.py init_from=<diffusers folder> scale_offset=2.5
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDPMScheduler

LEVELS = (50, 100, 200, 500, 1000)


@torch.no_grad()
def pass_scale(unet: Any, scheduler: DDPMScheduler, offset: float) -> None:
    """Add constants before the last GroupNorm, and scale after it so that typical inputs give what they gave.

    Other inputs do not, so the network has to be trained further.

    Args:
        unet: diffusers UNet2DModel whose last GroupNorm has an even number of channels a group; changed.
        scheduler: For noise at several levels; the group's typical deviation is that for grey pictures there.
        offset: The constants in units of that deviation. A change of the input's scale then changes the output by
            offset^2 / (1 + offset^2) of what it does without a normalisation.
    """
    norm, shortcut = unet.conv_norm_out, unet.up_blocks[-1].resnets[-1].conv_shortcut
    each = norm.num_channels // norm.num_groups
    deviation = _typical_deviation(unet, scheduler).repeat_interleave(each)
    sign = torch.ones(norm.num_channels)
    sign[1::2] = -1
    shortcut.bias += sign * offset * deviation
    norm.bias -= sign * offset * norm.weight
    norm.weight *= (1 + offset**2) ** 0.5


def _typical_deviation(unet: Any, scheduler: DDPMScheduler) -> torch.Tensor:
    """Return the standard deviation in each group before the last GroupNorm, shape (groups,)."""
    inputs: list[torch.Tensor] = []
    hook = unet.conv_norm_out.register_forward_hook(lambda _module, given, _output: inputs.append(given[0]))
    size = unet.config["sample_size"]
    noise = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    for level in LEVELS:
        unet((1 - scheduler.alphas_cumprod[level - 1]).sqrt() * noise, level - 1)
    hook.remove()
    groups = unet.conv_norm_out.num_groups
    return torch.stack([h.reshape(len(h), groups, -1).std(-1).mean(0) for h in inputs]).mean(0)
