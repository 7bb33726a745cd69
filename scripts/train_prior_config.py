"""What conf/train_prior.yaml may say (its comments say what each key means), and the network that it means.

Imports no torch: what was typed is checked before any work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from omegaconf import MISSING, DictConfig, OmegaConf

from dipddpm.cli.explain import explained
from dipddpm.config.compose import plain
from dipddpm.errors import UserError, need

Optimizer = Enum("Optimizer", "muon adamw")
Loss = Enum("Loss", "log_mse min_snr mse")
Precision = Enum("Precision", "auto fp32 bf16")
DEFAULTS = Path(__file__).parents[1] / "conf" / "train_prior.yaml"
RECORD = "training.json"  # beside the checkpoint: pictures, seconds, the settings, and those of the runs before
# These may change between the runs of a training:
FREE = ("data", "out", "pictures", "checkpoint_minutes", "eval_pictures", "threads", "processes", "precision")
FREE += ("compile", "batch_size", "lr", "warmup_pictures", "decay_fraction")
MORE = ("layers_per_block", "attention_levels")  # of the network: init_from may have less
WAYS_TO_GROW = {**dict.fromkeys(MORE, " or more"), "norm_num_groups": " or a divisor of it"}


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
    scale_offset: float = MISSING
    pictures: int = MISSING
    batch_size: int = MISSING
    lr: float = MISSING
    warmup_pictures: int = MISSING
    decay_fraction: float = MISSING
    ema: float = MISSING
    lognormal_share: float = MISSING
    lognormal_mean: float = MISSING
    lognormal_std: float = MISSING
    level_power: float = MISSING
    checkpoint_minutes: float = MISSING
    eval_pictures: int = MISSING
    threads: int | None = None
    processes: int = MISSING
    precision: Precision = MISSING
    compile: bool = MISSING
    optimizer: Optimizer = MISSING
    loss: Loss = MISSING
    seed: int = MISSING
    unet: UNetConfig = field(default_factory=UNetConfig)


def typed(cfg: DictConfig) -> TrainPriorConfig:
    """Return what Hydra composed as checked dataclasses.

    Raises:
        UserError: For an unknown key, a wrong type, a value outside its range, a folder that is not there.
    """
    with explained([], TrainPriorConfig):
        c: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(TrainPriorConfig), cfg))

    for key in ("pictures", "batch_size", "warmup_pictures", "eval_pictures", "processes"):
        need(getattr(c, key) >= 1, key, getattr(c, key), "1 or more")
    need(c.threads is None or c.threads >= 1, "threads", c.threads, "1 or more, or null")
    need(c.batch_size % c.processes == 0, "batch_size", c.batch_size, f"a multiple of processes={c.processes}")
    for key in ("lr", "level_power", "lognormal_std", "checkpoint_minutes"):
        need(getattr(c, key) > 0, key, getattr(c, key), "above 0")
    need(0 < c.decay_fraction <= 1, "decay_fraction", c.decay_fraction, "above 0, to 1")
    need(c.scale_offset >= 0, "scale_offset", c.scale_offset, "0 or more")
    need(0 <= c.ema < 1, "ema", c.ema, "from 0 to below 1")
    need(0 <= c.lognormal_share <= 1, "lognormal_share", c.lognormal_share, "from 0 to 1")
    for name in ("faces64-train.tar", "faces64-val.tar"):
        need((Path(c.data) / name).is_file(), "data", c.data, f"a folder that holds {name}")
    given = c.init_from
    file = Path(given or "") / "unet" / "config.json"
    need(given is None or file.is_file(), "init_from", given, "a diffusers folder, which holds unet/config.json")
    _check_unet(c.unet)
    even = c.unet.channels[0] // c.unet.norm_num_groups % 2 == 0
    need(not c.scale_offset or even, "scale_offset", c.scale_offset, "0 where unet.norm_num_groups leaves odd groups")
    if given:
        _check_growth(c.unet, json.loads(file.read_text()), given)
    _refuse_another_training(c)
    return c


def _check_unet(unet: UNetConfig) -> None:
    channels, groups, head = unet.channels, unet.norm_num_groups, unet.attention_head_dim
    n = len(channels)
    need(n >= 1 and min(channels) >= 1, "unet.channels", channels, "one number a resolution, such as [32,64,128]")
    need(unet.layers_per_block >= 1, "unet.layers_per_block", unet.layers_per_block, "1 or more")
    need(0 <= unet.attention_levels <= n, "unet.attention_levels", unet.attention_levels, f"from 0 to {n} resolutions")
    divides = groups >= 1 and all(c % groups == 0 for c in channels)
    need(divides, "unet.norm_num_groups", groups, f"a divisor of all of unet.channels={channels}")
    divides = head >= 1 and all(c % head == 0 for c in [channels[-1], *channels[n - unet.attention_levels :]])
    need(divides, "unet.attention_head_dim", head, "a divisor of the channels where there is attention")


def _check_growth(unet: UNetConfig, of: dict[str, Any], folder: str) -> None:
    """Refuse a network that is not the one in a folder, nor that one grown or with its groups merged."""
    n = attention_levels(of)
    has = {"channels": list(of["block_out_channels"]), "layers_per_block": of["layers_per_block"],
           "attention_levels": n, "norm_num_groups": of["norm_num_groups"],
           "attention_head_dim": of["attention_head_dim"]}  # fmt: skip
    for key, value in has.items():
        now = getattr(unet, key)
        grown = (key in MORE and now > value) or (key == "norm_num_groups" and value % now == 0)
        if now != value and not grown:
            typeable = str(value).replace(" ", "") + WAYS_TO_GROW.get(key, "")
            raise UserError(f"unet.{key}={now} is not what init_from={folder} has: type unet.{key}={typeable}")
    if unet.attention_levels > n and any(kind.startswith("Attn") for kind in of["up_block_types"][n:]):
        line = f"unet.attention_levels={unet.attention_levels} is for attention at the coarsest resolutions"
        raise UserError(f"{line}, which init_from={folder} has elsewhere: type unet.attention_levels={n}")


def _refuse_another_training(c: TrainPriorConfig) -> None:
    """Refuse a configuration that the checkpoint in ``out`` was not made with, but for what is `FREE`."""
    try:
        before = json.loads((Path(c.out) / RECORD).read_text())["settings"]
    except FileNotFoundError:
        return
    defaults = flat(OmegaConf.to_container(OmegaConf.load(DEFAULTS)))
    before = flat(before)
    for key, now in flat(plain(c)).items():
        had = before.get(key, defaults[key])  # a record may be older than a key
        if key not in FREE and had != now:
            raise UserError(
                f"{key}={now} is not what the training in {c.out} has: type {key}={had} or another out=<folder>"
            )


def flat(settings: Any) -> dict[str, Any]:
    """Return nested settings by the keys that are typed."""
    by_key = {key: value for key, value in settings.items() if not isinstance(value, dict)}
    for group in settings.keys() - by_key.keys():
        by_key |= {f"{group}.{key}": str(value).replace(" ", "") for key, value in settings[group].items()}
    return by_key


def check_arguments(argv: Sequence[str]) -> None:
    """Compose and check what was typed.

    Raises:
        UserError: One line: what was given, what is allowed.
    """
    args, unread = get_args_parser().parse_known_args(list(argv))
    if args.multirun:
        raise UserError("-m would train many priors in one folder: leave it out, and type out=<folder> for each")
    if unread:
        raise UserError(f"{' '.join(unread)} is not understood: type options such as --cfg first, then key=value")
    if args.help or args.hydra_help or args.info or args.cfg or args.shell_completion:
        return
    try:
        with (
            initialize_config_dir(str(DEFAULTS.parent), version_base="1.3"),
            explained(args.overrides, TrainPriorConfig),
        ):
            c = typed(compose(args.config_name or "train_prior", overrides=args.overrides))
        if c.processes > 1:
            import torch

            alone = torch.cuda.is_available()
            need(not alone, "processes", c.processes, "1 where there is a GPU, which one process fills")
    finally:
        GlobalHydra.instance().clear()


def attention_levels(config: Mapping[str, Any]) -> int:
    """Return how many resolutions of a diffusers UNet2DModel have self-attention on the way up, where all have it."""
    return sum(kind.startswith("Attn") for kind in config["up_block_types"])


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
