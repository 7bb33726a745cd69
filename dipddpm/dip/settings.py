"""The settings of a fit, with the defaults of ``conf/dip``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

# What a network wants otherwise than the plain network; ``conf/dip`` has the reasons.
PRESETS: dict[str, dict[str, Any]] = {"skip": {"channels": 16, "final_relu": False, "lr": 1e-2}}
PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class DipSettings:
    """A network and how it is fitted; the defaults are those of ``conf/dip/cnn.yaml``.

    Attributes:
        network: A name of `dipddpm.dip.networks.NETWORKS`; not looked at where a module is given instead.
        layers: Hidden layers of the plain network; halvings of the resolution of the skip network.
        channels: Width of the hidden layers, 1 or more.
        kernel_size: Side of the convolutions, in pixels; odd.
        final_relu: Whether the output of the plain network passes a ReLU.
        lr: Adam's learning rate, above 0.
        max_epochs: Where a fit ends that no rule stops, 1 or more.
        steps_per_epoch: Optimiser steps an epoch, 1 or more.
        checkpoint_every: Epochs between kept ones, 1 or more.
        input_noise: Standard deviation of the noise added to z at every step, 0 or more.
        ema: Decay of the averaged weights, from 0 (none) to below 1. Averaged weights are the kept ones.
        precision: ``fp32`` or ``bf16`` (autocast).

    Raises:
        ValueError: For a value outside its range.
    """

    network: str = "cnn"
    layers: int = 4
    channels: int = 64
    kernel_size: int = 3
    final_relu: bool = True
    lr: float = 1e-3
    max_epochs: int = 2000
    steps_per_epoch: int = 1
    checkpoint_every: int = 10
    input_noise: float = 0
    ema: float = 0
    precision: str = "fp32"

    def __post_init__(self) -> None:
        _need(0 < self.lr < math.inf, "lr", self.lr, "above 0")
        for name in ("channels", "max_epochs", "steps_per_epoch", "checkpoint_every"):
            _need(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        _need(0 <= self.input_noise < math.inf, "input_noise", self.input_noise, "0 or more")
        _need(0 <= self.ema < 1, "ema", self.ema, "from 0 (none) to below 1")
        _need(self.precision in PRECISIONS, "precision", self.precision, " or ".join(PRECISIONS))

    @classmethod
    def of(cls, network: str, **changes: Any) -> DipSettings:
        """Return the settings that a network is best fitted with, such as ``of("skip")``, with ``changes``."""
        return cls(**{"network": network, **PRESETS.get(network, {}), **changes})


def _need(ok: bool, name: str, given: object, allowed: str) -> None:
    if not ok:
        raise ValueError(f"{name} must be {allowed}, got {given}")
