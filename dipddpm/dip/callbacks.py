"""The work at the end of each block of epochs: curves, stopping rule, kept weights and pictures, TensorBoard."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, Checkpoint, EarlyStopping
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch.utils.tensorboard import SummaryWriter

from dipddpm import progress
from dipddpm.dip import tracking
from dipddpm.dip.curves import Curves, best_kept
from dipddpm.dip.keeping import Keeper, Trajectory
from dipddpm.dip.module import DeepImagePrior
from dipddpm.dip.stopping import Rule
from dipddpm.environment import changes
from dipddpm.files import replacing
from dipddpm.metrics import quality as metrics

STATE_SHARE = 0.02  # largest share of a fit's time that commits may take


class WholeFile(TorchCheckpointIO):
    """Write a checkpoint to a temporary file in its own folder, then move it into place.

    Lightning writes to the system's temporary folder, which can be full while the store has space.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        buffer = io.BytesIO()  # torch.save to a full disk raises an error that does not name the cause
        torch.save(checkpoint, buffer)
        with replacing(Path(path)) as temporary:
            temporary.write_bytes(buffer.getbuffer())


@dataclass
class Member:
    """The fit of one picture while it runs.

    Attributes:
        keeper: The keeper of its epochs and commits.
        rule: Its stopping rule. The rule is asked at the end of each block, from the first kept epoch on.
        environment: The environment of this process.
        before: The trajectory that the fit continues, or None.
        stopped: Whether its rule has fired. Further epochs of the other fits do not change it.
    """

    keeper: Keeper
    rule: Rule
    environment: Mapping[str, Any]
    before: Trajectory | None = None
    stopped: bool = False
    curves: Curves = field(init=False)
    kept: dict[int, float | None] = field(init=False)
    committed: int = field(init=False)  # the epochs of the newest commit
    environments: list[dict[str, Any]] = field(init=False)  # of all processes that worked on the fit

    def __post_init__(self) -> None:
        self.curves = self.before.curves if self.before else Curves()
        self.kept = dict(self.before.kept) if self.before else {}
        self.committed = len(self.curves)
        self.environments = list(self.before.environments) if self.before else []
        if not self.environments or changes(self.environments[-1], self.environment):
            self.environments.append({"from_epoch": self.committed + 1, **self.environment})


class StopByRule(EarlyStopping):
    """Lightning's early stopping, by a rule over whole curves.

    The fit of one picture ends when its rule fires. Fits that run together end when half of them have stopped: all are
    kept, and those that must go on do so in a smaller stack.

    Args:
        members: The fits, in the order of the module's pictures.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        super().__init__(monitor="loss_noisy")
        self.members = members

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the rows of the block to the curves."""
        assert isinstance(pl_module, DeepImagePrior)
        for member, rows in zip(self.members, pl_module.rows, strict=True):
            for row in rows if not member.stopped else ():
                member.curves.append(**row)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, DeepImagePrior)
        epochs = pl_module.epochs
        for i, member in enumerate(self.members):
            if not member.stopped and epochs >= pl_module.settings.checkpoint_every:
                member.stopped = i in pl_module.errors or member.rule(member.curves) is not None
        going = sum(not member.stopped for member in self.members)
        if going <= len(self.members) // 2 or epochs >= pl_module.last_epoch:
            self.stopped_epoch, trainer.should_stop = epochs, True


class KeepEpochs(Checkpoint):
    """Keep weights and pictures every ``checkpoint_every`` epochs and at the last epoch, and commit them.

    A commit first stores the newest state (optimiser, generators, average, ring buffer), which takes 84 MB at 256x256.
    Commits take at most `STATE_SHARE` of the time. A kill loses the epochs since the last commit.

    Args:
        members: The fits, in the order of the module's pictures.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self._began = time.perf_counter()
        self._committed = self._commit_took = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, DeepImagePrior)
        last = trainer.should_stop
        if pl_module.epochs % pl_module.settings.checkpoint_every == 0 or last:
            waited = time.perf_counter() - self._committed
            self._keep(trainer, pl_module, commit=last or waited >= self._commit_took / STATE_SHARE)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep and commit the last epoch of a fit that another callback or a limit of the Trainer ended."""
        assert isinstance(pl_module, DeepImagePrior)
        self._keep(trainer, pl_module, commit=True)

    def _keep(self, trainer: pl.Trainer, module: DeepImagePrior, *, commit: bool) -> None:
        """Keep the newest epoch of each fit that reached it. Commit all of them, or those that have stopped."""
        grown = [i for i, member in enumerate(self.members) if member.committed < len(member.curves) == module.epochs]
        if not grown:
            return
        pictures, began = module.render(), time.perf_counter()
        for i in grown:
            member, picture = self.members[i], pictures[i : i + 1]
            epoch = len(member.curves)
            if epoch not in member.kept:
                psnr = None if module.clean is None else metrics.psnr(picture, module.clean[i : i + 1]).item()
                member.keeper.keep(epoch, module.weights(i), picture)
                member.kept[epoch] = psnr
            if commit or member.stopped:
                self._commit(trainer, module, i)
        if commit:
            self._committed = time.perf_counter()
            self._commit_took = self._committed - began

    def _commit(self, trainer: pl.Trainer, module: DeepImagePrior, i: int) -> None:
        member = self.members[i]
        if path := member.keeper.state_file(len(member.curves)):
            module.saved = i
            trainer.save_checkpoint(path)
        before, epochs = member.before, len(member.curves)
        # Fits that run together share the time.
        seconds = (before.seconds if before else 0.0) + (time.perf_counter() - self._began) / len(self.members)
        revived = before.revived if before else module.revived[i]
        member.keeper.commit(Trajectory(member.curves, dict(member.kept), seconds, revived, list(member.environments)))
        member.committed = epochs


class Events(Callback):
    """Write the rows of a fit to TensorBoard, and five pictures every ``every`` epochs.

    The pictures are y, the clean picture, z, the newest kept output, and the kept output of best PSNR. They are written
    at the end of a block, and at the end of the fit.

    Args:
        every: Epochs between the pictures.
        member: The fit.
        events: The event writer.
        i: The index of the fit among the module's pictures.
    """

    def __init__(self, every: int, member: Member, events: SummaryWriter, i: int = 0) -> None:
        self.every, self.member, self.events, self.i = every, member, events, i
        self.written = self.shown = len(member.curves)
        self.described: set[str] = set()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, DeepImagePrior)
        epochs = len(self.member.curves)
        if epochs == self.written:  # the fit has stopped, and others go on
            return
        for epoch, row in enumerate(pl_module.rows[self.i], self.written + 1):
            tracking.log_epoch(self.events, row, epoch, self.described)
        self.written = epochs
        if epochs // self.every > self.shown // self.every:
            self._show(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, DeepImagePrior)
        if self.shown < self.written == pl_module.epochs:
            self._show(pl_module)

    def _show(self, module: DeepImagePrior) -> None:
        i, kept = slice(self.i, self.i + 1), dict(self.member.kept)
        self.shown, output = self.written, module.render()[i]
        y = module.operator.project(module.noisy)[i]
        pictures = {"noisy": y, "z": module.z[i], "output": output}
        if module.clean is not None:
            clean = module.clean[i]
            best = best_kept({**kept, self.written: metrics.psnr(output, clean).item()})
            old = best is not None and best[0] != self.written
            pictures |= {"clean": clean, "best": self.member.keeper.picture(best[0]) if best and old else output}
        tracking.log_pictures(self.events, "dip", pictures, self.written)


class Bar(Callback):
    """A progress bar over the epochs, with the newest loss and PSNR, which are means over the pictures."""

    def __init__(self) -> None:
        self.progress = progress.bar("epochs")
        self.task = self.progress.add_task("fitting the DIP", total=None, note="")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, DeepImagePrior)
        self.progress.update(self.task, total=pl_module.last_epoch, completed=pl_module.epochs)
        self.progress.start()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, DeepImagePrior)
        newest = [rows[-1] for rows in pl_module.rows if rows]
        if not newest:
            return
        note = f"loss {sum(row['loss_noisy'] for row in newest) / len(newest):.2g}"
        if pl_module.clean is not None:
            note += f", {sum(row['psnr'] for row in newest) / len(newest):.1f} dB"
        self.progress.update(self.task, completed=pl_module.epochs, note=note)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.progress.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.progress.stop()
