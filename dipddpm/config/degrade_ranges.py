"""The ranges of ``degrade``, and which sizes go with making a picture smaller or larger."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dipddpm.config.schema import Config, DegradeConfig
from dipddpm.errors import UserError, need
from dipddpm.names import SMALLEST

# Of sigma, 0-255 scale: not so many photons that they cannot be counted, no more impulses than there are values.
STRENGTHS = {"poisson": (0.1, 255.0), "impulse": (0.1, 127.5)}
BLURS = 16  # widths of the blur of correlated noise that y is wide, at least: of fewer, its strength is chance


def check_degrade(d: DegradeConfig) -> None:
    """Refuse what cannot be done to a picture: one line that names the key as typed."""
    need(d.downscale is None or d.downscale >= 2, "degrade.downscale", d.downscale, "2 or more times smaller, or null")
    if d.downscale is not None and (d.missing is not None or d.mask is not None):
        holes = f"degrade.mask={d.mask}" if d.mask else f"degrade.missing={d.missing}"
        raise UserError(
            f"{holes} and degrade.downscale={d.downscale} do not go together: type degrade.downscale=null, or no holes"
        )
    kind, given = d.kind.name, d.correlation
    if kind != "gaussian":
        need(given is None, "degrade.correlation", given, f"null with degrade.kind={kind}")
    need(given is None or 0 < given < math.inf, "degrade.correlation", given, "above 0 pixels, or null for white noise")
    if kind != "none":
        _check_added(d)
        return
    need(d.missing is None, "degrade.missing", d.missing,
         "null, as the picture of degrade=none is damaged already: type degrade.mask=<file>")  # fmt: skip
    partial = is_partial(d)
    if partial and d.sigma is None:
        what = f"degrade.mask={d.mask}" if d.mask else f"degrade.downscale={d.downscale}"
        raise UserError(
            f"{what} needs degrade.sigma: noise is not estimated from such a picture; type degrade.sigma=0 for none, "
            "or what it is (0-255 scale)"
        )
    inside = d.sigma is None or 0 < d.sigma <= 255 or (partial and d.sigma == 0)
    need(inside, "degrade.sigma", d.sigma,
         f"{'from 0' if partial else 'above 0'}, to 255 (0-255 scale), or null to estimate it"
         + ("" if partial else "; 0 is for a picture with holes, degrade.mask=<file>, or a smaller one"))  # fmt: skip


def _check_added(d: DegradeConfig) -> None:
    """Refuse noise that a picture may not be able to have; none at all goes with white Gaussian noise alone."""
    kind, sigma = d.kind.name, d.sigma
    if kind in STRENGTHS:
        least, most = STRENGTHS[kind]
        need(sigma is not None and least <= sigma <= most, "degrade.sigma", sigma,
             f"from {least:g} to {most:g} (0-255 scale) with degrade.kind={kind}")  # fmt: skip
    else:
        holes_alone = is_partial(d) and d.correlation is None
        inside = sigma is not None and (0 < sigma <= 255 or (holes_alone and sigma == 0))
        need(inside, "degrade.sigma", sigma, f"{'from 0' if holes_alone else 'above 0'}, to 255 (0-255 scale)")
    need(d.missing is None or 0 < d.missing < 1, "degrade.missing", d.missing,
         "a share of the pixels above 0 and below 1, or null")  # fmt: skip


def is_partial(d: DegradeConfig) -> bool:
    """Return whether the picture given tells of a part of the clean one: pixels are missing, or it is smaller."""
    return d.mask is not None or d.missing is not None or d.downscale is not None


def check_sides(d: DegradeConfig, size: int) -> None:
    """Refuse a picture of ``size`` pixels a side that cannot be so many times smaller, or takes no noise so wide."""
    whole = [f for f in range(2, size // SMALLEST + 1) if size % f == 0]
    need(d.downscale is None or d.downscale in whole, "degrade.downscale", d.downscale,
         f"{', '.join(map(str, whole)) or 'null'} at image.size={size}")  # fmt: skip
    side = size // (d.downscale or 1)
    need(d.correlation is None or d.correlation <= side / BLURS, "degrade.correlation", d.correlation,
         f"at most {side / BLURS:g} pixels where y has {side} a side")  # fmt: skip


def check_small(c: Config, given: tuple[int, int], size: int) -> None:
    """Refuse a picture that is neither the small one which ``degrade`` takes it for nor a clean one large enough.

    Args:
        c: Checked.
        given: Width and height of the picture, after cutting.
        size: Pixels a side of the one wanted.
    """
    f, (width, height) = c.degrade.downscale, given
    if f is None:
        return
    named = f"image.path={c.image.path} is {width}x{height}"
    if magnification(c.degrade) == 1:
        if min(given) < size:
            raise UserError(f"{named}, no clean picture of image.size={size}: to make it larger, type degrade=none")
        return
    wanted = size // f
    if given == (wanted, wanted):
        return
    if width != height:
        way_out = "cut a square with image.box=[left,top,right,bottom]"
    elif size % width == 0 and size > width:
        way_out = f"type degrade.downscale={size // width}"
    elif width > wanted:
        way_out = "cut it with image.box=[left,top,right,bottom], or leave out degrade=none if it is the clean picture"
    else:
        way_out = f"type image.size={f * width}"
    raise UserError(f"{named}, but degrade.downscale={f} makes {size}x{size} of {wanted}x{wanted}: {way_out}")


def magnification(d: DegradeConfig) -> int:
    """Return how many times larger than the picture given the one wanted is."""
    return d.downscale or 1 if d.kind.name == "none" else 1


def enlarged(box: Sequence[int] | None, times: int) -> list[int] | None:
    """Return the box of a picture that is so many times larger which shows the same."""
    return None if box is None else [times * v for v in box]
