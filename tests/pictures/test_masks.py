"""A drawn mask: white is known."""

import numpy as np
import pytest

from dipddpm.errors import UserError
from dipddpm.pictures.masks import drawn
from dipddpm.pictures.read import Picture


def test_what_is_white_is_known():
    pixels = np.zeros((5, 7, 3), np.float32)
    pixels[1, 2], pixels[3, 4], pixels[0, 0] = 1, (0.9, 0.5, 0.2), (0.9, 0.5, 0)
    assert np.argwhere(drawn(Picture(pixels, (), (0, 0, 7, 5)))).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(("shade", "word"), [(0, "missing"), (1, "known")])
def test_a_mask_that_hides_nothing_or_everything_is_refused(shade, word):
    with pytest.raises(UserError, match=f"operator.file: every pixel is {word}"):
        drawn(Picture(np.full((5, 7, 3), shade, np.float32), (), (0, 0, 7, 5)))
