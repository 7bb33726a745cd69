"""Compressed sensing: y holds a share of the coefficients of a scrambled transform.

    A x = S T P x       P puts the pixels into a drawn order, T is an orthonormal DCT or Hadamard transform of the
                        picture of that order, and S takes a drawn share of the coefficients, the mean's always

The rows of A are orthonormal: A A' = I. The three colours have the same A. A single-pixel camera measures in this way.

Reference: Gan, Do and Tran, Fast compressive imaging using scrambled block Hadamard ensemble, 2008,
https://ieeexplore.ieee.org/document/7080439.
"""

from __future__ import annotations

from typing import Any

import torch

from dipddpm import seeds
from dipddpm.degradation.operators import OPERATORS, Operator
from dipddpm.degradation.transforms import dct_matrix, hadamard_matrix
from dipddpm.degradation.variation import total_variation
from dipddpm.names import TRANSFORMS

MATRICES = {"dct": dct_matrix, "hadamard": hadamard_matrix}
NOT_DRAWN = "the coefficients are not drawn yet: use Sensing(size=(height, width)), or degrade(...)"


@OPERATORS.register("sensing")
class Sensing(Operator):
    """A share of the coefficients of a scrambled transform. y has the shape (N, 3, 1, m) for m coefficients.

    Noise is added to the picture. White noise in the picture becomes white noise of the same strength in the
    coefficients.

    Args:
        share: Share of the coefficients, above 0 and up to 1.
        transform: ``dct``, or ``hadamard`` for sides that are powers of 2.
        size: Height and width of the pictures. None: `bind` draws for the size of its picture.
        seed: Seed of the order of the pixels and of the choice of coefficients. All pictures of a run share both.

    Raises:
        ValueError: For another share or transform, or a size that the transform does not have.
    """

    name = "sensing"
    faint = 255
    noise_first = True
    shown_as = "sensed"
    completion = "reconstructed"
    spread = 1.0
    order: torch.Tensor | None
    rows: torch.Tensor | None
    left: torch.Tensor
    right: torch.Tensor

    def __init__(
        self, share: float = 0.1, transform: str = "dct", *, size: tuple[int, int] | None = None, seed: int = 0
    ):
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"share={share:g}: must be above 0, and up to 1")
        if transform not in TRANSFORMS:
            raise ValueError(f"transform={transform!r}: must be one of {', '.join(TRANSFORMS)}")
        self.share, self.transform, self.size = share, transform, size
        order = rows = left = right = None
        if size is not None:
            count, generator = size[0] * size[1], seeds.generator(seed, "sensing", f"{size[0]}x{size[1]}")
            order = torch.randperm(count, generator=generator)
            others = 1 + torch.randperm(count - 1, generator=generator)[: max(round(share * count), 1) - 1]
            rows = torch.cat([torch.zeros(1, dtype=torch.int64), others.sort().values])
            left, right = (MATRICES[transform](side) for side in size)
        for name, tensor in (("order", order), ("rows", rows), ("left", left), ("right", right)):
            self.register_buffer(name, tensor, persistent=False)

    @property
    def words(self) -> str:
        return f"{self.share:.0%} of the {'DCT' if self.transform == 'dct' else 'Hadamard'} coefficients"

    def measure(self, x: torch.Tensor) -> torch.Tensor:
        """Return A x, shape (N, 3, 1, m)."""
        order, rows = self._drawn()
        if x.shape[-2:] != self.size:
            raise ValueError(f"size={self.size}: must be that of the pictures, {tuple(x.shape[-2:])}")
        scrambled = x.flatten(2)[..., order].reshape(x.shape)
        coefficients = self.left.to(x) @ scrambled @ self.right.to(x).T
        return coefficients.flatten(2)[..., rows][:, :, None]

    def adjoint(self, u: torch.Tensor) -> torch.Tensor:
        order, rows = self._drawn()
        assert self.size is not None
        coefficients = u.new_zeros((*u.shape[:2], len(order))).index_copy(2, rows, u[:, :, 0])
        scrambled = self.left.to(u).T @ coefficients.unflatten(2, self.size) @ self.right.to(u)
        return torch.zeros_like(coefficients).index_copy(2, order, scrambled.flatten(2)).unflatten(2, self.size)

    def _drawn(self) -> tuple[torch.Tensor, torch.Tensor]:
        if self.order is None or self.rows is None:
            raise ValueError(NOT_DRAWN)
        return self.order, self.rows

    def complete(self, y: torch.Tensor, sigma: float = 0.0) -> torch.Tensor:
        """Return the picture of small total variation whose coefficients are near y."""
        return total_variation(self, y, self.adjoint(y), (0.2 * sigma + 1) / 255)

    def request(self) -> dict[str, Any]:
        order, rows = self._drawn()
        return {"sensing": self.transform, "drawn": seeds.content_hash(torch.cat([order, rows]).cpu())}

    def record(self) -> dict[str, Any]:
        return super().record() | {"share": self.share, "transform": self.transform}

    def bind(self, size: tuple[int, int], seed: int, content: str) -> Sensing:
        return self if self.order is not None else Sensing(self.share, self.transform, size=size, seed=seed)
