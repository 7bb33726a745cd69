"""One random generator for each purpose. Seed, purpose and subject of a draw determine it."""

from __future__ import annotations

import hashlib
import json
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch


def whole(seed: object) -> int:
    """Return a seed as an int; refuse what is no whole number.

    Raises:
        ValueError: The line begins with ``seed``.
    """
    if not isinstance(seed, Integral) or isinstance(seed, bool):
        raise ValueError(f"seed={seed!r}: must be a whole number")
    return int(seed)


def derive(seed: int, purpose: str, *parts: str | int) -> int:
    """Return a seed in 0..2^63 - 1 for one purpose.

    Args:
        seed: The seed of the run.
        purpose: The name of the draw, such as ``"noise"``.
        parts: The subject of the draw, such as a picture's content hash and a sample's index.
    """
    text = json.dumps([seed, purpose, *parts])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


def generator(seed: int, purpose: str, *parts: str | int) -> torch.Generator:
    """Return a CPU generator seeded by `derive`."""
    import torch

    return torch.Generator().manual_seed(derive(seed, purpose, *parts))


def content_hash(pixels: npt.ArrayLike) -> str:
    """Return a hash of dtype, shape and values of an array or CPU tensor: 16 hexadecimal digits."""
    array = np.ascontiguousarray(pixels)
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(array.tobytes())
    return digest.hexdigest()[:16]
