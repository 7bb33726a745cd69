"""The windows of a run: the window of the configuration, and the two starts without a DIP.

Pictures whose windows are the same are evaluated together. A single picture is a list of one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from dipddpm import progress
from dipddpm.config.schema import Config
from dipddpm.config.start_error import need_an_error
from dipddpm.degradation.problem import Problem, joined
from dipddpm.diffusion.agreement import form_of, is_wanted
from dipddpm.diffusion.prior import Prior
from dipddpm.diffusion.restore import Restoration, restore
from dipddpm.diffusion.window import Window
from dipddpm.errors import UserError, error_unknown
from dipddpm.fits.load import LoadedFit
from dipddpm.metrics import quality
from dipddpm.names import SECOND_FIT
from dipddpm.runs import results
from dipddpm.runs.folder import is_many
from dipddpm.runs.report import Row
from dipddpm.runs.starts import DirectStart, FittedStart, Start

log = logging.getLogger(__name__)
# Pixels of the pictures that are evaluated together, on a CPU and on a GPU: 16 and 512 of 64x64, 1 and 32 of 256x256.
# `dd.restore(prior, torch.rand(n, 3, 64, 64), dd.Window(1))` on one thread takes 123 ms a picture for n=1, 79 for n=16,
# 105 for n=64.
TOGETHER = {False: 2**16, True: 2**21}


@dataclass(frozen=True)
class StartError:
    """The error of a start: its rms on the 0-255 scale, and the source of the number.

    ``source`` is ``given`` (``ddpm.error_sigma``), ``oracle`` (measured against the clean picture), ``noise, given`` or
    ``noise, estimated`` (the start is y, whose error is its noise), or ``second fit`` (`dipddpm.fits.second`).
    """

    sigma: float
    source: str


@dataclass(frozen=True)
class Plan:
    """The window that a run asks for.

    Attributes:
        window: The window, with its first noise level and its form of data consistency known.
        error: The error of the start; None where it is unknown.
        error_used_by: The settings, as typed, that need the error.
        consistent: Whether clean estimates are made to agree with y.
    """

    window: Window
    error: StartError | None
    error_used_by: list[str]
    consistent: bool

    def record(self) -> dict[str, Any]:
        """Return the entry ``window`` of metrics.json."""
        w, error = self.window, self.error
        return {
            "start_t": w.first, "end_t": w.end_t, "still_noisy": w.end_t > 0, "levels": len(w.levels), "init": w.init,
            "scheduler": w.scheduler, "samples": w.samples, "seed": w.seed,
            "error_sigma": error.sigma if error else None, "error_source": error.source if error else None,
            "error_used_by": self.error_used_by, "data_consistency": self.consistent,
            "consistency": w.consistency if self.consistent else None,
            "prior_weight": w.prior_weight if self.consistent else None,
        }  # fmt: skip


def configured(c: Config) -> Window:
    """Return the window of the configuration. Its first noise level may be ``auto``."""
    d = c.ddpm
    return Window(
        d.start_t, d.end_t, d.steps, init=d.init.name, scheduler=d.scheduler.name, samples=d.samples,
        snapshot_every=d.snapshot_every, seed=c.seed if d.seed is None else d.seed, exact=d.exact,
        consistency=d.consistency.name, prior_weight=d.prior_weight,
    )  # fmt: skip


def planned(c: Config, problem: Problem, start: Start, prior: Prior) -> Plan:
    """Return the window that a run asks for, with the error of its start.

    Raises:
        UserError: When a setting needs an unknown error, or the noise level of the error is not above ``ddpm.end_t``.
    """
    needed = need_an_error(c)
    error = error_of(c.ddpm.error_sigma, problem, start)
    if needed and error is None:
        raise error_unknown(needed)
    window = configured(c)
    if window.start_t == "auto" and error is not None:
        window = at_error(window, error.sigma, prior)
    consistent = is_wanted(c.ddpm.data_consistency, window.consistency, problem.operator)
    if consistent:
        window = replace(window, consistency=form_of(window.consistency, problem.operator, problem.sigma))
    return Plan(window, error, needed, consistent)


def say(c: Config, plans: Sequence[Plan], prior: Prior) -> None:
    """Log the noise levels of ``ddpm.start_t=auto``, and a window from noise that is not the whole chain."""
    first, last = (choose(plans, key=lambda one: one.window.first) for choose in (min, max))
    if c.ddpm.start_t == "auto" and first.error and last.error:
        if is_many(c):
            log.info("ddpm.start_t=auto: noise levels from %d to %d", first.window.first, last.window.first)
        else:
            level, error = first.window.first, first.error
            log.info("ddpm.start_t=auto: noise level %d, of sigma %.1f (%s)", level, error.sigma, error.source)
        if c.ddpm.steps and (steps := first.window.nfe) < c.ddpm.steps:
            log.info("ddpm.steps=%d is more than the levels of the window, which takes %d steps", c.ddpm.steps, steps)
    if c.ddpm.init.name == "noise" and first.window.first < prior.schedule.T:
        log.warning(
            "ddpm.init=noise starts at level %d, where the network expects a picture: for the plain DDPM type "
            "ddpm.start_t=%d",
            first.window.first,
            prior.schedule.T,
        )


def at_error(window: Window, sigma: float, prior: Prior) -> Window:
    """Return the window with ``ddpm.start_t=auto`` resolved.

    Raises:
        UserError: When the noise level of the error is not above ``ddpm.end_t``.
    """
    try:
        return window.at_error(sigma, prior.schedule)
    except ValueError as error:
        level = prior.schedule.level_of_sigma(sigma)
        raise UserError(
            f"ddpm.end_t={window.end_t} is not below ddpm.start_t=auto, which is noise level {level} here: type "
            f"ddpm.end_t={level - 1} or less"
        ) from error


def error_of(given: float | None, problem: Problem, start: Start) -> StartError | None:
    """Return the error of a start; None where it is unknown.

    Args:
        given: ``ddpm.error_sigma``, 0-255 scale.
        problem: The problem. Its clean picture, where there is one, gives the error as an oracle would.
        start: The picture that the window starts from. The error of y itself is its noise.
    """
    if given is not None:
        return StartError(given, "given")
    if isinstance(start, DirectStart) and not problem.operator.partial:
        return StartError(problem.sigma, f"noise, {problem.sigma_source}")
    if problem.clean is not None:
        return StartError(255 * quality.rms(start.picture, problem.clean).item(), "oracle")
    known = start.error_sigma if isinstance(start, FittedStart) else None
    return None if known is None else StartError(known, SECOND_FIT)


def results_of(
    plans: Sequence[Plan], problems: Sequence[Problem], starts: Sequence[Start], prior: Prior
) -> list[tuple[Restoration, Row]]:
    """Run the window of the configuration for each picture; return its restoration and its row of the table."""
    runs = [
        _Run(one.window, one.consistent, problem, start.picture, one.error.sigma if one.error else None,
             start.load if one.window.learns and not isinstance(start, DirectStart) else None)
        for one, problem, start in zip(plans, problems, starts, strict=True)
    ]  # fmt: skip
    w = plans[0].window
    with progress.window_bar(f"window {_span(runs)} to {w.end_t}", _evaluations(runs)) as watch:
        restored = _restored(runs, prior, watch)
    answers = []
    for one, problem, start, result in zip(plans, problems, starts, restored, strict=True):
        w = one.window
        began = "noise" if w.init == "noise" else "no DIP" if isinstance(start, DirectStart) else "DIP"
        name = f"{began}, then {w.scheduler} {w.first} to {w.end_t}" + ", with the DIP" * w.learns
        name += ", still noisy" * (w.end_t > 0)
        if one.error_used_by and one.error and one.error.source in ("oracle", SECOND_FIT):
            name += f" ({'oracle' if one.error.source == 'oracle' else 'estimated'} error)"
        answers.append((result, results.row(name, result, problem)))
    return answers


def baselines(
    plans: Sequence[Plan], problems: Sequence[Problem], starts: Sequence[Start], made: Sequence[Restoration],
    prior: Prior,
) -> list[dict[str, Row]]:  # fmt: skip
    """Run the two starts without a DIP for each picture: one evaluation from y, and a window of the same scheduler.

    y starts at the noise level of its own noise. A completed y has no such level, and starts at the window's. A window
    that starts from pure noise has no level to compare at, and a completed y then gives no rows. A window in which the
    DIP learns is compared with ``consistency=auto``, which needs no DIP. Where the result came from the same window as
    the second start's, that window is not run again.
    """
    completed = problems[0].operator.partial
    if plans[0].window.init == "noise" and completed:
        return [{} for _ in plans]
    ones, wholes = [], []
    for of_picture, problem in zip(plans, problems, strict=True):
        w = of_picture.window
        if w.learns:
            w = replace(w, consistency=form_of("auto", problem.operator, problem.sigma))
        level = w.first if completed else prior.schedule.level_of_sigma(problem.sigma)
        consistent = of_picture.consistent and completed  # y itself needs no agreement with y
        end = min(w.end_t, level - 1)
        steps = min(w.steps or level - end, level - end)
        whole = replace(w, start_t=level, end_t=end, steps=steps, init="scaled", samples=1)
        wholes.append(_Run(whole, consistent, problem, problem.noisy))
        one = replace(whole, end_t=0, steps=1, scheduler="ddim")
        ones.append(_Run(one, consistent, problem, problem.noisy))
    means = _restored(ones, prior)
    known = {
        i: result for i, result in enumerate(made) if isinstance(starts[i], DirectStart) and _same(wholes[i], plans[i])
    }
    if missing := [i for i in range(len(wholes)) if i not in known]:
        runs = [wholes[i] for i in missing]
        with progress.window_bar(f"no DIP: {_span(runs)} to {runs[0].window.end_t}", _evaluations(runs)) as watch:
            known |= dict(zip(missing, _restored(runs, prior, watch), strict=True))
    windows = [known[i] for i in range(len(wholes))]
    rows = []
    for run, one, window in zip(wholes, means, windows, strict=True):
        w, size = run.window, (run.start.shape[-2], run.start.shape[-1])
        each = results.worth(prior, w, size, consistent=run.consistent)
        rows.append({
            "posterior_mean": results.row(f"no DIP: one evaluation at {w.first}", one, run.problem, each),
            "noisy_window": results.row(f"no DIP: {w.scheduler} {w.first} to {w.end_t}", window, run.problem, each),
        })  # fmt: skip
    return rows


@dataclass(frozen=True, eq=False)
class _Run:
    """A window of one picture, from a start of shape (1, 3, H, W)."""

    window: Window
    consistent: bool
    problem: Problem
    start: torch.Tensor
    error_sigma: float | None = None
    load: Callable[[], LoadedFit] | None = None  # of the DIP that learns in the window


def _same(run: _Run, plan: Plan) -> bool:
    """Return whether a plan has the window of a run, with the first noise level and the steps as numbers."""
    w = plan.window
    return (run.window, run.consistent) == (replace(w, start_t=w.first, steps=w.nfe), plan.consistent)


def _span(runs: Sequence[_Run]) -> str:
    """Return the first noise levels in words: ``57``, or ``43-61`` where they differ."""
    levels = sorted(run.window.first for run in runs)
    return f"{levels[0]}" if levels[0] == levels[-1] else f"{levels[0]}-{levels[-1]}"


def _evaluations(runs: Sequence[_Run]) -> int:
    return sum(run.window.nfe for run in runs)


def _restored(runs: Sequence[_Run], prior: Prior, watch: Callable[[float], None] | None = None) -> list[Restoration]:
    """Run the windows, and return their restorations in order. Pictures with the same window are evaluated together."""
    alike: dict[tuple[Window, bool, str], list[int]] = {}
    for i, run in enumerate(runs):
        alike.setdefault((run.window, run.consistent, run.problem.operator.alike), []).append(i)
    height, width = runs[0].start.shape[-2:]
    most = max(1, TOGETHER[prior.unet.device.type == "cuda"] // (height * width))
    answers: dict[int, Restoration] = {}
    for (window, consistent, _), places in alike.items():
        for batch in (places[first : first + most] for first in range(0, len(places), most)):
            chosen, n = [runs[i] for i in batch], len(batch)
            problem = joined([run.problem for run in chosen])
            start = torch.cat([run.start for run in chosen])
            told: dict[str, Any] = {"consistent": consistent}
            errors = [run.error_sigma for run in chosen if run.error_sigma is not None]
            if errors:
                told["error_sigma"] = errors
            if dips := [run.load() for run in chosen if run.load]:
                told["dips"] = dips
            seen = None if watch is None else lambda done, n=n: watch(n * done)
            result = restore(prior, start, window, problem, watch=seen, **told)
            answers |= dict(zip(batch, [result] if n == 1 else result.split(), strict=True))
    return [answers[i] for i in range(len(runs))]
