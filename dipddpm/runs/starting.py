"""From the typed configuration to the picture that a window starts from: the problem, its fit, an epoch of it."""

from __future__ import annotations

import logging
import shlex
from functools import partial
from pathlib import Path
from typing import Any

from dipddpm import environment, seeds
from dipddpm.config.compose import plain
from dipddpm.config.degrade_ranges import check_sides, check_small, enlarged, magnification
from dipddpm.config.ranges import check_halvings
from dipddpm.config.schema import Config
from dipddpm.degradation.operators import MissingPixels
from dipddpm.degradation.problem import Problem, pose
from dipddpm.diffusion import prior
from dipddpm.dip import stopping
from dipddpm.dip.curves import Curves
from dipddpm.dip.module import DeepImagePrior
from dipddpm.dip.stopping import Stop
from dipddpm.errors import UserError
from dipddpm.files import is_kept_file
from dipddpm.fits import Damaged, Fit, FitStore, fitting
from dipddpm.fits.fitting import Start
from dipddpm.fits.manifest import read_picture, read_pixels
from dipddpm.pictures import images
from dipddpm.runs import outputs
from dipddpm.runs.fingerprints import FIT_VERSION
from dipddpm.runs.job import Job

log = logging.getLogger(__name__)
HARDLY_NOISY = 5.0  # 0-255 scale; of the built-in picture, a clean photograph, 3.3 is estimated


def problem_of(c: Config, prior_folder: Path | None) -> Problem:
    """Load and degrade the picture.

    Args:
        c: Checked.
        prior_folder: Whose size is taken where ``image.size`` is auto; not needed otherwise.

    Raises:
        UserError: When it cannot be read, its reference does not fit it, or its noise is to be estimated and cannot.
    """
    size = c.image.size
    if size == "auto":
        assert prior_folder is not None
        size = prior.sample_size(prior_folder)
    if c.checkpoint != "none":
        check_halvings(c.dip, size)
    check_sides(c.degrade, size)
    d, box, times = c.degrade, c.image.box, magnification(c.degrade)
    picture = images.load(c.image.path, size // times, box)
    check_small(c, picture.size, size)
    reference = None
    if c.image.reference:
        reference = images.load(c.image.reference, size, enlarged(box, times), key="image.reference")
    mask = images.load(d.mask, size, box, key="degrade.mask") if d.mask else None
    if mask and picture.resized and d.kind.name == "none":
        raise UserError(
            f"degrade.mask={d.mask}: {c.image.path} would be resized to {size}x{size}, which mixes missing pixels with "
            f"known ones: cut both with image.box=[left,top,right,bottom], or give both at {size}x{size}"
        )
    problem = pose(
        picture, kind=d.kind.name, sigma=d.sigma, seed=c.seed, reference=reference, missing=d.missing, mask=mask,
        downscale=d.downscale, correlation=d.correlation,
    )  # fmt: skip
    for note in problem.notes:
        log.info("%s: %s", c.image.path, note)
    if problem.sigma:
        added = c.degrade.kind.name != "none"
        log.info("noise of sigma %.1f (%s)", problem.sigma, "added" if added else problem.sigma_source)
    if problem.operator is not None:
        log.info("%s", problem.words)
    if picture.resized and c.degrade.kind.name == "none" and c.degrade.sigma is not None:
        log.warning(
            "degrade.sigma=%g is taken for the noise after resizing, which averages noise away: to have it estimated "
            "there, leave it out", c.degrade.sigma
        )  # fmt: skip
    if problem.sigma_source == "estimated" and problem.sigma < HARDLY_NOISY:
        log.warning(
            "%s has hardly any noise (sigma %.1f, estimated), and no more is removed: to add some to a clean picture, "
            "type degrade=gaussian degrade.sigma=25", c.image.path, problem.sigma
        )  # fmt: skip
    if problem.sigma_source == "estimated" and Path(c.image.path).suffix.lower() in (".jpg", ".jpeg"):
        log.warning(
            "%s is a JPEG, whose compression has taken part of the noise away, so the estimate is low: where you know "
            "the noise, type degrade.sigma=<0-255 scale>", c.image.path
        )  # fmt: skip
    return problem


def fit_request(c: Config, problem: Problem) -> dict[str, Any]:
    """Return what determines a fit, as JSON types; its hash is the fit's key.

    The stopping rule, ``max_epochs``, ``checkpoint``, all of ``ddpm``, device and logging stay out: they
    choose from a trajectory and do not change it.
    """
    dip = plain(c.dip)
    del dip["max_epochs"]
    degraded: dict[str, Any] = {"sigma": c.degrade.sigma} if c.degrade.kind.name != "none" else {}
    if c.degrade.correlation is not None:
        degraded["correlation"] = c.degrade.correlation
    if c.image.reference and problem.clean is not None:  # it enters the stored curves, not the weights
        degraded["reference"] = seeds.content_hash(problem.clean)
    if isinstance(problem.operator, MissingPixels):
        degraded["mask"] = seeds.content_hash(problem.operator.known)
    elif problem.operator is not None:
        degraded["downscale"] = problem.operator.factor
    return {
        "version": FIT_VERSION,
        "pixels": problem.content,
        "size": list(problem.noisy.shape[-2:]),
        "degrade": {"kind": c.degrade.kind.name} | degraded,
        "dip": dip,
        "seed": c.seed,
    }


def start_of(c: Config, problem: Problem, job: Job) -> Start:
    """Find, make or extend the fit, and take the picture of the epoch that ``checkpoint`` means; y where it means none.

    Raises:
        UserError: When the request cannot be met.
    """
    if c.checkpoint == "none":
        return Start(problem.noisy, problem.words, has_dip=False)
    if is_kept_file(c.checkpoint):
        return _start_from_file(Path(c.checkpoint).expanduser(), problem, c.image.path, job)
    store, request = FitStore(Path(c.store).expanduser()), fit_request(c, problem)
    rule = _rule(c, problem)
    choose = partial(
        fitting.choose, checkpoint=c.checkpoint, rule=rule, rule_name=c.stopping.rule.name,
        max_epochs=c.dip.max_epochs, every=c.dip.checkpoint_every,
    )  # fmt: skip

    def work(folder: Path, key: str, before: Fit | None) -> None:
        store.record_use(key, job.folder)  # now, so that gc leaves what a killed job would go on from
        _work(c, problem, rule, folder, key, before)

    if c.fit.name == "never":
        command = shlex.join(["python", "train_dip.py", *(o for o in job.overrides if not o.startswith("fit="))])
        found, chosen, made = *store.stored(request, choose, command), False
    else:
        found, chosen, made = store.obtain(request, choose, work)
    if not made:
        store.record_use(found.key, job.folder)
    if job.sweep:
        outputs.link(job.folder / "fit", found.folder)
    log.info("%s fit %s: epoch %d (%s)", "made" if made else "found", found.key, chosen.epoch, chosen.why)
    if chosen.why == "max_epochs" and c.stopping.rule.name == "loss_floor" and not rule.keywords["threshold"]:
        log.info("no noise for stopping=loss_floor to stop at: the start is epoch %d (dip.max_epochs)", chosen.epoch)
    elif chosen.why == "max_epochs" and c.stopping.rule.name != "never":
        log.warning(
            "stopping=%s did not fire in %d epochs, so the start is epoch %d, for better or worse: type "
            "dip.max_epochs=<more>", c.stopping.rule.name, c.dip.max_epochs, chosen.epoch
        )  # fmt: skip
    picture = problem.put_back(found.picture(chosen.epoch).clamp(0, 1))
    return Start(picture, f"epoch {chosen.epoch} ({chosen.why})", found, chosen, made)


def _start_from_file(path: Path, problem: Problem, shown: str, job: Job) -> Start:
    try:
        picture, pixels = read_picture(path), read_pixels(path)
    except Damaged as error:
        raise UserError(f"checkpoint={path}: {error}") from error
    if picture.shape != problem.noisy.shape:
        size, wanted = ("x".join(map(str, p.shape[-2:])) for p in (picture, problem.noisy))
        raise UserError(f"checkpoint={path} holds a picture of {size}, but the noisy picture is {wanted}")
    if pixels not in (None, problem.content):
        log.warning("checkpoint=%s was fitted to another picture than image.path=%s", path, shown)
    fit = path.resolve().parent.parent
    if (fit / "manifest.json").is_file():  # of a store, whose gc then lets it be
        FitStore(fit.parent).record_use(fit.name, job.folder)
    return Start(problem.put_back(picture.clamp(0, 1)), str(path))


def _rule(c: Config, problem: Problem) -> partial[Stop | None]:
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
    d, device = c.dip, environment.choose_device(c.device)
    environment.warn_if_emulated("dip.precision", d.precision.name, device)
    module = DeepImagePrior(
        problem.noisy, problem.clean, operator=problem.operator, network=d.network.name, layers=d.layers,
        channels=d.channels, kernel_size=d.kernel_size, final_relu=d.final_relu, lr=d.lr,
        input_noise=d.input_noise, ema=d.ema, precision=d.precision.name, seed=c.seed, content=problem.content,
    )  # fmt: skip
    fitting.run(
        module, folder, key, before, rule=unasked if wanted else rule, epochs=wanted or d.max_epochs,
        steps_per_epoch=d.steps_per_epoch, checkpoint_every=d.checkpoint_every, panel_every=c.panel_every,
        device=device,
    )  # fmt: skip
