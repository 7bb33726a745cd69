"""The keys of conf/train_prior.yaml, their ranges, and the network that they describe.

The YAML file explains each key. This module imports no torch, because it checks a command before any work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from dipddpm.cli.explain import explained
from dipddpm.config.compose import plain
from dipddpm.errors import UserError, need
from dipddpm.files import flat, read_json
from dipddpm.names import SMALLEST, TRAINING
from prior_training import pictures

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d import UNet2DModel

Optimizer = Enum("Optimizer", "muon adamw")
Loss = Enum("Loss", "log_mse mse")
Precision = Enum("Precision", "fp32 bf16")

CONF = Path(__file__).parents[1] / "conf"
RECORD = "training.json"
WIDTHS = (32, 64, 128)  # channels at full, half and quarter resolution; coarser resolutions have the last number
# These keys may change when a training is continued:
FREE = (
    "out",
    "pictures",
    "checkpoint_minutes",
    "eval_pictures",
    "samples",
    "threads",
    "device",
    "precision",
    "compile",
)


@dataclass
class UNetSettings:
    channels: list[int] | None = None
    layers_per_block: int = MISSING
    attention_levels: int = MISSING
    norm_num_groups: int = MISSING
    attention_head_dim: int = MISSING


@dataclass
class Settings:
    data: str = MISSING
    out: str = MISSING
    size: int = MISSING
    held_out: float = MISSING
    pictures: int = MISSING
    batch_size: int = MISSING
    optimizer: Optimizer = MISSING
    loss: Loss = MISSING
    lr: float = MISSING
    warmup_pictures: int = MISSING
    decay_fraction: float = MISSING
    ema: float = MISSING
    lognormal_share: float = MISSING
    lognormal_mean: float = MISSING
    lognormal_std: float = MISSING
    checkpoint_minutes: float = MISSING
    eval_pictures: int = MISSING
    samples: int = MISSING
    threads: int | None = None
    device: str = MISSING
    precision: Precision = MISSING
    compile: bool = MISSING
    seed: int = MISSING
    unet: UNetSettings = field(default_factory=UNetSettings)

    @property
    def work(self) -> Path:
        """The folder of the checkpoint, the pictures read, the record and the TensorBoard events."""
        return Path(self.out) / TRAINING


ConfigStore.instance().store("train_prior_schema", Settings)  # so that Hydra refuses unknown keys and wrong types


def typed(cfg: DictConfig) -> Settings:
    """Return the composed configuration as checked settings, with ``unet.channels`` filled in.

    Raises:
        UserError: For an unknown key, a wrong type, a value outside its range, or ``data`` without pictures.
    """
    with explained([], Settings):
        given = OmegaConf.to_container(cfg)  # a plain container, so that a key added with + is refused
        s: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Settings), {"data": ""}, given))
    for key in ("pictures", "batch_size", "warmup_pictures", "eval_pictures"):
        need(getattr(s, key) >= 1, key, getattr(s, key), "1 or more")
    for key in ("lr", "lognormal_std", "checkpoint_minutes"):
        need(0 < getattr(s, key) < math.inf, key, getattr(s, key), "a number above 0")
    need(s.samples >= 0, "samples", s.samples, "0 or more")
    need(s.threads is None or s.threads >= 1, "threads", s.threads, "1 or more, or null for all cores")
    need(0 < s.held_out < 1, "held_out", s.held_out, "a share of the pictures above 0 and below 1, such as 0.05")
    need(0 < s.decay_fraction <= 1, "decay_fraction", s.decay_fraction, "above 0, to 1")
    need(0 <= s.ema < 1, "ema", s.ema, "from 0 to below 1")
    need(0 <= s.lognormal_share <= 1, "lognormal_share", s.lognormal_share, "from 0 to 1")
    need(math.isfinite(s.lognormal_mean), "lognormal_mean", s.lognormal_mean, "a number")
    need(s.size >= SMALLEST, "size", s.size, f"{SMALLEST} pixels or more")
    _check_unet(s.unet, s.size)
    _refuse_another_training(s)
    pictures.check(s.data)
    return s


def build_unet(unet: UNetSettings, size: int) -> UNet2DModel:
    """Return a diffusers UNet2DModel for RGB pictures of ``size`` pixels a side, with random weights."""
    from diffusers.models.unets.unet_2d import UNet2DModel

    assert unet.channels is not None  # filled in by `typed`
    plain_levels = len(unet.channels) - unet.attention_levels
    return UNet2DModel(
        sample_size=size,
        in_channels=3,
        out_channels=3,
        block_out_channels=tuple(unet.channels),
        down_block_types=("DownBlock2D",) * plain_levels + ("AttnDownBlock2D",) * unet.attention_levels,
        up_block_types=("AttnUpBlock2D",) * unet.attention_levels + ("UpBlock2D",) * plain_levels,
        layers_per_block=unet.layers_per_block,
        norm_num_groups=unet.norm_num_groups,
        attention_head_dim=unet.attention_head_dim,
    )


def _check_unet(unet: UNetSettings, size: int) -> None:
    if unet.channels is None:  # halve the picture until its side is 8 to 15 pixels
        halvings = int(math.log2(size / SMALLEST))
        unet.channels = [WIDTHS[min(i, len(WIDTHS) - 1)] for i in range(halvings + 1)]
    channels, groups, head = unet.channels, unet.norm_num_groups, unet.attention_head_dim
    n, shown = len(channels), f"[{','.join(map(str, channels))}]"
    need(n >= 1 and min(channels, default=0) >= 1, "unet.channels", shown, "one number a resolution, such as [32,64]")
    need(unet.layers_per_block >= 1, "unet.layers_per_block", unet.layers_per_block, "1 or more")
    need(0 <= unet.attention_levels <= n, "unet.attention_levels", unet.attention_levels, f"from 0 to {n} resolutions")
    divides = groups >= 1 and all(c % groups == 0 for c in channels)
    need(divides, "unet.norm_num_groups", groups, f"a divisor of each of unet.channels={shown}")
    divides = head >= 1 and all(c % head == 0 for c in [channels[-1], *channels[n - unet.attention_levels :]])
    need(divides, "unet.attention_head_dim", head, f"a divisor of the channels that have attention, of {shown}")
    unit = 2 ** (n - 1)
    if size % unit:
        near = " or ".join(f"size={k}" for k in (size // unit * unit, size // unit * unit + unit) if k >= SMALLEST)
        raise UserError(f"size={size} is not allowed: unet.channels={shown} halves it {n - 1} times; type {near}")


def _refuse_another_training(s: Settings) -> None:
    """Refuse settings that differ from those of the checkpoint in ``out``, except the keys of `FREE`."""
    try:
        before = flat(read_json(s.work / RECORD)["settings"])
    except FileNotFoundError:
        return
    except (ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{s.work / RECORD} is damaged ({error}): type another out=<folder>") from error
    for key, now in flat(plain(s)).items():
        if key not in FREE and before.get(key) != now:
            now, had = (str(value).replace(" ", "") for value in (now, before.get(key)))
            raise UserError(
                f"{key}={now}, but the training in {s.out} has {key}={had}: type {key}={had}, or another out=<folder>"
            )
