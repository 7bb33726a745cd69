"""From the typed configuration to the picture that a window starts from: the problem, its fit, an epoch of it."""

from __future__ import annotations

import logging
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dipddpm import environment, seeds
from dipddpm.config.compose import plain
from dipddpm.config.degradation_ranges import check_mask_size, check_small, enlarged, magnification
from dipddpm.config.schema import CleanImage, Config, DownscaleOperator, MaskOperator, OwnNoise, reference_of
from dipddpm.degradation.noise import NOISES, Noise
from dipddpm.degradation.operators import Downscale, Identity, Mask, Operator
from dipddpm.degradation.problem import Problem, degrade
from dipddpm.diffusion import prior
from dipddpm.dip import fitting
from dipddpm.dip.fitting import RunSettings
from dipddpm.dip.module import DeepImagePrior
from dipddpm.dip.settings import DipSettings
from dipddpm.dip.stopping import Stopping
from dipddpm.errors import UserError
from dipddpm.files import is_kept_file
from dipddpm.fits import Damaged, Fit, FitStore
from dipddpm.fits.choice import choose
from dipddpm.fits.keeping import FolderKeeper
from dipddpm.fits.manifest import read_picture, read_pixels
from dipddpm.fits.request import request_of
from dipddpm.fits.start import Start
from dipddpm.pictures import images, masks
from dipddpm.runs import outputs
from dipddpm.runs.inspect import inspect_size
from dipddpm.runs.job import Job

log = logging.getLogger(__name__)
HARDLY_NOISY = 5.0  # 0-255 scale; of the built-in picture, a clean photograph, 3.3 is estimated


def problem_of(c: Config, prior_folder: Path | None) -> Problem:
    """Load the picture and pose the problem: damage it, or take it as y.

    Args:
        c: Checked.
        prior_folder: Whose size is taken where ``image.size`` is auto; not needed otherwise.

    Raises:
        UserError: When a file cannot be read, a size does not suit it, or the noise is to be estimated and cannot.
    """
    size = c.image.size
    if size == "auto":
        assert prior_folder is not None
        size = prior.sample_size(prior_folder)
    inspect_size(c, size)  # a prior on the Hub tells its size only now
    box, times = c.image.box, magnification(c)
    picture = images.load(c.image.path, size // times, box)
    check_small(c, picture.size, size)
    check_mask_size(c, picture.size, size)
    given, operator, clean = images.to_tensor(picture.pixels), _operator(c, size), None
    if reference := reference_of(c):
        clean = images.to_tensor(images.load(reference, size, enlarged(box, times), key="image.reference").pixels)
    try:
        if isinstance(c.image, CleanImage):
            problem = degrade(given, _noise(c), operator, c.seed, picture.notes)
        else:
            problem = Problem(given, _given_sigma(c), clean, operator, notes=picture.notes)
        sigma = problem.sigma
    except ValueError as error:
        way_out = "noise=gaussian" if isinstance(c.image, CleanImage) else "noise.sigma=<0-255 scale>"
        raise UserError(f"noise={c.noise.kind.name}: {error}; type {way_out}") from error
    for note in problem.notes:
        log.info("%s: %s", c.image.path, note)
    if sigma:
        log.info(
            "noise of sigma %.1f (%s)", sigma, "added" if isinstance(c.image, CleanImage) else problem.sigma_source
        )
    if problem.operator.partial:
        log.info("%s", problem.words)
    _warn_of_noise(c, problem, resized=picture.resized)
    return problem


def _noise(c: Config) -> Noise:
    """Return the noise that is added to a clean picture."""
    values = plain(c.noise)
    return NOISES[values.pop("kind")](**values)


def _given_sigma(c: Config) -> float | None:
    """Return the noise of a picture that is y, on the 0-255 scale; None where it is to be estimated."""
    return c.noise.sigma if isinstance(c.noise, OwnNoise) else 0.0


def _operator(c: Config, size: int) -> Operator:
    """Return A; a mask that is drawn at random is drawn later, for the picture."""
    a = c.operator
    if isinstance(a, DownscaleOperator):
        return Downscale(a.factor)
    if isinstance(a, MaskOperator):
        if a.file:
            known = masks.drawn(images.load(a.file, size, c.image.box, key="operator.file"))
            return Mask(known=torch.from_numpy(known)[None, None])
        assert a.missing is not None
        return Mask(a.missing)
    return Identity()


def _warn_of_noise(c: Config, problem: Problem, *, resized: bool) -> None:
    """Say where the sigma of a picture that is y may be wrong."""
    if resized and isinstance(c.noise, OwnNoise) and c.noise.sigma is not None:
        log.warning(
            "noise.sigma=%g is taken for the noise after resizing, which averages noise away: to have it estimated "
            "there, leave it out", c.noise.sigma
        )  # fmt: skip
    if problem.sigma_source == "given":
        return
    if problem.sigma < HARDLY_NOISY:
        log.warning(
            "%s has hardly any noise (sigma %.1f, estimated), and no more is removed: to add some to a clean picture, "
            "type image=file noise.sigma=25", c.image.path, problem.sigma
        )  # fmt: skip
    if Path(c.image.path).suffix.lower() in (".jpg", ".jpeg"):
        log.warning(
            "%s is a JPEG, and its compression has taken part of the noise away: the estimate is low. Where you know "
            "the noise, type noise.sigma=<0-255 scale>", c.image.path
        )  # fmt: skip


def fit_request(c: Config, problem: Problem) -> dict[str, Any]:
    """Return what determines a fit, as JSON types; its hash is the fit's key.

    The stopping rule, ``max_epochs``, ``checkpoint``, all of ``ddpm``, device and logging stay out: they choose from a
    trajectory and do not change it. Noise and operator stand under ``degrade``, their name when the first fits were
    stored.
    """
    noise: dict[str, Any] = {"kind": "none"}  # y was given
    if isinstance(c.image, CleanImage):
        noise = {"kind": "gaussian", "sigma": 0.0} | plain(c.noise)
        noise["kind"] = {"none": "gaussian", "correlated": "gaussian"}.get(noise["kind"], noise["kind"])
    elif reference_of(c) and problem.clean is not None:  # it enters the stored curves, not the weights
        noise["reference"] = seeds.content_hash(problem.clean)
    return request_of(problem, DipSettings(**plain(c.dip)), c.seed, noise)


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
    wanted = partial(
        choose, checkpoint=c.checkpoint, rule=rule, rule_name=c.stopping.rule.name,
        max_epochs=c.dip.max_epochs, every=c.dip.checkpoint_every,
    )  # fmt: skip

    def work(folder: Path, key: str, before: Fit | None) -> None:
        store.record_use(key, job.folder)  # now, so that gc leaves what a killed job would go on from
        _work(c, problem, rule, folder, key, before)

    if c.fit.name == "never":
        command = shlex.join(["python", "train_dip.py", *(o for o in job.overrides if not o.startswith("fit="))])
        found, chosen, made = *store.stored(request, wanted, command), False
    else:
        found, chosen, made = store.obtain(request, wanted, work)
    if not made:
        store.record_use(found.key, job.folder)
    if job.sweep:
        outputs.link(job.folder / "fit", found.folder)
    log.info("%s fit %s: epoch %d (%s)", "made" if made else "found", found.key, chosen.epoch, chosen.why)
    if chosen.why == "max_epochs" and c.stopping.rule.name == "loss_floor" and not rule.threshold:
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


def _rule(c: Config, problem: Problem) -> Stopping:
    s = c.stopping
    threshold = s.threshold
    if s.rule.name == "loss_floor" and threshold is None:
        threshold = (problem.sigma / 255) ** 2
    return Stopping(s.rule.name, threshold, s.patience)


def _work(c: Config, problem: Problem, rule: Stopping, folder: Path, key: str, before: Fit | None) -> None:
    """Make or extend the fit; a number asked for beyond the rule or ``max_epochs`` is fitted up to."""
    wanted = c.checkpoint if isinstance(c.checkpoint, int) else None
    device = environment.choose_device(c.device)
    environment.warn_if_emulated("dip.precision", c.dip.precision.name, device)
    module = DeepImagePrior(
        problem.noisy, problem.clean, operator=problem.operator, settings=DipSettings(**plain(c.dip)), seed=c.seed,
        content=problem.content,
    )  # fmt: skip
    keeper = FolderKeeper(folder, key, problem.content, before)
    settings = RunSettings(device, events=folder, panel_every=c.panel_every, progress=True)
    fitting.run(module, keeper, Stopping("never") if wanted else rule, wanted or c.dip.max_epochs, settings)
