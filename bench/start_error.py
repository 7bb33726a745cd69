r"""Estimate the error of a DIP output from y alone, and compare the estimates with the true error.

    val=../shared/data/faces64-val.tar
    python bench/start_error.py $val --count 8 --stands 8 \
        --schemes values pixels "recorrupted 0.25" "recorrupted 0.5" "recorrupted 1"
    python bench/start_error.py $val --first 60 --count 100

y = x + n, with noise n of variance s^2 in each value. f is the kept picture: the average of the outputs with decay 0.9.
All fits of a face have one z and the same first weights. The schemes:

    plain           the DIP fits y. No estimate.
    values          the DIP fits y without 5% of its values (H), each colour by itself.
                        held        mean over H of (f - y)^2, minus s^2
    pixels          the same with 5% of the pixels, all three colours
    recorrupted t   the DIP fits y1 = y + t n', where n' is new noise of variance s^2. y2 = y - n' / t
                        recorrupted mean (f - y2)^2 - s^2 (1 + 1 / t^2)
                        direct      mean (f - y)^2 - s^2 + 2 / t mean (f - y) n': the same expectation
                        smoothed    mean (f - y)^2 - s^2 + 2 / t mean (f - h) n', where h is y with less total
                                    variation. h does not depend on n', so the expectation is the same
                        paired      mean (f0 - y)^2 - s^2 + 2 / t mean (f - f0) n', where f0 is the kept picture of
                                    the plain fit at the same epoch. It estimates the error of f0

Reference: Pang, Zheng, Quan and Ji, Recorrupted-to-Recorrupted, CVPR 2021.

A record holds all fits of a face: the true error and the estimates at every tenth epoch, and the loss and the held-out
errors at every epoch. A second run continues an unfinished one. Fits end soon after `loss_floor` has fired. For
``--stands`` faces a fit with held-out values goes on until the least held-out error has stood for ``--patience``
epochs. For ``--rules`` faces the plain fit goes on until `wmv` and `emv` fire. The factors of the tables make the
median estimate right on the recorded faces among the first ``--factors``, with `skip` and sigma 25.
"""

from __future__ import annotations

import json
import math
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `bench` run as files
from bench.averages import arithmetic, faces
from bench.error_tables import LONGEST, Fitted, tables
from bench.recorded import EVERY, End, Recipe, Records, Watch, record
from dipddpm import seeds
from dipddpm.degradation.noise import Gaussian, estimate_sigma
from dipddpm.degradation.operators import Identity
from dipddpm.degradation.problem import Problem, degrade
from dipddpm.degradation.variation import total_variation
from dipddpm.dip.settings import DipSettings

SHARE = 0.05  # of the values or pixels: held out
DECAY = 0.9
SIDE = 64  # pixels of a published picture: the middle
BEYOND = 0.25  # epochs after `loss_floor` fired, as a share of the epochs before


class FitsPart(Identity):
    """The identity. Its loss is over some of the values of y.

    Args:
        values: Where a value is fitted: bool, shape (1, 3, H, W).
    """

    values: torch.Tensor

    def __init__(self, values: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("values", values.float())

    def losses(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return ((output - y).square() * self.values).flatten(1).sum(1) / self.values.flatten(1).sum(1)


def fitted_values(y: torch.Tensor, kind: str, seed: int, content: str) -> torch.Tensor:
    """Return where y is fitted: bool, shape (1, 3, H, W). ``kind`` is ``values`` or ``pixels``."""
    shape = y.shape if kind == "values" else (1, 1, *y.shape[2:])
    order = torch.randperm(math.prod(shape), generator=seeds.generator(seed, f"held-out {kind}", content))
    return (order >= round(SHARE * len(order))).reshape(shape).expand(y.shape)


class Errors:
    """The errors of a fit while it runs. A subclass adds estimates to ``said``."""

    def __init__(self, problem: Problem) -> None:
        assert problem.clean is not None
        self.y, self.clean, self.variance = problem.y, problem.clean, (problem.sigma / 255) ** 2
        self.said: Fitted = {"mse": [], "psnr": []}
        self.pictures: list[torch.Tensor] = []  # the kept pictures, one every `EVERY` epochs
        self.epochs = 0

    def __call__(self, output: torch.Tensor, averages: torch.Tensor) -> bool:
        self.epochs += 1
        if self.epochs % EVERY == 0:
            self.pictures.append(averages.clone())
            self.said["mse"].append(_mean_square(averages - self.clean))
            self.said["psnr"].append(-10 * math.log10(_mean_square(averages.clamp(0, 1) - self.clean)))
            for name, value in self.estimates(averages).items():
                self.said.setdefault(name, []).append(value)
        return self.ends(output, averages)

    def estimates(self, f: torch.Tensor) -> dict[str, float]:
        return {}

    def ends(self, output: torch.Tensor, averages: torch.Tensor) -> bool:
        return False


class HeldOut(Errors):
    """The held-out errors of a fit, of each epoch's output and of the average.

    Args:
        problem: A face.
        values: Where y is fitted: bool, shape (1, 3, H, W).
        stands: Epochs for which the least held-out errors have stood at the end of the fit. With 0 the fit ends soon
            after `loss_floor`.
    """

    def __init__(self, problem: Problem, values: torch.Tensor, stands: int) -> None:
        super().__init__(problem)
        self.values, self.stands, self.fired = values, stands, 0
        self.said |= {"held_output": [], "held_average": []}

    def estimates(self, f: torch.Tensor) -> dict[str, float]:
        return {"held": _mean_square((f - self.y)[~self.values]) - self.variance}

    def ends(self, output: torch.Tensor, averages: torch.Tensor) -> bool:
        difference = (output - self.y).square()
        if not self.fired and difference[self.values].mean().item() <= self.variance:
            self.fired = self.epochs
        self.said["held_output"].append(difference[~self.values].mean().item())
        self.said["held_average"].append(_mean_square((averages - self.y)[~self.values]))
        stood = min(self.epochs - least(self.said[name]) for name in ("held_output", "held_average"))
        return 0 < self.fired * (1 + BEYOND) < self.epochs and stood >= self.stands


class Recorrupted(Errors):
    """The estimates of a fit of y1 = y + tau n'."""

    def __init__(self, problem: Problem, tau: float, n: torch.Tensor, plain: Errors) -> None:
        super().__init__(problem)
        self.tau, self.n, self.plain = tau, n, plain
        self.smooth = total_variation(Identity(), self.y, self.y, math.sqrt(self.variance))

    def estimates(self, f: torch.Tensor) -> dict[str, float]:
        v, tau, n = self.variance, self.tau, self.n

        def covariance(picture: torch.Tensor) -> float:
            return 2 / tau * (picture * n).mean().item()

        near, i = _mean_square(f - self.y) - v, self.epochs // EVERY - 1
        return {
            "recorrupted": _mean_square(f - self.y + n / tau) - v * (1 + 1 / tau**2),
            "direct": near + covariance(f - self.y),
            "smoothed": near + covariance(f - self.smooth),
        } | (
            {"paired": _mean_square((f0 := self.plain.pictures[i]) - self.y) - v + covariance(f - f0)}
            if i < len(self.plain.pictures)
            else {}
        )


def _mean_square(x: torch.Tensor) -> float:
    return x.square().mean().item()


def least(values: Sequence[float]) -> int:
    """Return the epoch of the least value, the first of equals; epochs count from 1."""
    return int(np.argmin(values)) + 1


def fits_of(problem: Problem, network: str, schemes: Sequence[str], rules: bool, stands: int) -> dict[str, Any]:
    """Fit a face by the plain scheme and by others. Return a record a scheme, and the estimated sigma of y."""
    recipe, y, content = Recipe(DipSettings.of(network), decays=(DECAY,), weights=False), problem.y, problem.content
    variance = (problem.sigma / 255) ** 2

    def fit(of: Problem, errors: Errors, end: End) -> Fitted:
        watch: Watch = errors
        said = record(of, recipe, end, watch=watch)
        kept = {key: said[key] for key in ("loss", "rules", "epochs", "seconds", "failed") if key in said}
        return kept | errors.said

    plain = Errors(problem)
    answer: dict[str, Any] = {"estimated": estimate_sigma(y)}
    answer["plain"] = fit(problem, plain, End(LONGEST, variance, 2 * BEYOND, rules))
    for scheme in schemes:
        kind, _, tau = scheme.partition(" ")
        if kind == "recorrupted":
            t = float(tau)
            n = torch.randn(y.shape, generator=seeds.generator(0, "recorruption", content)) * math.sqrt(variance)
            of = Problem(y + t * n, problem.sigma, problem.clean, contents=problem.contents)
            answer[scheme] = fit(of, Recorrupted(problem, t, n, plain), End(LONGEST, variance * (1 + t**2), BEYOND))
        else:
            values = fitted_values(y, kind, 0, content)
            of = Problem(y, problem.sigma, problem.clean, FitsPart(values), contents=problem.contents)
            said = fit(of, HeldOut(problem, values, stands), End(LONGEST))
            at = next((i + 1 for i, loss in enumerate(said["loss"]) if loss <= variance), None)
            answer[scheme] = said | {"rules": {"loss_floor": [max(1, at - 2), at]} if at else {}}
    return answer


def published(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, Problem]]:
    """Yield pictures of the ES-WMV data, such as ``F16_noise4``: the middle 64x64 pixels, with their true sigma."""
    for name in names:
        y, clean = (cut(folder / f"{one}.npz", SIDE) for one in (name, f"{name.split('_')[0]}_clean"))
        yield name, Problem(y, 255 * math.sqrt(_mean_square(y - clean)), clean)


def cut(path: Path, side: int) -> torch.Tensor:
    """Return the middle pixels of an .npz file of 8 bits: shape (1, 3, side, side), in [0, 1]."""
    with np.load(path, allow_pickle=False) as file:
        pixels = torch.from_numpy(file["arr_0"]).float() / 255
    top, left = ((n - side) // 2 for n in pixels.shape[:2])
    return pixels[top : top + side, left : left + side].permute(2, 0, 1)[None].contiguous()


def wanted(args: Namespace) -> Iterator[tuple[str, str, Problem, bool, bool]]:
    """Yield network, name and problem of each picture; whether its plain fit goes on; whether its other fits do."""
    pictures = [] if args.published else faces(args.pictures, args.first + args.count)[args.first :]
    for network, sigma, (i, (name, clean)) in product(args.networks, args.sigmas, enumerate(pictures)):
        yield network, name, degrade(clean, Gaussian(sigma)), i < args.rules, i < args.stands
    for network, (name, problem) in product(args.networks, published(args.pictures, args.published)):
        yield network, name, problem, True, True


def run(args: Namespace, records: Records) -> None:
    done = records.names()
    for network, name, problem, rules, long in wanted(args):
        stands = args.patience if long else 0
        fit = {"network": network, "sigma": round(problem.sigma, 2), "picture": name, "schemes": args.schemes,
               "rules": rules, "stands": stands, "arithmetic": arithmetic()}  # fmt: skip
        if json.dumps(fit) not in done:
            said = fits_of(problem, network, args.schemes, rules, stands)
            records.append(fit, said)
            times = (f"{k} {said[k]['epochs']} epochs, {said[k]['seconds']:.1f} s" for k in ("plain", *args.schemes))
            print(f"{network} {problem.sigma:.3g} {name}: {'; '.join(times)}", flush=True)


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, help="folder or tar of faces, or folder of published pictures")
    parser.add_argument("--networks", nargs="+", default=["skip"], help="cnn, skip (skip)")
    parser.add_argument("--sigmas", nargs="+", type=float, default=[25.0], help="noise on the 0-255 scale (25)")
    parser.add_argument("--first", type=int, default=0, help="faces to pass over before the first one (0)")
    parser.add_argument("--count", type=int, default=8, help="number of faces (8)")
    parser.add_argument("--published", nargs="+", default=[], help="F16_noise4, ...: instead of faces, with all rules")
    parser.add_argument("--schemes", nargs="+", default=["values", "recorrupted 0.5"], help="as above, beside plain")
    parser.add_argument("--rules", type=int, default=0, help="faces whose plain fit goes on for wmv and emv (0)")
    parser.add_argument("--stands", type=int, default=0, help="faces whose held-out fits go on for --patience (0)")
    parser.add_argument("--patience", type=int, default=400, help="epochs for which the minimum then stands (400)")
    parser.add_argument("--factors", type=int, default=60, help="first faces, on which factors are chosen (60)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    parser.add_argument("--out", type=Path, default=Path("outputs/start_error"), help="folder of the records")
    parser.add_argument("--only-table", action="store_true", help="fit nothing, print the tables of recorded fits")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    records = Records(args.out / "fits.jsonl")
    if not args.only_table:
        run(args, records)
    print(
        "\n".join(tables(records, [] if args.published else [name for name, _ in faces(args.pictures, args.factors)]))
    )


if __name__ == "__main__":
    main()
