"""Count the floating-point operations of one evaluation of a prior."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING

import torch

from dipddpm.diffusion.prior import Prior, empty_network
from dipddpm.metrics.operations import gflop

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d import UNet2DModel


def evaluation_gflop(prior: Prior, size: tuple[int, int]) -> float:
    """Count one evaluation of one picture, in GFLOP; nothing is computed.

    Args:
        prior: The prior.
        size: Height and width of the picture, in pixels; may differ from the prior's size.
    """
    unet = prior.unet
    return _of_network(type(unet), json.dumps(dict(unet.config), sort_keys=True), tuple(size))


@cache  # a count takes as long as some evaluations, and the jobs of a sweep share their networks
def _of_network(kind: type[UNet2DModel], config: str, size: tuple[int, ...]) -> float:
    network = empty_network(kind, json.loads(config))
    with torch.device("meta"):
        x, t = torch.zeros(1, 3, *size), torch.zeros(1)
    return gflop(lambda: network(x, t))
