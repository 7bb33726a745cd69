"""Rows of the table, and figures of cost, from restorations."""

from __future__ import annotations

from dipddpm.degradation.problem import Problem
from dipddpm.diffusion.arithmetic import evaluation_gflop
from dipddpm.diffusion.prior import Prior
from dipddpm.diffusion.restore import Restoration
from dipddpm.metrics import quality as metrics
from dipddpm.runs.report import Row
from dipddpm.runs.starts import DirectStart, Start


def given_rows(problem: Problem, start: Start) -> dict[str, Row]:
    """Return the rows of the pictures that a window can start from: y, completed if partial, and the DIP output."""
    rows = {"noisy": Row(problem.words, problem.noisy, metrics.evaluate(problem.noisy, problem.clean))}
    if not isinstance(start, DirectStart):
        quality = metrics.evaluate(start.picture, problem.clean)
        rows["dip"] = Row(f"DIP, {start.label}", start.picture, quality, seconds=start.seconds)
    return rows


def row(name: str, result: Restoration, problem: Problem) -> Row:
    """Return the row of a window. Above noise level 0 it has the quality of the clean estimate too."""
    reference = None if problem.clean is None else problem.clean.expand_as(result.picture)
    facts = {"estimate": metrics.evaluate(result.estimate, reference)} if result.levels[-1] else {}
    quality = metrics.evaluate(result.picture, reference)
    return Row(name, result.picture, quality, result.nfe, result.seconds / len(result.picture), facts)


def cost(start: Start, result: Restoration, prior: Prior, *, from_noise: bool) -> dict[str, float]:
    """Return the cost of fit and window per picture, in seconds and in evaluations-worth.

    Evaluations-worth are floating-point operations divided by those of one evaluation. The seconds of fit and window
    may have been measured under different loads. For a start from a file the cost of the fit is unknown, and the cost
    is that of the window.

    Args:
        start: The picture that the window started from.
        result: The restoration by the window.
        prior: The prior of the window.
        from_noise: Whether the window started from pure noise, which needs no fit.
    """
    height, width = start.picture.shape[-2:]
    one = evaluation_gflop(prior, (height, width))
    window = {"evaluation_seconds": result.seconds / (result.nfe * len(result.picture)), "evaluation_gflop": one}
    fit, seconds = (0.0, 0.0) if from_noise else (start.gflop, start.seconds)
    if fit is None:
        return window
    return window | {
        "fit_seconds": seconds,
        "fit_gflop": fit,
        "fit_evaluations_worth": fit / one,
        "total_seconds": seconds + result.nfe * window["evaluation_seconds"],
        "total_evaluations_worth": fit / one + result.nfe,
    }
