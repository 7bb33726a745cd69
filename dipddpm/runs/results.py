"""From restorations to rows of the table and figures of cost."""

from __future__ import annotations

from dipddpm.degradation.problem import Problem
from dipddpm.diffusion.arithmetic import evaluation_gflop
from dipddpm.diffusion.prior import Prior
from dipddpm.diffusion.restore import Restoration
from dipddpm.metrics import quality as metrics
from dipddpm.runs.report import Row
from dipddpm.runs.starts import DirectStart, Start


def given_rows(problem: Problem, start: Start) -> dict[str, Row]:
    """Return the rows of what a window may start from: y (completed, where A took something away), the DIP's if any."""
    rows = {"noisy": Row(problem.words, problem.noisy, metrics.evaluate(problem.noisy, problem.clean))}
    if not isinstance(start, DirectStart):
        quality = metrics.evaluate(start.picture, problem.clean)
        rows["dip"] = Row(f"DIP, {start.label}", start.picture, quality, seconds=start.seconds)
    return rows


def row(name: str, result: Restoration, problem: Problem) -> Row:
    """Return the row of a window; where it ends above level 0, with the quality of its clean estimate too."""
    reference = None if problem.clean is None else problem.clean.expand_as(result.picture)
    facts = {"estimate": metrics.evaluate(result.estimate, reference)} if result.levels[-1] else {}
    quality = metrics.evaluate(result.picture, reference)
    return Row(name, result.picture, quality, result.nfe, result.seconds / len(result.picture), facts)


def cost(start: Start, result: Restoration, prior: Prior, *, from_noise: bool) -> dict[str, float]:
    """Return the cost of fit and window per picture, in seconds and in evaluations-worth.

    Of a DIP output from a file, whose fit nobody counted, it is the window's alone.

    The seconds of a fit and of a window may have been measured under different loads; evaluations-worth are of
    floating-point operations.

    Args:
        start: The picture that the window may have started from.
        result: The window's.
        prior: Its network.
        from_noise: Whether the window started from pure noise, and needed no start.
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
