"""The two jobs, from typed configuration to files.

`fit` keeps a DIP of the picture; `sample` finds or makes that fit and runs the window from it, or from y
itself. From Python:

    cfg = dipddpm.config.compose.typed(hydra.compose("config", overrides=["ddpm.start_t=50"]))
    dipddpm.runs.commands.sample(cfg, Job(Path("outputs/mine")))
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import torch

from dipddpm import environment, progress
from dipddpm.config import ranges as checks
from dipddpm.config.compose import plain
from dipddpm.config.schema import Config
from dipddpm.degradation.problem import Problem
from dipddpm.diffusion import folder as prior_folder
from dipddpm.diffusion import prior
from dipddpm.diffusion.consistency import data_consistency
from dipddpm.diffusion.restoration import Error, error_of_start, posterior_mean, run_window
from dipddpm.diffusion.schedule import window as levels_of
from dipddpm.dip.networks import NETWORKS
from dipddpm.fits import FitStore, fitting
from dipddpm.fits.fitting import Start
from dipddpm.metrics import quality as metrics
from dipddpm.runs import fingerprints, outputs, results
from dipddpm.runs.job import Job
from dipddpm.runs.starting import problem_of, start_of

log = logging.getLogger(__name__)


def fit(c: Config, job: Job) -> float | None:
    """Fit (or find, or extend) the DIP that the configuration asks for, and show what it learnt.

    Returns:
        PSNR in dB of the picture that ``checkpoint`` means; None where there is no clean one.

    Raises:
        UserError: When the request cannot be met.
    """
    checks.check_fit(c)
    _prepare(c)
    asked = c.image.size == "auto"  # of a prior no more than its size
    folder = prior.resolve(*_prior_names(c), config_only=True) if asked else None
    read = fingerprints.of(c, "fit")
    problem = problem_of(c, folder)
    start = start_of(c, problem, job)
    rows = results.given_rows(problem, start)
    outputs.leave(job.folder, plain(c), problem, start, rows, _record(c, problem, start, job, "fit", read))
    return rows["dip"].quality.get("psnr")


def sample(c: Config, job: Job) -> float | None:
    """Run the window from what ``checkpoint`` means, and both starts that need no DIP, and leave what there is to see.

    Returns:
        PSNR in dB of the result; None where there is no clean picture.

    Raises:
        UserError: When the request cannot be met.
    """
    checks.check_start(c)
    device = _prepare(c)
    d = c.ddpm
    folder = prior.resolve(*_prior_names(c))
    read = fingerprints.of(c, "sample")  # before they are read: a file that is changed meanwhile is another's
    problem = problem_of(c, folder)
    prior_folder.check_size(folder, problem.noisy.shape[-1])
    environment.warn_if_emulated("ddpm.precision", d.precision.name, device)
    network = prior.load(folder, device=device, precision=d.precision.name)  # refuses before minutes of fitting
    for note in network.notes:
        log.info("prior %s: %s", network.name, note)
    if d.start_t == "auto" and d.error_sigma is not None:  # known now, so refused now
        levels_of(network.schedule.level_of_sigma(d.error_sigma), d.end_t, T=network.schedule.T)
    start = start_of(c, problem, job)
    posterior_mean(network, problem.noisy, network.schedule.T)  # a process's first evaluation is slower: not timed

    needed = checks.need_an_error(c)
    error = _error(c, problem, start, needed)
    start_t, steps = d.start_t, d.steps
    if start_t == "auto":
        assert error is not None
        start_t = network.schedule.level_of_sigma(error.sigma)
        log.info("ddpm.start_t=auto: level %d, where sigma is %.1f (%s)", start_t, error.sigma, error.source)
        if steps and steps > start_t - d.end_t > 0:
            steps = start_t - d.end_t
            log.info("ddpm.steps=%d is more than there are levels: each of the %d is walked", d.steps, steps)
    if d.init.name == "noise" and start_t < network.schedule.T:
        log.warning(
            "ddpm.init=noise at level %d, where the network expects a picture: the plain DDPM is ddpm.start_t=%d",
            start_t, network.schedule.T
        )  # fmt: skip
    seed = c.seed if d.seed is None else d.seed
    window = partial(
        run_window, network, end_t=d.end_t, steps=steps, scheduler=d.scheduler.name, seed=seed,
        content=problem.content, snapshot_every=d.snapshot_every, exact=d.exact,
    )  # fmt: skip
    partial_y = problem.operator is not None
    consistent = partial_y if d.data_consistency is None else d.data_consistency
    agree = data_consistency(problem.noisy, problem.operator, problem.sigma, network.schedule) if consistent else None

    rows = results.given_rows(problem, start)
    with progress.window_bar(f"window {start_t} to {d.end_t}", steps or start_t - d.end_t) as watch:
        result = window(start.picture, start_t=start_t, init=d.init.name, samples=d.samples, watch=watch,
                        error_rms=error.rms if error else None, data_consistency=agree)  # fmt: skip
    level = f"{start_t} to {d.end_t}" + (", still noisy" if d.end_t else "")
    if needed and error and error.source == "oracle":
        level += " (oracle error)"
    from_noise = d.init.name == "noise"
    began = "noise" if from_noise else "DIP" if start.has_dip else "no DIP"
    rows["result"] = results.row(f"{began}, then {d.scheduler.name} {level}", result, problem)
    if c.baselines and not (from_noise and partial_y):
        # a picture that was completed has no level of its own, so it is given the window's
        y_level = start_t if partial_y else network.schedule.level_of_sigma(problem.sigma)
        if not partial_y:
            agree = None  # y is where this starts from
        one = posterior_mean(network, problem.noisy, y_level, agree)
        rows["posterior_mean"] = results.row(f"no DIP: one evaluation at {y_level}", one, problem)
        end = min(d.end_t, y_level - 1)
        of_y = min(d.steps or y_level - end, y_level - end)
        with progress.window_bar(f"no DIP: {y_level} to {end}", of_y) as watch:
            whole = window(problem.noisy, start_t=y_level, end_t=end, init="scaled", error_rms=None, watch=watch,
                           steps=of_y, data_consistency=agree)  # fmt: skip
        rows["noisy_window"] = results.row(f"no DIP: {d.scheduler.name} {y_level} to {end}", whole, problem)

    record = _record(c, problem, start, job, "sample", read)
    record["prior"] = {"name": network.name, "fingerprint": network.fingerprint, "notes": network.notes}
    record["window"] = {
        "start_t": start_t, "end_t": d.end_t, "still_noisy": d.end_t > 0, "levels": len(result.levels),
        "init": d.init.name, "scheduler": d.scheduler.name, "samples": d.samples, "seed": seed,
        "error_sigma": error.sigma if error else None, "error_source": error.source if error else None,
        "error_used_by": needed, "data_consistency": consistent,
    }  # fmt: skip
    record["cost"] = results.cost(start, result, network, fitted=start.has_dip and not from_noise)
    outputs.leave(job.folder, plain(c), problem, start, rows, record, result)
    return rows["result"].quality.get("psnr")


def _error(c: Config, problem: Problem, start: Start, needed: list[str]) -> Error | None:
    """Return what is known of the error of the window's start; that of y itself is its noise."""
    if c.ddpm.error_sigma is None and not start.has_dip and problem.operator is None:
        return Error(problem.sigma / 127.5, f"noise, {problem.sigma_source}")
    true_rms = None if problem.clean is None else 2 * metrics.rms(start.picture, problem.clean).item()
    return error_of_start(c.ddpm.error_sigma, true_rms, needed)


def _prior_names(c: Config) -> tuple[str, str | None, str | None, str | None]:
    return c.prior.name, c.prior.path, c.prior.repo, c.prior.revision


def _prepare(c: Config) -> str:
    """Set what holds for the whole process, and return its device."""
    if c.threads:
        torch.set_num_threads(c.threads)
    environment.exact_arithmetic()
    return environment.choose_device(c.device)


def _environment(c: Config, command: str) -> dict[str, Any]:
    """Return what the bits of a fit, or of the windows, depend on here."""
    device = environment.choose_device(c.device)
    if command == "fit":
        return environment.describe(device, c.dip.precision.name, NETWORKS[c.dip.network.name].memory_format)
    return environment.describe(device, c.ddpm.precision.name)


def _record(c: Config, problem: Problem, start: Start, job: Job, command: str, read: dict[str, str]) -> dict[str, Any]:
    """Return what metrics.json says beside the rows; ``read`` are the fingerprints of the files that the job read."""
    record: dict[str, Any] = {
        "command": command,
        "picture": {"path": c.image.path, "size": list(problem.noisy.shape[-2:]),
                    "content": problem.content, "notes": problem.notes},
        "degrade": {"kind": c.degrade.kind.name, "sigma": problem.sigma, "source": problem.sigma_source,
                    "correlation": c.degrade.correlation,
                    "missing": problem.operator.missing if problem.operator else 0.0,
                    "downscale": c.degrade.downscale},
        "overrides": job.overrides,
        "inputs": read,
        "environment": _environment(c, command),
    }  # fmt: skip
    if start.fit and start.choice:
        f, choice = start.fit, start.choice
        threshold = c.stopping.threshold or (problem.sigma / 255) ** 2
        summary = fitting.summarise(f.curves, threshold=threshold, patience=c.stopping.patience or 1000)
        if not problem.has_crossing:
            summary["crossing"] = None
        FitStore(f.folder.parent).record_summary(f.key, summary)
        record["fit"] = {
            "key": f.key, "folder": str(f.folder), "made_by_this_run": start.made, "epochs": f.epochs,
            "epoch": choice.epoch, "why": choice.why, "seconds": start.seconds,
            "gflop": results.fit_gflop(start), "environments": f.environments,
            "rule_epoch": choice.stop.epoch if choice.stop else None, "revived": f.revived, "summary": summary,
        }  # fmt: skip
    return record
