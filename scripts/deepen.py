"""Give every resolution of a UNet2DModel one more residual block without changing what it computes.

A block added begins as the identity: its last convolution is zero, its shortcut passes the features and not the
skip connection (Net2DeeperNet of Chen et al., Net2Net, https://arxiv.org/abs/1511.05641). So a deeper network
goes on from where a shallower one was:

    python scripts/train_prior.py init_from=<diffusers folder> unet.layers_per_block=2
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from scripts.train_prior_config import own_config

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
