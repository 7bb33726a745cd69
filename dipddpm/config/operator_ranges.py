"""The ranges of the operators that are neither masks nor means, and the picture sizes that they allow."""

from __future__ import annotations

import math

from dipddpm.config.schema import BlurOperator, Config, NoisyImage, OperatorConfig
from dipddpm.errors import UserError, need
from dipddpm.names import KERNELS


def check(a: OperatorConfig) -> None:
    """Refuse values outside their ranges.

    Raises:
        UserError: One line that names the key as typed.
    """
    if isinstance(a, BlurOperator):
        need(bool(a.kernel), "operator.kernel", a.kernel, f"{', '.join(KERNELS)}, or the file of a picture")
        if a.kernel == "gaussian":
            need(a.width is not None and 0 < a.width < math.inf, "operator.width", a.width, "above 0 pixels")
        if a.kernel == "motion":
            need(a.length is not None and 0 < a.length < math.inf, "operator.length", a.length, "above 0 pixels")
            need(a.angle is not None and math.isfinite(a.angle), "operator.angle", a.angle, "a number of degrees")


def check_size(a: OperatorConfig, size: int) -> None:
    """Refuse a blur that is too wide for a picture of ``size`` pixels a side.

    Raises:
        UserError: One line that names the key as typed.
    """
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
    """Refuse a blurred picture that would be resized: its blur would become another.

    Args:
        c: The configuration, checked.
        given: Width and height of the picture, after cutting.
        size: Pixels a side of the restored picture.

    Raises:
        UserError: One line that names the key as typed.
    """
    if isinstance(c.image, NoisyImage) and isinstance(c.operator, BlurOperator) and min(given) != size:
        width, height = given
        raise UserError(
            f"operator=blur cannot be used: image.path={c.image.path} would be resized from {width}x{height} to "
            f"{size}x{size}, which changes its blur; cut it with image.box=[left,top,right,bottom], or type "
            f"image.size={min(given)}"
        )
