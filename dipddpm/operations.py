"""What an evaluation of a prior and an epoch of a fit take in floating-point operations, 2 per multiply-add.

Seconds depend on the machine and on what else it does, and the two parts of a run may be timed on different days. The
operations do not: so costs are compared by them, and the seconds stand beside. Only what torch's counter knows is
counted (convolutions, matrix products), which is nearly all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from dipddpm import networks
from dipddpm.prior import Prior


def of_evaluation(prior: Prior, size: tuple[int, int]) -> float:
    """Count one evaluation of one picture, in GFLOP; nothing is computed.

    Args:
        prior: The network.
        size: Height and width of the picture, in pixels; need not be the prior's own.
    """
    unet: Any = prior.unet
    return _of_network(type(unet), json.dumps(dict(unet.config), sort_keys=True), tuple(size))


def of_epoch(dip: Mapping[str, Any], size: tuple[int, int]) -> float:
    """Count one epoch of a DIP fit, forward and backward, in GFLOP; nothing is computed.

    Args:
        dip: Its ``network``, ``layers``, ``channels``, ``kernel_size``, ``final_relu`` and ``steps_per_epoch``.
        size: Height and width of the picture, in pixels.
    """
    options = {name: dip[name] for name in ("layers", "channels", "kernel_size", "final_relu")}
    return dip["steps_per_epoch"] * _of_step(dip["network"], tuple(options.items()), tuple(size))


@cache  # to count takes as long as some evaluations, and the jobs of a sweep share their networks
def _of_network(kind: type, config: str, size: tuple[int, ...]) -> float:
    with torch.device("meta"):
        network = kind(**json.loads(config))
        x, t = torch.zeros(1, 3, *size), torch.zeros(1)
    return _count(lambda: network(x, t))


@cache
def _of_step(name: str, options: tuple[tuple[str, Any], ...], size: tuple[int, ...]) -> float:
    network = networks.build(name, generator=torch.Generator(), **dict(options)).to("meta")
    z = torch.zeros(1, 3, *size, device="meta")
    return _count(lambda: network(z).square().mean().backward())


def _count(work: Callable[[], Any]) -> float:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9
