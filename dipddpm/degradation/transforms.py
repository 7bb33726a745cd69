"""Matrices of lines. Applied to rows and to columns they transform a picture: T x = L x R'."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch


def constant(make: Callable[..., torch.Tensor], *arguments: int, like: torch.Tensor) -> torch.Tensor:
    """Return a matrix in the type and on the device of a tensor, made once: a CUDA graph takes no copy to a GPU."""
    return _made(make, arguments, like.dtype, like.device)


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)  # a tensor that is made in this mode can never be part of a gradient
def _made(
    make: Callable[..., torch.Tensor], arguments: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    return make(*arguments).to(device, dtype)


def dct_matrix(size: int) -> torch.Tensor:
    """Return the orthonormal discrete cosine transform (DCT-II), float64, shape (size, size); row 0 is the mean's."""
    k, i = torch.arange(size).double()[:, None], torch.arange(size).double()
    matrix = torch.cos(math.pi * (i + 0.5) * k / size) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix


def hadamard_matrix(size: int) -> torch.Tensor:
    """Return the orthonormal Hadamard transform, float64, shape (size, size); row 0 is the mean's.

    Raises:
        ValueError: When ``size`` is no power of 2.
    """
    if size & (size - 1) or size < 1:
        raise ValueError(f"transform=hadamard takes sides that are powers of 2, not {size}")
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < size:
        matrix = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64), matrix)
    return matrix / math.sqrt(size)
