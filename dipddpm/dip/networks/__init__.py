"""Networks of the Deep Image Prior. They map z, shape (1, 3, H, W) in [0, 1], to a picture of the same shape.

Reference: Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, https://arxiv.org/abs/1711.10925.
"""

from dipddpm.dip.networks.cnn import CNN
from dipddpm.dip.networks.registry import NETWORKS, Network, build, check, last_layer, memory_format
from dipddpm.dip.networks.skip import Skip
from dipddpm.dip.networks.stacked import Stacked, of_all, of_one
from dipddpm.dip.networks.weights import dead_channels, draw, revive

__all__ = [
    "CNN",
    "NETWORKS",
    "Network",
    "Skip",
    "Stacked",
    "build",
    "check",
    "dead_channels",
    "draw",
    "last_layer",
    "memory_format",
    "of_all",
    "of_one",
    "revive",
]
