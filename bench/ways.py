"""Starts and windows, and their figures on a set of pictures: each is measured once, and read back afterwards."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

import dipddpm as dd
from bench.averages import SIZE
from bench.cheap_starts import cheap_starts
from bench.jobs import configured, obtained
from bench.recorded import Records
from dipddpm.config.schema import Config
from dipddpm.degradation.problem import joined
from dipddpm.dip.fitting import RunSettings
from dipddpm.dip.stopping import Stopping
from dipddpm.fits import FitStore
from dipddpm.fits.load import load_fit
from dipddpm.fits.wanted import Obtained, Wanted
from dipddpm.metrics.perceptual import stlpips
from dipddpm.metrics.quality import psnr, ssim
from dipddpm.runs.posing import noise_of, operator_of

log = logging.getLogger(__name__)
RECIPES = {"skip": {}, "skip, noise 0.1 on z": {"input_noise": 0.1}, "skip, noise 0.33 on z": {"input_noise": 0.33}}
EPOCHS = (50, 100, 200, 300, 500, 700, 1000)  # at which a DIP can end
TOGETHER = 10  # pictures whose windows run as one batch
Figures = dict[str, float]


@dataclass(frozen=True)
class Way:
    """A start, and a window from this start. Without a level there is no window: the figures are those of the start.

    Attributes:
        start: ``dip``, ``noise``, or a cheap start (`cheap_starts`).
        level: First noise level of the window.
        form: Form of data consistency.
        weight: Weight of the prior, lambda.
        steps: Evaluations.
    """

    start: str
    level: int | None = None
    form: str = "auto"
    weight: float = 1.0
    steps: int = 10

    @property
    def window(self) -> dd.Window:
        assert self.level is not None
        init = "noise" if self.start == "noise" else "scaled"
        return dd.Window(self.level, steps=min(self.steps, self.level), scheduler="ddim", init=init,
                         consistency=self.form, prior_weight=self.weight)  # fmt: skip

    @property
    def name(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Dip:
    """A fit of `RECIPES`, and its end: a number of epochs, or ``loss_floor``."""

    recipe: str
    end: int | str
    loss: str = "mse"

    @property
    def settings(self) -> dd.DipSettings:
        return dd.DipSettings.of(
            "skip", max_epochs=self.longest, precision="fp32", loss=self.loss, **RECIPES[self.recipe]
        )

    @property
    def longest(self) -> int:
        return self.end if isinstance(self.end, int) else max(EPOCHS)

    @property
    def words(self) -> str:
        return f"{self.recipe}, {self.end}" + " epochs" * isinstance(self.end, int) + ", L1" * (self.loss == "l1")


class Set:
    """Some pictures of an experiment, their fits, and the figures of all ways that were run on them.

    Args:
        name: ``tuning``, ``faces`` or ``others``.
        pictures: Names, and pictures of shape (1, 3, H, W).
        experiment: The name of the experiment.
        out: Folder of figures and fits.
        only_table: Nothing is run.
    """

    def __init__(
        self, name: str, pictures: Sequence[tuple[str, torch.Tensor]], experiment: str, out: Path, only_table: bool
    ):
        self.name, self.experiment, self.out, self.only_table = name, experiment, out, only_table
        self.pictures = pictures
        self.records = Records(out / f"{experiment}-{name}.jsonl")
        self.known: dict[str, dict[str, Figures]] = {}
        for one in self.records:
            self.known.setdefault(one["fit"]["way"], {})[one["fit"]["picture"]] = one["figures"]

    @cached_property
    def config(self) -> Config:
        return configured([f"experiment={self.experiment}", "dip=skip"])

    @cached_property
    def problems(self) -> list[dd.Problem]:
        operator, noise = operator_of(self.config, SIZE), noise_of(self.config)
        return [dd.degrade(picture, noise, operator) for _, picture in self.pictures]

    def fits(self, dip: Dip, few: int | None = None) -> list[Obtained]:
        """Return the fits of a DIP to the pictures, or to the first ``few``, in order."""
        rule = Stopping("loss_floor" if dip.end == "loss_floor" else "never")
        wanted = [Wanted(problem, dip.settings, rule, 0) for problem in self.problems[:few]]
        done = iter(range(1, len(wanted) + 1))
        store = FitStore(self.out / "fits")
        return obtained(store, wanted, RunSettings("cpu"), ended=lambda _: self._tell("fits", next(done)))

    def figures(self, way: Way, dip: Dip, few: int | None = None) -> list[Figures]:
        """Return the figures of a way on each picture, or on the first ``few``. Missing figures are measured first."""
        names = [name for name, _ in self.pictures][:few]
        key = f"{way.name} {dip.words}" if way.start == "dip" or way.form == "dip" else way.name
        known = self.known.setdefault(key, {})
        missing = [i for i, name in enumerate(names) if name not in known]
        if missing and self.only_table:
            return []
        for batch in (missing[i : i + TOGETHER] for i in range(0, len(missing), TOGETHER)):
            for i, figures in zip(batch, self._run(way, dip, batch), strict=True):
                known[names[i]] = figures
                self.records.append({"way": key, "picture": names[i]}, {"figures": figures})
            self._tell(way.name, batch[-1] + 1)
        return [known[name] for name in names]

    def _run(self, way: Way, dip: Dip, batch: Sequence[int]) -> list[Figures]:
        problem = joined([self.problems[i] for i in batch])
        assert problem.clean is not None
        picture, seconds, dips = self._start(way, dip, batch, problem), 0.0, None
        if way.form == "dip":
            fits = [self._fits(dip)[i] for i in batch]
            dips = [load_fit(fit.fit.folder, fit.choice.epoch) for fit in fits]
        if way.level is not None:
            restored = dd.restore(prior(), picture, way.window, problem, dips=dips)
            picture, seconds = restored.picture, restored.seconds / len(batch)
        perceptual = stlpips(picture, problem.clean)
        columns = {
            "psnr": psnr(picture, problem.clean),
            "ssim": ssim(picture, problem.clean),
            "stlpips": torch.full((len(batch),), math.nan) if perceptual is None else perceptual,
        }
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [dict(zip(columns, row, strict=True)) | {"seconds": seconds} for row in rows]

    def _start(self, way: Way, dip: Dip, batch: Sequence[int], problem: dd.Problem) -> torch.Tensor:
        if way.start == "noise":
            return problem.noisy
        if way.start != "dip":
            return cheap_starts(problem)[way.start]()
        fits = self._fits(dip)
        return torch.cat([self.output(i, fits[i], fits[i].choice.epoch) for i in batch])

    def output(self, i: int, fit: Obtained, epoch: int) -> torch.Tensor:
        """Return the kept picture of an epoch, as a start."""
        return self.problems[i].put_back(fit.fit.picture(epoch).clamp(0, 1))

    @cached_property
    def _fits(self) -> Callable[[Dip], list[Obtained]]:
        return cache(self.fits)

    def _tell(self, what: str, count: int) -> None:
        log.info("%s, %s: %s, %d of %d", self.experiment, self.name, what, count, len(self.pictures))


@cache
def prior() -> Any:
    return dd.load_prior("faces64", precision="fp32")


def mean(figures: Sequence[Figures], key: str = "psnr") -> float:
    return fmean(of[key] for of in figures)
