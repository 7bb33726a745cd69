"""Compare starts where y has no cheap inverse: blur, sensing, JPEG, over-exposure, small pictures, impulse noise.

    python -m bench.operators                              # all experiments
    python -m bench.operators deblur jpeg10 --count 20     # some of them, on fewer faces
    python -m bench.operators --only-table                 # the tables of the results so far

An experiment is a file of ``conf/experiment``: its operator and its noise. Recipe and epoch of the DIP, the noise
level of each start and the weight of the prior are chosen on ``--tune`` faces, by PSNR. The tables are of two other
sets: ``--count`` faces, and ``--others`` pictures that are no faces. All windows are ``ddim`` with the embedded prior,
in 10 steps. One cheap start has as many steps as fit and window of the DIP cost, and pure noise also has 100. The
same command continues an unfinished run. Fits take all cores: do not set OMP_NUM_THREADS.
"""

from __future__ import annotations

import json
import logging
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import groupby, product
from pathlib import Path
from statistics import fmean

import pandas as pd
import torch

from bench.averages import SIZE, faces
from bench.cheap_starts import cheap_starts
from bench.ways import EPOCHS, RECIPES, Dip, Figures, Set, Way, mean, prior
from dipddpm.diffusion.flops import evaluation_gflop, learning_gflop
from dipddpm.dip.flops import epoch_gflop
from dipddpm.metrics.paired import paired_difference
from dipddpm.metrics.quality import psnr
from dipddpm.names import QUALITIES
from dipddpm.pictures.read import read_picture

log = logging.getLogger(__name__)
DATA = Path(__file__).parents[2] / "shared/data"
EXPERIMENTS = (
    "deblur", "deblur_motion", "sensing10", "jpeg10", "overexposed", "superres8", "impulses", "random_impulses"
)  # fmt: skip
OTHERS = ("cset9/baboon cset9/f16 cset9/house cset9/kodim02 dip/library dip/snail dip/vase dip/zebra_GT "
          "skimage/brick skimage/chelsea skimage/coffee skimage/coins skimage/grass skimage/gravel "
          "skimage/hubble_deep_field skimage/ihc skimage/moon skimage/motorcycle_left skimage/retina "
          "skimage/rocket").split()  # fmt: skip
RECIPE_FACES = 0.4  # share of the tuning faces on which recipe and end of the DIP are chosen; 4 faces or more
LEVELS = (10, 25, 50, 100, 200, 300, 400, 600, 800, 950)
WEIGHTS = (0.5, 1.0, 2.0)
START = 4  # index in LEVELS at which the search for the best level begins


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


def best_level(of: Set, start: str, dip: Dip) -> dict[Way, float]:
    """Go from level to level while the mean PSNR grows. Return the PSNR of each way that was tried."""
    found: dict[Way, float] = {}

    def value(i: int) -> float:
        way = Way(start, LEVELS[i])
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


def choice_file(out: Path, experiment: str) -> Path:
    return out / f"{experiment}-choice.json"


def choice_of(tuning: Set) -> Choice:
    """Return the settings of an experiment: those in the file of an earlier run, or new ones."""
    file = choice_file(tuning.out, tuning.experiment)
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


def fit_cost(dip: Dip) -> float:
    """Return the evaluations of the prior whose arithmetic is that of a fit."""
    return dip.longest * epoch_gflop(asdict(dip.settings), (SIZE, SIZE)) / evaluation_gflop(prior(), (SIZE, SIZE))


def rows_of(choice: Choice) -> dict[str, tuple[Way, bool]]:
    """Return the rows of a table by their labels: a way, and whether it is costly."""
    rows: dict[str, tuple[Way, bool]] = {}
    for start, way in choice.ways.items():
        name = f"DIP ({choice.dip.words})" if start == "dip" else start
        rows[f"{name} alone"] = Way(start), False
        rows[f"{name}, from {way.level}"] = way, False
    cheap, dip = list(choice.ways)[-2], choice.ways["dip"]
    of_cheap = choice.ways[cheap]
    equal = of_cheap.steps + round(fit_cost(choice.dip))
    longer = replace(of_cheap, steps=equal)
    rows[f"{cheap}, from {of_cheap.level}, {longer.window.nfe} steps"] = longer, False
    rows[f"{cheap}, from {of_cheap.level}, by gradients"] = replace(of_cheap, form="gradient"), False
    rows[f"DIP, from {dip.level}, DIP in each step"] = replace(dip, form="dip"), False
    top = prior().schedule.T
    rows["pure noise, 10 steps"] = Way("noise", top, weight=of_cheap.weight), False
    rows["pure noise, 100 steps"] = Way("noise", top, weight=of_cheap.weight, steps=100), True
    return rows


Found = dict[str, tuple[Way, list[Figures]]]  # the rows of a table that have figures


def measured(choice: Choice, of: Set, few: int) -> tuple[Found, str]:
    """Return the rows of a table, and the label of the best cheap start; "" without one. Missing figures are measured.

    The best one is taken by the mean of the figures themselves. This choice favours the cheap starts.
    """
    found = {
        label: (way, figures)
        for label, (way, costly) in rows_of(choice).items()
        if (figures := of.figures(way, choice.dip, few if costly else None))
    }
    cheap = [label for label, (way, _) in found.items() if way.start not in ("dip", "noise") and way.form == "auto"]
    return found, max(cheap, key=lambda label: mean(found[label][1]), default="")


def cost(way: Way, dip: Dip) -> float:
    """Return the evaluations of the prior whose arithmetic is that of a way, fit included."""
    nfe = 0 if way.level is None else way.window.nfe
    size = (SIZE, SIZE)
    learning = learning_gflop(asdict(dip.settings), size) / evaluation_gflop(prior(), size) if way.form == "dip" else 0
    return nfe * (1 + learning) + (fit_cost(dip) if way.start == "dip" else 0)


def difference(found: Found, label: str, best: str, key: str) -> str:
    """Return the mean difference of a row and the best cheap start, with its 95% interval."""
    a, b = ([one[key] for one in found[name][1]] for name in (label, best))
    return format(paired_difference(a, b[: len(a)]), "+.2f" if key == "psnr" else "+.3f")


def table(found: Found, best: str, dip: Dip) -> Iterator[str]:
    """Yield the lines of a table, which has a row for each way."""
    heads = ["start", *(title for title, _ in QUALITIES.values()), "against the best cheap start (95%)",
             "the same, ST-LPIPS", "pictures", "NFE", "with the fit"]  # fmt: skip
    yield f"| {' | '.join(heads)} |\n|---|{'---:|' * (len(heads) - 1)}"
    for label, (way, figures) in found.items():
        cells = [f"{mean(figures, key):.{digits}f}" for key, (_, digits) in QUALITIES.items()]
        cells += ["" if label == best else difference(found, label, best, key) for key in ("psnr", "stlpips")]
        cells += [f"{len(figures)}", f"{0 if way.level is None else way.window.nfe}", f"{cost(way, dip):.0f}"]
        yield f"| {f'**{label}**' if label == best else label} | {' | '.join(cells)} |"


def summary(choice: Choice, of: Set, found: Found, best: str) -> Iterator[str]:
    """Yield the row of a set in the table of all experiments: the best cheap start, and the window from the DIP."""
    for dip in [label for label, (way, _) in found.items() if way == choice.ways["dip"]]:
        cells = [of.experiment, f"{len(of.pictures)} {of.name}"]
        for label in (best, dip):
            way, figures = found[label]
            cells += [label, f"{mean(figures):.2f}", f"{cost(way, choice.dip):.0f}"]
        cells += [difference(found, dip, best, key) for key in ("psnr", "stlpips")]
        yield f"| {' | '.join(cells)} |"


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
    found = faces(args.data / "faces64-val.tar", args.first + args.count)
    pictures = {"tuning": found[: args.tune], "faces": found[args.first :], "others": others(args.data)[: args.others]}
    tried, rows = [], []
    known = [e for e in args.experiments if not args.only_table or choice_file(args.out, e).exists()]
    for experiment in known:
        tuning, *reported = (Set(name, of, experiment, args.out, args.only_table) for name, of in pictures.items())
        choice = choice_of(tuning)
        tried += [{"experiment": experiment, "way": way, "psnr": round(value, 3)} for way, value in choice.log.items()]
        pd.DataFrame(tried).to_csv(args.out / "tried.csv", index=False)
        for of in reported:
            rows_found, best = measured(choice, of, args.few)
            if best:
                print(f"\n{experiment}, {len(of.pictures)} {of.name}\n")
                print("\n".join(table(rows_found, best, choice.dip)), flush=True)
                rows.extend(summary(choice, of, rows_found, best))
    heads = ["experiment", "pictures", "best cheap start", "PSNR", "cost", "DIP start", "PSNR", "cost",
             "difference (95%)", "ST-LPIPS"]  # fmt: skip
    print("\nall experiments\n", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *rows, sep="\n")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("dipddpm").setLevel(logging.WARNING)
    main()
