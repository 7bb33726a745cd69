"""Judge a prior on held-out pictures: the PSNR of one evaluation at each of nine noise levels.

python scripts/eval_prior.py                                        # the prior in the package
python scripts/eval_prior.py outputs/prior/mine <folder or tar>
python scripts/eval_prior.py --denoisers 50                         # also total variation, non-local means, BM3D
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository
from dipddpm.diffusion import layout
from dipddpm.files import write_json
from prior_training import judge, pictures
from prior_training.cli import refusals

PRIOR = Path(__file__).parents[1] / "dipddpm" / "assets" / "faces64"
PICTURES = Path("../shared/data/faces64-val.tar")
TUNED_ON = 40  # pictures to choose the settings of other denoisers on


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `measured`."""
    parser.add_argument("pictures", nargs="?", type=Path, default=PICTURES, help="folder or tar of held-out pictures")
    parser.add_argument("--limit", type=int, help="number of pictures, evenly spread over the names; default: all")
    parser.add_argument("--denoisers", type=int, default=0, metavar="N", help="also run other denoisers on N pictures")
    parser.add_argument("--tune-on", type=Path, help="folder or tar to tune them on; default: faces64-train.tar beside")


def measured(parser: argparse.ArgumentParser, args: argparse.Namespace) -> dict[str, Any]:
    """Return the result of `judge.evaluate`, with a progress bar on stderr."""
    if args.denoisers and importlib.util.find_spec("bm3d") is None:
        parser.error('--denoisers needs bm3d: type pip install -e ".[eval]", or leave --denoisers out')
    if args.denoisers == 1:
        parser.error("--denoisers=1 is not allowed: 2 or more pictures, for an interval")
    size = layout.sample_size(args.prior)

    def read(source: Path, count: int | None) -> torch.Tensor:
        return torch.from_numpy(pictures.read(source, size, count=count).pixels)

    held_out, tuning = read(args.pictures, args.limit), None
    if args.denoisers:
        tuning = read(args.tune_on or args.pictures.with_name("faces64-train.tar"), TUNED_ON)
    total = judge.evaluations(len(held_out), args.denoisers)
    bar = iter(track(range(total), "evaluating", console=Console(stderr=True)))

    def watch(n: int) -> None:
        for _ in range(n):
            next(bar, None)

    return judge.evaluate(args.prior, held_out, against=args.denoisers, tuning=tuning, watch=watch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prior", nargs="?", type=Path, default=PRIOR, help="diffusers folder")
    add_options(parser)
    parser.add_argument("--json", type=Path, help="file for the numbers as JSON")
    args = parser.parse_args()
    result = measured(parser, args)
    print(judge.tables(result), end="")
    if args.json:
        write_json(args.json, result)


if __name__ == "__main__":
    with refusals():
        main()
