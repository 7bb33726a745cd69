"""The typed configuration: dataclasses that validate the YAML values of ``conf/``. Imports no torch.

Values and their reasons stand in ``conf/``; here stand names, types, choices and the checks that need no
picture and no weights. Unknown keys are refused however they are typed: a structured config in the
defaults list catches ``dip.lyers=3``, and `typed` catches ``+dip.lyers=3`` and ``++dip.lyers=3``, which
switch that off.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dipddpm.checks import check
from dipddpm.errors import UserError, suggestion

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
    return _settled(config)


def _settled(config: Any) -> Any:
    """Return a configuration, typed or not yet, in which a mask has taken the place of a share of missing pixels."""
    if config.degrade.mask:
        config.degrade.missing = None
    return config


def plain(config: Any) -> Any:
    """Return dataclasses as builtins (enums as their names), for printing, hashing and saving."""
    return OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)


def completed(stored: Any) -> dict[str, Any]:
    """Return a configuration of an older run, as builtins, with the keys that came since at their defaults.

    Raises:
        ValueError: For what is no configuration, or has a key that there is not any more.
    """
    try:
        return plain(_settled(OmegaConf.merge(OmegaConf.structured(Config), stored)))
    except (OmegaConfBaseException, AttributeError, TypeError) as error:
        raise ValueError(one_line(error)) from error


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


def unknown_key(key: str, schema: type = Config) -> str:
    """Return the one line that refuses a key which the schema does not have."""
    known = known_keys(schema)
    group = key.rpartition(".")[0]
    prefix = f"{group}." if group in known else ""
    siblings = [k for k in known if k.startswith(prefix) and "." not in k[len(prefix) :]]
    where = f"{group} has" if prefix else "there are"
    return f"{key} is not a key{suggestion(key, known)}; {where}: " + " ".join(siblings)


def _missing(cfg: Any) -> set[str]:
    return {str(k) for k in OmegaConf.missing_keys(cfg)}


def register() -> None:
    """Make the schema and the folder-name resolver known to Hydra."""
    from dipddpm.jobs import job_slug

    ConfigStore.instance().store(name="schema", node=Config)
    OmegaConf.register_new_resolver("job_slug", job_slug, replace=True)
