"""From what Hydra composed to checked dataclasses. Imports no torch.
 Unknown keys are refused however they are typed: a structured config in the
defaults list catches ``dip.lyers=3``, and `typed` catches ``+dip.lyers=3`` and ``++dip.lyers=3``, which
switch that off.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dipddpm.config.folder_names import job_slug
from dipddpm.config.ranges import check
from dipddpm.config.schema import Config
from dipddpm.errors import UserError, suggestion


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
    ConfigStore.instance().store(name="schema", node=Config)
    OmegaConf.register_new_resolver("job_slug", job_slug, replace=True)
