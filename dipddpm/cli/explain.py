"""Parse overrides as Hydra does, and turn Hydra's errors about them into one line. Imports no torch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from dipddpm.config import compose as config
from dipddpm.config.schema import CHOICES
from dipddpm.config.typing_errors import CHOICE, kind_wanted, no_choice, one_line, refusal
from dipddpm.errors import UserError, install, suggestion, typed_as

EXTRAS = {  # the extra of pyproject.toml that a choice needs
    "hydra/launcher=joblib": "joblib",
    "hydra/launcher=submitit_local": "submitit",
    "hydra/launcher=submitit_slurm": "submitit",
    "hydra/launcher=ray": "ray",
    "hydra/sweeper=optuna": "optuna",
}
SPACE = "hydra.sweeper.params"
FILES = {  # what to type for a file in place of a group's choice
    "image": "image.path={0} for a clean picture, image=noisy image.path={0} for a noisy one, or image=folder "
    "image.path={0} for a folder",
    "operator": "operator=mask operator.file={0}",
    "prior": "prior.path={0}",
}
GROUPS = ("image", "noise", "operator", "dip", "stopping", "prior", "ddpm")  # each needs the name of a choice


@contextmanager
def explained(overrides: Sequence[str], schema: type = config.Config) -> Iterator[None]:
    """Turn the exceptions of Hydra and omegaconf about overrides of the keys of ``schema`` into a `UserError`."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_line(error, overrides, schema)) from error


def parse(overrides: Sequence[str]) -> list[Override]:
    """Return overrides as Hydra reads them, while it is initialized."""
    loader = GlobalHydra.instance().config_loader()  # the parser needs it to expand glob(*)
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    for o in parsed:
        value = o.value()
        if not o.key_or_group:
            raise UserError(f"{o.input_line} cannot be read: type key=value")
        if isinstance(value, RangeSweep) and not value.step:
            raise UserError(f"{o.input_line} never ends: type a step above 0, such as range(1,9,2)")
        if o.key_or_group.startswith(SPACE):  # Hydra's answer would be a failed assertion
            raise UserError(
                f"{o.input_line} is not allowed: type the swept keys themselves, such as seed=1,2, or write {SPACE} "
                "into a file of conf/experiment"
            )
        if o.key_or_group in GROUPS and not o.is_delete() and not all(isinstance(one, str) for one in _values(o)):
            raise UserError(f"{o.input_line} names no choice: type {o.key_or_group}=<name>; --help shows the names")
        group, _, key = o.key_or_group.partition(".")
        if key == "kind" and group in CHOICES:
            value = str(o.input_line).partition("=")[2].replace("clean", "file")
            raise UserError(f"{o.input_line} is not allowed: the choice of {group} sets it; type {group}={value}")
    return parsed


def _values(override: Override) -> list[Any]:
    """Return the value of an override, or the values that a sweep takes in turn."""
    if override.is_interval_sweep() or override.is_range_sweep():
        return [override.value()]
    return list(override.sweep_iterator()) if override.is_sweep_override() else [override.value()]


def _line(error: Exception, overrides: Sequence[str], schema: type) -> str:
    """Return one line for an error that Hydra or omegaconf describes in several."""
    text = str(error)
    cause = error.__cause__ or error.__context__
    if found := re.search(r"Could not override '([^']+)'", text):
        if found[1].startswith("hydra."):
            return f"{found[1]} is not a key of Hydra: to see its keys, type {typed_as('sample.py')} --cfg hydra"
        return config.unknown_key(found[1], schema, overrides)
    if found := re.search(r"Could not find '([^']+)'", text):
        group, choice = _typed_choice(found[1], overrides)
        if extra := EXTRAS.get(f"{group}={choice}"):
            return f"{group}={choice} is not installed: type {install(extra)}"
        options = re.search(r"Available options in '[^']*':\s*((?:\n?\s*\S+)*?)\nConfig search path", text)
        names = options[1].split() if options else []
        if group in FILES and ("/" in choice or "." in choice or Path(choice).exists()):
            return _file(group, choice)
        near = suggestion(choice, names)
        own = f"; for your own type {FILES[group].format(choice)}" if group in ("image", "prior") and not near else ""
        return f"{group}={choice} is not a choice{near}; {group} is one of: {' '.join(names)}{own}"
    added = re.search(
        r"Multiple values for (\S+)\. To override|force-add of config groups .*'\+\+([^=]+)=|already at '([^']+)'", text
    )
    if added and (key := added[1] or added[2] or added[3]):
        given = next((o for o in overrides if o.lstrip("+").startswith(f"{key}=")), f"+{key}=<choice>")
        return f"{given} is not allowed, because {key} needs no +: type {given.lstrip('+')}"
    if found := re.search(r"Sweeping over Hydra's configuration.*'([^']+)'", text):
        return f"{found[1]} is not allowed: a sweep takes one value for each of Hydra's keys; type one value"
    if found := re.search(r"Error merging override (\S+)", text):
        reason = one_line(cause) if isinstance(cause, OmegaConfBaseException) else str(cause)
        if choice := CHOICE.search(reason):
            return no_choice(found[1], choice)
        reason = " ".join(reason.split()).removeprefix(f"{found[1].partition('=')[0]}: ")
        one_value = not found[1].partition("=")[2].startswith(("[", "{"))
        return f"{found[1]} is not allowed: {one_value and kind_wanted(reason) or reason}"
    if isinstance(error, OverrideParseException):
        key, equals, value = error.override.partition("=")
        if key in FILES and equals:
            return _file(key, value)
        if not equals and schema is config.Config and Path(key).exists():
            return f"{key} cannot be read: type {_to_type('image', key)}"
        value = "choice" if key in GROUPS else "value"
        kind = f"{key}=<{value}>" if key in config.known_keys(schema) else "key=value"
        return f"{error.override} cannot be read: type {kind}"
    if isinstance(error, OmegaConfBaseException):
        return refusal(error)
    given = f"{' '.join(overrides)}: " * bool(overrides)
    return given + " ".join(line.strip() for line in text.splitlines()[:2])


def _typed_choice(config: str, overrides: Sequence[str]) -> tuple[str, str]:
    """Return the group and the choice, as typed, of a configuration file that Hydra does not find."""
    for group, _, choices in (o.lstrip("+").partition("=") for o in overrides):
        for choice in (choices, *choices.split(",")):
            if config == f"{group}/{choice}":
                return group, choice
    group, _, choice = config.rpartition("/")
    return group, choice


def _file(group: str, path: str) -> str:
    if group == "prior" and re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", path) and not Path(path).is_dir():
        return f"prior={path} names no choice: type prior=celebahq256 prior.repo={path} prior.revision=main"
    kind = "folder" if _is_folder(path) else "file"
    return f"{group}={path} names a {kind}, and {group} is a choice: type {_to_type(group, path)}"


def _to_type(group: str, path: str) -> str:
    """Return what to type for a file or folder in place of a group's choice."""
    return f"image=folder image.path={path}" if group == "image" and _is_folder(path) else FILES[group].format(path)


def _is_folder(path: str) -> bool:
    return Path(os.path.expanduser(path)).is_dir()
