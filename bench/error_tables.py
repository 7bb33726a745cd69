"""The tables of `bench/start_error.py`: estimates of the error, costs in PSNR, and stopping rules."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from statistics import correlation, fmean, median, stdev
from typing import Any

from bench.recorded import EVERY
from dipddpm.metrics.paired import paired_difference

LONGEST = 2000  # epochs, as dip.max_epochs
PATIENCES = (100, 200, 400)  # epochs for which the least held-out error stands
Fitted = dict[str, Any]  # the record of one fit


def kept_index(epoch: int) -> int:
    """Return the index of the newest kept epoch up to ``epoch`` in the lists of kept pictures."""
    return max(1, epoch // EVERY) - 1


def floor(said: Fitted) -> int | None:
    """Return the index of the kept epoch of `loss_floor`; None where the fit failed or the rule did not fire."""
    if "failed" in said or "loss_floor" not in said["rules"]:
        return None
    i = kept_index(said["rules"]["loss_floor"][0])
    return i if i < len(said["mse"]) else None


def pairs(of: Sequence[Fitted], scheme: str, estimate: str) -> list[tuple[float, float]]:
    """Return the estimated and the true rms error of each face, on the 0-255 scale. An estimate below 0 counts as 0."""
    found = []
    for said in of:
        true = said["plain"] if estimate in ("paired", "sigma") else said.get(scheme, {"failed": 0})
        variance, i = (said["fit"]["sigma"] / 255) ** 2, floor(true)
        if estimate == "held, at its least":
            epoch = standing(true.get("held_average", []), PATIENCES[0]) if said["fit"]["stands"] else None
            i = None if epoch is None or "failed" in true else kept_index(epoch)
        estimates = said.get(scheme, {}).get(estimate.partition(",")[0], [])
        if i is None or (i >= len(estimates) and estimate != "sigma"):
            continue
        value = variance if estimate == "sigma" else estimates[i]
        if estimate == "held, sigma estimated":
            value += variance - (said["estimated"] / 255) ** 2
        found.append((255 * math.sqrt(max(0.0, value)), 255 * math.sqrt(true["mse"][i])))
    return found


def factor(of: Sequence[Fitted], scheme: str, estimate: str) -> float:
    """Return the factor that makes the median estimate right; NaN without faces."""
    ratios = [true / estimated for estimated, true in pairs(of, scheme, estimate) if estimated]
    return median(ratios) if ratios else math.nan


ERRORS = (
    "| scheme, estimate | faces | true rms | bias | spread | bias, % | spread, % | correlation | factor | then off, % |"
)
ERRORS += "\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
COSTS = "| scheme | faces | plain PSNR | PSNR | above plain (95%) |\n|---|---:|---:|---:|---:|"
RULES = "| rule | fit | faces | PSNR | below the plain peak (95%) | worst | below its own peak | epochs spent |\n"
RULES += "|---|---|---:|---:|---:|---:|---:|---:|"
HELD = ("held", "held, sigma estimated", "held, at its least")
RECORRUPTED = ("recorrupted", "direct", "smoothed", "paired")


def error_rows(of: Sequence[Fitted], chosen: Sequence[Fitted]) -> Iterator[str]:
    """Yield the lines of a table of estimates at the kept epoch of `loss_floor`; factors come from ``chosen``."""
    wanted = [(s, e) for s in schemes_of(of) for e in (RECORRUPTED if s.startswith("recorrupted") else HELD)]
    for scheme, estimate in [("plain", "sigma"), *wanted]:
        found = pairs(of, scheme, estimate)
        if not found:
            continue
        estimated, true = zip(*found, strict=True)
        c = factor(chosen, scheme, estimate)
        off, share = [e - t for e, t in found], [100 * (e / t - 1) for e, t in found]
        left = 100 * math.sqrt(fmean((c * e / t - 1) ** 2 for e, t in found))
        related = correlation(estimated, true) if len(found) > 2 and estimate != "sigma" else math.nan
        spread = [stdev(one) if len(found) > 1 else math.nan for one in (off, share)]
        figures = f"{fmean(true):.2f} | {fmean(off):+.2f} | {spread[0]:.2f} | {fmean(share):+.1f} | {spread[1]:.1f}"
        yield f"| {scheme}, {estimate} | {len(found)} | {figures} | {related:.2f} | {c:.3f} | {left:.1f} |"


def schemes_of(of: Sequence[Fitted]) -> list[str]:
    return sorted({scheme for said in of for scheme in said["fit"]["schemes"]})


def cost_rows(of: Sequence[Fitted]) -> Iterator[str]:
    """Yield the cost of each scheme: the PSNR at its own `loss_floor`, above that of the plain fit."""
    for scheme in schemes_of(of):
        found = [
            (said[scheme]["psnr"][i], said["plain"]["psnr"][j])
            for said in of
            if scheme in said and (i := floor(said[scheme])) is not None and (j := floor(said["plain"])) is not None
        ]
        if len(found) > 1:
            a, b = zip(*found, strict=True)
            yield f"| {scheme} | {len(found)} | {fmean(b):.2f} | {fmean(a):.2f} | {paired_difference(a, b)} |"


def standing(values: Sequence[float], patience: int) -> int | None:
    """Return the first epoch whose value stands as the least for ``patience`` epochs; None where none does."""
    best = 0
    for i, value in enumerate(values):
        if value < values[best]:
            best = i
        if i - best >= patience:
            return best + 1
    return None


def answers(said: Fitted, schemes: Sequence[str]) -> Iterator[tuple[str, str, int, int]]:
    """Yield the answers of all rules to the fits of a face: rule, scheme, its epoch, and the epochs spent.

    A rule that does not fire keeps the last epoch, as the project does.
    """
    for scheme in ("plain", *schemes):
        one = said[scheme]
        rules = one.get("rules", {})
        for rule in ("loss_floor", "wmv", "emv") if scheme == "plain" and said["fit"]["rules"] else rules:
            epoch, fired = rules.get(rule, (LONGEST, LONGEST))
            yield (rule, scheme, epoch, fired) if fired <= LONGEST else (rule, scheme, LONGEST, LONGEST)
        for curve, patience in product(("held_average", "held_output"), PATIENCES):
            epoch = standing(one.get(curve, [0.0]), patience)
            if epoch and said["fit"]["stands"] >= patience:
                yield f"least {curve.replace('_', ' ')}, patience {patience}", scheme, epoch, epoch + patience


def rule_rows(of: Sequence[Fitted]) -> Iterator[str]:
    """Yield a line for each rule: the kept picture, below the best kept picture of the plain fit and of its own."""
    found: dict[tuple[str, str], list[tuple[float, float, float, int]]] = {}
    for said in of:
        for rule, scheme, epoch, spent in answers(said, said["fit"]["schemes"]):
            psnr, i = said[scheme]["psnr"], kept_index(epoch)
            if i < len(psnr) and "failed" not in said[scheme]:
                best = max(said["plain"]["psnr"])
                found.setdefault((rule, scheme), []).append((psnr[i], best, max(psnr), spent))
    for (rule, scheme), rows in found.items():
        psnr, best, own, spent = zip(*rows, strict=True)
        gaps = [b - p for b, p in zip(best, psnr, strict=True)]
        gap = f"{paired_difference(best, psnr):.2f}" if len(rows) > 1 else f"{gaps[0]:.2f}"
        owned = fmean(o - p for p, o in zip(psnr, own, strict=True))
        figures = f"{fmean(psnr):.2f} | {gap} | {max(gaps):.2f} | {owned:.2f} | {fmean(spent):.0f}"
        yield f"| {rule} | {scheme} | {len(rows)} | {figures} |"


def tables(records: Iterable[Fitted], chosen: Sequence[str]) -> Iterator[str]:
    """Yield all tables of the recorded fits: of the pictures named in ``chosen``, and of the others."""
    groups: dict[tuple[str, ...], list[Fitted]] = {}
    for said in records:
        fit = said["fit"]
        words = "chosen" if fit["picture"] in chosen else "reported" if "/" in fit["picture"] else fit["picture"]
        groups.setdefault((fit["network"], f"{fit['sigma']:g}", words), []).append(said)
    factors = groups.get(("skip", "25", "chosen"), [])
    for (network, sigma, words), of in sorted(groups.items()):
        yield f"\n{network}, sigma {sigma}, {words}: {len(of)} pictures\n\n{ERRORS}"
        yield from error_rows(of, factors)
        yield f"\n{COSTS}"
        yield from cost_rows(of)
        for key in ("picture", "stands", "rules"):  # all, and those whose fits went on
            part = [said for said in of if said["fit"][key]]
            if part and (key == "picture" or len(part) < len(of)):
                yield f"\n{RULES}"
                yield from rule_rows(part)
