"""How a prior's weights came about: a stage for each training, in words and as the command that repeats it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from scripts.train_prior_config import DEFAULTS, RECORD, flat

UNTOLD = ("data", "out", "init_from", "checkpoint_minutes", "eval_pictures", "threads", "precision")
PRUNED = "pruned"  # in a stage: its network was, by scripts/prune.py, before what came after
Stage = dict[str, Any]


def read(folder: Path, hardware: str) -> Stage:
    """Return the stage that a training folder records.

    Args:
        folder: ``out`` of train_prior.py.
        hardware: That it ran on, in words.

    Returns:
        pictures, seconds, precision, hardware, and the settings that tell stages apart; ``before``: the same without
        hardware for each run with other settings that was gone on from; JSON types.
    """
    stage = json.loads((folder / RECORD).read_text())
    before = _distinct([_told(run) for run in stage.pop("before", [])], _told(stage))
    return _told(stage) | {"hardware": hardware, "before": before}


def after(stages: Sequence[Stage], folder: Path, hardware: str) -> list[Stage]:
    """Return the stages with that of a training folder after them; from random weights it is the first."""
    began_with = json.loads((folder / RECORD).read_text())["settings"]["init_from"]
    return [*(stages if began_with else []), read(folder, hardware)]


def _told(run: Stage) -> Stage:
    settings = {key: value for key, value in run["settings"].items() if key not in UNTOLD}
    return run | {"seconds": round(run["seconds"]), "settings": settings}


def _distinct(runs: list[Stage], last: Stage) -> list[Stage]:
    """Return the runs whose precision or settings, as far as they are told, differ from those of the next."""
    told = ("settings", "precision")
    return [a for a, b in pairwise([*runs, last]) if any(a[key] != b[key] for key in told)]


def table(stages: Sequence[Stage]) -> str:
    """Return the stages as a Markdown table, with their sum."""
    if not stages:
        return "How these weights were trained was not recorded."
    lines = [
        "| stage | pictures | seconds | on | optimiser, rate, batch | loss | levels |",
        "|---|---:|---:|---|---|---|---|",
    ]
    for i, stage in enumerate(stages, 1):
        s, runs = stage["settings"], _runs(stage)
        rates = _in_turn(f"{run['settings']['lr']:g}" for run in runs)
        sizes = _in_turn(str(run["settings"]["batch_size"]) for run in runs)
        precisions = _in_turn(run["precision"] for run in runs)
        optimizer = f"{s['optimizer']}, {rates}, {sizes}"
        on = f"{stage['hardware']}, {precisions}"
        amount = f"{stage['pictures']:,} | {stage['seconds']:,.0f}"
        lines.append(f"| {i} | {amount} | {on} | {optimizer} | {s['loss']} | {levels(s)} |")
    pictures, seconds = (sum(stage[key] for stage in stages) for key in ("pictures", "seconds"))
    lines.append(f"| all | {pictures:,} | {seconds:,.0f} | | | | |")
    return "\n".join(lines)


def _runs(stage: Stage) -> list[Stage]:
    """Return the runs of a stage in order; stages recorded before runs were have one."""
    return [*stage.get("before", []), stage]


def _in_turn(values: Iterable[str]) -> str:
    return ", then ".join(key for key, _ in groupby(values))


def levels(settings: Mapping[str, Any]) -> str:
    """Return in words how levels were drawn (`scripts.training_levels`)."""
    share, p = settings["lognormal_share"], settings["level_power"]
    power = "uniform" if p == 1 else f"T u^{p:g}"
    if not share:
        return power
    normal = f"{share:.0%} log-normal ({settings['lognormal_mean']:g}, {settings['lognormal_std']:g})"
    return normal if share == 1 else f"{normal}, others {power}"


def commands(stages: Sequence[Stage]) -> list[str]:
    """Return the commands that train stage by stage, run by run: what differs from today's defaults."""
    lines, last = [], None
    for number, stage in enumerate(stages, 1):
        out = f"outputs/prior/stage{number}"
        lines += [_command(run, out, last) for run in _runs(stage)]
        last = out
        if PRUNED in stage:
            last = f"{out}-pruned"
            lines.append(f"python scripts/prune.py {out} {last}")
    return lines


def _command(stage: Stage, out: str, init_from: str | None) -> str:
    defaults = flat(OmegaConf.to_container(OmegaConf.load(DEFAULTS)))
    given = flat({"pictures": stage["pictures"], **stage["settings"]})
    words = ["python scripts/train_prior.py data=../shared/data", f"out={out}"]
    if init_from:
        words.append(f"init_from={init_from}")
    words += [f"{key}={value}" for key, value in given.items() if value != defaults[key]]
    stopped = f"  # stopped at {stage['pictures']}" if stage["pictures"] < given["pictures"] else ""
    return " ".join(words) + stopped
