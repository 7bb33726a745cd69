"""The two jobs, from the typed configuration to files.

`fit` fits a DIP to the picture and keeps it. `sample` finds or makes that fit, and runs the window from it or from y.
With ``image=folder`` both do so for many pictures. Problem, fit and figures of each picture are those of a
job of this picture alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dipddpm import environment
from dipddpm.config.compose import plain
from dipddpm.config.ranges import check_levels
from dipddpm.config.schema import Config, CorrelatedNoise
from dipddpm.degradation.problem import Problem
from dipddpm.diffusion import folder as prior_folder
from dipddpm.diffusion import layout
from dipddpm.diffusion import prior as priors
from dipddpm.diffusion.flops import evaluation_gflop
from dipddpm.diffusion.prior import Prior
from dipddpm.diffusion.restore import posterior_mean
from dipddpm.dip.networks import NETWORKS, memory_format
from dipddpm.dip.stopping import patience_of
from dipddpm.errors import UserError
from dipddpm.runs import fingerprints, outputs, results, windows
from dipddpm.runs.album import Album
from dipddpm.runs.folder import is_many
from dipddpm.runs.inspect import inspect
from dipddpm.runs.job import Job
from dipddpm.runs.posing import problem_of, problems_of
from dipddpm.runs.starts import FittedStart, Start, fit_record, start_of, starts_of

log = logging.getLogger(__name__)
AT_ONCE = 256  # pictures whose windows are run before their results are written, which bounds the memory


def fit(c: Config, job: Job) -> float | None:
    """Fit the DIP of the configuration, or find or extend a stored fit, and write its pictures and figures.

    Returns:
        PSNR in dB of the picture that ``checkpoint`` names, with ``image=folder`` the mean over the pictures; None
        without a clean picture.

    Raises:
        UserError: When the configuration, a file or the folder of the job cannot be used.
        RuntimeError: When the fit diverges; with ``image=folder`` when all fits do.
    """
    return _run(c, job, "fit")


def sample(c: Config, job: Job) -> float | None:
    """Run the window from the picture that ``checkpoint`` names, and both starts without a DIP.

    Returns:
        PSNR in dB of the result, with ``image=folder`` the mean over the pictures; None without a clean picture.

    Raises:
        UserError: When the configuration, a file or the folder of the job cannot be used.
        RuntimeError: When the fit diverges; with ``image=folder`` when all fits do.
    """
    return _run(c, job, "sample")


def _run(c: Config, job: Job, command: str) -> float | None:
    inspect(c, command)
    samples = command == "sample"
    job.claim(c.ddpm.samples if samples else 1)
    device = _prepare(c)
    needs_prior = samples or c.image.size == "auto"  # a fit needs only the picture size of the prior
    p = c.prior
    folder = prior_folder.resolve(p.name, p.path, p.repo, p.revision, config_only=not samples) if needs_prior else None
    read = fingerprints.of(c, command)  # before the files are read: a later change makes the job run again
    if is_many(c):
        album = Album(c, job)
        problems = album.posed(problems_of(c, folder))
    else:
        album, problems = None, [(c, problem_of(c, folder))]
    prior = None
    if samples and folder:
        prior = _load(c, folder, problems[0][1], device)  # before the fit, so that a refusal does not cost minutes
    common: dict[str, Any] = {
        "command": command, "overrides": job.overrides, "inputs": read,
        "environment": _environment(c, command) | {"commit": environment.commit()},
    }  # fmt: skip
    if prior:
        common["prior"] = {
            "name": prior.name, "fingerprint": prior.fingerprint, "levels": prior.schedule.T, "notes": prior.notes,
        }  # fmt: skip
    if album is None:
        ((_, problem),) = problems
        (one,) = _restored(c, [(c, problem, start_of(c, problem, job, window=samples))], prior)
        outputs.leave(job.folder, plain(c), problem, one.start, one.rows, one.record | common, one.result)
        return one.rows["result" if samples else "dip"].quality.get("psnr")
    starts = starts_of(c, [problem for _, problem in problems], job, window=samples)
    started = album.started(problems, starts)
    if prior:
        started = album.windowed(started, prior)
    outputs.clear(job.folder)
    for first in range(0, len(started), AT_ONCE):
        album.add(_restored(c, started[first : first + AT_ONCE], prior))
    return album.leave(common)


def _restored(
    c: Config, started: Sequence[tuple[Config, Problem, Start]], prior: Prior | None
) -> list[results.Restored]:
    """Restore pictures from their starts, in order; without a prior the starts themselves are the restorations.

    Args:
        c: The configuration of the job.
        started: The configuration of each picture alone, its problem and its start.
        prior: The prior of the windows; None for a fit.
    """
    pictures = [
        results.Restored(one, problem, start, results.given_rows(problem, start), _record(one, problem, start))
        for one, problem, start in started
    ]
    if prior is None:
        return pictures
    plans = [windows.planned(one, problem, start, prior) for one, problem, start in started]
    windows.say(c, plans, prior)
    _, problems, starts = zip(*started, strict=True)
    made = windows.results_of(plans, problems, starts, prior)
    for picture, of_one, (result, row) in zip(pictures, plans, made, strict=True):
        picture.result, picture.rows["result"] = result, row
        cost = results.cost(picture.start, result, prior, of_one.window)
        picture.record |= {"window": of_one.record(), "cost": cost}
    if c.baselines:
        without = windows.baselines(plans, problems, starts, [result for result, _ in made], prior)
        for picture, rows in zip(pictures, without, strict=True):
            picture.rows |= rows
    return pictures


def _load(c: Config, folder: Path, problem: Problem, device: str) -> Prior:
    """Load the prior, evaluate it once, and refuse pictures and windows that it cannot take."""
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


def _record(c: Config, problem: Problem, start: Start) -> dict[str, Any]:
    """Return the entries of metrics.json, beside the rows, that both jobs have for a picture."""
    record: dict[str, Any] = {
        "picture": {"path": c.image.path, "size": list(problem.noisy.shape[-2:]),
                    "content": problem.content, "notes": problem.notes},
        "noise": {"kind": c.noise.kind.name, "sigma": problem.sigma, "source": problem.sigma_source,
                  "correlation": c.noise.correlation if isinstance(c.noise, CorrelatedNoise) else None},
        "operator": problem.operator.record(),
        "start": {"kind": start.kind, "label": start.label},
    }  # fmt: skip
    if isinstance(start, FittedStart):
        threshold = c.stopping.threshold or (problem.sigma / 255) ** 2
        patience = patience_of(c.stopping.rule.name, c.stopping.patience)
        record["fit"] = fit_record(start, threshold, patience, problem.has_crossing)
    return record
