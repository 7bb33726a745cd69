"""The work at the end of each block of epochs: curves, stopping rule, kept epochs, commits, and the progress bar."""

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

from dipddpm import progress
from dipddpm.dip.curves import Curves
from dipddpm.dip.keeping import Keeper, Trajectory
from dipddpm.dip.kept import Entry
from dipddpm.dip.module import DeepImagePrior
from dipddpm.dip.stopping import Rule
from dipddpm.dip.writing import Beside, Here, Written
from dipddpm.environment import changes
from dipddpm.files import replacing
from dipddpm.metrics import quality as metrics

STATE_SHARE = 0.01  # largest share of a fit's time that commits may take
COMMIT_RATE = 250e6  # assumed bytes of state a second, for the first commit of a fit on a GPU; later ones are measured


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
        rule: Its stopping rule. The rule is applied at the end of each block, from the first kept epoch on.
        environment: The environment of this process.
        before: The trajectory that the fit continues, or None.
        stopped: Whether the fit has ended, by its rule or by an error. Other fits of a stack may go on.
        curves: One row an epoch.
        kept: PSNR in dB of the picture of each kept epoch; None without a clean picture.
        committed: Epochs of the newest commit.
        environments: The environments of all processes that worked on the fit.
    """

    keeper: Keeper
    rule: Rule
    environment: Mapping[str, Any]
    before: Trajectory | None = None
    stopped: bool = False
    curves: Curves = field(init=False)
    kept: dict[int, float | None] = field(init=False)
    committed: int = field(init=False)
    environments: list[dict[str, Any]] = field(init=False)

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

    The rows of the epochs are written to TensorBoard, too. A commit first stores the newest state (optimiser,
    generators, average, ring buffer), which takes 84 MB at 256x256. Commits take at most `STATE_SHARE` of the time. A
    kill loses the epochs since the last commit.

    Args:
        members: The fits, in the order of the module's pictures.
        writer: Writes files and events.
    """

    def __init__(self, members: Sequence[Member], writer: Here | Beside) -> None:
        self.members, self.writer = members, writer
        self._began = self._committed = time.perf_counter()
        self._commit_took = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, DeepImagePrior)
        self._began = time.perf_counter()
        if isinstance(self.writer, Beside):
            self._commit_took = pl_module.state_bytes() / COMMIT_RATE

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, DeepImagePrior)
        last, waited = trainer.should_stop, time.perf_counter() - self._committed
        self._keep(trainer, pl_module, commit=last or waited >= self._commit_took / STATE_SHARE)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Commit the last epoch of a fit that another callback or a limit of the Trainer ended."""
        assert isinstance(pl_module, DeepImagePrior)
        self._keep(trainer, pl_module, commit=True)
        pl_module.settle()

    def _keep(self, trainer: pl.Trainer, module: DeepImagePrior, *, commit: bool) -> None:
        """Keep the newest epoch of each fit that reached it. Commit all of them, or those that have stopped."""
        grown = [i for i, member in enumerate(self.members) if member.committed < len(member.curves) == module.epochs]
        began = time.perf_counter()
        if fresh := [i for i in grown if module.epochs not in self.members[i].kept]:
            self._write(module, fresh, last=trainer.should_stop)
        ended = [i for i in grown if commit or self.members[i].stopped]
        if not ended:
            return
        self._note(self.writer.wait())
        for i in ended:
            self._commit(trainer, module, i)
        if commit:
            self._committed = time.perf_counter()
            self._commit_took = self._committed - began

    def _write(self, module: DeepImagePrior, fresh: Sequence[int], *, last: bool) -> None:
        kept, entries = module.newest, {}
        assert kept is not None
        errors = None if kept.errors is None else kept.errors.tolist()
        for i in fresh:
            member, psnr = self.members[i], None if errors is None else metrics.psnr_of(errors[i])
            member.kept[module.epochs] = psnr
            entries[i] = Entry(module.epochs, module.rows[i], psnr, last or member.stopped)
        self._note(self.writer.write(entries, kept))

    def _note(self, answers: Sequence[Written]) -> None:
        for i, epoch, answer in answers:
            if answer is not None:
                self.members[i].keeper.noted(epoch, answer)

    def _commit(self, trainer: pl.Trainer, module: DeepImagePrior, i: int) -> None:
        member = self.members[i]
        if path := member.keeper.state_file(len(member.curves)):
            module.settle()  # a fit in memory stores no state, and keeps the block that the GPU has begun
            module.saved = i
            trainer.save_checkpoint(path)
        before, epochs = member.before, len(member.curves)
        # Fits that run together share the time.
        seconds = (before.seconds if before else 0.0) + (time.perf_counter() - self._began) / len(self.members)
        revived = before.revived if before else module.revived[i]
        member.keeper.commit(Trajectory(member.curves, dict(member.kept), seconds, revived, list(member.environments)))
        member.committed = epochs


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
        row = pl_module.newest_row()
        if not row:
            return
        note = f"loss {row['loss_noisy']:.2g}"
        if pl_module.clean is not None:
            note += f", {row['psnr']:.1f} dB"
        self.progress.update(self.task, completed=pl_module.epochs, note=note)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.progress.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.progress.stop()
