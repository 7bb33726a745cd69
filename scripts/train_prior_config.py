"""What conf/train_prior.yaml may say (its comments say what each key means), and the network that it means."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

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
    processes: int = MISSING
    precision: Precision = MISSING
    optimizer: Optimizer = MISSING
    loss: Loss = MISSING
    seed: int = MISSING
    unet: UNetConfig = field(default_factory=UNetConfig)


ConfigStore.instance().store(name="train_prior_schema", node=TrainPriorConfig)


def own_config(unet: Any) -> dict[str, Any]:
    """Return what makes a diffusers network again: its configuration without the folder that it was read from."""
    return {key: value for key, value in unet.config.items() if not key.startswith("_")}


def build_unet(cfg: UNetConfig) -> Any:
    """Return a randomly initialised diffusers UNet2DModel for 64x64 RGB."""
    from diffusers import UNet2DModel

    n = len(cfg.channels)
    down = ["DownBlock2D"] * (n - cfg.attention_levels) + ["AttnDownBlock2D"] * cfg.attention_levels
    up = ["AttnUpBlock2D"] * cfg.attention_levels + ["UpBlock2D"] * (n - cfg.attention_levels)
    return UNet2DModel(
        sample_size=64,
        in_channels=3,
        out_channels=3,
        block_out_channels=tuple(cfg.channels),
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        layers_per_block=cfg.layers_per_block,
        norm_num_groups=cfg.norm_num_groups,
        attention_head_dim=cfg.attention_head_dim,
    )
