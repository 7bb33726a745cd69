"""Write pictures. Imports no torch."""

from __future__ import annotations

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
        ValueError: For integers.
        OSError: When the file cannot be written.
    """
    check_floating("pixels", pixels)
    if not isinstance(pixels, np.ndarray):
        pixels = pixels.detach().cpu().float().reshape(pixels.shape[-3:]).permute(1, 2, 0).numpy()
    rounded = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    with replacing(Path(path)) as temporary:
        Image.fromarray(rounded).save(temporary, format="PNG")
