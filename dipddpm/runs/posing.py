"""From the typed configuration to the problem that a run is about."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from dipddpm.config.compose import plain
from dipddpm.config.degradation_ranges import check_given, enlarged, magnification
from dipddpm.config.schema import (
    BlurDownscaleOperator,
    BlurOperator,
    CleanImage,
    ClipOperator,
    Config,
    DownscaleOperator,
    JpegOperator,
    MaskOperator,
    OwnNoise,
    SensingOperator,
    is_own_jpeg,
    mask_of,
    reference_of,
)
from dipddpm.degradation.blur import Blur
from dipddpm.degradation.chain import BlurDownscale
from dipddpm.degradation.clip import Clip
from dipddpm.degradation.jpeg import Jpeg
from dipddpm.degradation.masks import Mask
from dipddpm.degradation.noise import NOISES, Noise, estimate_sigma
from dipddpm.degradation.operators import Identity, Operator
from dipddpm.degradation.problem import Problem, degrade
from dipddpm.degradation.scaling import BicubicDownscale, Downscale
from dipddpm.degradation.sensing import Sensing
from dipddpm.diffusion import layout
from dipddpm.errors import UserError
from dipddpm.pictures import jpegs, kernels, masks, read
from dipddpm.runs.folder import pictures_of
from dipddpm.runs.inspect import inspect_size

log = logging.getLogger(__name__)
HARDLY_NOISY = 5.0  # 0-255 scale; the estimate for the built-in picture, a clean photograph, is 3.3


def problem_of(c: Config, prior_folder: Path | None) -> Problem:
    """Load the picture and return its problem: a clean picture is damaged, a noisy one is y itself.

    Args:
        c: The configuration, checked.
        prior_folder: The prior whose picture size is taken for ``image.size=auto``; not read otherwise.

    Raises:
        UserError: When a file cannot be read, a size is not allowed, or noise cannot be added or estimated.
    """
    size = _size(c, prior_folder)
    problem, picture = _posed(c, size, operator_of(c, size))
    for note in problem.notes:
        log.info("%s: %s", c.image.path, note)
    if problem.sigma:
        source = "added" if isinstance(c.image, CleanImage) else problem.sigma_source
        log.info("noise of sigma %.1f (%s)", problem.sigma, source)
    if problem.operator.partial:
        log.info("%s", problem.words)
    _warn_of_noise(c, problem, picture)
    return problem


def problems_of(c: Config, prior_folder: Path | None) -> list[tuple[Config, Problem | UserError]]:
    """Return for each picture of ``image=folder`` its own configuration, with its problem or its refusal.

    Arguments and errors that concern all pictures are those of `problem_of`.
    """
    size = _size(c, prior_folder)
    operator, mask, answers = operator_of(c, size), mask_of(c), []
    of_mask = read.check(mask, c.image.box, masks.KEY) if mask else None
    for one in pictures_of(c):
        try:
            problem, picture = _posed(one, size, operator_of(one, size) if is_own_jpeg(one) else operator)
            if of_mask:
                read.check_same(of_mask, picture.size, masks.KEY)
            answers.append((one, problem))
        except UserError as error:
            answers.append((one, error))
    return answers


def _size(c: Config, prior_folder: Path | None) -> int:
    size = c.image.size
    if size == "auto":
        assert prior_folder is not None
        size = layout.sample_size(prior_folder)
    inspect_size(c, size)  # the size of a prior on the Hub is known only now
    return size


def _posed(c: Config, size: int, operator: Operator) -> tuple[Problem, read.Picture]:
    """Return the problem of one picture, and the picture as it was read."""
    box, times = c.image.box, magnification(c)
    picture = read.load(c.image.path, size // times, box)
    check_given(c, picture.size, size)
    given, clean = read.to_tensor(picture.pixels), None
    if reference := reference_of(c):
        compared = read.load(reference, size, enlarged(box, times), key="image.reference")
        clean = read.to_tensor(compared.pixels)
        for note in compared.notes:
            log.info("%s: %s", reference, note)
    try:
        if isinstance(c.image, CleanImage):
            problem = degrade(given, noise_of(c), operator, c.seed, picture.notes)
        else:
            known = c.noise.sigma if isinstance(c.noise, OwnNoise) else 0.0  # None is estimated
            known = 0.0 if known is None and isinstance(c.operator, JpegOperator) else known
            problem = Problem(given, known, clean, operator, notes=picture.notes)
        _ = problem.sigma  # it is estimated here, so that a failure is named
    except ValueError as error:
        way_out = "noise=gaussian" if isinstance(c.image, CleanImage) else "noise.sigma=<0-255 scale>"
        raise UserError(f"noise={c.noise.kind.name}: {error}; type {way_out}") from error
    return problem, picture


def noise_of(c: Config) -> Noise:
    """Return the noise that is added to a clean picture."""
    values = plain(c.noise)
    return NOISES[values.pop("kind")](**values)


def operator_of(c: Config, size: int) -> Operator:
    """Return the operator A. A random mask is drawn later, when the picture is known."""
    a = c.operator
    if isinstance(a, DownscaleOperator):
        return (BicubicDownscale if a.method.name == "bicubic" else Downscale)(a.factor)
    if isinstance(a, MaskOperator):
        if a.file:
            known = masks.drawn(read.load(a.file, size, c.image.box, key="operator.file"))
            return Mask(known=torch.from_numpy(known)[None, None])
        assert a.missing is not None
        return Mask(a.missing)
    if isinstance(a, BlurDownscaleOperator):
        return BlurDownscale(_blur(a), a.factor)
    if isinstance(a, BlurOperator):
        return _blur(a)
    if isinstance(a, SensingOperator):
        return Sensing(a.share, a.transform.name, size=(size, size), seed=c.seed)
    if isinstance(a, JpegOperator):
        return _jpeg(c, a)
    if isinstance(a, ClipOperator):
        return Clip(a.threshold)
    return Identity()


def _jpeg(c: Config, a: JpegOperator) -> Jpeg:
    if is_own_jpeg(c):
        tables, chroma = jpegs.tables(c.image.path)
        return Jpeg(chroma=chroma, tables=torch.from_numpy(tables))
    return Jpeg(chroma=a.chroma.name) if a.quality is None else Jpeg(a.quality, a.chroma.name)


def _blur(a: BlurOperator) -> Blur:
    border = a.border.name
    if a.kernel == "gaussian":
        assert a.width is not None
        return Blur.gaussian(a.width, border)
    if a.kernel == "motion":
        assert a.length is not None and a.angle is not None
        return Blur.motion(a.length, a.angle, border)
    return Blur(torch.from_numpy(kernels.drawn(a.kernel)), border)


def _warn_of_noise(c: Config, problem: Problem, picture: read.Picture) -> None:
    """Warn where the sigma of a given y may be wrong, or too low for a run to change the picture."""
    if picture.resized and isinstance(c.noise, OwnNoise) and c.noise.sigma is not None:
        log.warning(
            "noise.sigma=%g is taken as the noise of the resized picture, and resizing lowers noise: to let the "
            "run estimate the noise, leave noise.sigma out",
            c.noise.sigma,
        )
    if problem.sigma_source == "given":
        return
    hardly = problem.sigma < HARDLY_NOISY and not problem.operator.partial  # a blurred picture is sharpened
    if hardly and (part := _noisier_part(c, picture)):
        box, sigma = part
        log.warning(
            "%s has hardly any noise (estimated sigma %.1f), because resizing from %dx%d to %dx%d averages noise away: "
            "to restore a part at full resolution, where sigma is %.1f, type image.box=[%s]",
            c.image.path, problem.sigma, *2 * (min(picture.size),), *picture.pixels.shape[:2], sigma,
            ",".join(map(str, box)),
        )  # fmt: skip
    elif hardly:
        log.warning(
            "%s has hardly any noise (estimated sigma %.1f), so the run changes hardly anything: to add noise to a "
            "clean picture, type image=file noise.sigma=25", c.image.path, problem.sigma
        )  # fmt: skip
    if Path(c.image.path).suffix.lower() in (".jpg", ".jpeg"):
        log.warning(
            "%s is a JPEG, whose compression removes noise: the estimated sigma is low. If you know the noise, type "
            "noise.sigma=<0-255 scale>",
            c.image.path,
        )


def _noisier_part(c: Config, picture: read.Picture) -> tuple[read.Box, float] | None:
    """Return the box of the middle of a picture at full resolution, and its sigma; None where it is not noisier."""
    size = len(picture.pixels)
    if min(picture.size) <= size:
        return None
    left, top = (start + (side - size) // 2 for start, side in zip(picture.box, picture.size, strict=False))
    box = (left, top, left + size, top + size)
    try:
        sigma = estimate_sigma(read.to_tensor(read.load(c.image.path, box=box).pixels))
    except ValueError:  # a part of one colour
        return None
    return (box, sigma) if sigma >= HARDLY_NOISY else None
