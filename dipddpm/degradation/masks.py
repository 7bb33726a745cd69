"""Missing pixels: the operator, the pixels that it draws, and the filling of holes.

References:
    Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, 2018, eq. 5, https://arxiv.org/abs/1711.10925
    Damelin and Hoang, On surface completion and image inpainting by biharmonic functions, 2018 (`fill`),
    https://doi.org/10.1155/2018/3950312
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dipddpm import seeds
from dipddpm.degradation.operators import OPERATORS, Operator, Weight, towards
from dipddpm.pictures.check import check_area, check_tensor

NOT_DRAWN = "the missing pixels are not drawn yet: use Mask(known=...), or degrade(...)"


@OPERATORS.register("mask")
class Mask(Operator):
    """A x = m x: pixels are missing, all three colours of each. m is 1 where a pixel is known and 0 elsewhere.

    A A' is the identity on the known pixels, and P = A' = A+ = A. Noise is added before pixels are removed: its
    strength is its rms over the whole picture.

    Args:
        missing: Share of missing pixels, above 0 and below 1. `bind` draws them.
        known: bool, shape (1 or N, 1, H, W), False where pixels are missing; replaces ``missing``.

    Raises:
        TypeError: When ``known`` is no tensor.
        ValueError: When ``missing`` is out of range, or ``known`` has another type or shape, or a picture without a
            known pixel.
    """

    name = "mask"
    noise_first = True
    shown_as = "masked"
    completion = "filled"
    spread = 1.0
    known: torch.Tensor | None

    def __init__(self, missing: float = 0.5, *, known: torch.Tensor | None = None):
        super().__init__()
        if known is None and not 0 < missing < 1:
            raise ValueError(f"missing={missing:g}: must be a share of the pixels above 0 and below 1")
        if known is not None:
            check_tensor("known", known)
            if known.dtype != torch.bool or known.ndim != 4 or known.shape[1] != 1:
                raise ValueError(
                    f"known is {known.dtype} of shape {tuple(known.shape)}: must be bool of shape (1 or N, 1, H, W)"
                )
            if not known.flatten(1).any(1).all():
                raise ValueError("known has a mask without a known pixel: give each mask one or more")
        self.register_buffer("known", known, persistent=False)
        self.missing = missing if known is None else 1 - known.double().mean().item()

    @property
    def words(self) -> str:
        return f"{self.missing:.0%} missing"

    def _known(self, x: torch.Tensor) -> torch.Tensor:
        if self.known is None:
            raise ValueError(NOT_DRAWN)
        n, _, height, width = self.known.shape
        if (height, width) != x.shape[-2:] or n not in (1, len(x)):
            raise ValueError(
                f"known has the shape {tuple(self.known.shape)}: must be (1 or N, 1, H, W) for pictures of shape "
                f"{tuple(x.shape)}"
            )
        return self.known.to(x.device)

    def measure(self, x: torch.Tensor) -> torch.Tensor:
        """Return A x in the shape of x: black where pixels are missing."""
        return x * self._known(x)

    def adjoint(self, u: torch.Tensor) -> torch.Tensor:
        return u * self._known(u)

    def show(self, y: torch.Tensor, completed: torch.Tensor) -> torch.Tensor:
        return self.measure(completed)  # a missing pixel of y may hold anything

    def replace(self, x: torch.Tensor, y: torch.Tensor, rho: Weight = 0.0) -> torch.Tensor:
        """Return x with its known pixels moved towards those of y; with rho = 0 they are bit-equal to those of y."""
        return torch.where(self._known(x), towards(x, y, rho), x)

    def known_in(self, y: torch.Tensor) -> torch.Tensor:
        return self._known(y).expand_as(y)

    def residuals(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.where(self._known(output), output - y, 0.0)

    def losses(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        known = self._known(output)
        squares = self.residuals(output, y).square()
        return squares.flatten(1).sum(1) / (output.shape[1] * known.flatten(1).sum(1))

    def complete(self, y: torch.Tensor, sigma: float = 0.0) -> torch.Tensor:
        """Return y with its missing pixels filled by `fill`."""
        known = self._known(y).expand(len(y), -1, -1, -1)
        return torch.cat([fill(y[i : i + 1], known[i : i + 1]) for i in range(len(y))])

    def request(self) -> dict[str, Any]:
        if self.known is None:
            raise ValueError(NOT_DRAWN)
        return {"mask": seeds.content_hash(self.known.cpu())}

    @property
    def alike(self) -> str:
        return self.name

    def record(self) -> dict[str, Any]:
        return super().record() | {"missing": self.missing}

    def bind(self, size: tuple[int, int], seed: int, content: str) -> Mask:
        if self.known is not None:
            return self
        return Mask(known=random_mask(size, self.missing, seeds.generator(seed, "mask", content)))

    def of(self, i: int) -> Mask:
        return self if self.known is None or len(self.known) == 1 else Mask(known=self.known[i : i + 1])

    @classmethod
    def joined(cls, bound: Sequence[Operator]) -> Operator:
        masks = [a.known for a in bound if isinstance(a, Mask) and a.known is not None]
        return bound[0] if len(masks) == 1 else Mask(known=torch.cat(masks))


def random_mask(size: tuple[int, int], missing: float, generator: torch.Generator) -> torch.Tensor:
    """Draw the known pixels; all pixels have the same chance.

    Args:
        size: Height and width, in pixels.
        missing: Share of missing pixels. At least one pixel is known, and at least one is missing.
        generator: CPU generator.

    Returns:
        bool, shape (1, 1, H, W), True where known.
    """
    check_area("the mask", *size)
    count = size[0] * size[1]
    gone = min(max(round(missing * count), 1), count - 1)
    known = torch.ones(count, dtype=torch.bool)
    known[torch.randperm(count, generator=generator)[:gone]] = False
    return known.reshape(1, 1, *size)


def fill(y: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Fill missing pixels from the known pixels around them by the biharmonic equation, with scikit-image.

    Args:
        y: Shape (1, 3, H, W), in [0, 1] units. Its values at missing pixels are not read.
        known: bool, shape (1, 1, H, W).

    Returns:
        Shape (1, 3, H, W); the known pixels are bit-equal to those of y.
    """
    from skimage.restoration import inpaint_biharmonic

    pixels = torch.where(known, y, 0.0)[0].permute(1, 2, 0).numpy()
    filled = inpaint_biharmonic(pixels, ~known[0, 0].numpy(), channel_axis=-1)
    return torch.where(known, y, torch.from_numpy(filled).to(y).permute(2, 0, 1)[None])
