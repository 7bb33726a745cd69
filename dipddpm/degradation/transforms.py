"""Matrices of orthonormal transforms. Applied to rows and to columns they transform a picture: T x = L x R'."""

from __future__ import annotations

import math

import torch


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
