"""Run one fit with a Lightning Trainer. A kept fit is continued."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, Checkpoint, ProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins.environments import LightningEnvironment

from dipddpm import environment
from dipddpm.dip import networks, tracking
from dipddpm.dip.alone import alone
from dipddpm.dip.callbacks import Bar, Events, Recorder, WholeFile
from dipddpm.dip.keeping import Keeper
from dipddpm.dip.module import DeepImagePrior
from dipddpm.dip.stopping import Rule
from dipddpm.errors import suggestion
from dipddpm.files import utf8_path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunSettings:
    """The device and the display of a fit.

    Attributes:
        device: A torch device, such as ``cpu`` or ``cuda:1``.
        events: Folder of TensorBoard's events; None writes none.
        panel_every: Epochs between pictures in TensorBoard.
        progress: Whether a progress bar is shown.
        trainer: Further options of Lightning's Trainer, such as ``callbacks``, ``logger`` and ``gradient_clip_val``.
    """

    device: str = "cpu"
    events: Path | None = None
    panel_every: int = 100
    progress: bool = False
    trainer: Mapping[str, Any] = field(default_factory=dict)


# Options of the Trainer that arguments of a fit set, with these arguments.
SET = {"accelerator": "device", "devices": "device", "max_epochs": "settings.max_epochs",
       "enable_progress_bar": "progress", "precision": "settings.precision", "enable_checkpointing": "callbacks",
       "plugins": "callbacks"}  # fmt: skip


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
        if name not in trainers:
            hint = suggestion(name, [*known, *trainers])
            raise TypeError(f"{name} is neither an argument of the fit nor an option of Lightning's Trainer{hint}")
        if name in SET:
            raise TypeError(f"{name} cannot be given: give {SET[name]}")


@alone()
def run(module: DeepImagePrior, keeper: Keeper, rule: Rule, epochs: int, settings: RunSettings | None = None) -> None:
    """Fit until the rule fires or ``epochs`` are reached. A kept fit continues from its state.

    Args:
        module: A freshly built module. To continue a fit, it needs the fit's settings, seed and content.
        keeper: The keeper of the fit.
        rule: The stopping rule: a pure function of curves.
        epochs: The largest number of epochs, those of the kept fit included.
        settings: Device and display; None: the CPU, without a display.

    Raises:
        RuntimeError: When the output is no longer finite, or one of its colour channels dies.
    """
    settings = settings or RunSettings()
    now = environment.describe(settings.device, module.settings.precision, networks.memory_format(module.net))
    before, state = keeper.before() or (None, None)
    if before:
        log.info("continuing from epoch %d of the stored fit %s", before.epochs, keeper.name)
        if changed := environment.changes(before.environments[-1], now):
            log.warning("the fit will not be bit-equal to an uninterrupted one: %s", ", ".join(changed))
    else:
        log.info("fitting %s, up to %d epochs", keeper.name, epochs)
    recorder = Recorder(keeper, rule, environment=now, before=before)
    callbacks: list[Callback] = [recorder]
    if settings.events:
        callbacks.append(Events(settings.panel_every, recorder))
    if settings.progress:
        callbacks.append(Bar())
    options = dict(settings.trainer)
    given = options.pop("callbacks", None) or []
    callbacks += given if isinstance(given, list | tuple) else [given]
    module.watched = bool(settings.trainer)
    kind, _, index = settings.device.partition(":")
    with _quiet(), utf8_path(settings.events) if settings.events else nullcontext() as events:
        logger = None
        if events:
            first = (before.epochs if before else 0) + 1  # a killed run may have logged epochs after its last commit
            logger = TensorBoardLogger(events, name="", version="", default_hp_metric=False, purge_step=first)
            logger.experiment.add_custom_scalars(tracking.LAYOUT)
        trainer = pl.Trainer(
            accelerator="gpu" if kind == "cuda" else kind,
            devices=[int(index)] if index else 1,
            max_epochs=epochs,
            callbacks=callbacks,
            enable_checkpointing=any(isinstance(one, Checkpoint) for one in callbacks),
            enable_progress_bar=any(isinstance(one, ProgressBar) for one in callbacks),
            plugins=[WholeFile(), LightningEnvironment()],  # Lightning would ask the variables of SLURM
            **{
                "logger": logger or False,
                "enable_model_summary": False,
                "log_every_n_steps": 1,
                "default_root_dir": str(settings.events) if settings.events else None,
                **options,
            },
        )
        trainer.fit(
            module,
            train_dataloaders=range(module.settings.steps_per_epoch),  # the data are the module's buffers
            ckpt_path=str(state) if state else None,
        )
        if logger:
            logger.finalize("success")


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
