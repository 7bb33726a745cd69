"""Masks that a user drew: which pixels of a picture are known. Imports no torch, because the command line uses it."""

from __future__ import annotations

import numpy as np

from dipddpm.errors import UserError
from dipddpm.pictures.decode import COMPOSITED
from dipddpm.pictures.read import Picture


def drawn(picture: Picture) -> np.ndarray:
    """Return a bool array of shape (H, W), True where the mean of the picture's colours is 0.5 or more.

    Raises:
        UserError: When all pixels are known, or all are missing, or the picture is transparent in places.
    """
    if COMPOSITED in picture.notes:
        raise UserError(
            "operator.file: the mask is transparent in places, and transparent pixels may be meant as missing or as "
            "known; give a picture without transparency, black where pixels are missing and white elsewhere"
        )
    known = picture.pixels.mean(axis=2) >= 0.5
    if known.all() or not known.any():
        what = "known" if known.all() else "missing"
        raise UserError(
            f"operator.file: every pixel is {what}; give a picture that is black where pixels are missing and white "
            "elsewhere"
        )
    return known
