r"""Compare the forms of data consistency, their weights, and the schedulers: means over faces, with paired intervals.

    python bench/consistency.py ../shared/data/faces64-val.tar --count 12

Every window starts from the completed picture, so no DIP is fitted. Faces have the order of `bench/averages.py`. Each
table has the PSNR in dB; a difference is taken for each face.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from statistics import fmean

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `bench` run as files
import dipddpm as dd
from bench.averages import faces
from dipddpm.metrics.paired import paired_difference
from dipddpm.metrics.quality import psnr

OPERATORS: dict[str, dd.Operator] = {"50% missing": dd.Mask(0.5), "4 times smaller": dd.Downscale(4)}
SIGMAS, FAINT = (0, 25), (2, 5, 10)


def named(words: str, sigma: float) -> str:
    return words + f", sigma {sigma}" * (sigma > 0)


PROBLEMS = [named(words, sigma) for words, sigma in product(OPERATORS, SIGMAS)]
STARTS = (200, 600)


class Bench:
    """The faces, their prior, and the windows that were run already."""

    def __init__(self, clean: torch.Tensor) -> None:
        self.prior = dd.load_prior("faces64", precision="fp32")
        self.problems = {
            named(words, sigma): dd.degrade(clean, dd.Gaussian(sigma) if sigma else dd.NoNoise(), a)
            for (words, a), sigma in product(OPERATORS.items(), (*SIGMAS, *FAINT))
        }
        self.problems["sigma 25"] = dd.degrade(clean, dd.Gaussian(25))
        self.restored = cache(self._restored)

    def _restored(self, name: str, window: dd.Window) -> list[float]:
        problem = self.problems[name]
        result = dd.restore(self.prior, problem.noisy, window, problem)
        assert problem.clean is not None
        print(".", end="", file=sys.stderr, flush=True)
        return psnr(result.picture, problem.clean).tolist()

    def psnrs(self, name: str, level: int, scheduler: str = "ddim", steps: int = 10, form: str = "auto",
              weight: float = 1.0) -> list[float]:  # fmt: skip
        window = dd.Window(level, steps=steps, scheduler=scheduler, consistency=form, prior_weight=weight)
        return self.restored(name, window)

    def forms(self) -> Iterator[str]:
        yield "| problem | scheduler | from level | ddnm | diffpir | diffpir minus ddnm (95%) |"
        yield "|---|---|---:|---:|---:|---|"
        faint = [named(words, sigma) for words, sigma in product(OPERATORS, FAINT)]
        for name, scheduler, level in [*product(PROBLEMS, ("ddim", "dpmpp", "ddpm"), STARTS),
                                       *product(faint, ("ddim",), STARTS[:1])]:  # fmt: skip
            ddnm, diffpir = (self.psnrs(name, level, scheduler, form=form) for form in ("ddnm", "diffpir"))
            difference = paired_difference(diffpir, ddnm)
            yield f"| {name} | {scheduler} | {level} | {fmean(ddnm):.2f} | {fmean(diffpir):.2f} | {difference} |"

    def weights(self) -> Iterator[str]:
        weights = (0.25, 0.5, 1, 2, 4)
        yield f"| problem | from level | {' | '.join(map(str, weights))} |\n|---|---:|{'---:|' * len(weights)}"
        for name, level in product(PROBLEMS[1::2], STARTS):
            cells = [f"{fmean(self.psnrs(name, level, weight=weight)):.2f}" for weight in weights]
            yield f"| {name} | {level} | {' | '.join(cells)} |"

    def solvers(self) -> Iterator[str]:
        yield "| problem | from level | NFE | ddim | dpmpp | dpmpp minus ddim (95%) |\n|---|---:|---:|---:|---:|---|"
        kinds = [*product(PROBLEMS, STARTS), ("sigma 25", 57)]
        for (name, level), steps in product(kinds, (5, 10)):
            ddim, dpmpp = (self.psnrs(name, level, scheduler, steps) for scheduler in ("ddim", "dpmpp"))
            difference = paired_difference(dpmpp, ddim)
            yield f"| {name} | {level} | {steps} | {fmean(ddim):.2f} | {fmean(dpmpp):.2f} | {difference} |"

    def rivals(self) -> Iterator[str]:
        lengths = (1, 3, 10, 30)
        heads = ["auto", "gradient", *(f"dps, zeta {zeta}" for zeta in lengths)]
        yield f"| problem | from level | {' | '.join(heads)} |\n|---|---:|{'---:|' * len(heads)}"
        for name, level in product(PROBLEMS, STARTS[1:]):
            found = [self.psnrs(name, level), self.psnrs(name, level, form="gradient")]
            found += [self.psnrs(name, level, form="dps", weight=1 / zeta) for zeta in lengths]
            yield f"| {name} | {level} | {' | '.join(f'{fmean(psnr):.2f}' for psnr in found)} |"


TABLES = {"forms": Bench.forms, "weights": Bench.weights, "solvers": Bench.solvers, "rivals": Bench.rivals}


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, help="folder or tar of faces")
    parser.add_argument("--count", type=int, default=12, help="number of faces (12)")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES), help="tables to make (all)")
    args = parser.parse_args()
    bench = Bench(torch.cat([picture for _, picture in faces(args.pictures, args.count)]))
    for name in args.tables:
        print(f"\n{name}, {args.count} faces\n", flush=True)
        for line in TABLES[name](bench):
            print(line, flush=True)


if __name__ == "__main__":
    main()
