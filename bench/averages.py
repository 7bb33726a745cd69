r"""Compare the pictures that a fit can keep: without averaging, averages of outputs, and of weights, at several decays.

    python bench/averages.py ../shared/data/faces64-val.tar --networks skip --sigmas 10 25 50 --count 50 --choose 20
    python bench/averages.py ../shared/data/faces64-val.tar --networks cnn --sigmas 25 --count 15 --choose 5

`bench/recorded.py` defines the averages. `loss_floor` sees each epoch's own output, and names an epoch. The newest
multiple of ten up to it is the kept epoch. One fit records all averages, so all differences are within the same fits.
Fits go on for a while after the rule fired, to show the best picture of the fit.

The faces have a random order. Settings are chosen on the first ``--choose`` of them, and reported on the others. A
second run continues an unfinished one. ``--seeds`` repeats fits with other seeds of the DIP, with the same noise.
``--threads`` and the processor's instructions (ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2) are recorded.
"""

from __future__ import annotations

import json
import math
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `bench` run as files
from bench.recorded import EVERY, End, Recipe, Records, record
from dipddpm import seeds
from dipddpm.degradation.noise import Gaussian
from dipddpm.degradation.problem import degrade
from dipddpm.dip.settings import DipSettings
from dipddpm.metrics.paired import paired_difference
from prior_training.pictures import read

SIZE = 64
Pictures = list[tuple[str, torch.Tensor]]  # names, and pictures of shape (1, 3, H, W) in [0, 1]


def faces(source: Path, count: int) -> Pictures:
    """Return ``count`` pictures of a tar or folder, in a random order that is always the same."""
    found = read(source, SIZE)
    order = torch.randperm(len(found.names), generator=seeds.generator(0, "order of faces"))[:count].tolist()
    pixels = torch.from_numpy(found.pixels).float() / 255
    return [(found.names[i], pixels[i : i + 1]) for i in order]


def arithmetic() -> str:
    """Return the threads and instructions of this process: fits differ by them in the order of sums."""
    return f"{torch.get_num_threads()} x {torch.backends.cpu.get_cpu_capability()}"


def run(args: Namespace, records: Records, pictures: Pictures) -> None:
    done = records.names()
    for seed, network, sigma, (name, clean) in product(args.seeds, args.networks, args.sigmas, pictures):
        fit = {"network": network, "sigma": sigma, "picture": name, "seed": seed, "arithmetic": arithmetic(),
               "rules": args.rules}  # fmt: skip
        if json.dumps(fit) in done:
            continue
        end = End(6000 if args.rules else 3000, (sigma / 255) ** 2, args.beyond, args.rules)
        said = record(degrade(clean, Gaussian(sigma)), Recipe(DipSettings.of(network)), end, seed)
        records.append(fit, said)
        print(f"{network} {sigma:g} {name} seed {seed}: {said['epochs']} epochs, {said['seconds']:.1f} s", flush=True)


def kept_epoch(said: dict[str, Any], rule: str = "loss_floor") -> int:
    """Return the kept epoch of a rule: the newest multiple of ten up to the rule's epoch."""
    epoch, _ = said["rules"][rule]
    return max(EVERY, epoch // EVERY * EVERY)


def kept(said: dict[str, Any], variant: str, epoch: int) -> float:
    """Return the PSNR of the kept picture of an epoch. A variant is ``none``, or a kind and a decay."""
    kind, _, decay = variant.partition(" ")
    if kind == "outputs":
        return said["outputs"][decay][epoch - 1]
    values = said["none"] if kind == "none" else said[kind][decay]
    return values[epoch // EVERY - 1]


def own_floor(said: dict[str, Any], variant: str, threshold: float) -> int | None:
    """Return the kept epoch where `loss_floor` sees the average of outputs instead of each epoch's output."""
    losses = said["outputs_loss"][variant.partition(" ")[2]]
    first = next((i for i, loss in enumerate(losses) if loss <= threshold), None)
    return None if first is None else max(EVERY, first // EVERY * EVERY)  # index i is epoch i + 1, one epoch too late


def variants(said: dict[str, Any]) -> list[str]:
    return ["none", *(f"{kind} {d}" for kind in ("outputs", "first", "weights") for d in said[kind])]


HEAD = "| kept picture | PSNR (dB) | above no averaging (95%) | worst | below the best epoch |\n|---|---|---|---|---|"


def rows(of: Sequence[dict[str, Any]], rule: str = "loss_floor") -> Iterator[str]:
    """Yield the lines of a table of fits of different pictures: one line for each variant."""
    best = [max(said["psnr"]) for said in of]
    base = [kept(said, "none", kept_epoch(said, rule)) for said in of]
    at = [said["psnr"][said["rules"][rule][0]] for said in of]  # the row after the epoch measured its weights

    def line(name: str, psnr: Sequence[float]) -> str:
        gain = paired_difference(psnr, base)
        worst = min(a - b for a, b in zip(psnr, base, strict=True))
        gap = fmean(a - b for a, b in zip(best, psnr, strict=True))
        return f"| {name} | {fmean(psnr):.2f} | {gain} | {worst:+.2f} | {gap:.2f} |"

    yield line("none, at the rule's own epoch", at)
    for variant in variants(of[0]):
        yield line(variant, [kept(said, variant, kept_epoch(said, rule)) for said in of])
    for variant in variants(of[0]):
        if variant.startswith("outputs ") and rule == "loss_floor":
            ends = [own_floor(said, variant, said["threshold"]) for said in of]
            known = [(said, end) for said, end in zip(of, ends, strict=True) if end]
            if len(known) == len(of):
                yield line(
                    f"{variant}, whose own loss the rule sees", [kept(said, variant, end) for said, end in known]
                )


def spread(groups: Sequence[Sequence[dict[str, Any]]], of: Callable[[Sequence[float]], float]) -> Iterator[str]:
    """Yield a line for each variant: the mean over pictures of a spread over the fits of a picture."""
    for variant in variants(groups[0][0]):
        each = [of([kept(said, variant, kept_epoch(said)) for said in group]) for group in groups]
        yield f"| {variant} | {fmean(each):.3f} | {max(each):.3f} |"


def tables(records: Records, choose: int, order: Sequence[str]) -> Iterator[str]:
    """Yield all tables of the recorded fits."""
    all_ = [said | {"threshold": (said["fit"]["sigma"] / 255) ** 2} for said in records if "failed" not in said]
    all_ = [said for said in all_ if "loss_floor" in said["rules"] and said["fit"]["picture"] in order]
    kinds = sorted({(s["fit"]["network"], s["fit"]["sigma"]) for s in all_})
    usual = all_[0]["fit"]["arithmetic"] if all_ else ""
    for network, sigma in kinds:
        same = [s for s in all_ if (s["fit"]["network"], s["fit"]["sigma"]) == (network, sigma)]
        same.sort(key=lambda s: order.index(s["fit"]["picture"]))
        plain = [s for s in same if s["fit"]["seed"] == 0 and s["fit"]["arithmetic"] == usual]
        for words, part in (("chosen", order[:choose]), ("reported", order[choose:]), ("all", order)):
            of = [s for s in plain if s["fit"]["picture"] in part and not s["fit"]["rules"]]
            if len(of) > 1:
                yield f"\n{network}, sigma {sigma:g}, {len(of)} faces, {words}; epochs {spans(of)}\n\n{HEAD}"
                yield from rows(of)
        ruled = [s for s in plain if s["fit"]["rules"]]
        for rule in ("loss_floor", "wmv", "emv"):
            of = [s for s in ruled if rule in s["rules"]]
            if len(of) > 1:
                yield f"\n{network}, sigma {sigma:g}, {rule} on {len(of)} faces\n\n{HEAD}"
                yield from rows(of, rule)
        usually = [s for s in same if not s["fit"]["rules"]]
        seeded = by_picture([s for s in usually if s["fit"]["arithmetic"] == usual])
        if seeded:
            yield f"\n{network}, sigma {sigma:g}: standard deviation over {len(seeded[0])} seeds, {len(seeded)} faces"
            yield from spread(seeded, stdev)
        for other in sorted({s["fit"]["arithmetic"] for s in usually} - {usual}):
            pairs = by_picture(
                [s for s in usually if s["fit"]["seed"] == 0 and s["fit"]["arithmetic"] in (usual, other)]
            )
            if pairs:
                yield f"\n{network}, sigma {sigma:g}: difference of {usual} and {other}, {len(pairs)} faces"
                yield from spread(pairs, lambda pair: math.dist(pair[:1], pair[1:2]))


def by_picture(of: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the fits of each picture that has as many fits as any, at least two."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for said in of:
        groups.setdefault(said["fit"]["picture"], []).append(said)
    most = max(map(len, groups.values()), default=0)
    return [group for group in groups.values() if len(group) == most] if most > 1 else []


def spans(of: Sequence[dict[str, Any]]) -> str:
    kept_epochs = sorted(kept_epoch(said) for said in of)
    return f"{kept_epochs[0]} to {kept_epochs[-1]}"


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, help="folder or tar of faces")
    parser.add_argument("--networks", nargs="+", default=["skip"], help="cnn, skip (skip)")
    parser.add_argument("--sigmas", nargs="+", type=float, default=[25.0], help="noise on the 0-255 scale (25)")
    parser.add_argument("--count", type=int, default=50, help="number of faces (50)")
    parser.add_argument("--choose", type=int, default=20, help="number of faces that settings are chosen on (20)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="seeds of the DIP (0)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    parser.add_argument("--beyond", type=float, default=0.25, help="epochs after the rule fired, as a share (0.25)")
    parser.add_argument("--rules", action="store_true", help="go on until wmv and emv fire, 1000 epochs and more")
    parser.add_argument("--out", type=Path, default=Path("outputs/averages"), help="folder of the records")
    parser.add_argument("--only-table", action="store_true", help="fit nothing, print the tables of recorded fits")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    records, pictures = Records(args.out / "fits.jsonl"), faces(args.pictures, args.count)
    if not args.only_table:
        run(args, records, pictures)
    print("\n".join(tables(records, args.choose, [name for name, _ in pictures])))


if __name__ == "__main__":
    main()
