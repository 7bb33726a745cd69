"""Keys, types and choices of the configuration; values and their reasons stand in ``conf/``. Imports no torch.

Each choice of the groups ``image``, ``noise`` and ``operator`` has keys of its own. `CHOICES` holds one dataclass a
``kind``; the key ``kind`` says which one a configuration has, and each choice's file sets it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from dipddpm.names import FitMode, ImageKind, Init, Network, NoiseKind, OperatorKind, Precision, Rule, Scheduler


@dataclass
class ImageConfig:
    kind: ImageKind = MISSING
    path: str = MISSING
    size: Any = MISSING  # int or auto; a Union breaks omegaconf 2.3 inside a node that is MISSING
    box: list[int] | None = None


@dataclass
class CleanImage(ImageConfig):
    """A clean picture: the operator is applied to it, and noise is added."""


@dataclass
class NoisyImage(ImageConfig):
    """A picture that is y itself."""

    reference: str | None = None


@dataclass
class NoiseConfig:
    kind: NoiseKind = MISSING


@dataclass
class AddedNoise(NoiseConfig):
    """Noise that is added to a clean picture: gaussian, poisson or impulse."""

    sigma: float = MISSING


@dataclass
class CorrelatedNoise(AddedNoise):
    correlation: float = MISSING


@dataclass
class NoNoise(NoiseConfig):
    """No noise is added; with ``image=noisy``: the picture has none."""


@dataclass
class OwnNoise(NoiseConfig):
    """The noise that a given y has: of this sigma, or estimated where it is null."""

    sigma: float | None = None


@dataclass
class OperatorConfig:
    kind: OperatorKind = MISSING


@dataclass
class IdentityOperator(OperatorConfig):
    pass


@dataclass
class MaskOperator(OperatorConfig):
    missing: float | None = None
    file: str | None = None


@dataclass
class DownscaleOperator(OperatorConfig):
    factor: int = MISSING


CHOICES: dict[str, dict[str, type]] = {
    "image": {"clean": CleanImage, "noisy": NoisyImage},
    "noise": {
        **dict.fromkeys(("gaussian", "poisson", "impulse"), AddedNoise),
        "correlated": CorrelatedNoise,
        "none": NoNoise,
        "own": OwnNoise,
    },
    "operator": {"identity": IdentityOperator, "mask": MaskOperator, "downscale": DownscaleOperator},
}


@dataclass
class DipConfig:
    network: Network = MISSING
    layers: int = MISSING
    channels: int = MISSING
    kernel_size: int = MISSING
    final_relu: bool = MISSING
    lr: float = MISSING
    max_epochs: int = MISSING
    steps_per_epoch: int = MISSING
    checkpoint_every: int = MISSING
    input_noise: float = MISSING
    ema: float = MISSING
    precision: Precision = MISSING


@dataclass
class StoppingConfig:
    rule: Rule = MISSING
    threshold: float | None = None
    patience: int | None = None


@dataclass
class PriorConfig:
    name: str = MISSING
    path: str | None = None
    repo: str | None = None
    revision: str | None = None


@dataclass
class DdpmConfig:
    start_t: Any = MISSING  # int or auto
    end_t: int = MISSING
    init: Init = MISSING
    scheduler: Scheduler = MISSING
    steps: int | None = None
    samples: int = MISSING
    seed: int | None = None
    error_sigma: float | None = None
    data_consistency: bool | None = None
    snapshot_every: int = MISSING
    exact: bool = MISSING
    precision: Precision = MISSING


@dataclass
class Config:
    """The configuration of both entry points; ``train_dip.py`` leaves ``ddpm`` and ``baselines`` unread."""

    image: ImageConfig = MISSING
    noise: NoiseConfig = MISSING
    operator: OperatorConfig = MISSING
    dip: DipConfig = MISSING
    stopping: StoppingConfig = MISSING
    prior: PriorConfig = MISSING
    ddpm: DdpmConfig = MISSING
    checkpoint: Any = MISSING  # int or str: dipddpm/config/checkpoint.py
    fit: FitMode = MISSING
    baselines: bool = MISSING
    seed: int = MISSING
    store: str = MISSING
    device: str = MISSING
    threads: int | None = None
    panel_every: int = MISSING
    objective: list[str] = MISSING


@dataclass
class Composed(Config):
    """The schema that Hydra composes with. It takes the keys of a choice from its file; `CHOICES` checks them later."""

    image: Any = MISSING
    noise: Any = MISSING
    operator: Any = MISSING


def has_clean(c: Config) -> bool:
    """Return whether there is a clean picture to measure against."""
    return isinstance(c.image, CleanImage) or bool(reference_of(c))


def reference_of(c: Config) -> str | None:
    """Return the path of the clean picture behind a noisy one, where one is given."""
    return c.image.reference if isinstance(c.image, NoisyImage) else None


def mask_of(c: Config) -> str | None:
    """Return the path of a drawn mask, where one is given."""
    return c.operator.file if isinstance(c.operator, MaskOperator) else None


def factor_of(c: Config) -> int:
    """Return how many times smaller than the picture y is, each way."""
    return c.operator.factor if isinstance(c.operator, DownscaleOperator) else 1


def is_partial(c: Config) -> bool:
    """Return whether y tells only a part of the picture: pixels are missing, or it is smaller."""
    return not isinstance(c.operator, IdentityOperator)
