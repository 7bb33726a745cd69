"""Count the floating-point operations of one epoch of a fit."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from dipddpm.dip import networks
from dipddpm.dip.settings import DipSettings
from dipddpm.metrics.operations import gflop


def epoch_gflop(dip: Mapping[str, Any], size: tuple[int, int]) -> float:
    """Count one epoch of a DIP fit, forward and backward, in GFLOP; nothing is computed.

    Args:
        dip: The fields of `DipSettings`, as a stored fit has them.
        size: Height and width of the picture, in pixels.
    """
    settings = DipSettings(**dip)
    return settings.steps_per_epoch * _of_step(settings, tuple(size))


@cache
def _of_step(settings: DipSettings, size: tuple[int, ...]) -> float:
    network = networks.build(settings, torch.Generator()).to("meta")
    z = torch.zeros(1, 3, *size, device="meta")
    return gflop(lambda: network(z).square().mean().backward())
