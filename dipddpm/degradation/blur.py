"""Blurred pictures: A x = k * x, a convolution with a kernel k whose values sum to 1.

    borders    ``reflect``: the picture goes on as its mirror image; ``circular``: the opposite side follows
    A          the picture is padded by half of the kernel, convolved by a Fourier transform, and cut

With a circular border the Fourier transform makes A diagonal, and `Blur.replace` is exact:

    v = x + F^-1 [ conj(K) (Y - K X) / (|K|^2 + sigma^2 / r^2) ].

Reference: Zhang, Van Gool and Timofte, Deep Unfolding Network for Image Super-Resolution, CVPR 2020, eq. 7,
https://arxiv.org/abs/2003.10428.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from dipddpm import seeds
from dipddpm.degradation.operators import OPERATORS, Operator, Weight
from dipddpm.degradation.variation import total_variation
from dipddpm.names import BORDERS
from dipddpm.pictures.check import check_tensor

SAMPLES = 64  # points a pixel on the path of a motion
# lambda of the least total variation is WEIGHT (sigma + LEAST) / 255: the best of 0.03 to 0.4 over three blurs and four
# sigmas up to 15 on 5 faces, within 0.4 dB of each one's best.
WEIGHT, LEAST = 0.07, 0.5


@OPERATORS.register("blur")
class Blur(Operator):
    """A x = k * x. `gaussian` and `motion` make usual kernels.

    Args:
        kernel: Shape (rows, columns), 0 or more: the picture of a point. The point lies under the kernel's middle, at
            (rows // 2, columns // 2). The values are divided by their sum.
        border: ``reflect`` or ``circular``.

    Raises:
        TypeError: When the kernel is no tensor.
        ValueError: For a kernel of another shape, with negative values or without a positive one, or an unknown border.
            When the kernel is too large for a picture, `measure` raises it.
    """

    name = "blur"
    noise_shows = True
    stable = False
    shown_as = "blurred"
    completion = "deblurred"
    kernel: torch.Tensor

    def __init__(self, kernel: torch.Tensor, border: str = "reflect"):
        super().__init__()
        check_tensor("kernel", kernel)
        if kernel.ndim != 2 or not (kernel >= 0).all() or not 0 < kernel.sum() < math.inf:
            raise ValueError(
                f"kernel has the shape {tuple(kernel.shape)}: must be (rows, columns), 0 or more, with a value above 0"
            )
        if border not in BORDERS:
            raise ValueError(f"border={border!r}: must be one of {', '.join(BORDERS)}")
        self.register_buffer("kernel", (kernel.double() / kernel.double().sum()).float(), persistent=False)
        self.border = border
        self._transfers: dict[tuple[Any, ...], torch.Tensor] = {}  # K by size, type and device of a picture
        self.shape: dict[str, Any] = {"kernel": seeds.content_hash(self.kernel.cpu())}
        self.said = f"blurred by {kernel.shape[0]}x{kernel.shape[1]} pixels"

    @classmethod
    def gaussian(cls, width: float = 1.6, border: str = "reflect") -> Blur:
        """Return a Gaussian blur.

        Args:
            width: Standard deviation in pixels, above 0. The kernel reaches 4 of them.
            border: ``reflect`` or ``circular``.

        Raises:
            ValueError: For another width or border.
        """
        if not 0 < width < math.inf:
            raise ValueError(f"width={width:g}: must be above 0 pixels")
        at = torch.arange(-math.ceil(4 * width), math.ceil(4 * width) + 1).double()
        line = torch.exp(-at.square() / (2 * width**2))
        made = cls(line[:, None] * line, border)
        made.shape = {"kernel": "gaussian", "width": float(width)}
        made.said = f"blurred by a Gaussian of {width:g} pixels"
        return made

    @classmethod
    def motion(cls, length: float = 11.0, angle: float = 0.0, border: str = "reflect") -> Blur:
        """Return the blur of a straight motion: the mean over the pixels of a path, interpolated linearly.

        Args:
            length: Length of the path in pixels, above 0.
            angle: Degrees from the right, against the clock.
            border: ``reflect`` or ``circular``.

        Raises:
            ValueError: For another length, angle or border.
        """
        if not 0 < length < math.inf or not math.isfinite(angle):
            raise ValueError(f"length={length:g}, angle={angle:g}: the length must be above 0 pixels, the angle finite")
        count = SAMPLES * math.ceil(length)
        along = length * ((torch.arange(count).double() + 0.5) / count - 0.5)
        turn, reach = math.radians(angle), math.ceil(length / 2) + 1
        kernel = torch.zeros(2 * reach + 1, 2 * reach + 1, dtype=torch.float64)
        rows, columns = reach - along * math.sin(turn), reach + along * math.cos(turn)
        for down in (0, 1):
            for right in (0, 1):
                row, column = rows.floor() + down, columns.floor() + right
                share = (1 - (rows - row).abs()) * (1 - (columns - column).abs())
                kernel.index_put_((row.long(), column.long()), share, accumulate=True)
        kernel /= kernel.sum()
        kernel[kernel < 1e-9] = 0  # the sine of 180 degrees is no zero
        made = cls(_trimmed(kernel), border)
        made.shape = {"kernel": "motion", "length": float(length), "angle": float(angle)}
        made.said = f"blurred by a motion of {length:g} pixels at {angle:g} degrees"
        return made

    @property
    def words(self) -> str:
        return self.said

    @property
    def closed(self) -> bool:
        return self.border == "circular"

    def measure(self, x: torch.Tensor) -> torch.Tensor:
        rows, columns = (side // 2 for side in self.kernel.shape)
        check_kernel(self.kernel.shape, x.shape[-2:], self.border)
        if self.border == "circular":
            return self._convolved(x)
        padded = self._convolved(F.pad(x, (columns, columns, rows, rows), mode="reflect"))
        return padded[..., rows : rows + x.shape[-2], columns : columns + x.shape[-1]]

    def _convolved(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(x) * self._transfer(x), s=x.shape[-2:])

    def _transfer(self, x: torch.Tensor) -> torch.Tensor:
        """Return K, the Fourier transform of the kernel with its middle at the first pixel."""
        (height, width), (rows, columns) = x.shape[-2:], self.kernel.shape
        key = (height, width, x.dtype, x.device)
        if key not in self._transfers:
            with torch.inference_mode(False):  # a tensor that is made in this mode can never be part of a gradient
                spread = F.pad(self.kernel.to(x.device, x.dtype), (0, width - columns, 0, height - rows))
                self._transfers[key] = torch.fft.rfft2(spread.roll((-(rows // 2), -(columns // 2)), (0, 1)))
        return self._transfers[key]

    def replace(self, x: torch.Tensor, y: torch.Tensor, rho: Weight = 0.0) -> torch.Tensor:
        """Return the exact step for a circular border; rho must be above 0."""
        transfer = self._transfer(x)
        error = torch.fft.rfft2(y.to(x)) - transfer * torch.fft.rfft2(x)
        moved = transfer.conj() * error / (transfer.abs().square() + rho)
        return x + torch.fft.irfft2(moved, s=x.shape[-2:])

    def complete(self, y: torch.Tensor, sigma: float = 0.0) -> torch.Tensor:
        """Return the picture of small total variation whose blur is near y."""
        return total_variation(self, y, y, WEIGHT * (sigma + LEAST) / 255)

    def request(self) -> dict[str, Any]:
        return {"blur": self.shape, "border": self.border}

    def record(self) -> dict[str, Any]:
        return super().record() | self.shape | {"border": self.border}


def check_kernel(kernel: tuple[int, ...], size: tuple[int, ...], border: str) -> None:
    """Refuse a kernel that is too large for a picture.

    Raises:
        ValueError: The line begins with ``kernel``.
    """
    largest = [side if border == "circular" else 2 * side - 1 for side in size]
    if any(side > most for side, most in zip(kernel, largest, strict=True)):
        (rows, columns), (height, width) = kernel, largest
        raise ValueError(f"kernel has {rows}x{columns} values: must have at most {height}x{width} with border={border}")


def _trimmed(kernel: torch.Tensor) -> torch.Tensor:
    """Return a kernel without the rows and columns of zeros on both sides; its middle stays."""
    while len(kernel) > 2 and not (kernel[0].any() or kernel[-1].any()):
        kernel = kernel[1:-1]
    while kernel.shape[1] > 2 and not (kernel[:, 0].any() or kernel[:, -1].any()):
        kernel = kernel[:, 1:-1]
    return kernel
