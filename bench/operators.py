"""Compare starts where y has no cheap inverse: blur, sensing, JPEG, over-exposure, small pictures, impulse noise.

    python -m bench.operators                              # all experiments
    python -m bench.operators deblur jpeg10 --count 20     # some of them, on fewer faces
    python -m bench.operators --only-table                 # the tables of the results so far

An experiment is a file of ``conf/experiment``: its operator and its noise. Recipe and epoch of the DIP, the noise
level of each start and the weight of the prior are chosen on ``--tune`` faces, by PSNR. The tables are of two other
sets: ``--count`` faces, and ``--others`` pictures that are no faces. All windows are ``ddim`` with the embedded prior,
in 10 steps. The same command continues an unfinished run. Fits take all cores: do not set OMP_NUM_THREADS.
"""

from __future__ import annotations

import json
import logging
import math
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from itertools import groupby, product
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
import torch
from hydra import compose, initialize_config_dir

import dipddpm as dd
from bench.averages import SIZE, faces
from bench.cheap_starts import cheap_starts
from bench.recorded import Records
from dipddpm.config import compose as config
from dipddpm.config.folder import conf_folder
from dipddpm.degradation.problem import joined
from dipddpm.diffusion.arithmetic import evaluation_gflop, learning_gflop
from dipddpm.dip.arithmetic import epoch_gflop
from dipddpm.dip.fitting import RunSettings
from dipddpm.dip.stopping import Stopping
from dipddpm.fits import FitStore
from dipddpm.fits.fit import Obtained, Wanted
from dipddpm.fits.load import load_fit
from dipddpm.fits.many import obtain_all
from dipddpm.metrics.paired import paired_difference
from dipddpm.metrics.perceptual import stlpips
from dipddpm.metrics.quality import psnr, ssim
from dipddpm.names import QUALITIES
from dipddpm.pictures.read import read_picture
from dipddpm.runs.posing import noise_of, operator_of

log = logging.getLogger(__name__)
DATA = Path(__file__).parents[2] / "shared/data"
EXPERIMENTS = (
    "deblur", "deblur_motion", "sensing10", "jpeg10", "overexposed", "superres8", "impulses", "random_impulses"
)  # fmt: skip
OTHERS = ("cset9/baboon cset9/f16 cset9/house cset9/kodim02 dip/library dip/snail dip/vase dip/zebra_GT "
          "skimage/brick skimage/chelsea skimage/coffee skimage/coins skimage/grass skimage/gravel "
          "skimage/hubble_deep_field skimage/ihc skimage/moon skimage/motorcycle_left skimage/retina "
          "skimage/rocket").split()  # fmt: skip
RECIPES = {"skip": {}, "skip, noise 0.1 on z": {"input_noise": 0.1}, "skip, noise 0.33 on z": {"input_noise": 0.33}}
EPOCHS = (50, 100, 200, 300, 500, 700, 1000)  # at which a DIP can end
RECIPE_FACES = 0.4  # share of the tuning faces on which recipe and end of the DIP are chosen; 4 faces or more
LEVELS = (10, 25, 50, 100, 200, 300, 400, 600, 800, 950)
WEIGHTS = (0.5, 1.0, 2.0)
TOGETHER = 10  # pictures whose windows run as one batch
START = 4  # index in LEVELS at which the search for the best level begins
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
    def config(self) -> Any:
        config.register()
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            return config.typed(compose("config", overrides=[f"experiment={self.experiment}", "dip=skip"]))

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
        answers = obtain_all(store, wanted, RunSettings("cpu"), ended=lambda _: self._tell("fits", next(done)))
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return [answer for answer in answers if isinstance(answer, Obtained)]

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
            "psnr": psnr(picture, problem.clean), "ssim": ssim(picture, problem.clean),
            "stlpips": torch.full((len(batch),), math.nan) if perceptual is None else perceptual,
        }  # fmt: skip
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


@dataclass(frozen=True)
class Choice:
    """The settings of an experiment, chosen on its tuning faces.

    Attributes:
        dip: The recipe and the end of the fits.
        ways: The best window from each start: the DIP, and the cheap ones by their names.
        log: The PSNR of each candidate, for a table.
    """

    dip: Dip
    ways: dict[str, Way]
    log: dict[str, float]


def choose_dip(of: Set) -> tuple[Dip, dict[str, float]]:
    """Return the DIP whose kept picture has the highest mean PSNR, and that PSNR for each candidate."""
    found: dict[Dip, float] = {}
    noisy, few = of.problems[0].sigma > 0, max(4, round(RECIPE_FACES * len(of.pictures)))
    for recipe, loss in product(RECIPES, {"mse", of.config.dip.loss.name}):
        fits = of.fits(Dip(recipe, max(EPOCHS), loss), few)
        ends: dict[int | str, list[int]] = {epoch: [epoch] * len(fits) for epoch in EPOCHS}
        if noisy:
            stops = of.fits(Dip(recipe, "loss_floor", loss), few)
            ends["loss_floor"] = [fit.choice.epoch for fit in stops]
        for end, epochs in ends.items():
            outputs = [of.output(i, *pair) for i, pair in enumerate(zip(fits, epochs, strict=True))]
            cleans = [problem.clean for problem in of.problems[: len(fits)]]
            values = [psnr(a, b).item() for a, b in zip(outputs, cleans, strict=True) if b is not None]
            found[Dip(recipe, end, loss)] = fmean(values)
    return max(found, key=lambda dip: found[dip]), {dip.words: value for dip, value in found.items()}


def best_level(of: Set, start: str, dip: Dip, form: str = "auto") -> dict[Way, float]:
    """Go from level to level while the mean PSNR grows. Return the PSNR of each way that was tried."""
    found: dict[Way, float] = {}

    def value(i: int) -> float:
        way = Way(start, LEVELS[i], form)
        found[way] = mean(of.figures(way, dip))
        return found[way]

    here, step = START, 1
    best = value(here)
    if value(here + 1) <= best:
        step = -1
    while 0 <= here + step < len(LEVELS) and value(here + step) > best:
        here += step
        best = value(here)
    return found


def choice_of(tuning: Set) -> Choice:
    """Return the settings of an experiment: those in the file of an earlier run, or new ones."""
    file = tuning.out / f"{tuning.experiment}-choice.json"
    if file.exists():
        said = json.loads(file.read_text(encoding="utf-8"))
        return Choice(Dip(**said["dip"]), {name: Way(**way) for name, way in said["ways"].items()}, said["log"])
    choice = choose(tuning)
    file.write_text(json.dumps(asdict(choice), indent=1), encoding="utf-8")
    return choice


def choose(of: Set) -> Choice:
    """Choose the settings of an experiment."""
    dip, said = choose_dip(of)
    ways: dict[str, Way] = {}
    names = []
    for _, family in groupby(cheap_starts(of.problems[0]), lambda name: name.rstrip("0123456789. ")):
        alone = {name: mean(of.figures(Way(name), dip)) for name in family}
        said |= alone
        names.append(max(alone, key=lambda name: alone[name]))
    for start in [*names, "dip"]:
        found = best_level(of, start, dip)
        best = max(found, key=lambda way: found[way])
        if start in (names[-1], "dip"):  # the weight matters little: the other starts keep 1
            for weight in WEIGHTS:
                found[replace(best, weight=weight)] = mean(of.figures(replace(best, weight=weight), dip))
            best = max(found, key=lambda way: found[way])
        ways[start] = best
        said |= {way.name: value for way, value in found.items()}
    for form in ("ddnm", "diffpir"):  # one of them is auto
        way = replace(ways[names[-1]], form=form)
        said[way.name] = mean(of.figures(way, dip))
    return Choice(dip, ways, said)


def rows_of(choice: Choice) -> dict[str, tuple[Way, bool]]:
    """Return the rows of a table by their labels: a way, and whether it is costly."""
    rows: dict[str, tuple[Way, bool]] = {}
    for start, way in choice.ways.items():
        name = f"DIP ({choice.dip.words})" if start == "dip" else start
        rows[f"{name} alone"] = Way(start), False
        rows[f"{name}, from {way.level}"] = way, False
    cheap, dip = list(choice.ways)[-2], choice.ways["dip"]
    of_cheap = choice.ways[cheap]
    rows[f"{cheap}, from {of_cheap.level}, by gradients"] = replace(of_cheap, form="gradient"), False
    rows[f"DIP, from {dip.level}, DIP in each step"] = replace(dip, form="dip"), False
    top = prior().schedule.T
    rows["pure noise, 10 steps"] = Way("noise", top, weight=of_cheap.weight), False
    rows["pure noise, 100 steps"] = Way("noise", top, weight=of_cheap.weight, steps=100), True
    return rows


def table(choice: Choice, sets: Sequence[Set], few: int) -> Iterator[str]:
    """Yield the lines of a table. Missing figures are measured first."""
    dip, size, one = asdict(choice.dip.settings), (SIZE, SIZE), evaluation_gflop(prior(), (SIZE, SIZE))
    fit_cost, learning = choice.dip.longest * epoch_gflop(dip, size) / one, learning_gflop(dip, size) / one
    for of in sets:
        found = {
            label: (way, figures)
            for label, (way, costly) in rows_of(choice).items()
            if (figures := of.figures(way, choice.dip, few if costly else None))
        }
        cheap = [label for label, (way, _) in found.items() if way.start not in ("dip", "noise") and way.form == "auto"]
        if not cheap:
            continue
        best = max(cheap, key=lambda label: mean(found[label][1]))
        yield f"\n{of.experiment}, {len(of.pictures)} {of.name}\n"
        heads = ["start", *(title for title, _ in QUALITIES.values()), "against the best cheap start (95%)",
                 "the same, ST-LPIPS", "pictures", "NFE", "with the fit"]  # fmt: skip
        yield f"| {' | '.join(heads)} |\n|---|{'---:|' * (len(heads) - 1)}"
        for label, (way, figures) in found.items():
            nfe = 0 if way.level is None else way.window.nfe
            cells = [f"{mean(figures, key):.{digits}f}" for key, (_, digits) in QUALITIES.items()]
            for key, spec in (("psnr", "+.2f"), ("stlpips", "+.3f")):
                a, b = ([of_one[key] for of_one in one] for one in (figures, found[best][1][: len(figures)]))
                cells.append("" if label == best else format(paired_difference(a, b), spec))
            cost = nfe + (fit_cost if way.start == "dip" else 0) + (nfe * learning if way.form == "dip" else 0)
            cells += [f"{len(figures)}", f"{nfe}", f"{cost:.0f}"]
            yield f"| {f'**{label}**' if label == best else label} | {' | '.join(cells)} |"


def others(folder: Path) -> list[tuple[str, torch.Tensor]]:
    """Return the pictures that are no faces: their middles, resized. The package of scikit-image has some of them."""
    import skimage

    of_skimage = Path(skimage.__file__).parent / "data"
    found = []
    for name in OTHERS:
        where, _, stem = name.partition("/")
        (path,) = (of_skimage if where == "skimage" else folder / where).glob(f"{stem}.*")
        found.append((name, read_picture(path, size=SIZE)))
    return found


def main() -> None:
    parser = ArgumentParser(
        prog="python -m bench.operators", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="*", default=list(EXPERIMENTS), help=f"{', '.join(EXPERIMENTS)} (all)")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of faces64-val.tar, cset9 and dip (../shared)")
    parser.add_argument("--tune", type=int, default=20, help="faces that settings are chosen on (20)")
    parser.add_argument("--first", type=int, default=60, help="faces to pass over before those that are reported (60)")
    parser.add_argument("--count", type=int, default=50, help="faces that are reported (50)")
    parser.add_argument("--others", type=int, default=len(OTHERS), help=f"pictures that are no faces ({len(OTHERS)})")
    parser.add_argument("--few", type=int, default=20, help="pictures of the rows with 100 steps (20)")
    parser.add_argument("--out", type=Path, default=Path("outputs/operators"), help="folder of figures and fits")
    parser.add_argument("--only-table", action="store_true", help="run nothing, print the tables of the figures so far")
    args = parser.parse_args()
    if unknown := set(args.experiments) - set(EXPERIMENTS):
        parser.error(f"{unknown.pop()} is no experiment: {', '.join(EXPERIMENTS)}")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("dipddpm").setLevel(logging.WARNING)
    found = faces(args.data / "faces64-val.tar", args.first + args.count)
    pictures = {"tuning": found[: args.tune], "faces": found[args.first :], "others": others(args.data)[: args.others]}
    tried = []
    for experiment in args.experiments:
        tuning, *reported = (Set(name, of, experiment, args.out, args.only_table) for name, of in pictures.items())
        choice = choice_of(tuning)
        tried += [{"experiment": experiment, "way": way, "psnr": round(value, 3)} for way, value in choice.log.items()]
        pd.DataFrame(tried).to_csv(args.out / "tried.csv", index=False)
        print("\n".join(table(choice, reported, args.few)), flush=True)


if __name__ == "__main__":
    main()
