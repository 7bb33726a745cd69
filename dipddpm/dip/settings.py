"""The settings of a fit, with the defaults of ``conf/dip``."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

from dipddpm.names import HELD_OUT, LOSSES, MOST_HELD_OUT, PRECISIONS

# The settings of a network that differ from the plain network's; ``conf/dip`` has the reasons.
PRESETS: dict[str, dict[str, Any]] = {"skip": {"channels": 16, "final_relu": False, "lr": 1e-2}}


@dataclass(frozen=True)
class DipSettings:
    """The settings of a network and of its fit. The defaults are those of ``conf/dip/cnn.yaml``.

    Attributes:
        network: A name in `dipddpm.dip.networks.NETWORKS`; not used where a module is given.
        layers: Hidden layers of the plain network, or halvings of the resolution in the skip network.
        channels: Channels of the hidden layers, 1 or more.
        kernel_size: Side of the convolutions in pixels, odd.
        final_relu: Whether the output of the plain network passes a ReLU.
        lr: Adam's learning rate, above 0.
        max_epochs: Epochs of a fit whose rule does not fire, 1 or more.
        steps_per_epoch: Optimiser steps an epoch, 1 or more.
        checkpoint_every: Epochs between two kept epochs, 1 or more.
        input_noise: Standard deviation of the noise added to z at every step, in picture units, 0 or more.
        ema: Decay of the averaged outputs, which are the kept picture, from 0 (the newest output) to below 1.
        precision: ``fp32``, ``tf32`` (on a GPU), ``bf16`` (autocast), or ``auto``, which a fit replaces by
            `dipddpm.environment.choose_precision` for its device. A `DeepImagePrior` that is made without a fit takes
            ``auto`` as fp32.
        loss: ``mse``, the mean squared error over the values of y, or ``l1``, the mean absolute error.
        holdout: Share of the values of y that the fit does not see, from 0 (none) to 0.5 (`dipddpm.dip.holdout`).
            None: 0.05 with the rule ``holdout``, otherwise none.

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
    ema: float = 0.9
    precision: str = "auto"
    loss: str = "mse"
    holdout: float | None = None

    def __post_init__(self) -> None:
        for name in ("layers", "channels", "kernel_size", "max_epochs", "steps_per_epoch", "checkpoint_every"):
            given = getattr(self, name)
            _need(isinstance(given, Integral), name, given, "a whole number")
            object.__setattr__(self, name, int(given))  # numpy's whole numbers cannot be stored as JSON
        _need(self.loss in LOSSES, "loss", self.loss, ", ".join(LOSSES))
        _need(0 < self.lr < math.inf, "lr", self.lr, "above 0")
        for name in ("channels", "max_epochs", "steps_per_epoch", "checkpoint_every"):
            _need(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        _need(0 <= self.input_noise < math.inf, "input_noise", self.input_noise, "0 or more")
        _need(0 <= self.ema < 1, "ema", self.ema, "from 0 (the newest output) to below 1")
        seen = self.holdout is None or 0 <= self.holdout <= MOST_HELD_OUT
        _need(seen, "holdout", self.holdout, f"a share from 0 (none) to {MOST_HELD_OUT}, or None")
        _need(self.precision in PRECISIONS, "precision", self.precision, ", ".join(PRECISIONS))

    @classmethod
    def of(cls, network: str, **changes: Any) -> DipSettings:
        """Return the recommended settings of a network, with ``changes``: ``DipSettings.of("skip", channels=32)``."""
        return cls(**{"network": network, **PRESETS.get(network, {}), **changes})

    def for_rule(self, rule: object) -> DipSettings:
        """Return settings whose share of held-out values is known: by default 5% for the rule ``holdout``, else 0.

        Args:
            rule: The name of a rule, or a function, which may have any name.
        """
        return self if self.holdout is not None else replace(self, holdout=HELD_OUT if rule == "holdout" else 0.0)


def _need(ok: bool, name: str, given: object, allowed: str) -> None:
    if not ok:
        raise ValueError(f"{name} must be {allowed}, got {given}")
