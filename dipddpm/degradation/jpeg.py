"""JPEG: A x is the decoded file of a compressed picture.

    coefficients    of the planes Y, Cb, Cr (JFIF) on the 0-255 scale: an orthonormal DCT of each block of 8x8 values,
                    divided by the table of its plane. With ``half`` colours, Cb and Cr are means over 2x2 pixels.
    A x             the coefficients rounded, and decoded. Half colours are interpolated linearly, as libjpeg does.

The derivative of rounding and clipping is taken as 1. libjpeg also rounds the values of all steps between, and its
pictures differ by about one level. A picture agrees with y where each of its coefficients rounds to that of y, in
other words lies in its bin. `Jpeg.replace` moves the coefficients to the nearest points of the bins.

References:
    ITU-T T.81 (JPEG), 1992, Annex K: the tables of quality 50. Their scaling with the quality is that of libjpeg.
    Bengio, Leonard and Courville, Estimating or propagating gradients through stochastic neurons, 2013 (the derivative
    of rounding), https://arxiv.org/abs/1308.3432
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

import torch
import torch.nn.functional as F

from dipddpm import seeds
from dipddpm.degradation.operators import OPERATORS, Operator, Weight
from dipddpm.degradation.transforms import constant, dct_matrix

LUMA = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99),
    *(47, 66, 99, 99, 99, 99, 99, 99, *[99] * 32),
)
COLOURS = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
INSIDE = 0.499  # of a bin of width 1: the rounding of a point at its very edge may go either way
Planes = tuple[torch.Tensor, torch.Tensor]  # Y, shape (N, 1, h, w), and Cb and Cr, shape (N, 2, h or h / 2, w or w / 2)


def standard_tables(quality: int) -> torch.Tensor:
    """Return the tables of Y and of the colours at a quality from 1 to 100: whole numbers as float, shape (2, 8, 8)."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    tables = (torch.tensor([LUMA, CHROMA]) * scale + 50) // 100
    return tables.clamp(1, 255).reshape(2, 8, 8).float()


@OPERATORS.register("jpeg")
class Jpeg(Operator):
    """A x is the decoded JPEG of x.

    Args:
        quality: 1 to 100, as of libjpeg. It chooses the standard tables.
        chroma: ``half``: colours have half of the resolution, as most files have; or ``full``.
        tables: The tables of a file in place of ``quality``: those of Y and of the colours, 1 or more, shape (2, 8, 8).

    Raises:
        ValueError: For another quality, chroma or tables.
    """

    name = "jpeg"
    faint = 15
    linear = False
    shown_as = "compressed"
    completion = "decoded"
    tables: torch.Tensor

    def __init__(self, quality: int = 10, chroma: str = "half", *, tables: torch.Tensor | None = None):
        super().__init__()
        if tables is None and not (isinstance(quality, Integral) and 1 <= quality <= 100):
            raise ValueError(f"quality={quality}: must be a whole number from 1 to 100")
        if chroma not in ("half", "full"):
            raise ValueError(f"chroma={chroma!r}: must be half or full")
        if tables is not None and (tables.shape != (2, 8, 8) or not (tables >= 1).all()):
            raise ValueError(f"tables has the shape {tuple(tables.shape)}: must be (2, 8, 8), 1 or more")
        self.quality, self.halved = int(quality) if tables is None else None, chroma == "half"
        self.register_buffer("tables", standard_tables(quality) if tables is None else tables.float(), persistent=False)

    @property
    def words(self) -> str:
        return "JPEG" if self.quality is None else f"JPEG of quality {self.quality}"

    @property
    def closed(self) -> bool:
        return True

    def measure(self, x: torch.Tensor) -> torch.Tensor:
        rounded = [c + (c.round() - c).detach() for c in self._coefficients(self._planes(x))]
        y, colour = (self._values(c, table) for c, table in zip(rounded, self.tables, strict=True))
        if self.halved:
            rows, columns = (constant(_interpolation, side, like=x) for side in colour.shape[-2:])
            colour = rows @ colour @ columns.T
        decoded = self._picture(y, colour, x.shape[-2:]) + 128 / 255
        return decoded + (decoded.clamp(0, 1) - decoded).detach()

    def replace(self, x: torch.Tensor, y: torch.Tensor, rho: Weight = 0.0) -> torch.Tensor:
        """Return x moved towards the bins of y, by 1 / (1 + rho) of the way.

        With rho = 0 it reaches them, where blocks end at the border and no value of y was clipped.
        """
        of_y = self._planes(y.to(x))
        if self.halved:  # what the interpolation of the decoder did to the means over 2x2 pixels is undone
            rows, columns = (constant(_undone, side, like=x) for side in of_y[1].shape[-2:])
            of_y = of_y[0], rows @ of_y[1] @ columns.T
        moved = []
        for here, there, table in zip(
            self._coefficients(self._planes(x)), self._coefficients(of_y), self.tables, strict=True
        ):
            bins = there.round()
            moved.append(self._values(here.clamp(bins - INSIDE, bins + INSIDE) - here, table))
        luma, colour = moved
        if self.halved:
            colour = F.interpolate(colour, scale_factor=2, mode="nearest")
        return x + 1 / (1 + rho) * self._picture(luma, colour, x.shape[-2:])

    def _planes(self, x: torch.Tensor) -> Planes:
        """Return Y - 128 and the colours of pictures, padded to whole blocks by their last values."""
        step = 16 if self.halved else 8
        bottom, right = (-side % step for side in x.shape[-2:])
        padded = F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x
        planes = torch.einsum("ij,njhw->nihw", constant(_from_rgb, like=x), 255 * padded)
        luma, colour = planes[:, :1] - 128, planes[:, 1:]
        return luma, F.avg_pool2d(colour, 2) if self.halved else colour

    def _coefficients(self, planes: Planes) -> Planes:
        """Return the coefficients in units of their tables, shape (N, planes, rows, columns, 8, 8)."""
        dct = constant(dct_matrix, 8, like=planes[0])
        blocks = [p.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4) for p in planes]
        luma, colour = (dct @ b @ dct.T / table.to(b) for b, table in zip(blocks, self.tables, strict=True))
        return luma, colour

    def _values(self, coefficients: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """Return the values of planes, shape (N, planes, H, W)."""
        dct = constant(dct_matrix, 8, like=coefficients)
        return (dct.T @ (coefficients * table.to(coefficients)) @ dct).transpose(3, 4).flatten(2, 3).flatten(3, 4)

    def _picture(self, luma: torch.Tensor, colour: torch.Tensor, size: torch.Size) -> torch.Tensor:
        """Return planes as pictures of a size, in [0, 1] units; the grey of a plane of zeros is 0."""
        planes = torch.cat([luma, colour], 1)
        return torch.einsum("ij,njhw->nihw", constant(_to_rgb, like=planes), planes)[..., : size[0], : size[1]] / 255

    def request(self) -> dict[str, Any]:
        named = {"quality": self.quality} if self.quality else {"tables": seeds.content_hash(self.tables.cpu())}
        return {"jpeg": named, "chroma": "half" if self.halved else "full"}

    def record(self) -> dict[str, Any]:
        return super().record() | {"quality": self.quality, "chroma": "half" if self.halved else "full"}


def _means(size: int) -> torch.Tensor:
    """Return the matrix of means over pairs, shape (size, 2 size)."""
    return torch.eye(size, dtype=torch.float64).repeat_interleave(2, 1) / 2


def _interpolation(size: int) -> torch.Tensor:
    """Return the matrix that doubles a line: 3/4 of the nearer value and 1/4 of the farther, shape (2 size, size)."""
    eye = torch.eye(size, dtype=torch.float64)
    before, after = torch.cat([eye[:1], eye[:-1]]), torch.cat([eye[1:], eye[-1:]])
    return torch.stack([0.75 * eye + 0.25 * before, 0.75 * eye + 0.25 * after], 1).flatten(0, 1)


def _undone(size: int) -> torch.Tensor:
    """Return the matrix that gives the means over pairs back after they were interpolated, shape (size, size)."""
    return torch.linalg.inv(_means(size) @ _interpolation(size))


def _from_rgb() -> torch.Tensor:
    return torch.tensor(COLOURS, dtype=torch.float64)


def _to_rgb() -> torch.Tensor:
    return torch.linalg.inv(_from_rgb())
