"""Run a fit, or a stack of fits, with one Lightning Trainer. Kept fits are continued."""

from __future__ import annotations

import inspect
import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.plugins.environments import LightningEnvironment

from dipddpm import environment
from dipddpm.dip import networks, tracking, writing
from dipddpm.dip.alone import alone
from dipddpm.dip.callbacks import Bar, KeepEpochs, Member, StopByRule, WholeFile
from dipddpm.dip.curves import best_kept
from dipddpm.dip.keeping import Keeper
from dipddpm.dip.kept import Kept
from dipddpm.dip.module import DeepImagePrior
from dipddpm.dip.settings import DipSettings
from dipddpm.dip.stopping import Rule
from dipddpm.errors import suggestion

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunSettings:
    """The device and the display of a fit.

    Attributes:
        device: A torch device, such as ``cpu`` or ``cuda:1``.
        panel_every: Epochs between pictures in TensorBoard.
        progress: Whether a progress bar is shown.
        trainer: Further options of Lightning's Trainer, such as ``callbacks``, ``logger`` and ``gradient_clip_val``.
    """

    device: str = "cpu"
    panel_every: int = 100
    progress: bool = False
    trainer: Mapping[str, Any] = field(default_factory=dict)


# Options of the Trainer that an argument of the fit sets: the option, and the argument.
SET = {"accelerator": "device", "devices": "device", "max_epochs": "settings.max_epochs",
       "enable_progress_bar": "progress", "precision": "settings.precision", "enable_checkpointing": "callbacks",
       "plugins": "callbacks", "min_epochs": "stopping", "min_steps": "stopping"}  # fmt: skip


def check_options(options: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse options that Lightning's Trainer does not have, or that another argument sets.

    Args:
        options: Options by name.
        known: The names of the caller's other arguments, for suggestions.

    Raises:
        TypeError: With the name of the first such option.
    """
    trainers = set(inspect.signature(pl.Trainer).parameters)
    for name in options:
        if name in DipSettings.__dataclass_fields__ and name not in SET:
            raise TypeError(f"{name} cannot be given: give settings.{name}")
        if name not in trainers:
            hint = suggestion(name, [*known, *trainers])
            raise TypeError(f"{name} is neither an argument of the fit nor an option of Lightning's Trainer{hint}")
        if name in SET:
            raise TypeError(f"{name} cannot be given: give {SET[name]}")


@alone()
def run(
    module: DeepImagePrior,
    keepers: Sequence[Keeper],
    rules: Sequence[Rule],
    epochs: int,
    settings: RunSettings | None = None,
) -> None:
    """Fit one picture until its rule fires, or several until half of the rules have fired, up to ``epochs`` epochs.

    Kept fits continue from their state.

    Args:
        module: A freshly built module. To continue a fit, it needs the fit's settings, seed and content.
        keepers: The keeper of each picture's fit. Fits that are continued together have the same number of epochs.
        rules: The stopping rule of each picture: a pure function of curves.
        epochs: The largest number of epochs, those of the kept fits included.
        settings: Device and display; None: the CPU, without a display.

    Raises:
        RuntimeError: When an output is no longer finite, or one of its colour channels dies.
    """
    settings = settings or RunSettings()
    now = environment.describe(settings.device, module.settings.precision, networks.memory_format(module.net))
    if len(keepers) > 1:
        now |= {"batch": len(keepers)}
    found = [keeper.before() or (None, None) for keeper in keepers]
    members = [
        Member(keeper, rule, now, before) for keeper, rule, (before, _) in zip(keepers, rules, found, strict=True)
    ]
    states = [state for _, state in found if state is not None]
    _say(members, epochs, now)
    module.last_epoch, module.watched = epochs, bool(settings.trainer)
    if len(states) > 1:
        module.states = [torch.load(state, map_location="cpu", weights_only=True) for state in states]
    options = dict(settings.trainer)
    module.clipping = options.pop("gradient_clip_val", None), options.pop("gradient_clip_algorithm", None)
    given = options.pop("callbacks", None) or []
    callbacks = [*([Bar()] if settings.progress else []), *(given if isinstance(given, list | tuple) else [given])]
    kind, _, index = settings.device.partition(":")
    with _quiet(), environment.arithmetic(module.settings.precision), ExitStack() as stack:
        stack.enter_context(torch.autocast(kind, enabled=False))  # of the caller: the settings name the precision
        makers = _parts(module, members, settings.panel_every)
        beside = kind == "cuda" and hasattr(os, "fork") and all(member.keeper.folder for member in members)
        like = Kept(module.noisy, module.weights())
        writer = stack.enter_context(writing.opened(makers, like, beside=beside))
        callbacks = [StopByRule(members), *callbacks, KeepEpochs(members, writer)]
        trainer = pl.Trainer(
            accelerator="gpu" if kind == "cuda" else kind,
            devices=[int(index)] if index else 1,
            max_epochs=-1,  # Lightning's epochs are blocks; `StopByRule` ends the last one
            callbacks=callbacks,
            enable_progress_bar=any(isinstance(one, ProgressBar) for one in callbacks),
            plugins=[WholeFile(), LightningEnvironment()],  # Lightning would ask the variables of SLURM
            **{
                "logger": False,
                "enable_model_summary": False,
                "log_every_n_steps": 1,
                "default_root_dir": None,
                **options,
            },
        )
        trainer.fit(
            module,
            train_dataloaders=range(1),  # the data are the module's buffers
            ckpt_path=str(states[0]) if states else None,
        )


def _say(members: Sequence[Member], epochs: int, now: Mapping[str, Any]) -> None:
    """Log which fits begin or go on, and warn of those that will not be bit-equal."""
    for member in members:
        if before := member.before:
            log.info("continuing from epoch %d of the stored fit %s", before.epochs, member.keeper.name)
            if changed := environment.changes(before.environments[-1], now):
                log.warning("the fit will not be bit-equal to an uninterrupted one: %s", ", ".join(changed))
        else:
            log.info("fitting %s, up to %d epochs", member.keeper.name, epochs)


def _parts(module: DeepImagePrior, members: Sequence[Member], every: int) -> list[writing.Maker]:
    """Return what is written for each fit: kept epochs, and if it has a folder TensorBoard's events."""
    y = module.operator.show(module.y, module.noisy).cpu()  # a forked process cannot use a GPU
    makers: list[writing.Maker] = []
    charts: list[writing.Maker] = []
    for i, member in enumerate(members):
        keeper, epochs = member.keeper, len(member.curves)
        makers.append((i, partial(writing.Epochs, keeper)))
        if keeper.folder is None:
            continue
        fixed = {"noisy": y[i : i + 1], "z": module.z[i : i + 1]}
        if module.clean is not None:
            fixed["clean"] = module.clean[i : i + 1].cpu()
        sparse = len(members) > tracking.FEW
        best = best_kept(member.kept)
        charts.append((i, partial(tracking.Charts, keeper, every, fixed, epochs, best, sparse=sparse)))
    return makers + charts  # processes take turns: each gets a share of both


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's hints about data loaders and accelerators, which do not apply to a one-picture fit."""
    lightning = logging.getLogger("pytorch_lightning")
    level = lightning.level
    lightning.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning")
            yield
    finally:
        lightning.setLevel(level)
