"""Values that a job did not type, from its composed configuration: ``.hydra/config.yaml``, there from its start."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from dipddpm.study.order import is_number

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is ten times faster, where it was built


def composed(folder: Path, typed: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return what a job's configuration says of keys, where it says a scalar.

    Args:
        folder: Of the job.
        typed: The keys, each with the values that other jobs typed: a number is told as they did (1e-5, not 1e-05).
    """
    try:
        config = yaml.load((folder / ".hydra" / "config.yaml").read_text(encoding="utf-8"), LOADER)
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    found = {key: _scalar(config, key) for key in typed}
    if _scalar(config, "operator.file") not in (None, "null") and "operator.missing" in found:
        found["operator.missing"] = "null"  # whose place it takes (dipddpm/config/compose.py)
    return {key: _as_typed(text, typed[key]) for key, text in found.items() if text is not None}


def _scalar(config: Any, key: str) -> str | None:
    """Return the value at a dotted key as YAML writes it; None where there is none or it is no scalar."""
    for name in key.split("."):
        if not isinstance(config, Mapping) or name not in config:
            return None
        config = config[name]
    if config is None or isinstance(config, bool):
        return {None: "null", True: "true", False: "false"}[config]
    return str(config) if isinstance(config, str | int | float) else None


def _as_typed(text: str, typed: Collection[str]) -> str:
    if text in typed or not is_number(text):
        return text
    return next((other for other in typed if is_number(other) and float(other) == float(text)), text)
