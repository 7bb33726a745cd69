"""Keys, types and choices of the configuration. The values and their reasons stand in ``conf/``. Imports no torch.

Each choice of the groups ``image``, ``noise`` and ``operator`` has keys of its own. `CHOICES` holds one dataclass for
each choice. The key ``kind`` names the dataclass of a configuration; the choice's file in ``conf/`` sets it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from omegaconf import MISSING

from dipddpm.names import (
    KERNELS,
    Border,
    Chroma,
    FitMode,
    Form,
    ImageKind,
    Init,
    Loss,
    Method,
    Network,
    NoiseKind,
    OperatorKind,
    Precision,
    Rule,
    Scheduler,
    Transform,
)


@dataclass
class ImageConfig:
    kind: ImageKind = MISSING
    path: str = MISSING
    size: Any = MISSING  # int or auto; a Union breaks omegaconf 2.3 inside a node that is MISSING
    box: list[int] | None = None


@dataclass
class CleanImage(ImageConfig):
    """A clean picture x. The operator is applied to it, and noise is added: y = A x + noise."""


@dataclass
class NoisyImage(ImageConfig):
    """A picture that is damaged already: y itself."""

    reference: str | None = None


@dataclass
class FolderImage(ImageConfig):
    """Many pictures: those of a folder or of a pattern. They are clean, or with ``noise=own`` each is a y itself."""


@dataclass
class NoiseConfig:
    kind: NoiseKind = MISSING


@dataclass
class AddedNoise(NoiseConfig):
    """Noise that is added to a clean picture: gaussian, poisson, impulse or random_impulse."""

    sigma: float = MISSING


@dataclass
class CorrelatedNoise(AddedNoise):
    correlation: float = MISSING


@dataclass
class NoNoise(NoiseConfig):
    """No noise is added. With ``image=noisy`` the picture has no noise."""


@dataclass
class OwnNoise(NoiseConfig):
    """The noise that a given y has already. Where sigma is null, it is estimated."""

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
    method: Method = Method.mean


@dataclass
class BlurOperator(OperatorConfig):
    """A blur. Keys that shape another kernel than the chosen one become null."""

    kernel: str = MISSING
    width: float | None = None
    length: float | None = None
    angle: float | None = None
    border: Border = MISSING


@dataclass
class BlurDownscaleOperator(BlurOperator):
    factor: int = MISSING


@dataclass
class SensingOperator(OperatorConfig):
    share: float = MISSING
    transform: Transform = MISSING


@dataclass
class JpegOperator(OperatorConfig):
    quality: int | None = None
    chroma: Chroma = MISSING


@dataclass
class ClipOperator(OperatorConfig):
    threshold: float = MISSING


CHOICES: dict[str, dict[str, type]] = {
    "image": {"clean": CleanImage, "noisy": NoisyImage, "folder": FolderImage},
    "noise": {
        **dict.fromkeys(("gaussian", "poisson", "impulse", "random_impulse"), AddedNoise),
        "correlated": CorrelatedNoise,
        "none": NoNoise,
        "own": OwnNoise,
    },
    "operator": {
        "identity": IdentityOperator,
        "mask": MaskOperator,
        "downscale": DownscaleOperator,
        "blur": BlurOperator,
        "blur_downscale": BlurDownscaleOperator,
        "sensing": SensingOperator,
        "jpeg": JpegOperator,
        "clip": ClipOperator,
    },
}


@dataclass
class DipConfig:
    network: Network = MISSING
    layers: int = MISSING
    channels: int = MISSING
    kernel_size: int = MISSING
    final_relu: bool = MISSING
    loss: Loss = MISSING
    lr: float = MISSING
    max_epochs: int = MISSING
    steps_per_epoch: int = MISSING
    checkpoint_every: int = MISSING
    input_noise: float = MISSING
    ema: float = MISSING
    holdout: float | None = None
    batch: Any = "auto"  # int or auto
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
    consistency: Form = MISSING
    prior_weight: float = MISSING
    snapshot_every: int = MISSING
    exact: bool = MISSING
    precision: Precision = MISSING


@dataclass
class Config:
    """The configuration of both entry points. ``train_dip.py`` does not read ``ddpm`` and ``baselines``."""

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
    """The schema that Hydra composes with. It accepts every key of the three groups; `CHOICES` checks them later."""

    image: Any = MISSING
    noise: Any = MISSING
    operator: Any = MISSING


def of_picture(c: Config, path: str | None = None) -> Config:
    """Return the configuration of one picture of ``image=folder`` alone, or of a picture that stands for all of them.

    A configuration of one picture is returned unchanged.
    """
    i = c.image
    if not isinstance(i, FolderImage):
        return c
    shape, kind = (NoisyImage, ImageKind.noisy) if isinstance(c.noise, OwnNoise) else (CleanImage, ImageKind.clean)
    return replace(c, image=shape(kind=kind, path=i.path if path is None else path, size=i.size, box=i.box))


def has_clean(c: Config) -> bool:
    """Return whether there is a clean picture to measure against."""
    return isinstance(of_picture(c).image, CleanImage) or bool(reference_of(c))


def reference_of(c: Config) -> str | None:
    """Return the path of the clean picture behind a noisy one, or None."""
    return c.image.reference if isinstance(c.image, NoisyImage) else None


def mask_of(c: Config) -> str | None:
    """Return the path of a drawn mask, or None."""
    return c.operator.file if isinstance(c.operator, MaskOperator) else None


def kernel_of(c: Config) -> str | None:
    """Return the path of a kernel, or None."""
    return c.operator.kernel if isinstance(c.operator, BlurOperator) and c.operator.kernel not in KERNELS else None


def factor_of(c: Config) -> int:
    """Return the side of the picture divided by the side of y: 1, or ``operator.factor``."""
    return c.operator.factor if isinstance(c.operator, DownscaleOperator | BlurDownscaleOperator) else 1


def is_own_jpeg(c: Config) -> bool:
    """Return whether the tables of a JPEG are those of the file of the picture."""
    return isinstance(c.operator, JpegOperator) and isinstance(c.image, NoisyImage) and c.operator.quality is None


def is_partial(c: Config) -> bool:
    """Return whether y lacks a part of the picture."""
    return not isinstance(c.operator, IdentityOperator)
