"""Write pictures. Imports no torch."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dipddpm.files import replacing
from dipddpm.pictures.check import check_floating

if TYPE_CHECKING:
    import torch


def save_picture(path: str | Path, pixels: np.ndarray | torch.Tensor) -> None:
    """Write an 8-bit PNG, whole or not at all.

    Args:
        path: The path of the file.
        pixels: In [0, 1], clipped here: a tensor of shape (3, H, W) or (1, 3, H, W), or an array of shape (H, W, 3).

    Raises:
        ValueError: For integers, for another shape, and for the suffix of another kind of picture.
        OSError: When the file cannot be written.
    """
    if Path(path).suffix.lower() in (".jpg", ".jpeg", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff", ".ppm"):
        raise ValueError(f"path={path}: must end in .png, because the file is a PNG")
    check_floating("the picture", pixels)
    given = tuple(pixels.shape)
    if not isinstance(pixels, np.ndarray):
        one = pixels[0] if len(given) == 4 and len(pixels) == 1 else pixels
        pixels = np.moveaxis(one.detach().cpu().float().numpy(), 0, -1)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(
            f"the picture has the shape {given}: must be (3, H, W), (1, 3, H, W), or an array of (H, W, 3)"
        )
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(png(as_bytes(pixels)))


def as_bytes(pixels: np.ndarray) -> np.ndarray:
    """Return pixels of [0, 1], clipped here, as 8-bit pixels, rounded."""
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """Return 8-bit pixels, shape (H, W, 3), as a PNG.

    The compression is the fastest one: 12 ms for a picture of 256x256, where zlib's default takes 45 ms for 7% less.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
