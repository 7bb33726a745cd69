"""The fit of one picture that is wanted, and how it is made, found, and its epoch chosen."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from dipddpm.degradation.problem import Problem
from dipddpm.dip import fitting
from dipddpm.dip.fitting import RunSettings
from dipddpm.dip.keeping import Keeper, Trajectory
from dipddpm.dip.module import DeepImagePrior
from dipddpm.dip.settings import DipSettings
from dipddpm.dip.stopping import Stopping
from dipddpm.fits.choice import Choice, choose
from dipddpm.fits.keeping import FolderKeeper
from dipddpm.fits.manifest import Fit
from dipddpm.fits.request import noise_of, request_of
from dipddpm.fits.second import error_sigma, noisier


@dataclass(frozen=True)
class Wanted:
    """The fit of one picture that is wanted, and the choice of its epoch.

    Attributes:
        problem: The problem, of one picture.
        settings: Settings of network and optimiser.
        stopping: The stopping rule. Without a threshold ``loss_floor`` has that of the problem's noise.
        seed: Seed of the fit.
        checkpoint: A kept epoch, ``stop``, ``last`` or ``oracle``. A fit for a kept epoch runs to it, without a rule.
        network: Your own module; None: the network that the settings name.
    """

    problem: Problem
    settings: DipSettings
    stopping: Stopping
    seed: int
    checkpoint: int | str = "stop"
    network: torch.nn.Module | None = None

    @cached_property
    def rule(self) -> Stopping:
        """The stopping rule with its threshold."""
        if self.stopping.rule != "loss_floor" or self.stopping.threshold is not None:
            return self.stopping
        return replace(self.stopping, threshold=(self.problem.sigma / 255) ** 2)

    @property
    def ends_by(self) -> Stopping:
        """The rule that ends the fit: ``never`` for a kept epoch."""
        return Stopping("never") if isinstance(self.checkpoint, int) else self.rule

    @property
    def ends_at(self) -> int:
        """The epoch at which the fit ends, unless its rule fires before."""
        return self.checkpoint if isinstance(self.checkpoint, int) else self.settings.max_epochs

    @property
    def request(self) -> dict[str, Any]:
        """The values that determine a stored fit, as JSON types. Their hash is the fit's key."""
        return request_of(self.problem, self.settings, self.seed, noise_of(self.problem, self.seed))

    def choose(self, fit: Trajectory) -> Choice | None:
        """Return the epoch to use, or None while the fit is too short for it."""
        s = self.settings
        return choose(
            fit, self.checkpoint, rule=self.rule, rule_name=self.rule.name, max_epochs=s.max_epochs,
            every=s.checkpoint_every,
        )  # fmt: skip

    def module(self) -> DeepImagePrior:
        """Return the module of the fit, before its first epoch."""
        p = self.problem
        return DeepImagePrior(
            p.noisy, p.clean, y=p.y, operator=p.operator, network=copy.deepcopy(self.network), settings=self.settings,
            seed=self.seed, contents=p.contents,
        )  # fmt: skip

    def make(self, keeper: Keeper, run: RunSettings) -> DeepImagePrior:
        """Fit until the rule fires, or until the epoch that is wanted. A kept fit is continued."""
        module = self.module()
        fitting.run(module, [keeper], [self.ends_by], self.ends_at, run)
        return module

    def make_in(self, folder: Path, key: str, before: Fit | None, run: RunSettings) -> None:
        """Make or extend the fit in the folder of a store."""
        self.make(FolderKeeper(folder, key, self.problem.content, before), run)

    def second(self, epoch: int) -> Wanted:
        """Return the second fit, which tells the error of the picture of ``epoch`` (`dipddpm.fits.second`).

        Raises:
            ValueError: Where y does not hold the whole picture.
        """
        return replace(self, problem=noisier(self.problem, self.seed), checkpoint=epoch)

    def error_sigma(self, first: torch.Tensor, second: torch.Tensor) -> float:
        """Return the rms error of ``first`` on the 0-255 scale, from the same picture of the second fit."""
        return error_sigma(self.problem, self.seed, first, second)

    def finished(self, picture: torch.Tensor) -> torch.Tensor:
        """Return a kept picture clipped, with the measured part of y where that has no noise."""
        return self.problem.put_back(picture.clamp(0, 1))


@dataclass(frozen=True)
class Obtained:
    """A stored fit, the epoch of it that was chosen, and whether the fit was made or extended now."""

    fit: Fit
    choice: Choice
    made: bool


Answer = Obtained | Exception  # an obtained fit, or the exception that it failed with
