"""Masks that a user drew: which pixels of a picture are known. Imports no torch, because the command line uses it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dipddpm.errors import UserError
from dipddpm.pictures.decode import COMPOSITED
from dipddpm.pictures.read import Box, Picture, check_same, opened

KEY = "operator.file"


def check(path: str, box: Box | None, of: tuple[int, int]) -> None:
    """Check that a mask can be read, has the width and height of its picture, and hides a part of it.

    Raises:
        UserError: As for `dipddpm.pictures.read.check`, `dipddpm.pictures.read.check_same` and `drawn`.
    """
    with opened(path, box, KEY) as (picture, taken):
        left, top, right, bottom = taken
        check_same((right - left, bottom - top), of, KEY)
        _refuse(np.concatenate([_known(rows) for rows in picture.rows(taken)]), picture.notes)


def drawn(picture: Picture) -> np.ndarray:
    """Return a bool array of shape (H, W), True where the mean of the picture's colours is 0.5 or more.

    Raises:
        UserError: When all pixels are known, or all are missing, or the picture is transparent in places.
    """
    known = _known(picture.pixels)
    _refuse(known, picture.notes)
    return known


def _known(pixels: np.ndarray) -> np.ndarray:
    return pixels.mean(axis=2) >= 0.5


def _refuse(known: np.ndarray, notes: Sequence[str]) -> None:
    wanted = "black where pixels are missing and white elsewhere"
    if COMPOSITED in notes:
        raise UserError(
            f"{KEY}: the mask is transparent in places, and transparent pixels may be meant as missing or as known; "
            f"give a picture without transparency, {wanted}"
        )
    if known.all() or not known.any():
        raise UserError(
            f"{KEY}: every pixel is {'known' if known.all() else 'missing'}; give a picture that is {wanted}"
        )
