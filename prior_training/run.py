"""Run a training, from the pictures to the diffusers folder. A killed training can be continued."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from dipddpm import progress
from dipddpm.environment import choose_device, choose_precision
from dipddpm.errors import UserError
from dipddpm.names import TRAINING
from dipddpm.ownership import claim
from prior_training import pictures
from prior_training.report import Report
from prior_training.settings import Settings
from prior_training.training import Training

NAMED = 5  # damaged pictures whose reasons are printed; training.json has all reasons
LINES = 30.0  # least seconds between two lines of progress, where the output is no terminal and shows no bar
FEW = 100  # pictures: a prior of fewer learns little but these


def train(settings: Settings) -> None:
    """Train on ``settings.pictures`` pictures, repeats counted. A checkpoint in ``settings.out`` is continued.

    Raises:
        UserError: When the pictures cannot be read, the device does not exist, another training writes into ``out``,
            ``out`` holds another program's files, or the error is no longer finite.
    """
    device = choose_device(settings.device)
    choose_precision(settings.precision.name, device)  # warns where bf16 is emulated
    if settings.threads:
        torch.set_num_threads(settings.threads)
    claim(Path(settings.out), ("README.md", "model_index.json", "scheduler", "unet"), "type another out=<folder>",
          lock=TRAINING)  # fmt: skip
    settings.work.mkdir(parents=True, exist_ok=True)
    with _alone(settings):
        found = _read(settings)
        training = Training(settings, device)
        checkpoint = settings.work / "checkpoint.pt"
        if checkpoint.exists():
            training.load(checkpoint)
            print(f"continuing from {checkpoint} after {training.seen} pictures")
        learnt, held_out = pictures.hold_out(len(found.names), settings.held_out, settings.seed)
        print(f"{len(learnt)} pictures to train on, {len(held_out)} held out (training.json has their names)")
        if len(learnt) < FEW:
            print(f"a prior of fewer than {FEW} pictures learns these pictures, and little of others")
        parameters = sum(p.numel() for p in training.unet.parameters())
        print(f"{parameters:,} parameters, on {device} in {settings.precision.name}")
        _learn(training, Report(training, found, held_out.tolist()), torch.from_numpy(found.pixels)[learnt], checkpoint)
    print(f"done: to use it, type prior.path={settings.out}; to continue, pictures=<more than {training.seen}>")


def _learn(training: Training, report: Report, learnt: torch.Tensor, checkpoint: Path) -> None:
    settings, said = training.settings, time.monotonic()
    with progress.bar("pictures") as bar:
        task = bar.add_task("training", total=settings.pictures, completed=training.seen, note="")
        while training.seen < settings.pictures:
            started = time.monotonic()
            while True:
                mean = report.step(*training.step(learnt))
                bar.update(task, completed=training.seen)
                if mean is not None:
                    bar.update(task, note=f"error {mean:.4f}")
                    if not bar.console.is_terminal and time.monotonic() - said >= LINES:
                        print(f"{training.seen} of {settings.pictures} pictures, error {mean:.4f}", flush=True)
                        said = time.monotonic()
                spent = time.monotonic() - started
                if training.seen >= settings.pictures or spent > 60 * settings.checkpoint_minutes:
                    break
            training.seconds += spent
            report.checkpoint()
            training.save(checkpoint)  # last: after a kill the training continues from the checkpoint before
    report.writer.close()


def _read(settings: Settings) -> pictures.Pictures:
    """Read the pictures, or load those that an earlier run read, and print the reasons for those left out."""
    with progress.bar("pictures") as bar:
        task = bar.add_task("reading", total=None, note="")
        found = pictures.read_once(
            Path(settings.data).expanduser(),
            settings.size,
            settings.work,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
        bar.update(task, completed=len(found.names), total=len(found.names))
    for reason in list(found.left_out.values())[:NAMED]:
        print(f"left out: {reason}")
    if found.left_out:
        print(f"{len(found.left_out)} pictures left out (training.json has all names)")
    if found.enlarged:
        print(f"{found.enlarged} pictures are smaller than size={settings.size} and were enlarged")
    if len(found.names) < 2:
        raise UserError(f"data={settings.data} holds only one picture that can be read: give 2 or more")
    return found


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    try:
        with FileLock(settings.work / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise UserError(f"out={settings.out} is in use by another training: type another out=<folder>") from error
