"""The two jobs, from the typed configuration to files.

`fit` fits a DIP to the picture and keeps it. `sample` finds or makes that fit, and runs the window from it or from y.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from dipddpm import environment
from dipddpm.config.compose import plain
from dipddpm.config.ranges import check_levels
from dipddpm.config.schema import Config, CorrelatedNoise
from dipddpm.degradation.problem import Problem
from dipddpm.diffusion import layout
from dipddpm.diffusion import prior as priors
from dipddpm.diffusion.arithmetic import evaluation_gflop
from dipddpm.diffusion.prior import Prior
from dipddpm.diffusion.restore import posterior_mean
from dipddpm.dip.networks import NETWORKS, memory_format
from dipddpm.errors import UserError
from dipddpm.runs import fingerprints, outputs, results, windows
from dipddpm.runs.inspect import inspect
from dipddpm.runs.job import Job
from dipddpm.runs.posing import problem_of
from dipddpm.runs.starts import FittedStart, Start, fit_record, start_of

log = logging.getLogger(__name__)


def fit(c: Config, job: Job) -> float | None:
    """Fit the DIP of the configuration, or find or extend a stored fit, and write its pictures and figures.

    Returns:
        PSNR in dB of the picture that ``checkpoint`` names; None without a clean picture.

    Raises:
        UserError: When the configuration, a file or the folder of the job cannot be used.
        RuntimeError: When the fit diverges.
    """
    inspect(c, "fit")
    job.claim()
    _prepare(c)
    asked = c.image.size == "auto"  # a fit needs only the picture size of the prior
    folder = priors.resolve(*_prior_names(c), config_only=True) if asked else None
    read = fingerprints.of(c, "fit")
    problem = problem_of(c, folder)
    start = start_of(c, problem, job)
    rows = results.given_rows(problem, start)
    record = _record(c, problem, start, job, "fit") | {"inputs": read}
    outputs.leave(job.folder, plain(c), problem, start, rows, record)
    return rows["dip"].quality.get("psnr")


def sample(c: Config, job: Job) -> float | None:
    """Run the window from the picture that ``checkpoint`` names, and both starts without a DIP.

    Returns:
        PSNR in dB of the result; None without a clean picture.

    Raises:
        UserError: When the configuration, a file or the folder of the job cannot be used.
        RuntimeError: When the fit diverges.
    """
    inspect(c, "sample")
    job.claim(c.ddpm.samples)
    device = _prepare(c)
    folder = priors.resolve(*_prior_names(c))
    read = fingerprints.of(c, "sample")  # before the files are read: a later change makes the job run again
    problem = problem_of(c, folder)
    prior = _load(c, folder, problem, device)  # before the fit, so that a refusal does not cost minutes
    start = start_of(c, problem, job)
    asked = windows.asked(c, problem, start, prior)
    result, row = windows.result_of(asked, problem, start, prior)
    rows = results.given_rows(problem, start) | {"result": row}
    if c.baselines:
        rows |= windows.baselines(asked, problem, prior)
    record = _record(c, problem, start, job, "sample") | {
        "inputs": read,
        "prior": {
            "name": prior.name,
            "fingerprint": prior.fingerprint,
            "levels": prior.schedule.T,
            "notes": prior.notes,
        },
        "window": asked.record(),
        "cost": results.cost(start, result, prior, from_noise=asked.window.init == "noise"),
    }
    outputs.leave(job.folder, plain(c), problem, start, rows, record, result)
    return row.quality.get("psnr")


def _load(c: Config, folder: Path, problem: Problem, device: str) -> Prior:
    """Load the prior, and refuse pictures and windows that it cannot take, by one evaluation too."""
    layout.check_size(folder, problem.noisy.shape[-1])
    check_levels(c.ddpm, layout.levels(folder))
    precision = environment.choose_precision(c.ddpm.precision.name, device, "ddpm.precision")
    prior = priors.load(folder, device=device, precision=precision)
    for note in prior.notes:
        log.info("prior %s: %s", prior.name, note)
    if c.ddpm.error_sigma is not None:
        windows.at_error(windows.configured(c), c.ddpm.error_sigma, prior)
    try:
        evaluation_gflop(prior, (problem.noisy.shape[-2], problem.noisy.shape[-1]))
        posterior_mean(prior, problem.noisy, prior.schedule.T)  # also a warm-up: the first evaluation is slow
    except UserError:
        raise
    except Exception as error:  # torch's, for a config.json that makes no network
        raise layout.refusal(folder, f"the network cannot be evaluated ({layout.brief(error)})") from error
    return prior


def _prior_names(c: Config) -> tuple[str, str | None, str | None, str | None]:
    return c.prior.name, c.prior.path, c.prior.repo, c.prior.revision


def _prepare(c: Config) -> str:
    """Set the threads of the process, and return its device."""
    if c.threads:
        torch.set_num_threads(c.threads)
    return environment.choose_device(c.device)


def _environment(c: Config, command: str) -> dict[str, Any]:
    """Return the environment that the bits of the fit or of the window depend on."""
    device = environment.choose_device(c.device)
    if command == "fit":
        precision = environment.choose_precision(c.dip.precision.name, device, "dip.precision")
        return environment.describe(device, precision, memory_format(NETWORKS[c.dip.network.name]))
    return environment.describe(device, environment.choose_precision(c.ddpm.precision.name, device, "ddpm.precision"))


def _record(c: Config, problem: Problem, start: Start, job: Job, command: str) -> dict[str, Any]:
    """Return the entries of metrics.json, beside the rows, that both jobs have."""
    record: dict[str, Any] = {
        "command": command,
        "picture": {"path": c.image.path, "size": list(problem.noisy.shape[-2:]),
                    "content": problem.content, "notes": problem.notes},
        "noise": {"kind": c.noise.kind.name, "sigma": problem.sigma, "source": problem.sigma_source,
                  "correlation": c.noise.correlation if isinstance(c.noise, CorrelatedNoise) else None},
        "operator": problem.operator.record(),
        "start": {"kind": start.kind, "label": start.label},
        "overrides": job.overrides,
        "environment": _environment(c, command) | {"commit": environment.commit()},
    }  # fmt: skip
    if isinstance(start, FittedStart):
        threshold = c.stopping.threshold or (problem.sigma / 255) ** 2
        record["fit"] = fit_record(start, threshold, c.stopping.patience or 1000, problem.has_crossing)
    return record
