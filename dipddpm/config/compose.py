"""Turn the configuration that Hydra composed into checked dataclasses. Imports no torch.

Unknown keys are refused in every spelling. Hydra refuses ``dip.lyers=3`` by the schema in the defaults list. ``+`` and
``++`` before a key switch that check off, so `typed` refuses ``+dip.lyers=3`` and ``++dip.lyers=3``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dipddpm.config.folder_names import job_slug, swept_keys
from dipddpm.config.ranges import check
from dipddpm.config.schema import CHOICES, Composed, Config
from dipddpm.config.typing_errors import one_line, refusal
from dipddpm.errors import UserError, suggestion
from dipddpm.names import KERNELS


def typed(cfg: DictConfig) -> Config:
    """Return the composed configuration as checked dataclasses.

    Args:
        cfg: The configuration that Hydra composed. Its node ``hydra`` is ignored.

    Raises:
        UserError: For an unknown key, a wrong type, a missing value, or a value outside its range.
    """
    values = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=False)
    assert isinstance(values, dict)
    values.pop("hydra", None)
    _refuse_unknown(values)
    try:
        merged = _merged(values)
        for key in sorted(map(str, OmegaConf.missing_keys(merged))):
            raise UserError(f"{key} has no value: type {key}=<value>")
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise UserError(refusal(error)) from error
    assert isinstance(config, Config)
    check(config)
    return config


def _merged(values: Any) -> DictConfig:
    """Return the values as a typed node of omegaconf, with the dataclass of the choice for each group."""
    _refuse_nested(values)
    typed = OmegaConf.structured(Config)
    for group, choices in CHOICES.items():
        node = values.get(group)
        kind = node.get("kind") if isinstance(node, Mapping) else None
        if kind is None:
            raise UserError(f"{group} has no value: type {group}=<choice>")
        if kind not in choices:
            raise UserError(f"{group}.kind={kind} is not allowed: one of {', '.join(choices)}")
        for name in node:
            if name not in get_type_hints(choices[kind]):
                raise UserError(unknown_key(f"{group}.{name}"))
        typed[group] = OmegaConf.structured(choices[kind])
    merged = OmegaConf.merge(typed, values)
    assert isinstance(merged, DictConfig)
    if merged.operator.get("file"):  # a drawn mask replaces the random one
        merged.operator.missing = None
    if kernel := merged.operator.get("kernel"):
        for name in {name for keys in KERNELS.values() for name in keys} - {*KERNELS.get(kernel, ())}:
            merged.operator[name] = None
    return merged


def _refuse_nested(values: Mapping[str, Any]) -> None:
    """Refuse lists within lists, and keys within values: with YAML's aliases a few lines of them fill the memory."""
    for name, node in values.items():
        for key, value in node.items() if isinstance(node, Mapping) else [(None, node)]:
            within = value if isinstance(value, list) else [value] if key else []
            if any(isinstance(one, list | Mapping) for one in within):
                raise UserError(f"{name}{f'.{key}' * bool(key)} nests a list or keys: type one value")


def plain(config: object) -> dict[str, Any]:
    """Return a dataclass as builtins, for printing, hashing and saving. Enums become their names."""
    values: Any = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
    return values


def read_back(stored: Any) -> dict[str, Any]:
    """Return the config.yaml of an older run as builtins. Newer keys get their defaults.

    Raises:
        ValueError: When the value is no configuration, or has a key that does not exist any more.
    """
    try:
        return plain(_merged(stored))
    except (OmegaConfBaseException, AttributeError, TypeError) as error:
        raise ValueError(one_line(error)) from error


def leaves(schema: type, prefix: str = "") -> list[tuple[str, Any]]:
    """Return the dotted name and the type of each key of a schema that is no group, the keys of all choices too."""
    return [(key, kind) for key, kind in _keys(schema, prefix) if not is_dataclass(kind)]


@functools.cache  # called for each job of a sweep
def known_keys(schema: type) -> list[str]:
    """Return the dotted names of all keys of a schema, the groups and the keys of all their choices included."""
    return [key for key, _ in _keys(schema)]


def _keys(schema: type, prefix: str = "") -> list[tuple[str, Any]]:
    keys: dict[str, Any] = {}
    hints = get_type_hints(schema)
    for f in fields(schema):
        keys[prefix + f.name] = hints[f.name]
        if is_dataclass(hints[f.name]):
            for shape in _with_subclasses(hints[f.name]):
                keys |= {key: kind for key, kind in _keys(shape, f"{prefix}{f.name}.") if key not in keys}
    return list(keys.items())


def _with_subclasses(shape: type) -> list[type]:
    return [shape, *(other for sub in shape.__subclasses__() for other in _with_subclasses(sub))]


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


def unknown_key(key: str, schema: type = Config, typed: Sequence[str] = ()) -> str:
    """Return the line that refuses a key which is not in the schema, or not in the chosen dataclass of its group.

    Args:
        key: The key as typed.
        schema: The dataclass of the configuration.
        typed: All overrides. The line takes the value of the key from them; empty where they are not known.
    """
    group, _, name = key.rpartition(".")
    given = next((o.lstrip("+") for o in typed if o.lstrip("+").startswith(f"{key}=")), f"{key}=<value>")
    if schema is Config and (choices := CHOICES.get(group)):
        if having := [kind for kind, shape in choices.items() if name in get_type_hints(shape)]:
            return f"{key} is a key of {group}={', '.join(having)} only: {_chosen(group, having, given, typed)}"
    known = known_keys(schema)
    if group in known and not (siblings := [k for k in known if k.startswith(f"{group}.")]):
        return f"{key} is not a key, because {group} holds one value: type {group}=<value>"
    prefix = f"{group}." if group in known else ""
    siblings = [k for k in known if k.startswith(prefix) and "." not in k[len(prefix) :] and k != f"{prefix}kind"]
    if same := [k for k in known if k.endswith(f".{name}")]:
        near = f" (did you mean {' or '.join(same)}?)"
    elif prefix:
        near = suggestion(name, [k.removeprefix(prefix) for k in siblings]).replace("mean ", f"mean {prefix}")
    else:
        near = suggestion(key, known)
    return f"{key} is not a key{near}; {f'{group} has' if prefix else 'there are'}: {' '.join(siblings)}"


def _chosen(group: str, having: Sequence[str], given: str, typed: Sequence[str]) -> str:
    """Return the advice to type a choice that has the key of the override ``given``."""
    if group == "noise" and "image=noisy" in typed:  # it takes noise=own, or noise=none with an operator
        if "own" in having:
            return f"type noise=own {given}"
        return f"leave {given} out, because image=noisy adds no noise"
    swept = next((o for o in typed if o.startswith(f"{group}=") and "," in o), None)
    others = f", and the other choices of {swept} in another command" if swept else ""
    return f"type {group}={having[0]} {given}{others}"


def register() -> None:
    """Register the schema and the resolvers of folder names with Hydra.

    Hydra passes the cache of a sweep's configuration to its jobs. So the jobs know the swept keys.
    """
    ConfigStore.instance().store(name="schema", node=Composed)
    OmegaConf.register_new_resolver("job_slug", job_slug, replace=True)
    OmegaConf.register_new_resolver("swept_keys", swept_keys, replace=True, use_cache=True)
