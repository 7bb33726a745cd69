"""From restorations to rows of the table and figures of cost."""

from __future__ import annotations

from dipddpm import metrics
from dipddpm.fitting import Start
from dipddpm.problem import Problem
from dipddpm.report import Row
from dipddpm.restoration import Restoration


def given_rows(problem: Problem, start: Start) -> dict[str, Row]:
    """Return the rows of what a window starts from: the noisy picture and the DIP output."""
    noisy = Row("noisy picture", problem.noisy, metrics.evaluate(problem.noisy, problem.clean))
    quality = metrics.evaluate(start.picture, problem.clean)
    return {"noisy": noisy, "dip": Row(f"DIP, {start.source}", start.picture, quality, seconds=start.seconds)}


def row(name: str, result: Restoration, problem: Problem) -> Row:
    """Return the row of a window; where it ends above level 0, with the quality of its clean estimate too."""
    reference = None if problem.clean is None else problem.clean.expand_as(result.picture)
    facts = {"estimate": metrics.evaluate(result.estimate, reference)} if result.levels[-1] else {}
    quality = metrics.evaluate(result.picture, reference)
    return Row(name, result.picture, quality, result.nfe, result.seconds / len(result.picture), facts)


def cost(start: Start, result: Restoration) -> dict[str, float]:
    """Return seconds and evaluations-worth of fit and window, per picture."""
    one = result.seconds / (result.nfe * len(result.picture))
    return {
        "evaluation_seconds": one,
        "fit_seconds": start.seconds,
        "fit_evaluations_worth": start.seconds / one,
        "total_seconds": start.seconds + result.nfe * one,
        "total_evaluations_worth": start.seconds / one + result.nfe,
    }
