"""The ranges of ``image``, ``noise`` and ``operator``, and the picture sizes that they allow."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dipddpm.config import operator_ranges
from dipddpm.config.schema import (
    AddedNoise,
    BlurDownscaleOperator,
    CleanImage,
    Config,
    CorrelatedNoise,
    DownscaleOperator,
    FolderImage,
    ImageConfig,
    JpegOperator,
    MaskOperator,
    NoiseConfig,
    NoisyImage,
    NoNoise,
    OwnNoise,
    factor_of,
    is_partial,
    mask_of,
    of_picture,
)
from dipddpm.errors import UserError, need
from dipddpm.names import LARGEST, NOISE_SHOWS, SMALLEST

# Least and largest noise.sigma (0-255 scale). Below 0.1 photons are too many to count. Above 127.5, or 73.6 for
# random values, all values of a picture together may be too few to hit.
STRENGTHS = {"poisson": (0.1, 255.0), "impulse": (0.1, 127.5), "random_impulse": (0.1, 73.6)}
SHRINKING = (DownscaleOperator, BlurDownscaleOperator)
BLURS = 16  # least side of y in widths of the blur; on a smaller y the strength of the noise varies by chance


def check_degradation(c: Config) -> None:
    """Refuse a combination of picture, noise and operator that is not allowed, and values outside their ranges.

    Raises:
        UserError: One line that names the key as typed.
    """
    given = "noise=own" if isinstance(c.image, FolderImage) else "image=noisy"  # the choice that says that y is given
    c = of_picture(c)
    _check_image(c.image)
    _check_operator(c, given)
    _check_pair(c.image, c.noise)
    partial = is_partial(c)
    if isinstance(c.noise, NoNoise):
        if not partial:
            noisy = isinstance(c.image, NoisyImage)
            way_out = "noise=own" if noisy else "noise=gaussian, operator=mask or operator=downscale"
            raise UserError(f"noise=none with operator=identity leaves nothing to restore: type {way_out}")
    elif isinstance(c.noise, OwnNoise):
        _check_own(c, partial, given)
    elif isinstance(c.noise, AddedNoise):
        _check_added(c.noise, partial)


def _check_image(image: ImageConfig) -> None:
    size_ok = image.size == "auto" or (
        isinstance(image.size, int) and not isinstance(image.size, bool) and SMALLEST <= image.size <= LARGEST
    )
    need(size_ok, "image.size", image.size, f"auto (the prior's size), or {SMALLEST} to {LARGEST} pixels")
    need(image.box is None or len(image.box) == 4, "image.box", image.box, "[left,top,right,bottom]")


def _check_operator(c: Config, given: str) -> None:
    a = c.operator
    operator_ranges.check(c, given)
    if isinstance(a, SHRINKING):
        need(a.factor >= 2, "operator.factor", a.factor, "2 or more (times smaller)")
    if not isinstance(a, MaskOperator) or a.file:
        return
    need(a.file is None, "operator.file", a.file, "the path of a mask, or null")
    if isinstance(c.image, NoisyImage):
        raise UserError(
            f"operator=mask with {given} needs operator.file: the picture is damaged already; type "
            "operator.file=<a picture, black where pixels are missing, white elsewhere>"
        )
    need(a.missing is not None and 0 < a.missing < 1, "operator.missing", a.missing,
         "a share of the pixels above 0 and below 1")  # fmt: skip


def _check_pair(image: ImageConfig, noise: NoiseConfig) -> None:
    """Refuse noise that would be added to a noisy picture, and a clean picture without noise to add."""
    if isinstance(image, CleanImage) and isinstance(noise, OwnNoise):
        raise UserError("noise=own is for a picture that has noise: type image=noisy, or noise=gaussian to add some")
    if isinstance(image, NoisyImage) and isinstance(noise, AddedNoise):
        kind = noise.kind.name
        raise UserError(
            f"noise={kind} adds noise to a clean picture, but image=noisy has noise already: type noise=own, or "
            "image=file"
        )


def _check_own(c: Config, partial: bool, given: str) -> None:
    assert isinstance(c.noise, OwnNoise)
    sigma, without = c.noise.sigma, "noise=none" if given == "image=noisy" else "noise.sigma=0"
    if isinstance(c.operator, JpegOperator) and sigma is None:
        return  # a JPEG has no noise of its own
    if c.operator.kind.name not in NOISE_SHOWS and sigma is None:
        raise UserError(
            f"operator={c.operator.kind.name} with {given} needs noise.sigma, which is estimated only from a whole "
            f"picture: type noise.sigma=<0-255 scale>, or {without} if the picture has no noise"
        )
    inside = sigma is None or 0 < sigma <= 255 or (partial and sigma == 0)
    allowed = "from 0 to 255 (0-255 scale)" if partial else "above 0, to 255 (0-255 scale)"
    allowed += ", or null to estimate it" * (c.operator.kind.name in NOISE_SHOWS)
    need(inside, "noise.sigma", sigma, allowed)


def _check_added(noise: AddedNoise, partial: bool) -> None:
    """Refuse a strength of noise that some pictures cannot have."""
    kind, sigma = noise.kind.name, noise.sigma
    if kind in STRENGTHS:
        least, most = STRENGTHS[kind]
        need(
            least <= sigma <= most, "noise.sigma", sigma, f"from {least:g} to {most:g} (0-255 scale) with noise={kind}"
        )
        return
    zero = partial and kind == "gaussian"
    need(0 < sigma <= 255 or (zero and sigma == 0), "noise.sigma", sigma,
         f"{'from 0' if zero else 'above 0,'} to 255 (0-255 scale)")  # fmt: skip
    if isinstance(noise, CorrelatedNoise):
        need(0 < noise.correlation < math.inf, "noise.correlation", noise.correlation, "above 0 pixels")


def check_sides(c: Config, size: int) -> None:
    """Refuse an operator or a noise that the size of the picture does not allow.

    Args:
        c: The configuration, checked.
        size: Pixels a side of the picture.

    Raises:
        UserError: When ``operator.factor`` does not divide the size, or a blur is too wide for its picture.
    """
    operator_ranges.check_size(c.operator, size)
    if isinstance(c.operator, SHRINKING):
        whole = [f for f in range(2, size // SMALLEST + 1) if size % f == 0]
        allowed = f"{', '.join(map(str, whole)) or 'no factor'} at image.size={size}"
        need(c.operator.factor in whole, "operator.factor", c.operator.factor, allowed)
    if isinstance(c.noise, CorrelatedNoise):
        side = size // factor_of(c)
        need(c.noise.correlation <= side / BLURS, "noise.correlation", c.noise.correlation,
             f"at most {side / BLURS:g} pixels for a noisy picture of {side}x{side}")  # fmt: skip


def check_given(c: Config, given: tuple[int, int], size: int) -> None:
    """Refuse a picture whose size its operator does not allow. Resizing would mix missing pixels with known ones.

    Args:
        c: The configuration, checked.
        given: Width and height of the picture, after cutting.
        size: Pixels a side of the restored picture.

    Raises:
        UserError: With ``operator=downscale``, when a clean picture is smaller than ``size``, or y is not
            ``operator.factor`` times smaller. When y has a mask or is blurred, and its sides are not ``size``.
    """
    if isinstance(c.image, NoisyImage) and (mask := mask_of(c)) and min(given) != size:
        raise UserError(
            f"operator.file={mask} cannot be used: image.path={c.image.path} would be resized to {size}x{size}, which "
            "mixes missing pixels with known ones; cut both with image.box=[left,top,right,bottom], or give both at "
            f"{size}x{size}"
        )
    operator_ranges.check_given(c, given, size)
    if not isinstance(c.operator, SHRINKING):
        return
    f, (width, height) = c.operator.factor, given
    named = f"image.path={c.image.path} is {width}x{height}"
    if isinstance(c.image, CleanImage):
        if min(given) < size:
            raise UserError(
                f"{named}, too small for image.size={size}: to make a small picture larger, type image=noisy noise=none"
            )
        return
    wanted = size // f
    if given == (wanted, wanted):
        return
    if width != height:
        way_out = "cut a square with image.box=[left,top,right,bottom]"
    elif size % width == 0 and size > width:
        way_out = f"type operator.factor={size // width}"
    elif width > wanted:
        way_out = "cut it with image.box=[left,top,right,bottom], or type image=file if it is the clean picture"
    else:
        way_out = f"type image.size={f * width}"
    raise UserError(f"{named}, but operator.factor={f} with image.size={size} needs {wanted}x{wanted}: {way_out}")


def magnification(c: Config) -> int:
    """Return the side of the restored picture divided by the side of the given one."""
    return factor_of(c) if isinstance(c.image, NoisyImage) else 1


def enlarged(box: Sequence[int] | None, times: int) -> list[int] | None:
    """Return the box of the same part of the scene in a picture ``times`` as large."""
    return None if box is None else [times * v for v in box]
