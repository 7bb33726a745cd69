"""The ranges of the operators that are neither masks nor smaller pictures, and the picture sizes that they allow."""

from __future__ import annotations

import math

from dipddpm.config.schema import (
    BlurDownscaleOperator,
    BlurOperator,
    ClipOperator,
    Config,
    JpegOperator,
    NoisyImage,
    OperatorConfig,
    SensingOperator,
)
from dipddpm.errors import UserError, need
from dipddpm.names import KERNELS

CHANGES = {  # the part of a given y's damage that resizing would change
    BlurOperator: "its blur",
    JpegOperator: "its blocks",
    ClipOperator: "its white parts",
}


def check(c: Config, given: str) -> None:
    """Refuse values outside their ranges.

    Args:
        c: The configuration, of one picture.
        given: The choice that says that y is given, as typed.

    Raises:
        UserError: One line that names the key as typed.
    """
    a = c.operator
    if isinstance(a, BlurOperator):
        need(bool(a.kernel), "operator.kernel", a.kernel, f"{', '.join(KERNELS)}, or the file of a picture")
        if a.kernel == "gaussian":
            need(a.width is not None and 0 < a.width < math.inf, "operator.width", a.width, "above 0 pixels")
        if a.kernel == "motion":
            need(a.length is not None and 0 < a.length < math.inf, "operator.length", a.length, "above 0 pixels")
            need(a.angle is not None and math.isfinite(a.angle), "operator.angle", a.angle, "a number of degrees")
    elif isinstance(a, SensingOperator):
        need(0 < a.share <= 1, "operator.share", a.share, "a share of the coefficients above 0, up to 1")
        if isinstance(c.image, NoisyImage):
            raise UserError(
                f"operator=sensing with {given} is not allowed, because its y is no picture: type image=file, or give "
                "y from Python"
            )
    elif isinstance(a, JpegOperator):
        need(a.quality is None or 1 <= a.quality <= 100, "operator.quality", a.quality, "from 1 to 100, or null")
    elif isinstance(a, ClipOperator):
        need(0 < a.threshold < 1, "operator.threshold", a.threshold, "a value of the picture above 0 and below 1")


def check_size(a: OperatorConfig, size: int) -> None:
    """Refuse an operator that a picture of ``size`` pixels a side cannot have.

    Raises:
        UserError: One line that names the key as typed.
    """
    if isinstance(a, SensingOperator) and a.transform.name == "hadamard":
        need(size & (size - 1) == 0, "operator.transform", "hadamard",
             f"dct at image.size={size}, which is no power of 2; type operator.transform=dct")  # fmt: skip
    if not isinstance(a, BlurOperator):
        return
    reach = size // 2 - 1  # so that a kernel is no larger than the picture
    if a.width is not None:
        need(math.ceil(4 * a.width) <= reach, "operator.width", a.width,
             f"at most {reach / 4:g} pixels at image.size={size}")  # fmt: skip
    if a.length is not None:
        most = 2 * reach - 2
        need(a.length <= most, "operator.length", a.length, f"at most {most} pixels at image.size={size}")


def check_given(c: Config, given: tuple[int, int], size: int) -> None:
    """Refuse to resize a damaged picture, which would change the damage, and to cut a JPEG through its blocks.

    Args:
        c: The configuration, checked.
        given: Width and height of the picture, after cutting.
        size: Pixels a side of the restored picture.

    Raises:
        UserError: One line that names the key as typed.
    """
    a, (width, height) = c.operator, given
    if not isinstance(c.image, NoisyImage) or isinstance(a, BlurDownscaleOperator):
        return
    changes = next((words for kind, words in CHANGES.items() if isinstance(a, kind)), None)
    if changes is None:
        return
    named = f"operator={a.kind.name} cannot be used: image.path={c.image.path}"
    if min(given) != size:
        raise UserError(
            f"{named} would be resized from {width}x{height} to {size}x{size}, which changes {changes}; cut it with "
            f"image.box=[left,top,right,bottom], or type image.size={min(given)}"
        )
    if not isinstance(a, JpegOperator):
        return
    step = 16 if a.chroma.name == "half" else 8
    left, top = c.image.box[:2] if c.image.box else (0, 0)
    if width != height or left % step or top % step or (c.image.box and size % step):
        left, top, side = (v // step * step for v in (left, top, size))
        raise UserError(
            f"{named} would be cut through its blocks: type image.box=[{left},{top},{left + side},{top + side}] "
            f"image.size={side}, or another square box of multiples of {step}"
        )
