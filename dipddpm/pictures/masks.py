"""Which pixels of a picture are known, as somebody drew it. Imports no torch: the command line checks with it."""

from __future__ import annotations

import numpy as np

from dipddpm.errors import UserError
from dipddpm.pictures.read import Picture


def drawn(picture: Picture) -> np.ndarray:
    """Return True where a picture is white (half way up to it is enough), bool, shape (H, W).

    Raises:
        UserError: When it is white or black all over.
    """
    known = picture.pixels.mean(axis=2) >= 0.5
    if known.all() or not known.any():
        what = "known" if known.all() else "missing"
        raise UserError(
            f"operator.file: every pixel is {what}; give a picture that is black where pixels are missing and white "
            "elsewhere"
        )
    return known
