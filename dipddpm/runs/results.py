"""Rows of the table, figures of cost, and the means over many pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch

from dipddpm.config.schema import Config
from dipddpm.degradation.problem import Problem
from dipddpm.diffusion.flops import evaluation_gflop, learning_gflop
from dipddpm.diffusion.prior import Prior
from dipddpm.diffusion.restore import Restoration
from dipddpm.diffusion.window import Window
from dipddpm.metrics import quality as metrics
from dipddpm.metrics.paired import half_width
from dipddpm.runs.report import Row
from dipddpm.runs.starts import DirectStart, Start


@dataclass
class Restored:
    """A restored picture of a job.

    Attributes:
        c: The configuration of a job of this picture alone.
        problem: The problem.
        start: The picture that a window can start from.
        rows: The restorations, by their names in metrics.json.
        record: The other entries of metrics.json that concern the picture.
        result: The restoration by the window; None for a fit.
    """

    c: Config
    problem: Problem
    start: Start
    rows: dict[str, Row]
    record: dict[str, Any]
    result: Restoration | None = None


def given_rows(problem: Problem, start: Start) -> dict[str, Row]:
    """Return the rows of the pictures that a window can start from: y, completed if partial, and the DIP output."""
    rows = {"noisy": Row(problem.words, problem.noisy, metrics.evaluate(problem.noisy, problem.clean))}
    if not isinstance(start, DirectStart):
        quality = metrics.evaluate(start.picture, problem.clean)
        rows["dip"] = Row(f"DIP, {start.label}", start.picture, quality, seconds=start.seconds)
    return rows


def row(name: str, result: Restoration, problem: Problem, each: float = 1.0) -> Row:
    """Return the row of a window. Above noise level 0 it has the quality of the clean estimate too.

    ``each`` is the cost of an evaluation (`worth`). The row has that of the window, where it differs from the NFE.
    """
    reference = None if problem.clean is None else problem.clean.expand_as(result.picture)
    facts: dict[str, Any] = {"evaluations_worth": each * result.nfe} if each != 1 else {}
    facts |= {"estimate": metrics.evaluate(result.estimate, reference)} if result.levels[-1] else {}
    quality = metrics.evaluate(result.picture, reference)
    return Row(name, result.picture, quality, result.nfe, result.seconds / len(result.picture), facts)


def worth(prior: Prior, window: Window, size: tuple[int, int], *, consistent: bool) -> float:
    """Return the cost of an evaluation in a window, in evaluations-worth: about 2 with the gradient of ``dps``."""
    if not consistent or window.consistency != "dps":
        return 1.0
    return evaluation_gflop(prior, size, gradient=True) / evaluation_gflop(prior, size)


def cost(start: Start, result: Restoration, prior: Prior, window: Window) -> dict[str, float]:
    """Return the cost of fit and window per picture, in seconds and in evaluations-worth.

    Evaluations-worth are floating-point operations divided by those of one evaluation (`worth`). The seconds of fit and
    window may have been measured under different loads. For a start from a file the cost of the fit is unknown, and the
    cost is that of the window. The steps of a DIP that learns in the window are counted, and their seconds are in
    ``evaluation_seconds``.

    Args:
        start: The picture that the window started from.
        result: The restoration by the window.
        prior: The prior of the window.
        window: The window. One from pure noise needs no fit, unless a DIP learns in it.
    """
    height, width = start.picture.shape[-2:]
    one, each = evaluation_gflop(prior, (height, width)), worth(prior, window, (height, width), consistent=True)
    spent = {"evaluation_seconds": result.seconds / (result.nfe * len(result.picture)), "evaluation_gflop": one}
    learning = 0.0
    if window.learns and not isinstance(start, DirectStart):
        learning = result.nfe * learning_gflop(start.request["dip"], (height, width))
        spent |= {"learning_gflop": learning, "learning_evaluations_worth": learning / one}
    from_noise = window.init == "noise" and not window.learns
    fit, seconds = (0.0, 0.0) if from_noise else (start.gflop, start.seconds)
    if fit is None:
        return spent
    return spent | {
        "fit_seconds": seconds,
        "fit_gflop": fit,
        "fit_evaluations_worth": fit / one,
        "total_seconds": seconds + result.nfe * spent["evaluation_seconds"],
        "total_evaluations_worth": fit / one + each * result.nfe + learning / one,
    }


def mean_row(rows: Sequence[Row], picture: torch.Tensor) -> Row:
    """Return the means over the rows of several pictures, with 95% intervals where there are two or more."""
    mean, interval = means({name: [row.quality[name] for row in rows] for name in rows[0].quality})
    return Row(
        spanned([row.name for row in rows]), picture, mean, merged([row.nfe for row in rows]),
        fmean(row.seconds for row in rows), merged([row.facts for row in rows]), interval,
    )  # fmt: skip


def means(of_each: Mapping[str, Sequence[float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the mean of each figure over the pictures, and half the width of its 95% interval, if it has one."""
    intervals = {name: half_width(values) for name, values in of_each.items() if len(values) > 1}
    return {name: fmean(values) for name, values in of_each.items()}, intervals


def merged(entries: Sequence[Any]) -> Any:
    """Return the entry of metrics.json for many pictures, from those of the single ones.

    Equal values stay. Numbers become their mean, over the pictures that have one. Mappings are merged key by key. Other
    values that differ become None.
    """
    first = entries[0]
    if all(entry == first for entry in entries):
        return first
    if all(isinstance(entry, Mapping) for entry in entries):
        return {key: merged([entry.get(key) for entry in entries]) for key in first}
    known = [entry for entry in entries if entry is not None]
    numbers = all(isinstance(entry, int | float) and not isinstance(entry, bool) for entry in known)
    return fmean(known) if numbers else None


def spanned(texts: Sequence[str]) -> str:
    """Return one text for several: ``epoch 610-830 (loss_floor)``. Words that differ are joined, numbers spanned."""
    words = [re.split(r"(\d+|\s+)", text) for text in dict.fromkeys(texts)]
    if len({len(of_one) for of_one in words}) > 1:
        return " / ".join(dict.fromkeys(texts))
    columns = [list(dict.fromkeys(column)) for column in zip(*words, strict=True)]
    spans = [
        f"{min(column, key=int)}-{max(column, key=int)}" if all(map(str.isdigit, column)) and len(column) > 1 else
        "/".join(column) for column in columns
    ]  # fmt: skip
    return "".join(spans)
