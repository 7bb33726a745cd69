"""The tables of a JPEG file. Imports no torch, because the command line uses it."""

from __future__ import annotations

import numpy as np
from PIL import ExifTags, Image, JpegImagePlugin, UnidentifiedImageError

from dipddpm.errors import UserError
from dipddpm.files import expanded, open_file

SAMPLINGS = {0: "full", 2: "half"}  # Pillow's numbers; other files halve one direction alone, or have no colours


def tables(path: str) -> tuple[np.ndarray, str]:
    """Return the tables of Y and of the colours, shape (2, 8, 8), and the resolution of the colours, half or full.

    Raises:
        UserError: When the file is no JPEG, is turned by its EXIF orientation, or has colours of another resolution.
    """
    way_out = "type operator.quality=<1 to 100>"
    try:
        with open_file(expanded(path)) as file, Image.open(file, formats=["JPEG"]) as image:
            found = getattr(image, "quantization")  # noqa: B009  # of Pillow's JPEG, which Image does not declare
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) not in (0, 1)
            sampling, grey = SAMPLINGS.get(JpegImagePlugin.get_sampling(image), ""), image.mode == "L"
    except UnidentifiedImageError as error:
        raise UserError(
            f"operator=jpeg takes the quality of the file, and image.path={path} is no JPEG: {way_out}"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"image.path={path} cannot be read ({error}): give a JPEG file, or {way_out}") from error
    if turned:
        raise UserError(
            f"operator=jpeg cannot be used: image.path={path} is turned by its EXIF orientation, and its blocks are "
            "not; turn the file without loss (jpegtran -copy none -rotate 90, 180 or 270), or type operator=identity "
            "noise=own"
        )
    if not sampling and not grey:
        raise UserError(
            f"operator=jpeg cannot be used: image.path={path} is a JPEG of CMYK colours, or of colours halved in one "
            "direction; type operator=identity noise=own"
        )
    of_each = [found[0], found.get(1, found[0])]
    return np.array(of_each, dtype=np.float32).reshape(2, 8, 8), sampling or "full"
