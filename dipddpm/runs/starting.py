"""From the typed configuration to the picture that a window starts from: the problem, its fit, an epoch of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from dipddpm import seeds
from dipddpm.config.compose import plain
from dipddpm.config.degrade_ranges import check_sides, check_small, enlarged, magnification
from dipddpm.config.ranges import check_halvings
from dipddpm.config.schema import Config
from dipddpm.degradation.operators import MissingPixels
from dipddpm.degradation.problem import Problem, pose
from dipddpm.diffusion import prior
from dipddpm.errors import UserError
from dipddpm.pictures import images
from dipddpm.runs.fingerprints import FIT_VERSION

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
