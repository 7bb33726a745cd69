"""One generator a purpose: every draw follows from (seed, purpose, what it is about) alone."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch


def derive(seed: int, purpose: str, *parts: str | int) -> int:
    """Return a seed in 0..2^63 - 1 for one purpose.

    Args:
        seed: The user's.
        purpose: What is drawn, such as ``"noise"``.
        parts: What it is drawn for, such as a picture's content hash and a sample's index.
    """
    text = json.dumps([seed, purpose, *parts])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


def generator(seed: int, purpose: str, *parts: str | int) -> torch.Generator:
    """Return a CPU generator seeded by `derive`."""
    import torch

    return torch.Generator().manual_seed(derive(seed, purpose, *parts))


def content_hash(pixels: npt.ArrayLike) -> str:
    """Return 16 hexadecimal digits over dtype, shape and values of an array or CPU tensor."""
    array = np.ascontiguousarray(pixels)
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(array.tobytes())
    return digest.hexdigest()[:16]
