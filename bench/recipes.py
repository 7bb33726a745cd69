r"""Compare recipes of a DIP fit: input noise, averages of outputs, z, and the learning rate of the DIP paper.

    python bench/recipes.py ../shared/data/faces64-val.tar --others ../shared/data/cset9/*.png --count 6

`bench/recorded.py` runs the fits. With noise `loss_floor` names the kept epoch. Without noise that rule never fires:
the figures are those after 500, 1000 and 2000 epochs, as far as ``--epochs`` goes. Known values without noise are put
back. Faces have the order of `bench/averages.py`, and start after ``--first``. A second run continues an unfinished
one.

The recipes (z is uniform in [0, 1] and has 3 channels, unless it says otherwise):

    default          the settings of conf/dip
    noise 1/30       noise of standard deviation 1/30 is added to z at every step; noise 1/10 to 1/2 alike. The paper's
                     code adds 1/30 to a z in [0, 0.1]: a third of the range
    z 0.1            z in [0, 0.1]
    z 32             z of 32 channels, as the paper's
    z 32, noise 1/30     both
    lr 0.01          learning rate 0.01
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `bench` run as files
from bench.averages import SIZE, Pictures, arithmetic, faces, kept, kept_epoch, variants
from bench.recorded import End, Recipe, Records, record
from dipddpm.degradation.masks import Mask
from dipddpm.degradation.noise import Gaussian
from dipddpm.degradation.operators import Identity, Operator
from dipddpm.degradation.problem import degrade
from dipddpm.degradation.scaling import Downscale
from dipddpm.dip.settings import DipSettings
from dipddpm.metrics.paired import paired_difference
from dipddpm.pictures.read import read_picture

SIGMAS = {"noise": 25.0, "noise 10": 10.0, "noise 50": 50.0}  # problems with noise: its sigma on the 0-255 scale
PROBLEMS: dict[str, Operator] = {
    **dict.fromkeys(SIGMAS, Identity()),
    "missing 50%": Mask(0.5),
    "missing 80%": Mask(0.8),
    "4 times smaller": Downscale(4),
}
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "noise 1/30": {"input_noise": 1 / 30},
    "noise 1/10": {"input_noise": 1 / 10},
    "noise 1/5": {"input_noise": 1 / 5},
    "noise 1/3": {"input_noise": 1 / 3},
    "noise 1/2": {"input_noise": 1 / 2},
    "z 0.1": {"z_scale": 0.1},
    "z 32": {"z_channels": 32},
    "z 32, noise 1/30": {"z_channels": 32, "input_noise": 1 / 30},
    "lr 0.01": {"lr": 0.01},
}
HEAD = "| recipe | pictures | kept picture | epochs | PSNR (dB) | above the default (95%) |\n"
HEAD += "|---|---|---|---|---|---|"
DEFAULT = "outputs 0.9"  # the kept picture of the default
DECAYS = (0.9, 0.95, 0.99)
BUDGETS = (500, 1000, 2000)  # epochs


def recipe(network: str, name: str, weights: bool) -> Recipe:
    """Return a recipe by its name in `RECIPES`, for a network, with or without averages of weights."""
    changes = dict(RECIPES[name])
    z = {key: changes.pop(key) for key in ("z_scale", "z_channels") if key in changes}
    return Recipe(DipSettings.of(network, **changes), **z, decays=DECAYS, weights=weights)


def others(paths: Sequence[Path]) -> Pictures:
    """Return pictures by their names, cut to squares at their centres and resized."""
    return [(path.stem, read_picture(path, SIZE)) for path in paths]


def run(args: Namespace, records: Records, pictures: Pictures) -> None:
    done = records.names()
    for name, clean in pictures:
        for kind in args.problems:
            sigma = SIGMAS.get(kind, 0.0)
            problem = degrade(clean, Gaussian(sigma), PROBLEMS[kind])
            for tried in args.recipes:
                fit = {"network": args.network, "problem": kind, "picture": name, "recipe": tried,
                       "arithmetic": arithmetic()}  # fmt: skip
                end = End(3000, (sigma / 255) ** 2) if sigma else End(args.epochs)
                if json.dumps(fit | {"epochs": end.epochs}) in done:
                    continue
                said = record(problem, recipe(args.network, tried, args.weights), end)
                records.append(fit | {"epochs": end.epochs}, said)
                print(f"{kind}, {name}, {tried}: {said['epochs']} epochs, {said['seconds']:.1f} s", flush=True)


def tables(records: Records, network: str, groups: dict[str, Sequence[str]]) -> Iterator[str]:
    """Yield a table for each problem and group of pictures. Differences are to the default with outputs 0.9."""
    found = [said for said in records if said["fit"]["network"] == network]
    for kind in PROBLEMS:
        for words, names in groups.items():
            of = {(s["fit"]["recipe"], s["fit"]["picture"]): s for s in found
                  if s["fit"]["problem"] == kind and s["fit"]["picture"] in names}  # fmt: skip
            ends = (0,) if kind in SIGMAS else BUDGETS
            lines = [line for end in ends for line in _rows(of, end)]
            if lines:
                yield f"\n{network}, {kind}, {words}\n\n{HEAD}"
                yield from lines


def _rows(of: dict[tuple[str, str], dict[str, Any]], end: int) -> Iterator[str]:
    """Yield the lines after ``end`` epochs, or at the epochs of `loss_floor` for 0."""

    def epoch(said: dict[str, Any]) -> int | None:
        if "failed" in said or (not end and "loss_floor" not in said["rules"]):
            return None
        return (end if said["epochs"] >= end else None) if end else kept_epoch(said)

    for tried in RECIPES:
        both = [(of[tried, name], of["default", name]) for r, name in of if r == tried and ("default", name) in of]
        both = [(a, b, i, j) for a, b in both if (i := epoch(a)) and (j := epoch(b))]
        if len(both) < 2:
            continue
        for variant in variants(both[0][0]):
            kind, _, decay = variant.partition(" ")
            if kind == "first" or (kind == "weights" and not both[0][0]["weights"][decay]):
                continue
            psnr = [kept(a, variant, i) for a, _, i, _ in both]
            gain = paired_difference(psnr, [kept(b, DEFAULT, j) for _, b, _, j in both])
            at = f"{fmean(i for _, _, i, _ in both):.0f}"
            yield f"| {tried} | {len(both)} | {variant} | {at} | {fmean(psnr):.2f} | {gain} |"


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, help="folder or tar of faces")
    parser.add_argument("--others", type=Path, nargs="*", default=[], help="pictures that are no faces")
    parser.add_argument("--network", default="skip", help="cnn, skip (skip)")
    parser.add_argument(
        "--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS), help="noise is that of sigma 25 (all)"
    )
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=[name for name in RECIPES if "lr" not in name])
    parser.add_argument("--first", type=int, default=0, help="faces that are left out before the first (0)")
    parser.add_argument("--count", type=int, default=6, help="number of faces (6)")
    parser.add_argument("--epochs", type=int, default=1000, help="epochs without noise (1000)")
    parser.add_argument("--weights", action="store_true", help="average weights, too; needs an --out of its own")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    parser.add_argument("--out", type=Path, default=Path("outputs/recipes"), help="folder of the records")
    parser.add_argument("--only-table", action="store_true", help="fit nothing, print the tables of recorded fits")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    records = Records(args.out / "fits.jsonl")
    two = {"faces": faces(args.pictures, args.first + args.count)[args.first :], "other pictures": others(args.others)}
    if not args.only_table:  # in turn: an unfinished run has pictures of both
        run(args, records, [one for pair in zip_longest(*two.values()) for one in pair if one])
    print("\n".join(tables(records, args.network, {words: [n for n, _ in of] for words, of in two.items()})))


if __name__ == "__main__":
    main()
