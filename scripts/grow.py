"""Make a UNet2DModel larger without changing what it computes: one more residual block in every resolution, or
self-attention in one more of them.

What is added begins as the identity (Net2DeeperNet of Chen et al., Net2Net, https://arxiv.org/abs/1511.05641): the last
layer of a block or an attention is zero, a block's shortcut passes the features and not the skip connection. So a
larger network goes on from where a smaller one was:

    python scripts/train_prior.py init_from=<diffusers folder> unet.layers_per_block=4 unet.attention_levels=2
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from scripts.train_prior_config import attention_levels, own_config

ADDED_UP = 1  # after the first block of an up path, which takes over the skip connection of the block added below


def deepen(unet: Any) -> Any:
    """Return a deeper network that computes the same.

    Args:
        unet: diffusers UNet2DModel with L residual blocks a resolution on the way down, L + 1 on the way up.

    Returns:
        The network with L + 1 and L + 2; float32 results agree but for rounding.
    """
    from diffusers import UNet2DModel

    L = unet.config["layers_per_block"]
    deeper: Any = UNet2DModel(**(own_config(unet) | {"layers_per_block": L + 1}))
    own = deeper.state_dict()
    for name, weight in unet.state_dict().items():
        own[_renamed(name)] = weight.clone()
    deeper.load_state_dict(own)
    for block, added in [(b, L) for b in deeper.down_blocks] + [(b, ADDED_UP) for b in deeper.up_blocks]:
        _make_identity(block.resnets[added])
        if hasattr(block, "attentions"):
            _zero(block.attentions[added].to_out[0])
    return deeper


def attend(unet: Any) -> Any:
    """Return a network with self-attention in one more resolution, the finest of them, that computes the same.

    Args:
        unet: diffusers UNet2DModel whose n coarsest resolutions have attention; not all of them.
    """
    from diffusers import UNet2DModel

    down, up = list(unet.config["down_block_types"]), list(unet.config["up_block_types"])
    n = attention_levels(unet.config)
    down[-1 - n], up[n] = "AttnDownBlock2D", "AttnUpBlock2D"
    config: dict[str, Any] = own_config(unet) | {"down_block_types": down, "up_block_types": up}
    larger: Any = UNet2DModel(**config)
    larger.load_state_dict(larger.state_dict() | unet.state_dict())
    for block in (larger.down_blocks[-1 - n], larger.up_blocks[n]):
        for attention in block.attentions:
            _zero(attention.to_out[0])
    return larger


def _renamed(name: str) -> str:
    """Return the name in the deeper network of a weight of the shallower one."""
    words = name.split(".")
    if words[0] == "up_blocks" and words[2] in ("resnets", "attentions") and int(words[3]) >= ADDED_UP:
        words[3] = str(int(words[3]) + 1)
    return ".".join(words)


@torch.no_grad()
def _make_identity(resnet: Any) -> None:
    _zero(resnet.conv2)
    if resnet.conv_shortcut is not None:
        _zero(resnet.conv_shortcut)
        out = resnet.conv_shortcut.weight.shape[0]
        resnet.conv_shortcut.weight[:, :out, 0, 0] = torch.eye(out)


@torch.no_grad()
def _zero(layer: nn.Linear | nn.Conv2d) -> None:
    layer.weight.zero_()
    assert layer.bias is not None
    layer.bias.zero_()
