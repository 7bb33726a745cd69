"""Networks of the Deep Image Prior: z, shape (1, 3, H, W) in [0, 1], to a picture of the same shape.

Deep Image Prior: Ulyanov, Vedaldi and Lempitsky, https://arxiv.org/abs/1711.10925.
"""

from __future__ import annotations

import torch

from dipddpm.dip.networks.cnn import CNN
from dipddpm.dip.networks.skip import Skip
from dipddpm.dip.networks.weights import dead_channels, draw, revive

__all__ = ["NETWORKS", "CNN", "Skip", "build", "dead_channels", "draw", "revive"]

NETWORKS: dict[str, type[CNN | Skip]] = {"cnn": CNN, "skip": Skip}


def build(
    network: str, *, layers: int, channels: int, kernel_size: int, final_relu: bool, generator: torch.Generator
) -> CNN | Skip:
    """Return the network called ``network``: ``cnn`` or ``skip``.

    Raises:
        ValueError: For another name, or ``final_relu`` with a network that ends in a sigmoid.
    """
    if network == "cnn":
        return CNN(
            layers=layers, channels=channels, kernel_size=kernel_size, final_relu=final_relu, generator=generator
        )
    if network not in NETWORKS:
        raise ValueError(f"network must be {' or '.join(NETWORKS)}, got {network}")
    if final_relu:
        raise ValueError("final_relu is the plain network's: skip ends in a sigmoid")
    return Skip(layers=layers, channels=channels, kernel_size=kernel_size, generator=generator)
