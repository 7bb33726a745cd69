r"""Compare the forms of data consistency, their weights, and the schedulers: means over faces, with paired intervals.

    python bench/consistency.py ../shared/data/faces64-val.tar --count 12

Every window starts from the completed picture, so no DIP is fitted. Faces have the order of `bench/averages.py`. Each
table has the PSNR in dB; a difference is taken for each face.
"""

from __future__ import annotations

import math
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import product
from pathlib import Path
from statistics import fmean, median
from unittest.mock import patch

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `bench` run as files
import dipddpm as dd
from bench.averages import faces
from dipddpm.degradation.blur import Blur
from dipddpm.degradation.operators import Operator
from dipddpm.diffusion.agreement import form_of
from dipddpm.diffusion.flops import evaluation_gflop
from dipddpm.metrics.paired import paired_difference
from dipddpm.metrics.quality import psnr

OPERATORS: dict[str, dd.Operator] = {"50% missing": dd.Mask(0.5), "4 times smaller": dd.Downscale(4)}
SIGMAS, FAINT = (0, 25), (2, 5, 10)


def named(words: str, sigma: float) -> str:
    return words + f", sigma {sigma}" * (sigma > 0)


PROBLEMS = [named(words, sigma) for words, sigma in product(OPERATORS, SIGMAS)]
STARTS = (200, 600)
MORE: dict[str, dd.Operator] = {
    "4 times smaller, bicubic": dd.BicubicDownscale(4), "a tenth of the coefficients": dd.Sensing(0.1),
    "JPEG of quality 10": dd.Jpeg(10), "over-exposed": dd.Clip(0.6),
}  # fmt: skip
ITERATED: dict[str, dd.Blur | dd.BlurDownscale] = {
    "Gaussian blur": dd.Blur.gaussian(1.6),
    "motion blur": dd.Blur.motion(11),
    "blur, 4 times smaller": dd.BlurDownscale(dd.Blur.gaussian(1.6), 4),
}
ROUNDS = 5  # of timed windows, forms in turn


class Bench:
    """The faces, their prior, and the windows that were run already."""

    def __init__(self, clean: torch.Tensor) -> None:
        self.prior = dd.load_prior("faces64", precision="fp32")
        self.clean = clean
        damages = product((OPERATORS | MORE).items(), (*SIGMAS, *FAINT))
        self.damages = {named(words, sigma): (sigma, a) for (words, a), sigma in damages} | {"sigma 25": (25, None)}
        self.problem, self.restored = cache(self._problem), cache(self._restored)

    def _problem(self, name: str) -> dd.Problem:
        sigma, operator = self.damages[name]
        return dd.degrade(self.clean, dd.Gaussian(sigma) if sigma else dd.NoNoise(), operator)

    def _restored(self, name: str, window: dd.Window) -> list[float]:
        problem = self.problem(name)
        result = dd.restore(self.prior, problem.noisy, window, problem)
        assert problem.clean is not None
        print(".", end="", file=sys.stderr, flush=True)
        return psnr(result.picture, problem.clean).tolist()

    def psnrs(
        self, name: str, level: int, scheduler: str = "ddim", steps: int = 10, form: str = "auto", weight: float = 1.0
    ) -> list[float]:
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

    def more(self) -> Iterator[str]:
        """Yield the table of `forms` for the operators whose window starts from level 300, or 400 of coefficients."""
        yield "| problem | from level | ddnm | diffpir | diffpir minus ddnm (95%) | auto is |"
        yield "|---|---:|---:|---:|---|---|"
        for (words, operator), sigma in product(MORE.items(), (0, 5, 25)):
            level = 400 if operator.name == "sensing" else 300
            ddnm, diffpir = (self.psnrs(named(words, sigma), level, form=form) for form in ("ddnm", "diffpir"))
            cells = [f"{fmean(ddnm):.2f}", f"{fmean(diffpir):.2f}", str(paired_difference(diffpir, ddnm))]
            yield f"| {named(words, sigma)} | {level} | {' | '.join(cells)} | {form_of('auto', operator, sigma)} |"

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

    def costs(self) -> Iterator[str]:
        """Yield the cost of corrections that iterate: their multiplications by A and A', and their share of the time.

        A multiplication by a blur has two Fourier transforms of each colour. That of n real values takes
        2.5 n log2(n) operations.
        """
        yield "| problem, sigma 5 | correction | A and A' a level | operations, % of an evaluation | seconds, % |"
        yield "|---|---|---:|---:|---:|"
        size = self.clean.shape[-1]
        for name, operator in ITERATED.items():
            problem = dd.degrade(self.clean, dd.Gaussian(5), operator)
            forms = {"none": (False, "auto"), "conjugate gradients": (True, "auto"), "gradients": (True, "gradient")}
            seconds: dict[str, list[float]] = {form: [] for form in forms}
            counts: dict[str, float] = {}
            for _ in range(ROUNDS):
                for form, (consistent, named) in forms.items():
                    window = dd.Window(400, steps=10, scheduler="ddim", consistency=named)
                    with multiplications() as count:
                        result = dd.restore(self.prior, problem.noisy, window, problem, consistent=consistent)
                    seconds[form].append(result.seconds)
                    counts[form] = len(count) / result.nfe
            for form in list(forms)[1:]:
                blur = operator.blur if isinstance(operator, dd.BlurDownscale) else operator
                pixels = math.prod(size + 2 * (side // 2) for side in blur.kernel.shape)
                operations = counts[form] * 3 * 5 * pixels * math.log2(pixels) / 1e9
                share = operations / evaluation_gflop(self.prior, (size, size))
                ratios = [a / b - 1 for a, b in zip(seconds[form], seconds["none"], strict=True)]
                yield f"| {name} | {form} | {counts[form]:.0f} | {share:.2%} | {median(ratios):.0%} |"


@contextmanager
def multiplications() -> Iterator[list[None]]:
    """Count the multiplications of pictures by A of a blur, and by A'."""
    found: list[None] = []
    measure, measure_at = Blur.measure, Operator.measure_at

    def counted(self: Blur, x: torch.Tensor) -> torch.Tensor:
        found.append(None)
        return measure(self, x)

    def pulled(self: Operator, x: torch.Tensor) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
        y, pull = measure_at(self, x)
        return y, lambda u: found.append(None) or pull(u)

    with patch.object(Blur, "measure", counted), patch.object(Operator, "measure_at", pulled):
        yield found


TABLES = {
    "forms": Bench.forms,
    "more": Bench.more,
    "weights": Bench.weights,
    "solvers": Bench.solvers,
    "rivals": Bench.rivals,
    "costs": Bench.costs,
}


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
