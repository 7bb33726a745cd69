"""Fit Deep Image Priors to pictures, in memory or into a store.

problem = dd.Problem(y, sigma=25)
fit = dd.fit_dip(problem, network="skip")
fit.picture, fit.epoch, fit.curves
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from dipddpm import environment, seeds
from dipddpm.degradation.problem import Problem
from dipddpm.dip import fitting
from dipddpm.dip.curves import Curves
from dipddpm.dip.fitting import RunSettings
from dipddpm.dip.keeping import Memory
from dipddpm.dip.settings import DipSettings
from dipddpm.dip.stopping import Rule, Stopping
from dipddpm.files import expanded
from dipddpm.fits.load import load_fit
from dipddpm.fits.store import FitStore
from dipddpm.fits.wanted import Wanted
from dipddpm.names import HELD_OUT
from dipddpm.pictures.check import check_kind

CLIPPING = ("gradient_clip_val", "gradient_clip_algorithm")  # the options of the Trainer that change a fit's steps


@dataclass(frozen=True)
class FittedPicture:
    """A DIP that was fitted to one picture.

    Attributes:
        picture: Picture of the kept epoch, clipped to [0, 1], float32, shape (1, 3, H, W). With ``ema`` it is an
            average of outputs. Where y is partial and has no noise, the measured part is that of y, and may bring
            values a little outside [0, 1].
        epoch: The kept epoch that the stopping rule chose.
        why: The reason: the rule's name; ``max_epochs`` where the rule did not fire; ``trainer`` where a callback or
            an option of the Trainer ended the fit.
        curves: One row for each epoch of the fit.
        network: The network with the weights of the epoch, on the CPU.
        z: The fixed input of the network, shape (1, 3, H, W).
        folder: The folder of the stored fit; None for a fit in memory.
    """

    picture: torch.Tensor
    epoch: int
    why: str
    curves: Curves
    network: torch.nn.Module
    z: torch.Tensor
    folder: Path | None = None
    _second: SecondFit = field(kw_only=True, repr=False, compare=False)

    @environment.outside_inference_mode
    def estimate_error(self) -> float:
        """Estimate the rms error of ``picture`` on the 0-255 scale, without the clean picture.

        A second fit is made, as long as the first one (`dipddpm.fits.second`). The noise of y must be white and
        Gaussian. Of the Trainer's options the second fit has only those that clip gradients: callbacks and loggers are
        of the first one.

        Raises:
            ValueError: Where y does not hold the whole picture, or its noise is known to be correlated.
        """
        return self._second.error_of(self.picture, self.epoch)


@dataclass(frozen=True)
class FittedDip:
    """The DIPs that were fitted to the N pictures of a problem.

    Attributes:
        pictures: One result for each picture. `epoch`, `why`, `curves` and `network` are for a fit of one picture, and
            raise a ValueError for several.
    """

    pictures: tuple[FittedPicture, ...]

    @cached_property
    def picture(self) -> torch.Tensor:
        """The outputs, shape (N, 3, H, W), in [0, 1]."""
        return torch.cat([one.picture for one in self.pictures])

    def estimate_error(self) -> list[float]:
        """Estimate the rms error of each picture on the 0-255 scale by second fits (`FittedPicture.estimate_error`).

        `dipddpm.restore` takes the numbers as ``error_sigma``, for ``start_t="auto"`` and ``init="matched"``.
        """
        return [one.estimate_error() for one in self.pictures]

    @property
    def epoch(self) -> int:
        return self._only.epoch

    @property
    def why(self) -> str:
        return self._only.why

    @property
    def curves(self) -> Curves:
        return self._only.curves

    @property
    def network(self) -> torch.nn.Module:
        return self._only.network

    @property
    def _only(self) -> FittedPicture:
        only, *others = self.pictures
        if others:
            raise ValueError(f"the fit has {1 + len(others)} pictures: take one of them, such as fit.pictures[0]")
        return only


@environment.outside_inference_mode
def fit_dip(
    problem: Problem,
    network: str | torch.nn.Module | None = None,
    settings: DipSettings | None = None,
    *,
    stopping: str | Rule | Stopping = "loss_floor",
    seed: int = 0,
    device: str = "auto",
    store: str | Path | None = None,
    progress: bool = False,
    **trainer: Any,
) -> FittedDip:
    """Fit a Deep Image Prior to each picture of a problem, one after the other.

    Problem, settings and seed determine the result to the bit, for the same torch, threads and device. On a GPU that is
    not so for ``skip``, whose gradients PyTorch adds up there in any order. The result is the same as that of
    ``train_dip.py``.

    Args:
        problem: The problem, of N pictures.
        network: ``"cnn"``, ``"skip"``, a name registered in `dipddpm.dip.networks.NETWORKS`, or your own module, which
            maps z to a picture, both of shape (1, 3, H, W). The module is copied, and the fit of each picture begins
            with its weights. None: the network that the settings name.
        settings: Settings of network and optimiser; None: the recommended ones of the network (`DipSettings.of`).
        stopping: A rule's name (``loss_floor``, ``wmv``, ``emv``, ``holdout``, ``never``), a function of curves, or a
            `Stopping` with its threshold or patience. The default threshold of ``loss_floor`` is (sigma / 255)^2.
            The fit of ``holdout`` does not see 5% of the values of y, unless the settings name another share.
        seed: Seed of z, weights and input noise; the content of the picture enters them too.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:<n>``.
        store: Folder of stored fits, such as ``outputs/fits``: a stored fit is found there, and a new one is kept with
            TensorBoard's events. None keeps the fit in memory. Each kept epoch takes the bytes of weights and picture.
        progress: Whether progress bars are shown.
        **trainer: Options of Lightning's Trainer: ``callbacks=[EarlyStopping("psnr", mode="max")]``, ``logger``,
            ``gradient_clip_val``. Callbacks and loggers find the columns of the curves by their names, such as
            ``loss_noisy`` and ``psnr``. With ``store`` there are none, because they may change the fit.

    Raises:
        ValueError: For unknown names, settings that are not allowed together, noise that cannot be estimated, or a
            network that gives no picture of the shape of z.
        TypeError: For a problem, settings, a network or a rule of another type, such as a class; for an argument that
            neither this function nor the Trainer has.
        RuntimeError: When a fit diverges or a colour channel dies.
    """
    check_kind("problem", problem, Problem, "dd.Problem(y, sigma=<0-255 scale>), or dd.degrade(clean)")
    seed = seeds.whole(seed)
    settings, own = _settled(network, settings)
    if own is not None and store is not None:
        raise ValueError(
            "a store keeps only fits of registered networks: register yours with NETWORKS.register, or give no store"
        )
    fitting.check_options(trainer, inspect.signature(fit_dip).parameters)
    if trainer and store is not None:
        raise ValueError(
            f"a store keeps no fits with options of the Trainer: give no store, or no {', '.join(trainer)}"
        )
    stopping = stopping if isinstance(stopping, Stopping) else Stopping(stopping)
    settings = _with_held_out(settings, stopping, problem)
    device = environment.choose_device(device)
    settings = replace(settings, precision=environment.choose_precision(settings.precision, device))
    run = RunSettings(device, progress=progress, trainer=trainer)
    place = None if store is None else FitStore(expanded(store))
    wanted = (Wanted(row, settings, stopping, seed, network=own) for row in _rows(problem))
    return FittedDip(tuple(_fitted(one, place, run) for one in wanted))


@dataclass(frozen=True)
class SecondFit:
    """The data of a second fit, without the stopping rule and callbacks of the first, so that they can be pickled."""

    wanted: Wanted
    store: FitStore | None
    run: RunSettings

    @classmethod
    def of(cls, wanted: Wanted, store: FitStore | None, run: RunSettings) -> SecondFit:
        options = {name: run.trainer[name] for name in CLIPPING if name in run.trainer}
        return cls(replace(wanted, stopping=Stopping("never")), store, replace(run, trainer=options))

    def error_of(self, picture: torch.Tensor, epoch: int) -> float:
        """Return the rms error of the first fit's picture of an epoch, on the 0-255 scale."""
        second = _fitted(self.wanted.second(epoch), self.store, self.run)
        return self.wanted.error_sigma(picture, second.picture)


def _fitted(wanted: Wanted, store: FitStore | None, run: RunSettings) -> FittedPicture:
    second = SecondFit.of(wanted, store, run)
    if store is not None:
        fit, chosen, _ = store.obtain(wanted.request, wanted.choose, partial(wanted.make_in, run=run))
        loaded = load_fit(fit.folder, chosen.epoch)
        return FittedPicture(
            wanted.finished(loaded.picture), chosen.epoch, chosen.why, fit.curves, loaded.network, loaded.z, fit.folder,
            _second=second,
        )  # fmt: skip
    keeper = Memory(wanted.rule.pending)
    module = wanted.make(keeper, run)
    fit = keeper.trajectory
    if fit is None:
        raise ValueError("an option of the Trainer ended the fit before its first epoch: leave max_steps or limits out")
    chosen = wanted.choose(fit)
    if chosen is None:  # a callback or an option of the Trainer ended the fit
        every = min(wanted.settings.checkpoint_every, fit.epochs)
        ended = replace(wanted.settings, max_epochs=fit.epochs, checkpoint_every=every)
        chosen = replace(wanted, settings=ended).choose(fit)
        assert chosen is not None
        chosen = replace(chosen, why="trainer")
    network = module.net.cpu()
    network.load_state_dict(keeper.weights(chosen.epoch))
    kept = wanted.finished(keeper.picture(chosen.epoch))
    return FittedPicture(kept, chosen.epoch, chosen.why, fit.curves, network, module.z.cpu(), _second=second)


def _settled(
    network: str | torch.nn.Module | None, settings: DipSettings | None
) -> tuple[DipSettings, torch.nn.Module | None]:
    """Return the settings, and the caller's module or None."""
    if network is not None and not isinstance(network, str | torch.nn.Module):
        raise TypeError(f"network={network!r}: must be a name or a torch.nn.Module, such as MyNetwork()")
    own = network if isinstance(network, torch.nn.Module) else None
    name = network if isinstance(network, str) else None
    if settings is not None:
        check_kind("settings", settings, DipSettings, 'dd.DipSettings.of("skip", layers=3)')
    settings = settings or DipSettings.of(name or "cnn")
    if name and name != settings.network:
        raise ValueError(
            f"network={name} and settings for {settings.network}: give one of them, or DipSettings.of({name!r})"
        )
    if settings.max_epochs < settings.checkpoint_every:
        raise ValueError(
            f"max_epochs must be {settings.checkpoint_every} or more, the first kept epoch (checkpoint_every), got "
            f"{settings.max_epochs}"
        )
    return settings, own


def _with_held_out(settings: DipSettings, stopping: Stopping, problem: Problem) -> DipSettings:
    """Return settings that hold values out where the rule needs it; refuse this with correlated noise."""
    if stopping.rule == "holdout" and settings.holdout == 0:
        raise ValueError(
            f"stopping=holdout needs held-out values, and settings.holdout is 0: give holdout={HELD_OUT} or None"
        )
    settings = settings.for_rule(stopping.rule)
    if settings.holdout and problem.correlated:
        raise ValueError(
            f"holdout={settings.holdout:g} is not allowed with correlated noise, because the neighbours of a held-out "
            "value tell its noise: give another stopping rule, and holdout=0"
        )
    return settings


def _rows(problem: Problem) -> Iterator[Problem]:
    """Yield the problem of each picture."""
    if len(problem) == 1:
        yield problem
        return
    for i in range(len(problem)):
        row = slice(i, i + 1)
        clean = None if problem.clean is None else problem.clean[row]
        yield Problem(
            problem.y[row], problem.known_sigma, clean, problem.operator.of(i), contents=problem.contents[row],
            added=problem.added, completed=problem.noisy[row],
        )  # fmt: skip
