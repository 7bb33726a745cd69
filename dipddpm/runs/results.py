"""From restorations to rows of the table and figures of cost."""

from __future__ import annotations

from dipddpm.degradation.problem import Problem
from dipddpm.diffusion.arithmetic import evaluation_gflop
from dipddpm.diffusion.prior import Prior
from dipddpm.diffusion.restoration import Restoration
from dipddpm.dip.arithmetic import epoch_gflop
from dipddpm.fits.fitting import Start
from dipddpm.metrics import quality as metrics
from dipddpm.runs.report import Row


def given_rows(problem: Problem, start: Start) -> dict[str, Row]:
    """Return the rows of what a window may start from: y (completed, where A took something away), the DIP's if any."""
    rows = {"noisy": Row(problem.words, problem.noisy, metrics.evaluate(problem.noisy, problem.clean))}
    if start.has_dip:
        quality = metrics.evaluate(start.picture, problem.clean)
        rows["dip"] = Row(f"DIP, {start.source}", start.picture, quality, seconds=start.seconds)
    return rows


def row(name: str, result: Restoration, problem: Problem) -> Row:
    """Return the row of a window; where it ends above level 0, with the quality of its clean estimate too."""
    reference = None if problem.clean is None else problem.clean.expand_as(result.picture)
    facts = {"estimate": metrics.evaluate(result.estimate, reference)} if result.levels[-1] else {}
    quality = metrics.evaluate(result.picture, reference)
    return Row(name, result.picture, quality, result.nfe, result.seconds / len(result.picture), facts)


def fit_gflop(start: Start) -> float:
    """Return the 10^9 floating-point operations of a fit up to where its answer was known; 0 where there is none."""
    if start.fit is None or start.choice is None:
        return 0.0
    height, width = start.picture.shape[-2:]
    return start.choice.needed * epoch_gflop(start.fit.request["dip"], (height, width))


def cost(start: Start, result: Restoration, prior: Prior, *, fitted: bool) -> dict[str, float]:
    """Return what fit and window cost per picture, in seconds and in evaluations-worth.

    Of a DIP output from a file, whose fit nobody counted, the window's alone.

    The seconds of a fit and of a window may have been measured under different loads; evaluations-worth are of
    floating-point operations.

    Args:
        start: What the window may have started from.
        result: The window's.
        prior: Its network.
        fitted: Whether it started from a DIP output; from y and from pure noise it needs no fit.
    """
    height, width = start.picture.shape[-2:]
    one = evaluation_gflop(prior, (height, width))
    window = {"evaluation_seconds": result.seconds / (result.nfe * len(result.picture)), "evaluation_gflop": one}
    if fitted and start.fit is None:
        return window
    fit, seconds = (fit_gflop(start), start.seconds) if fitted else (0.0, 0.0)
    return window | {
        "fit_seconds": seconds,
        "fit_gflop": fit,
        "fit_evaluations_worth": fit / one,
        "total_seconds": seconds + result.nfe * window["evaluation_seconds"],
        "total_evaluations_worth": fit / one + result.nfe,
    }
