"""The networks by their names, and what the fit asks of a network."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from dipddpm.dip.networks.cnn import CNN
from dipddpm.dip.networks.skip import Skip
from dipddpm.dip.settings import DipSettings
from dipddpm.registry import Registry


class Network(Protocol):
    """How a registered network is made: a class or a function that takes these keywords.

    It returns any ``nn.Module`` that maps z to a picture, both of shape (1, 3, H, W). Two attributes of the module are
    optional. ``last`` is its last ``nn.Conv2d``, which is redrawn where an output channel starts dead.
    ``memory_format`` is the torch memory format in which the module is fastest.
    """

    def __call__(
        self, *, layers: int, channels: int, kernel_size: int, final_relu: bool, generator: torch.Generator
    ) -> nn.Module: ...


NETWORKS: Registry[Network] = Registry("network")
NETWORKS.register("cnn")(CNN)
NETWORKS.register("skip")(Skip)


def build(settings: DipSettings, generator: torch.Generator) -> nn.Module:
    """Return the network that the settings name.

    Args:
        settings: Of the fit.
        generator: CPU generator of the initial weights.

    Raises:
        ValueError: For a name that is not registered, or options that the network does not have.
    """
    return NETWORKS[settings.network](
        layers=settings.layers,
        channels=settings.channels,
        kernel_size=settings.kernel_size,
        final_relu=settings.final_relu,
        generator=generator,
    )


def last_layer(network: nn.Module) -> nn.Conv2d | None:
    """Return the convolution whose redraw revives a dead channel; None where the network names none."""
    last = getattr(network, "last", None)
    return last if isinstance(last, nn.Conv2d) and last.bias is not None else None


def memory_format(network: nn.Module | Network) -> torch.memory_format:
    """Return the memory format in which a network, or each network of a kind, is fitted; contiguous by default."""
    return getattr(network, "memory_format", torch.contiguous_format)
