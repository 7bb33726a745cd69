"""The windows of a run: the one asked for, and the two starts that need no DIP."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

from dipddpm import progress
from dipddpm.config.ranges import need_an_error
from dipddpm.config.schema import Config
from dipddpm.degradation.problem import Problem
from dipddpm.diffusion.prior import Prior
from dipddpm.diffusion.restore import Restoration, posterior_mean, restore
from dipddpm.diffusion.window import Window
from dipddpm.errors import UserError, error_unknown
from dipddpm.metrics import quality
from dipddpm.runs import results
from dipddpm.runs.report import Row
from dipddpm.runs.starts import DirectStart, Start

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StartError:
    """The error of a start: its rms on the 0-255 scale, and the source of the number.

    ``source`` is ``given`` (``ddpm.error_sigma``), ``oracle`` (measured against the clean picture), or ``noise, given``
    or ``noise, estimated`` (the start is y, whose error is its noise).
    """

    sigma: float
    source: str


@dataclass(frozen=True)
class Asked:
    """The window that a run asks for.

    Attributes:
        window: The window, with its first noise level known.
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
        }  # fmt: skip


def configured(c: Config) -> Window:
    """Return the window of the configuration. Its first noise level may be ``auto``."""
    d = c.ddpm
    return Window(
        d.start_t, d.end_t, d.steps, init=d.init.name, scheduler=d.scheduler.name, samples=d.samples,
        snapshot_every=d.snapshot_every, seed=c.seed if d.seed is None else d.seed, exact=d.exact,
    )  # fmt: skip


def asked(c: Config, problem: Problem, start: Start, prior: Prior) -> Asked:
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
        log.info("ddpm.start_t=auto: noise level %d, of sigma %.1f (%s)", window.first, error.sigma, error.source)
        if c.ddpm.steps and window.nfe < c.ddpm.steps:
            log.info("ddpm.steps=%d is more than the levels of the window: it takes %d steps", c.ddpm.steps, window.nfe)
    if window.init == "noise" and window.first < prior.schedule.T:
        log.warning(
            "ddpm.init=noise starts at level %d, where the network expects a picture: for the plain DDPM type "
            "ddpm.start_t=%d",
            window.first, prior.schedule.T
        )  # fmt: skip
    consistent = c.ddpm.data_consistency
    return Asked(window, error, needed, problem.operator.partial if consistent is None else consistent)


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
    if problem.clean is None:
        return None
    return StartError(255 * quality.rms(start.picture, problem.clean).item(), "oracle")


def result_of(asked: Asked, problem: Problem, start: Start, prior: Prior) -> tuple[Restoration, Row]:
    """Run the window that was asked for; return its restoration and its row of the table."""
    w = asked.window
    sigma = asked.error.sigma if asked.error else None
    with progress.window_bar(f"window {w.first} to {w.end_t}", w.nfe) as watch:
        result = restore(
            prior, start.picture, w, problem, consistent=asked.consistent, error_sigma=sigma, watch=watch
        )  # fmt: skip
    began = "noise" if w.init == "noise" else "no DIP" if isinstance(start, DirectStart) else "DIP"
    name = f"{began}, then {w.scheduler} {w.first} to {w.end_t}" + (", still noisy" if w.end_t else "")
    if asked.error_used_by and asked.error and asked.error.source == "oracle":
        name += " (oracle error)"
    return result, results.row(name, result, problem)


def baselines(asked: Asked, problem: Problem, prior: Prior) -> dict[str, Row]:
    """Run the two starts without a DIP: one evaluation from y, and a window of the same scheduler from y.

    y starts at the noise level of its own noise. A completed y has no such level, and starts at the window's. A window
    that starts from pure noise has no level to compare at, and a completed y then gives no rows.
    """
    w, completed = asked.window, problem.operator.partial
    if w.init == "noise" and completed:
        return {}
    level = w.first if completed else prior.schedule.level_of_sigma(problem.sigma)
    consistent = asked.consistent and completed  # y agrees with itself
    end = min(w.end_t, level - 1)
    steps = min(w.steps or level - end, level - end)
    whole = replace(w, start_t=level, end_t=end, steps=steps, init="scaled", samples=1)
    one = posterior_mean(prior, problem.noisy, level, problem, consistent=consistent)
    with progress.window_bar(f"no DIP: {level} to {end}", steps) as watch:
        window = restore(prior, problem.noisy, whole, problem, consistent=consistent, watch=watch)
    return {
        "posterior_mean": results.row(f"no DIP: one evaluation at {level}", one, problem),
        "noisy_window": results.row(f"no DIP: {w.scheduler} {level} to {end}", window, problem),
    }
