"""The floating-point operations of an epoch of a fit."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from dipddpm.dip import networks
from dipddpm.metrics.operations import gflop


def epoch_gflop(dip: Mapping[str, Any], size: tuple[int, int]) -> float:
    """Count one epoch of a DIP fit, forward and backward, in GFLOP; nothing is computed.

    Args:
        dip: Its ``network``, ``layers``, ``channels``, ``kernel_size``, ``final_relu`` and ``steps_per_epoch``.
        size: Height and width of the picture, in pixels.
    """
    options = {name: dip[name] for name in ("layers", "channels", "kernel_size", "final_relu")}
    return dip["steps_per_epoch"] * _of_step(dip["network"], tuple(options.items()), tuple(size))


@cache
def _of_step(name: str, options: tuple[tuple[str, Any], ...], size: tuple[int, ...]) -> float:
    network = networks.build(name, generator=torch.Generator(), **dict(options)).to("meta")
    z = torch.zeros(1, 3, *size, device="meta")
    return gflop(lambda: network(z).square().mean().backward())
