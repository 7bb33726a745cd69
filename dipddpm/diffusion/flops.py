"""Count the floating-point operations of a window: an evaluation of its prior, and the steps of a DIP that learns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from dipddpm.diffusion.prior import Prior, empty_network
from dipddpm.diffusion.warm import STEPS
from dipddpm.dip import networks
from dipddpm.dip.flops import epoch_gflop
from dipddpm.dip.settings import DipSettings
from dipddpm.metrics.operations import gflop

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d import UNet2DModel


def evaluation_gflop(prior: Prior, size: tuple[int, int], *, gradient: bool = False) -> float:
    """Count one evaluation of one picture, in GFLOP; nothing is computed.

    Args:
        prior: The prior.
        size: Height and width of the picture, in pixels; may differ from the prior's size.
        gradient: Whether the gradient in the state is counted, too, which ``consistency=dps`` takes.
    """
    unet = prior.unet
    return _of_network(type(unet), json.dumps(dict(unet.config), sort_keys=True), tuple(size), gradient)


def learning_gflop(dip: Mapping[str, Any], size: tuple[int, int]) -> float:
    """Count the operations of a DIP that learns at one noise level (`dipddpm.diffusion.warm`), in GFLOP.

    They are those of its steps and of its last output.

    Args:
        dip: The fields of `DipSettings`, as a stored fit has them.
        size: Height and width of the picture, in pixels.
    """
    return STEPS * epoch_gflop({**dip, "steps_per_epoch": 1}, size) + _of_output(DipSettings(**dip), tuple(size))


@cache
def _of_output(settings: DipSettings, size: tuple[int, ...]) -> float:
    network = networks.build(settings, torch.Generator()).to("meta")
    return gflop(lambda: network(torch.zeros(1, 3, *size, device="meta")))


@cache  # a count takes as long as some evaluations, and the jobs of a sweep share their networks
def _of_network(kind: type[UNet2DModel], config: str, size: tuple[int, ...], gradient: bool) -> float:
    network: Any = empty_network(kind, json.loads(config)).requires_grad_(False)
    with torch.device("meta"):
        x, t = torch.zeros(1, 3, *size, requires_grad=gradient), torch.zeros(1)
    return gflop(lambda: network(x, t).sample.sum().backward() if gradient else network(x, t))
