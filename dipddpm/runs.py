"""The two jobs, from typed configuration to files: the only module that knows the others and the config.

`fit` keeps a DIP of the picture; `sample` finds or makes that fit and runs the window from it. From Python:

    cfg = dipddpm.config.typed(hydra.compose("config", overrides=["ddpm.start_t=50"]))
    dipddpm.runs.sample(cfg, Job(Path("outputs/mine")))
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dipddpm import environment, fitting, images, metrics, outputs, prior, progress, results, seeds, stopping
from dipddpm.config import Config, plain
from dipddpm.curves import Curves
from dipddpm.dip import DeepImagePrior
from dipddpm.errors import UserError
from dipddpm.files import write_json
from dipddpm.fits import Damaged, Fit, FitStore
from dipddpm.fits.manifest import read_picture
from dipddpm.fitting import Start
from dipddpm.jobs import Job
from dipddpm.problem import Problem, pose
from dipddpm.restoration import error_of_start, posterior_mean, run_window
from dipddpm.stopping import Stop

log = logging.getLogger(__name__)
FIT_VERSION = 1  # raise it when the same request would no longer give the same fit


def fit(c: Config, job: Job) -> float | None:
    """Fit (or find, or extend) the DIP that the configuration asks for, and show what it learnt.

    Returns:
        PSNR in dB of the picture that ``checkpoint`` means; None where there is no clean one.

    Raises:
        UserError: When the request cannot be met.
    """
    _set_threads(c)
    problem = _problem(c, prior.resolve(*_prior_names(c), config_only=True))
    start = _start(c, problem, job)
    rows = results.given_rows(problem, start)
    outputs.leave(job.folder, plain(c), problem, start, rows, _record(c, problem, start, job, "fit"))
    return rows["dip"].quality.get("psnr")


def sample(c: Config, job: Job) -> float | None:
    """Run the window from the DIP, and both starts that need no DIP, and leave what there is to see.

    Returns:
        PSNR in dB of the result; None where there is no clean picture.

    Raises:
        UserError: When the request cannot be met.
    """
    _set_threads(c)
    d, device = c.ddpm, environment.choose_device(c.device)
    folder = prior.resolve(*_prior_names(c))
    problem = _problem(c, folder)
    why = [f"ddpm.{n}" for n in ("start_t=auto", "init=matched") if n in _wanted(c)]
    error_of_start(d.error_sigma, 0.0 if problem.clean is not None else None, why)  # refuse before work
    start = _start(c, problem, job)
    network = prior.load(folder, device=device, precision=d.precision.name)
    for note in network.notes:
        log.info("prior %s: %s", network.name, note)

    true_rms = None if problem.clean is None else 2 * metrics.rms(start.picture, problem.clean).item()
    error = error_of_start(d.error_sigma, true_rms, why)
    start_t = d.start_t
    if start_t == "auto":
        assert error is not None
        start_t = network.schedule.level_of_sigma(error.sigma)
        log.info("ddpm.start_t=auto: level %d, where sigma is %.1f (%s)", start_t, error.sigma, error.source)
    seed = c.seed if d.seed is None else d.seed
    window = partial(
        run_window, network, end_t=d.end_t, steps=d.steps, scheduler=d.scheduler.name, seed=seed,
        content=problem.content, snapshot_every=d.snapshot_every, exact=d.exact,
    )  # fmt: skip

    rows = results.given_rows(problem, start)
    with progress.window_bar(f"window {start_t} to {d.end_t}", start_t, d.end_t) as watch:
        result = window(start.picture, start_t=start_t, init=d.init.name, samples=d.samples, watch=watch,
                        error_rms=error.rms if error else None)  # fmt: skip
    level = f"{start_t} to {d.end_t}" + (", still noisy" if d.end_t else "")
    rows["result"] = results.row(f"DIP, then {d.scheduler.name} {level}", result, problem)
    if c.baselines:
        y_level = network.schedule.level_of_sigma(problem.sigma)
        one = posterior_mean(network, problem.noisy, problem.sigma)
        rows["posterior_mean"] = results.row(f"no DIP: one evaluation at {y_level}", one, problem)
        end = min(d.end_t, y_level - 1)
        with progress.window_bar(f"no DIP: {y_level} to {end}", y_level, end) as watch:
            whole = window(problem.noisy, start_t=y_level, end_t=end, init="scaled", error_rms=None, watch=watch,
                           steps=d.steps and min(d.steps, y_level - end))  # fmt: skip
        rows["noisy_window"] = results.row(f"no DIP: {d.scheduler.name} {y_level} to {end}", whole, problem)

    record = _record(c, problem, start, job, "sample")
    record["prior"] = {"name": network.name, "fingerprint": network.fingerprint, "notes": network.notes}
    record["window"] = {
        "start_t": start_t, "end_t": d.end_t, "still_noisy": d.end_t > 0, "levels": len(result.levels),
        "init": d.init.name, "scheduler": d.scheduler.name, "samples": d.samples, "seed": seed,
        "error_sigma": error.sigma if error else None, "error_source": error.source if error else None,
    }  # fmt: skip
    record["cost"] = results.cost(start, result)
    outputs.leave(job.folder, plain(c), problem, start, rows, record, result)
    return rows["result"].quality.get("psnr")


def fit_request(c: Config, problem: Problem) -> dict[str, Any]:
    """Return what determines a fit, as JSON types; its hash is the fit's key.

    The stopping rule, ``max_epochs``, ``checkpoint``, all of ``ddpm``, device and logging stay out: they
    choose from a trajectory and do not change it.
    """
    dip = plain(c.dip)
    del dip["max_epochs"]
    known: dict[str, Any] = {"sigma": c.degrade.sigma} if c.degrade.kind.name != "none" else {}
    if c.image.reference and problem.clean is not None:  # it enters the stored curves, not the weights
        known["reference"] = seeds.content_hash(problem.clean)
    return {
        "version": FIT_VERSION,
        "pixels": problem.content,
        "size": list(problem.noisy.shape[-2:]),
        "degrade": {"kind": c.degrade.kind.name} | known,
        "dip": dip,
        "seed": c.seed,
    }


def _wanted(c: Config) -> set[str]:
    return {f"start_t={c.ddpm.start_t}", f"init={c.ddpm.init.name}"}


def _prior_names(c: Config) -> tuple[str, str | None, str | None, str | None]:
    return c.prior.name, c.prior.path, c.prior.repo, c.prior.revision


def _set_threads(c: Config) -> None:
    if c.threads:
        torch.set_num_threads(c.threads)


def _problem(c: Config, prior_folder: Path) -> Problem:
    size = prior.sample_size(prior_folder) if c.image.size == "auto" else c.image.size
    problem = pose(
        images.load(c.image.path, size, c.image.box),
        kind=c.degrade.kind.name,
        sigma=c.degrade.sigma,
        seed=c.seed,
        reference=images.load(c.image.reference, size, c.image.box) if c.image.reference else None,
    )
    for note in problem.notes:
        log.info("%s: %s", c.image.path, note)
    return problem


def _start(c: Config, problem: Problem, job: Job) -> Start:
    """Find, make or extend the fit, and take the picture of the epoch that ``checkpoint`` means."""
    if isinstance(c.checkpoint, str) and c.checkpoint.endswith(".safetensors"):
        return _start_from_file(c.checkpoint, problem)
    if c.checkpoint == "oracle" and problem.clean is None:
        raise UserError(
            "checkpoint=oracle needs a clean picture, and degrade=none has none: type image.reference=<file>, "
            "checkpoint=stop, checkpoint=last or an epoch"
        )
    store, request = FitStore(Path(c.store)), fit_request(c, problem)
    rule = _rule(c, problem)
    choose = partial(
        fitting.choose, checkpoint=c.checkpoint, rule=rule, rule_name=c.stopping.rule.name,
        max_epochs=c.dip.max_epochs,
    )  # fmt: skip
    if c.fit.name == "never":
        command = ["python train_dip.py", *(o for o in job.overrides if not o.startswith("fit="))]
        found, chosen, made = *store.stored(request, choose, " ".join(command)), False
    else:
        found, chosen, made = store.obtain(request, choose, partial(_work, c, problem, rule))
    store.record_use(found.key, job.folder)
    if job.sweep:
        outputs.link(job.folder / "fit", found.folder)
    log.info("%s fit %s: epoch %d (%s)", "made" if made else "found", found.key, chosen.epoch, chosen.why)
    picture = found.picture(chosen.epoch).clamp(0, 1)
    return Start(picture, f"epoch {chosen.epoch} ({chosen.why})", found, chosen, made)


def _start_from_file(path: str, problem: Problem) -> Start:
    try:
        picture = read_picture(Path(path))
    except Damaged as error:
        raise UserError(f"checkpoint={path}: {error}") from error
    if picture.shape != problem.noisy.shape:
        size, wanted = ("x".join(map(str, p.shape[-2:])) for p in (picture, problem.noisy))
        raise UserError(f"checkpoint={path} holds a picture of {size}, but the noisy picture is {wanted}")
    return Start(picture.clamp(0, 1), path)


def _rule(c: Config, problem: Problem) -> fitting.Rule:
    s = c.stopping
    threshold = s.threshold
    if s.rule.name == "loss_floor" and threshold is None:
        threshold = (problem.sigma / 255) ** 2
    return partial(stopping.stop, s.rule.name, threshold=threshold, patience=s.patience)


def _work(c: Config, problem: Problem, rule: fitting.Rule, folder: Path, key: str, before: Fit | None) -> None:
    """Make or extend the fit; a number asked for beyond the rule or ``max_epochs`` is fitted up to."""

    def unasked(curves: Curves) -> Stop | None:
        return None

    wanted = c.checkpoint if isinstance(c.checkpoint, int) else None
    d = c.dip
    module = DeepImagePrior(
        problem.noisy, problem.clean, network=d.network.name, layers=d.layers, channels=d.channels,
        kernel_size=d.kernel_size, final_relu=d.final_relu, lr=d.lr, input_noise=d.input_noise, ema=d.ema,
        precision=d.precision.name, seed=c.seed, content=problem.content,
    )  # fmt: skip
    fitting.run(
        module, folder, key, before, rule=unasked if wanted else rule, epochs=wanted or d.max_epochs,
        steps_per_epoch=d.steps_per_epoch, checkpoint_every=d.checkpoint_every, panel_every=c.panel_every,
        device=environment.choose_device(c.device),
    )  # fmt: skip


def _record(c: Config, problem: Problem, start: Start, job: Job, command: str) -> dict[str, Any]:
    """Return what metrics.json says beside the rows."""
    record: dict[str, Any] = {
        "command": command,
        "picture": {"path": c.image.path, "size": list(problem.noisy.shape[-2:]),
                    "content": problem.content, "notes": problem.notes},
        "degrade": {"kind": c.degrade.kind.name, "sigma": problem.sigma, "source": problem.sigma_source},
        "overrides": job.overrides,
        "environment": environment.describe(environment.choose_device(c.device), c.ddpm.precision.name),
    }  # fmt: skip
    if start.fit and start.choice:
        f, choice = start.fit, start.choice
        threshold = c.stopping.threshold or (problem.sigma / 255) ** 2
        summary = fitting.summarise(f.curves, threshold=threshold, patience=c.stopping.patience or 1000)
        write_json(f.folder / "summary.json", summary)
        record["fit"] = {
            "key": f.key, "folder": str(f.folder), "made_by_this_run": start.made, "epochs": f.epochs,
            "epoch": choice.epoch, "why": choice.why, "seconds": start.seconds,
            "rule_epoch": choice.stop.epoch if choice.stop else None, "revived": f.revived,
            "summary": summary, "environment": f.environment,
        }  # fmt: skip
    return record
