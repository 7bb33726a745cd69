"""Fits that run, as a block of their epochs sees them, and what is kept of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from dipddpm import gpu
from dipddpm.degradation.operators import Operator
from dipddpm.dip.average import Average
from dipddpm.dip.settings import DipSettings
from dipddpm.dip.variance import MovingVariance, WindowedVariance


@dataclass(frozen=True)
class Kept:
    """The N kept pictures after an epoch, and the weights of their networks.

    Attributes:
        pictures: float32, shape (N, 3, H, W), not clipped.
        weights: The weights by name, each of shape (N, ...).
        errors: Mean squared errors of the clipped pictures to the clean ones, shape (N,); None without clean pictures.
    """

    pictures: torch.Tensor
    weights: Mapping[str, torch.Tensor]
    errors: torch.Tensor | None = None

    def fetched(self) -> Kept:
        """Return a copy on the CPU. A copy from a GPU is whole once the GPU has done its work so far."""
        weights = {name: gpu.fetched(w) for name, w in self.weights.items()}
        errors = None if self.errors is None else gpu.fetched(self.errors)
        return Kept(gpu.fetched(self.pictures), weights, errors)

    def of(self, i: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Return the weights of picture ``i`` by name, and the picture, shape (1, 3, H, W)."""
        return {name: w[i] for name, w in self.weights.items()}, self.pictures[i : i + 1]


@dataclass(frozen=True)
class Entry:
    """The end of a block of one fit.

    Attributes:
        epoch: The newest epoch.
        rows: The rows of the block's epochs.
        psnr: PSNR of the kept picture in dB; None without a clean picture.
        last: Whether the fit ends here.
    """

    epoch: int
    rows: Sequence[Mapping[str, float]]
    psnr: float | None
    last: bool


class Fits(Protocol):
    """The fits of N pictures: `dipddpm.dip.module.DeepImagePrior`."""

    net: torch.nn.Module
    z: torch.Tensor
    noisy: torch.Tensor
    y: torch.Tensor
    clean: torch.Tensor | None
    seen: torch.Tensor | None
    held: torch.Tensor | None
    operator: Operator
    settings: DipSettings
    input_generators: list[torch.Generator]
    windowed: WindowedVariance
    moving: MovingVariance
    average: Average

    def __call__(self, z: torch.Tensor, /) -> torch.Tensor: ...

    def clip(self) -> None: ...

    def kept(self) -> Kept: ...
