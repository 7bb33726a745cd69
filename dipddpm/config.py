"""The typed configuration: dataclasses that validate the YAML values of ``conf/``. Imports no torch.

Values and their reasons stand in ``conf/``; here stand names, types, choices and the checks that need no
picture and no weights. Unknown keys are refused however they are typed: a structured config in the
defaults list catches ``dip.lyers=3``, and `typed` catches ``+dip.lyers=3`` and ``++dip.lyers=3``, which
switch that off.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dipddpm.errors import UserError

T = 1000  # levels of every supported schedule (Ho et al., https://arxiv.org/abs/2006.11239)


def _choices(name: str, *values: str) -> Any:
    return Enum(name, {v: v for v in values}, module=__name__)


DegradeKind = _choices("DegradeKind", "gaussian", "none")
Network = _choices("Network", "cnn")
Rule = _choices("Rule", "loss_floor", "wmv", "emv", "never")
Precision = _choices("Precision", "fp32", "bf16")
Init = _choices("Init", "raw", "scaled", "diffused", "matched", "noise")
Scheduler = _choices("Scheduler", "ddpm", "ddim")
FitMode = _choices("FitMode", "auto", "never")
CHECKPOINTS = ("stop", "last", "oracle")


@dataclass
class ImageConfig:
    path: str = MISSING
    size: Any = MISSING  # int or auto; a Union breaks omegaconf 2.3 inside a node that is MISSING
    box: list[int] | None = None


@dataclass
class DegradeConfig:
    kind: DegradeKind = MISSING
    sigma: float | None = None


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


def typed(cfg: DictConfig) -> Config:
    """Return the composed configuration as checked dataclasses.

    Args:
        cfg: What Hydra composed (its own ``hydra`` node is ignored).

    Raises:
        UserError: For an unknown key, a wrong type, a missing value, or a value outside its range.
    """
    values = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=False)
    assert isinstance(values, dict)
    values.pop("hydra", None)
    _refuse_unknown(values)
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Config), values)
        for key in sorted(_missing(merged)):
            raise UserError(f"{key} has no value: type {key}=<value>")
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise UserError(one_line(error)) from error
    assert isinstance(config, Config)
    check(config)
    return config


def plain(config: Any) -> Any:
    """Return dataclasses as builtins (enums as their names), for printing, hashing and saving."""
    return OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)


def suggestion(key: str, known: Iterable[str]) -> str:
    """Return `` did you mean ...?`` for a mistyped name, or nothing."""
    near = difflib.get_close_matches(key, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def known_keys(schema: type, prefix: str = "") -> list[str]:
    """Return the dotted names of all keys of a schema, groups included."""
    keys = []
    hints = get_type_hints(schema)
    for f in fields(schema):
        keys.append(prefix + f.name)
        if is_dataclass(hints[f.name]):
            keys += known_keys(hints[f.name], f"{prefix}{f.name}.")  # type: ignore[arg-type]
    return keys


def one_line(error: BaseException) -> str:
    """Return the first line of an omegaconf error together with the key it is about."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    key = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("full_key")), "")
    text = lines[0] if lines else type(error).__name__
    return f"{key}: {text}" if key and key not in text else text


def _refuse_unknown(values: dict[Any, Any]) -> None:
    known = known_keys(Config)

    def walk(node: dict[Any, Any], prefix: str) -> None:
        for name, value in node.items():
            key = f"{prefix}{name}"
            if key not in known:
                raise UserError(unknown_key(key))
            if isinstance(value, dict):
                walk(value, f"{key}.")

    walk(values, "")


def unknown_key(key: str) -> str:
    """Return the one line that refuses a key which the schema does not have."""
    known = known_keys(Config)
    group = key.rpartition(".")[0]
    prefix = f"{group}." if group in known else ""
    siblings = [k for k in known if k.startswith(prefix) and "." not in k[len(prefix) :]]
    where = f"{group} has" if prefix else "there are"
    return f"{key} is not a key{suggestion(key, known)}; {where}: " + " ".join(siblings)


def _missing(cfg: Any) -> set[str]:
    return {str(k) for k in OmegaConf.missing_keys(cfg)}


def check(c: Config) -> None:
    """Refuse values outside their ranges, naming the key as typed.

    Raises:
        UserError: One line: what was given, what is allowed.
    """

    def need(ok: bool, key: str, given: Any, allowed: str) -> None:
        if not ok:
            raise UserError(f"{key}={given} is not allowed: {allowed}")

    image, degrade, dip, stopping = c.image, c.degrade, c.dip, c.stopping
    size_ok = image.size == "auto" or (_is_int(image.size) and image.size >= 8)
    need(size_ok, "image.size", image.size, "auto (the prior's) or a number of pixels from 8")
    need(image.box is None or len(image.box) == 4, "image.box", image.box, "[left,top,right,bottom]")
    if degrade.kind.value == "gaussian":
        known = degrade.sigma is not None and 0 < degrade.sigma <= 255
        need(known, "degrade.sigma", degrade.sigma, "above 0, to 255 (0-255 scale)")
    else:
        need(degrade.sigma is None or 0 < degrade.sigma <= 255, "degrade.sigma", degrade.sigma,
             "above 0, to 255 (0-255 scale), or null to estimate it")  # fmt: skip
    need(dip.layers >= 0, "dip.layers", dip.layers, "0 or more hidden layers")
    need(dip.channels >= 1, "dip.channels", dip.channels, "1 or more")
    odd = dip.kernel_size >= 1 and dip.kernel_size % 2 == 1
    need(odd, "dip.kernel_size", dip.kernel_size, "an odd number, such as 3 or 5")
    need(dip.lr > 0, "dip.lr", dip.lr, "above 0")
    for name in ("max_epochs", "steps_per_epoch", "checkpoint_every"):
        need(getattr(dip, name) >= 1, f"dip.{name}", getattr(dip, name), "1 or more")
    need(dip.input_noise >= 0, "dip.input_noise", dip.input_noise, "0 or more (picture units)")
    need(0 <= dip.ema < 1, "dip.ema", dip.ema, "from 0 (off) to below 1")
    need(stopping.threshold is None or stopping.threshold > 0, "stopping.threshold",
         stopping.threshold, "a mean squared error above 0, or null")  # fmt: skip
    need(stopping.patience is None or stopping.patience >= 1, "stopping.patience",
         stopping.patience, "1 epoch or more")  # fmt: skip
    need(c.threads is None or c.threads >= 1, "threads", c.threads, "1 or more, or null")
    need(c.panel_every >= 1, "panel_every", c.panel_every, "1 epoch or more")
    _check_checkpoint(c)
    _check_window(c.ddpm, need)


def _check_checkpoint(c: Config) -> None:
    given, every = c.checkpoint, c.dip.checkpoint_every
    allowed = "stop, last, oracle, an epoch, or the path of a kept epoch (*.safetensors)"
    if isinstance(given, str):
        if given not in CHECKPOINTS and not given.endswith(".safetensors"):
            near = suggestion(given, CHECKPOINTS)
            raise UserError(f"checkpoint={given} is not allowed: {allowed}{near}")
    elif not _is_int(given):
        raise UserError(f"checkpoint={given} is not allowed: {allowed}")
    elif given < 1 or given % every:
        below, above = given // every * every, (given // every + 1) * every
        near = f"{below} or {above}" if below >= every else f"{every}"
        raise UserError(
            f"checkpoint={given} is not a kept epoch: every {every}th epoch is kept "
            f"(dip.checkpoint_every); type checkpoint={near}"
        )


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_window(d: DdpmConfig, need: Any) -> None:
    start_ok = d.start_t == "auto" or (_is_int(d.start_t) and 1 <= d.start_t <= T)
    need(start_ok, "ddpm.start_t", d.start_t, f"auto or a level from 1 to {T}")
    need(0 <= d.end_t < T, "ddpm.end_t", d.end_t, f"a level from 0 to {T - 1}, below ddpm.start_t")
    if isinstance(d.start_t, int):
        below = f"a level below ddpm.start_t={d.start_t}, from 0 to {d.start_t - 1}"
        need(d.end_t < d.start_t, "ddpm.end_t", d.end_t, below)
        span = d.start_t - d.end_t
        need(d.steps is None or d.steps <= span, "ddpm.steps", d.steps,
             f"from 1 to {span}, the levels between ddpm.start_t and ddpm.end_t")  # fmt: skip
    need(d.steps is None or d.steps >= 1, "ddpm.steps", d.steps, "1 or more, or null")
    need(d.samples >= 1, "ddpm.samples", d.samples, "1 or more")
    need(d.snapshot_every >= 1, "ddpm.snapshot_every", d.snapshot_every, "1 level or more")
    need(d.error_sigma is None or d.error_sigma > 0, "ddpm.error_sigma", d.error_sigma,
         "above 0 (0-255 scale)")  # fmt: skip


def register() -> None:
    """Make the schema and the folder-name resolver known to Hydra."""
    from dipddpm.jobs import job_slug

    ConfigStore.instance().store(name="schema", node=Config)
    OmegaConf.register_new_resolver("job_slug", job_slug, replace=True)
