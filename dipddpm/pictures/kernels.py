"""The kernel of a blur as the file of a picture. Imports no torch, because the command line uses it."""

from __future__ import annotations

import numpy as np

from dipddpm.errors import UserError, need
from dipddpm.pictures.decode import COMPOSITED
from dipddpm.pictures.read import opened

KEY = "operator.kernel"


def check(path: str, size: int) -> None:
    """Check that a kernel can be read, and is no larger than a picture of ``size`` pixels a side.

    Raises:
        UserError: As for `drawn`, and for a kernel that is too large.
    """
    rows, columns = drawn(path).shape
    need(max(rows, columns) <= size, KEY, path,
         f"a kernel of at most {size}x{size} pixels at image.size={size}; it has {columns}x{rows}")  # fmt: skip


def drawn(path: str) -> np.ndarray:
    """Return the mean of the picture's colours, shape (rows, columns), 0 or more.

    Raises:
        UserError: When the file cannot be read, or the kernel is black or transparent in places.
    """
    with opened(path, None, KEY, least=1) as (picture, taken):
        kernel = np.concatenate([rows.mean(axis=2) for rows in picture.rows(taken)])
    if COMPOSITED in picture.notes:
        raise UserError(f"{KEY}={path} is transparent in places: give a kernel without transparency, black outside")
    if not kernel.any():
        raise UserError(f"{KEY}={path} is black everywhere: give a kernel that is bright where light goes")
    return kernel
