"""Make or extend one fit with a Lightning Trainer, and choose the epoch that a sampler starts from."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger

from dipddpm import environment
from dipddpm.dip import stopping, tracking
from dipddpm.dip.curves import Curves, best_kept, crossing, peak
from dipddpm.dip.module import DeepImagePrior
from dipddpm.dip.stopping import Stop
from dipddpm.fits import Fit
from dipddpm.fits.callbacks import Bar, Pictures, Trajectory, WholeFile

log = logging.getLogger(__name__)
Rule = Callable[[Curves], Stop | None]


@dataclass(frozen=True)
class Choice:
    """The epoch to start from.

    Attributes:
        epoch: A kept one.
        why: A rule's name, ``max_epochs``, ``last``, ``oracle`` or ``given``.
        stop: What the rule said.
        needed: Epochs that had to be run to know; the fit's cost is counted over these.
    """

    epoch: int
    why: str
    stop: Stop | None
    needed: int


@dataclass(frozen=True)
class Start:
    """The picture that a window starts from: a DIP output, or y where no DIP is asked for.

    Attributes:
        picture: Shape (1, 3, H, W); a DIP output clipped to [0, 1], y as it is.
        source: What it is, for people: ``epoch 610 (loss_floor)`` or a file's name.
        fit: The stored fit, None for a picture from a file and for y.
        choice: Which of its epochs.
        made: Whether this run had to fit or extend.
        has_dip: Whether it is a DIP output.
    """

    picture: torch.Tensor
    source: str
    fit: Fit | None = None
    choice: Choice | None = None
    made: bool = False
    has_dip: bool = True

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of the fit up to where its answer was known; 0 where there is none.

        The fit's seconds in proportion to those of its steps, which may have been made under different loads: so
        another epoch's share does not change when the fit is extended.
        """
        if self.fit is None or self.choice is None:
            return 0.0
        steps = self.fit.curves.column("seconds")
        return self.fit.seconds * float(steps[: self.choice.needed].sum() / steps.sum())


def choose(
    fit: Fit, checkpoint: int | str, *, rule: Rule, rule_name: str, max_epochs: int, every: int
) -> Choice | None:
    """Return the kept epoch that ``checkpoint`` means, or None while the fit is too short to tell.

    The answer depends on the curves up to where the rule fires (or ``max_epochs``) alone, not on how far the
    stored fit goes, nor on where earlier runs ended: only every ``every``th epoch is looked at.

    Args:
        fit: Verified.
        checkpoint: A kept epoch, ``stop``, ``last`` or ``oracle``.
        rule: Pure function of curves.
        rule_name: For the answer.
        max_epochs: Where a fit ends whose rule does not fire; at least ``every``.
        every: Epochs between kept ones. A rule that fires before the first means the first.

    Raises:
        ValueError: For ``oracle`` without a clean picture.
    """
    if isinstance(checkpoint, int):
        stop = rule(fit.curves.head(min(checkpoint, max_epochs)))
        return Choice(checkpoint, "given", stop, checkpoint) if checkpoint in fit.kept else None
    stop = rule(fit.curves.head(max_epochs))
    end = max(every, stop.fired_at if stop else max_epochs)
    if fit.epochs < end:
        return None
    kept = {e: fit.kept[e] for e in range(every, end + 1, every)}
    if checkpoint == "oracle":
        best = best_kept(kept)
        if best is None:
            raise ValueError("checkpoint: oracle needs a fit that knew its clean picture")
        return Choice(best[0], "oracle", stop, end)
    if checkpoint == "stop" and stop is not None:
        return Choice(max((e for e in kept if e <= stop.epoch), default=every), rule_name, stop, end)
    return Choice(max(kept), "last" if checkpoint == "last" else "max_epochs", stop, end)


def summarise(curves: Curves, *, threshold: float, patience: int) -> dict[str, Any]:
    """Return the epochs of the peak, of the crossing and of every rule, None where there is none.

    Args:
        curves: Of a fit.
        threshold: For ``loss_floor``, mean squared error.
        patience: For ``wmv`` and ``emv``, epochs.
    """
    stops = {
        "loss_floor": stopping.loss_floor(curves, threshold=threshold),
        f"wmv_{patience}": stopping.wmv(curves, patience=patience),
        f"emv_{patience}": stopping.emv(curves, patience=patience),
    }
    return {
        "epochs": len(curves),
        "peak": peak(curves),
        "crossing": crossing(curves),
        **{name: stop.epoch if stop else None for name, stop in stops.items()},
    }


def run(
    module: DeepImagePrior,
    folder: Path,
    key: str,
    before: Fit | None,
    *,
    rule: Rule,
    epochs: int,
    steps_per_epoch: int,
    checkpoint_every: int,
    panel_every: int,
    device: str,
) -> None:
    """Fit up to ``epochs`` or until the rule fires, from the stored state where there is one.

    Args:
        module: Freshly built from the fit's request.
        folder: Of the fit in the store.
        key: Its name.
        before: The fit so far, or None.
        rule: Pure function of curves.
        epochs: Length that the trajectory may reach.
        steps_per_epoch: Optimiser steps an epoch.
        checkpoint_every: Epochs between kept ones.
        panel_every: Epochs between picture grids.
        device: A torch device.
    """
    now = environment.describe(device, module.precision, module.net.memory_format)
    if before:
        log.info("going on from epoch %d of the stored fit %s", before.epochs, key)
        if changed := environment.changes(before.environments[-1], now):
            log.warning("not bit-equal to an uninterrupted fit: %s", ", ".join(changed))
    else:
        log.info("fitting %s, up to %d epochs", key, epochs)
    logger = TensorBoardLogger(
        str(folder),
        name="",
        version="",
        default_hp_metric=False,
        purge_step=(before.epochs if before else 0) + 1,  # what a killed run logged beyond its last commit
    )
    tracking.log_layout(logger.experiment)
    trajectory = Trajectory(folder, key, rule=rule, every=checkpoint_every, environment=now, before=before)
    kind, _, index = device.partition(":")
    with _quiet():
        trainer = pl.Trainer(
            accelerator="gpu" if kind == "cuda" else kind,
            devices=[int(index)] if index else 1,
            max_epochs=epochs,
            logger=logger,
            callbacks=[trajectory, Pictures(panel_every, trajectory), Bar()],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=1,
            default_root_dir=str(folder),
            plugins=[WholeFile()],
        )
        trainer.fit(
            module,
            train_dataloaders=range(steps_per_epoch),  # the data are the module's buffers
            ckpt_path=str(before.state) if before else None,
        )
    logger.experiment.flush()
    logger.finalize("success")


class _quiet:
    """Keep Lightning from talking about loaders and accelerators that a one-picture fit does not have."""

    def __enter__(self) -> None:
        self._log = logging.getLogger("pytorch_lightning")
        self._level = self._log.level
        self._log.setLevel(logging.WARNING)
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.filterwarnings("ignore", module="pytorch_lightning")

    def __exit__(self, *exc: Any) -> None:
        self._warnings.__exit__(*exc)
        self._log.setLevel(self._level)
