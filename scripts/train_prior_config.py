"""What conf/train_prior.yaml may say; its comments say what each key means."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

Optimizer = Enum("Optimizer", "muon adamw")
Loss = Enum("Loss", "log_mse mse")
Precision = Enum("Precision", "auto fp32 bf16")


@dataclass
class UNetConfig:
    channels: list[int] = MISSING
    layers_per_block: int = MISSING
    attention_levels: int = MISSING
    norm_num_groups: int = MISSING
    attention_head_dim: int = MISSING


@dataclass
class TrainPriorConfig:
    data: str = MISSING
    out: str = MISSING
    init_from: str | None = None
    pictures: int = MISSING
    batch_size: int = MISSING
    lr: float = MISSING
    warmup_pictures: int = MISSING
    decay_fraction: float = MISSING
    ema: float = MISSING
    level_power: float = MISSING
    checkpoint_minutes: float = MISSING
    eval_pictures: int = MISSING
    threads: int | None = None
    precision: Precision = MISSING
    optimizer: Optimizer = MISSING
    loss: Loss = MISSING
    seed: int = MISSING
    unet: UNetConfig = field(default_factory=UNetConfig)


ConfigStore.instance().store(name="train_prior_schema", node=TrainPriorConfig)
