"""The registered networks, and the interface that a fit needs of a network."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from dipddpm.dip.networks.cnn import CNN
from dipddpm.dip.networks.skip import Skip
from dipddpm.dip.settings import DipSettings
from dipddpm.registry import Registry


class Network(Protocol):
    """The maker of a registered network: a class or a function with these keywords.

    It returns an ``nn.Module`` that maps z to a picture, both of shape (1, 3, H, W). Two attributes of the module are
    optional. ``last`` is its last ``nn.Conv2d``, which is redrawn when an output channel starts dead.
    ``memory_format`` is the torch memory format in which the module is fastest.
    """

    def __call__(
        self, *, layers: int, channels: int, kernel_size: int, final_relu: bool, generator: torch.Generator
    ) -> nn.Module: ...


NETWORKS: Registry[Network] = Registry("network")
NETWORKS.register("cnn")(CNN)
NETWORKS.register("skip")(Skip)


def build(settings: DipSettings | str, generator: torch.Generator | None = None) -> nn.Module:
    """Return the network that the settings name.

    Args:
        settings: The settings of the fit. A name means its recommended settings (`DipSettings.of`).
        generator: CPU generator of the initial weights; None: a new one.

    Raises:
        ValueError: For a name that is not registered, or settings that the network does not have.
    """
    settings = DipSettings.of(settings) if isinstance(settings, str) else settings
    generator = torch.Generator() if generator is None else generator
    return NETWORKS[settings.network](
        layers=settings.layers,
        channels=settings.channels,
        kernel_size=settings.kernel_size,
        final_relu=settings.final_relu,
        generator=generator,
    )


def check(network: nn.Module) -> None:
    """Refuse a network that Adam cannot fit to a float32 picture.

    Raises:
        ValueError: For a network without parameters, or with parameters of another type.
    """
    kinds = {p.dtype for p in network.parameters()}
    if not any(p.requires_grad for p in network.parameters()):
        raise ValueError(f"network {type(network).__name__} has no parameters to fit")
    if other := kinds - {torch.float32}:
        names = ", ".join(sorted(str(kind) for kind in other))
        raise ValueError(f"network {type(network).__name__} has parameters of {names}: give network.float()")


def last_layer(network: nn.Module) -> nn.Conv2d | None:
    """Return the attribute ``last`` of a network if it is a convolution with bias, or None."""
    last = getattr(network, "last", None)
    return last if isinstance(last, nn.Conv2d) and last.bias is not None else None


def memory_format(network: nn.Module | Network) -> torch.memory_format:
    """Return the attribute ``memory_format`` of a network or of its maker; contiguous by default."""
    return getattr(network, "memory_format", torch.contiguous_format)
