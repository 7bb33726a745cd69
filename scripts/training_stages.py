"""How a prior's weights came about: a stage for each training, in words and as the command that repeats it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from scripts.train_prior_config import RECORD

DEFAULTS = Path(__file__).parents[1] / "conf" / "train_prior.yaml"
UNTOLD = ("data", "out", "init_from", "checkpoint_minutes", "eval_pictures", "threads", "precision")
Stage = dict[str, Any]


def read(folder: Path, hardware: str) -> Stage:
    """Return the stage that a training folder records.

    Args:
        folder: ``out`` of train_prior.py.
        hardware: That it ran on, in words.

    Returns:
        pictures, seconds, precision, hardware, and the settings that tell stages apart; JSON types.
    """
    stage = json.loads((folder / RECORD).read_text())
    settings = {key: value for key, value in stage["settings"].items() if key not in UNTOLD}
    return stage | {"seconds": round(stage["seconds"]), "hardware": hardware, "settings": settings}


def table(stages: Sequence[Stage]) -> str:
    """Return the stages as a Markdown table, with their sum."""
    if not stages:
        return "How these weights were trained was not recorded."
    lines = [
        "| stage | pictures | seconds | on | optimiser, rate, batch | loss | levels |",
        "|---|---:|---:|---|---|---|---|",
    ]
    for i, stage in enumerate(stages, 1):
        s = stage["settings"]
        optimizer = f"{s['optimizer']}, {s['lr']:g}, {s['batch_size']}"
        on = f"{stage['hardware']}, {stage['precision']}"
        amount = f"{stage['pictures']:,} | {stage['seconds']:,.0f}"
        lines.append(f"| {i} | {amount} | {on} | {optimizer} | {s['loss']} | {levels(s)} |")
    pictures, seconds = (sum(stage[key] for stage in stages) for key in ("pictures", "seconds"))
    lines.append(f"| all | {pictures:,} | {seconds:,.0f} | | | | |")
    return "\n".join(lines)


def levels(settings: Mapping[str, Any]) -> str:
    """Return in words how levels were drawn (`scripts.training_levels`)."""
    share, p = settings["lognormal_share"], settings["level_power"]
    power = "uniform" if p == 1 else f"T u^{p:g}"
    if not share:
        return power
    normal = f"{share:.0%} log-normal ({settings['lognormal_mean']:g}, {settings['lognormal_std']:g})"
    return normal if share == 1 else f"{normal}, others {power}"


def commands(stages: Sequence[Stage]) -> list[str]:
    """Return the commands that train stage by stage: what differs from today's defaults."""
    return [_command(stage, number) for number, stage in enumerate(stages, 1)]


def _command(stage: Stage, number: int) -> str:
    defaults = _flat(OmegaConf.to_container(OmegaConf.load(DEFAULTS)))
    given = _flat({"pictures": stage["pictures"], **stage["settings"]})
    words = ["python scripts/train_prior.py data=../shared/data", f"out=outputs/prior/stage{number}"]
    if number > 1:
        words.append(f"init_from=outputs/prior/stage{number - 1}")
    words += [f"{key}={value}" for key, value in given.items() if value != defaults[key]]
    stopped = f"  # stopped at {stage['pictures']}" if stage["pictures"] < given["pictures"] else ""
    return " ".join(words) + stopped


def _flat(settings: Any) -> dict[str, Any]:
    """Return nested settings by the keys that are typed."""
    flat = {key: value for key, value in settings.items() if not isinstance(value, dict)}
    for group in settings.keys() - flat.keys():
        flat |= {f"{group}.{key}": str(value).replace(" ", "") for key, value in settings[group].items()}
    return flat
