"""The setting of a run of the harness: the sizes of its rows, and what they share."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

import dipddpm as dd
from scripts.random_prior import write_prior

FACE = (140, 20, 312, 192)  # the face of the built-in picture, framed as the prior's faces
SIGMA = 25.0


@dataclass(frozen=True)
class Setting:
    """The sizes of the rows.

    Attributes:
        rounds: The largest number of rounds of a row.
        seconds: The time of a row after which no further round begins.
        epochs: Epochs of the fits that are compared by the epoch at 64x64.
        long_epochs: Epochs of the original's fit at 256x256 on a GPU.
        pictures: Fits at once on a CPU.
        many: Fits at once on a GPU.
        singles: Fits of those ``many`` that are run one after the other; their time counts for all.
        chain: Steps of diffusers' whole chain.
        job: Overrides of the whole jobs, beside those of their experiments.
        levels: Evaluations of a window whose time is taken.
        starts: Processes of a command that answers at once, in each round.
        size: Side in pixels of the small fits.
        large: Side in pixels of the large ones.
        target: PSNR in dB that an output must have, in the rows that measure the time until then.
        patience: Epochs after which such a row gives up.
        prior: A folder with a prior for the large pictures; None: a random one is written.
        old: A clone of this project at an older commit; None: the rows that need one are not measured.
    """

    rounds: int = 5
    seconds: float = 600.0
    epochs: int = 300
    long_epochs: int = 2000
    pictures: int = 16
    many: int = 256
    singles: int = 4
    chain: int = 1000
    job: tuple[str, ...] = ()
    levels: int = 5
    starts: int = 5
    size: int = 64
    large: int = 256
    target: float = 26.0
    patience: int = 4000
    prior: Path | None = None
    old: Path | None = None
    closing: ExitStack = field(default_factory=ExitStack, compare=False)

    @cached_property
    def prior_folder(self) -> Path:
        """The folder of the prior for the large pictures."""
        if self.prior is not None:
            return self.prior
        folder = self.folder / "random256"
        write_prior(folder)
        return folder

    @cached_property
    def folder(self) -> Path:
        """A folder that is removed at the end of the run."""
        return Path(self.closing.enter_context(tempfile.TemporaryDirectory()))

    def face(self, side: int, seed: int = 0) -> dd.Problem:
        """Return the built-in face with Gaussian noise of `SIGMA`, ``side`` pixels a side."""
        return dd.degrade(self.clean(side), noise=dd.Gaussian(SIGMA), seed=seed)

    def clean(self, side: int) -> torch.Tensor:
        """Return the built-in face, shape (1, 3, side, side), in [0, 1]."""
        return dd.read_picture("astronaut", size=side, box=FACE)


QUICK = Setting(rounds=3, seconds=20.0, epochs=100, levels=1, starts=2)
GPU = Setting(rounds=2, seconds=25.0, levels=20)
