"""Names, types and choices of the configuration; values and their reasons stand in ``conf/``. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from omegaconf import MISSING

DegradeKind = Enum("DegradeKind", "gaussian poisson impulse none")
Network = Enum("Network", "cnn skip")
Rule = Enum("Rule", "loss_floor wmv emv never")
Precision = Enum("Precision", "fp32 bf16")
Init = Enum("Init", "raw scaled diffused matched noise")
Scheduler = Enum("Scheduler", "ddpm ddim")
FitMode = Enum("FitMode", "auto never")


@dataclass
class ImageConfig:
    path: str = MISSING
    size: Any = MISSING  # int or auto; a Union breaks omegaconf 2.3 inside a node that is MISSING
    box: list[int] | None = None
    reference: str | None = None


@dataclass
class DegradeConfig:
    kind: DegradeKind = MISSING
    sigma: float | None = None
    correlation: float | None = None
    missing: float | None = None
    mask: str | None = None
    downscale: int | None = None


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
    """What both entry points compose; ``train_dip.py`` leaves ``ddpm`` and ``baselines`` unread."""

    image: ImageConfig = MISSING
    degrade: DegradeConfig = MISSING
    dip: DipConfig = MISSING
    stopping: StoppingConfig = MISSING
    prior: PriorConfig = MISSING
    ddpm: DdpmConfig = MISSING
    checkpoint: Any = MISSING  # int or str
    fit: FitMode = MISSING
    baselines: bool = MISSING
    seed: int = MISSING
    store: str = MISSING
    device: str = MISSING
    threads: int | None = None
    panel_every: int = MISSING
    objective: list[str] = MISSING
