"""Read the tar files of aligned 64x64 faces that the prior is trained and judged on."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.progress import track

from dipddpm.errors import UserError


def evenly(n: int, count: int | None) -> list[int]:
    """Return ``count`` of the indices below ``n``, evenly spread from the first to the last; all for None."""
    if count is None or count >= n:
        return list(range(n))
    return torch.linspace(0, n - 1, count).round().long().tolist()


def read_faces(path: str | Path, count: int | None = None) -> torch.Tensor:
    """Return the pictures of a tar of lossless WebP files, in the order of their names.

    Args:
        path: The tar file; every member that ends in ``.webp`` is an RGB picture, all of one size.
        count: Read only so many, evenly spread over the names, which begin with their source.

    Returns:
        uint8, shape (N, 3, H, W).

    Raises:
        UserError: When that is no such file.
    """
    pictures = []
    try:
        with tarfile.open(path) as tar:
            names = sorted(m.name for m in tar.getmembers() if m.name.endswith(".webp"))
            names = [names[i] for i in evenly(len(names), count)]
            for name in track(names, description=f"reading {Path(path).name}", transient=True):
                member = tar.extractfile(name)
                assert member is not None, name
                pictures.append(np.asarray(Image.open(io.BytesIO(member.read())).convert("RGB")))
    except (OSError, tarfile.TarError) as error:
        raise UserError(f"{path} is no tar of faces that can be read: {error}") from error
    if not pictures:
        raise UserError(f"{path} is no tar of faces: it holds no .webp file")
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
