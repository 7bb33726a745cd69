"""The work at the end of each epoch: its row of the curves, the stopping rule, and kept weights and pictures."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.io import TorchCheckpointIO

from dipddpm import progress
from dipddpm.dip import tracking
from dipddpm.dip.curves import Curves, best_kept
from dipddpm.dip.keeping import Keeper, Trajectory
from dipddpm.dip.module import DeepImagePrior
from dipddpm.dip.stopping import Rule
from dipddpm.environment import changes
from dipddpm.files import replacing
from dipddpm.metrics import quality as metrics

STATE_SHARE = 0.05  # largest share of a fit's time that commits may take


class WholeFile(TorchCheckpointIO):
    """Write a checkpoint to a temporary file in its own folder, then move it into place.

    Lightning writes to the system's temporary folder, which can be full while the store has space.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        buffer = io.BytesIO()  # torch.save to a full disk raises an error that does not name the cause
        torch.save(checkpoint, buffer)
        with replacing(Path(path)) as temporary:
            temporary.write_bytes(buffer.getbuffer())


class Recorder(Callback):
    """Append each epoch's row, apply the stopping rule, keep epochs, and commit.

    Weights and picture are kept every ``checkpoint_every`` epochs and at the last epoch. A commit first stores the
    newest state (optimiser, generators, averages, ring buffer), which takes 84 MB at 256x256. Commits take at most
    `STATE_SHARE` of the time. A kill loses the epochs since the last commit.

    Args:
        keeper: The keeper of epochs and commits.
        rule: The stopping rule. It is applied from the first kept epoch on, and ends the fit when it fires.
        environment: The environment of this process. Commits store it after those of earlier processes.
        before: The trajectory that this fit continues, or None.
    """

    def __init__(
        self, keeper: Keeper, rule: Rule, *, environment: Mapping[str, Any], before: Trajectory | None
    ) -> None:
        self.keeper, self.rule = keeper, rule
        self.environments = list(before.environments) if before else []
        if not before or changes(self.environments[-1], environment):
            self.environments.append({"from_epoch": before.epochs + 1 if before else 1, **environment})
        self.curves = before.curves if before else Curves()
        self.kept = dict(before.kept) if before else {}
        self.seconds = before.seconds if before else 0.0
        self.revived = before.revived if before else None
        self._mark = time.perf_counter()
        self._committed = self._commit_took = 0.0
        self._committed_epoch = before.epochs if before else 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._mark = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, DeepImagePrior)
        self.curves.append(**pl_module.row)
        epoch, every = len(self.curves), pl_module.settings.checkpoint_every
        if epoch >= every and self.rule(self.curves) is not None:
            trainer.should_stop = True
        last = trainer.should_stop or epoch == trainer.max_epochs
        if epoch % every == 0 or last:
            self._keep(pl_module)
            if last or time.perf_counter() - self._committed >= self._commit_took / STATE_SHARE:
                self._commit(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep and commit the last epoch of a fit that another callback or a limit of the Trainer ended."""
        assert isinstance(pl_module, DeepImagePrior)
        if len(self.curves) > self._committed_epoch:
            self._keep(pl_module)
            self._commit(trainer, pl_module)

    def _keep(self, module: DeepImagePrior) -> None:
        epoch = len(self.curves)
        picture = module.render()
        psnr = None if module.clean is None else metrics.psnr(picture, module.clean).item()
        self.keeper.keep(epoch, module.kept_net.state_dict(), picture)
        self.kept[epoch] = psnr

    def _commit(self, trainer: pl.Trainer, module: DeepImagePrior) -> None:
        began = time.perf_counter()
        if path := self.keeper.state_file(len(self.curves)):
            trainer.save_checkpoint(path)
        now = time.perf_counter()
        self.seconds, self._mark = self.seconds + now - self._mark, now
        revived = module.revived if self.revived is None else self.revived
        self.keeper.commit(Trajectory(self.curves, dict(self.kept), self.seconds, revived, list(self.environments)))
        self._committed, self._committed_epoch = time.perf_counter(), len(self.curves)
        self._commit_took = self._committed - began


class Events(Callback):
    """Write each epoch's row to TensorBoard, and five pictures every ``every`` epochs.

    The pictures are y, the clean picture, z, this epoch's output, and the kept output of best PSNR.

    Args:
        every: Epochs between the pictures.
        recorder: The recorder of the fit, which is called before this callback.
    """

    def __init__(self, every: int, recorder: Recorder) -> None:
        self.every, self.recorder = every, recorder

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, DeepImagePrior)
        epoch = trainer.current_epoch + 1
        tracking.log_epoch(tracking.writer(trainer), pl_module.row, epoch)
        if epoch % self.every and not trainer.should_stop and epoch != trainer.max_epochs:
            return
        output = pl_module.render()
        y = pl_module.operator.project(pl_module.noisy)
        pictures = {"noisy": y, "z": pl_module.z, "output": output}
        if pl_module.clean is not None:
            best = best_kept(self.recorder.kept)
            pictures |= {"clean": pl_module.clean, "best": self.recorder.keeper.picture(best[0]) if best else output}
        tracking.log_pictures(tracking.writer(trainer), "dip", pictures, epoch)


class Bar(Callback):
    """A progress bar over the epochs, with the newest loss and PSNR."""

    def __init__(self) -> None:
        self.progress = progress.bar("epochs")
        self.task = self.progress.add_task("fitting the DIP", total=None, note="")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.progress.update(self.task, total=trainer.max_epochs, completed=trainer.current_epoch)
        self.progress.start()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, DeepImagePrior)
        row = pl_module.row
        note = f"loss {row['loss_noisy']:.2g}"
        if pl_module.clean is not None:
            note += f", {row['psnr']:.1f} dB"
        self.progress.update(self.task, completed=trainer.current_epoch + 1, note=note)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.progress.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.progress.stop()
