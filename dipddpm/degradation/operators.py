"""Operators A of y = A x + noise: identity, missing pixels, a smaller picture.

    A'                      the adjoint: <A x, u> = <x, A' u>
    A A' = I / spread^2     every operator here has this, so that A+ = spread^2 A'
    P = A+ A                the part of a picture that y tells

A sampler and a DIP work with pictures of full size, so y is made one: `Operator.complete` returns an x with A x = y.
`Operator.replace` puts the part that y tells into another picture: x + P (y - x).

References:
    Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, 2018, eq. 4 and 5, https://arxiv.org/abs/1711.10925
    Wang, Yu and Zhang, Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model, 2022 (DDNM),
    https://arxiv.org/abs/2212.00490
    Damelin and Hoang, On surface completion and image inpainting by biharmonic functions, 2018 (`fill`),
    https://doi.org/10.1155/2018/3950312
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from dipddpm import seeds
from dipddpm.registry import Registry


class Operator(torch.nn.Module):
    """A of y = A x + noise. A new operator is a subclass with a ``name``, `measure`, `adjoint` and `complete`.

    `OPERATORS` holds those that have a name in the configuration.

    Attributes:
        name: The word that the configuration and metrics.json have for it.
        partial: Whether y tells only a part of the picture.
        noise_first: Whether noise is added to the picture before A is applied: y = A (x + noise). A must then take
            values away and leave the others as they are.
        shown_as: Name of the picture that shows P y to people, without ``.png``.
        completion: What `complete` does to y, as a past participle: ``filled``.
    """

    name: ClassVar[str]
    partial: ClassVar[bool] = True
    noise_first: ClassVar[bool] = False
    shown_as: ClassVar[str] = "measured"
    completion: ClassVar[str] = "completed"

    @property
    def spread(self) -> float:
        """s of A A' = I / s^2: noise of sigma in y is noise of s sigma in A+ y, along the part that y tells."""
        return 1.0

    @property
    def words(self) -> str:
        """What A does, for people, such as ``50% missing``."""
        return self.name

    def measure(self, x: torch.Tensor) -> torch.Tensor:
        """Return A x.

        Args:
            x: Shape (N, 3, H, W).

        Returns:
            Shape (N, 3, h, w), the shape of y.
        """
        raise NotImplementedError

    def adjoint(self, u: torch.Tensor) -> torch.Tensor:
        """Return A' u, shape (N, 3, H, W), for u of the shape of y, (N, 3, h, w)."""
        raise NotImplementedError

    def complete(self, y: torch.Tensor) -> torch.Tensor:
        """Return a picture whose A is y, as near to a whole picture as it gets without a network.

        Args:
            y: Shape (N, 3, h, w).

        Returns:
            Shape (N, 3, H, W).
        """
        raise NotImplementedError

    def pseudo_inverse(self, u: torch.Tensor) -> torch.Tensor:
        """Return A+ u, shape (N, 3, H, W), for u of the shape of y."""
        return self.spread**2 * self.adjoint(u)

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """Return P x = A+ A x; shapes (N, 3, H, W)."""
        return self.pseudo_inverse(self.measure(x))

    def replace(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return x + P (y - x): x with the part that A tells of y.

        Args:
            x: Shape (N, 3, H, W).
            y: A picture, shape (1 or N, 3, H, W), such as `complete` returns.
        """
        return x + self.project(y.to(x) - x)

    def loss(self, residual: torch.Tensor) -> torch.Tensor:
        """Return the mean square of A r over the values of y, a scalar.

        Args:
            residual: r = output - y, shape (N, 3, H, W), with y completed.
        """
        return self.measure(residual).square().mean()

    def request(self) -> dict[str, Any]:
        """Return what a fit depends on, as JSON types: it enters the fit's key."""
        return {}

    def record(self) -> dict[str, Any]:
        """Return what metrics.json says of the operator: its name, the share of missing pixels, the factor of size."""
        return {"kind": self.name, "missing": 0.0, "factor": None}

    def bind(self, size: tuple[int, int], seed: int, content: str) -> Operator:
        """Return the operator for one picture: what it draws is drawn.

        Args:
            size: Height and width of the picture, in pixels.
            seed: The run's.
            content: The picture's content hash (`dipddpm.seeds.content_hash`).
        """
        return self

    @classmethod
    def joined(cls, bound: Sequence[Operator]) -> Operator:
        """Return one operator for a batch of pictures, from those that `bind` returned for each."""
        return bound[0]


OPERATORS: Registry[type[Operator]] = Registry("operator")


@OPERATORS.register("identity")
class Identity(Operator):
    """A x = x: y tells of the whole picture."""

    name = "identity"
    partial = False
    shown_as = "noisy"
    completion = "noisy"

    def measure(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def adjoint(self, u: torch.Tensor) -> torch.Tensor:
        return u

    def complete(self, y: torch.Tensor) -> torch.Tensor:
        return y

    def project(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def replace(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return y, at the shape of x."""
        return y.to(x).expand_as(x)


@OPERATORS.register("mask")
class Mask(Operator):
    """A x = m x: pixels are missing, all three colours of each. m is 1 where a pixel is known and 0 elsewhere.

    A A' is the identity on the known pixels, and P = A' = A+ = A. Noise is added before pixels are taken away: its
    strength is over the whole picture.

    Args:
        missing: Share of the pixels that are missing, between 0 and 1; `bind` then draws which.
        known: bool, shape (1 or N, 1, H, W), False where pixels are missing; takes the place of ``missing``.

    Raises:
        ValueError: Where ``missing`` is not between 0 and 1, or ``known`` is no such mask.
    """

    name = "mask"
    noise_first = True
    shown_as = "masked"
    completion = "filled"
    known: torch.Tensor | None

    def __init__(self, missing: float = 0.5, *, known: torch.Tensor | None = None):
        super().__init__()
        if known is None and not 0 < missing < 1:
            raise ValueError(f"missing={missing:g}: a share of the pixels above 0 and below 1")
        if known is not None and (known.dtype != torch.bool or known.ndim != 4 or known.shape[1] != 1):
            raise ValueError(f"known is {known.dtype} of shape {tuple(known.shape)}: bool of shape (1, 1, H, W)")
        self.register_buffer("known", known, persistent=False)
        self.missing = missing if known is None else 1 - known.double().mean().item()

    @property
    def words(self) -> str:
        return f"{self.missing:.0%} missing"

    def _known(self, x: torch.Tensor) -> torch.Tensor:
        if self.known is None:
            raise ValueError("which pixels are missing is not drawn yet: use Mask(known=...), or degrade(...)")
        return self.known.to(x.device)

    def measure(self, x: torch.Tensor) -> torch.Tensor:
        """Return A x, shape as x: black where pixels are missing."""
        return x * self._known(x)

    def adjoint(self, u: torch.Tensor) -> torch.Tensor:
        return u * self._known(u)

    def project(self, x: torch.Tensor) -> torch.Tensor:
        return self.measure(x)

    def replace(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return x with the known pixels of y, to the bit."""
        return torch.where(self._known(x), y.to(x), x)

    def loss(self, residual: torch.Tensor) -> torch.Tensor:
        known = self._known(residual).expand(len(residual), -1, -1, -1)
        return (residual.square() * known).sum() / (residual.shape[1] * known.sum())

    def complete(self, y: torch.Tensor) -> torch.Tensor:
        """Return y with its missing pixels filled by `fill`."""
        known = self._known(y).expand(len(y), -1, -1, -1)
        return torch.cat([fill(y[i : i + 1], known[i : i + 1]) for i in range(len(y))])

    def request(self) -> dict[str, Any]:
        return {"mask": seeds.content_hash(self._known(torch.empty(0)))}

    def record(self) -> dict[str, Any]:
        return super().record() | {"missing": self.missing}

    def bind(self, size: tuple[int, int], seed: int, content: str) -> Mask:
        if self.known is not None:
            return self
        return Mask(known=random_mask(size, self.missing, seeds.generator(seed, "mask", content)))

    @classmethod
    def joined(cls, bound: Sequence[Operator]) -> Operator:
        masks = [a.known for a in bound if isinstance(a, Mask) and a.known is not None]
        return bound[0] if len(masks) == 1 else Mask(known=torch.cat(masks))


@OPERATORS.register("downscale")
class Downscale(Operator):
    """A x = means over squares: a picture ``factor`` times smaller each way.

    With n = factor^2 pixels to a mean A A' = I / n, and A+ repeats each pixel over its square.

    Args:
        factor: Side of a square in pixels, 2 or more; divides both sides of the picture.

    Raises:
        ValueError: Where ``factor`` is below 2.
    """

    name = "downscale"
    shown_as = "downscaled"
    completion = "upscaled"

    def __init__(self, factor: int = 4):
        super().__init__()
        if factor < 2:
            raise ValueError(f"factor={factor}: 2 or more")
        self.factor = factor

    @property
    def spread(self) -> float:
        return float(self.factor)

    @property
    def words(self) -> str:
        return f"{self.factor} times smaller"

    def measure(self, x: torch.Tensor) -> torch.Tensor:
        """Return A x, shape (N, 3, H / factor, W / factor)."""
        return F.avg_pool2d(x, self.factor)

    def adjoint(self, u: torch.Tensor) -> torch.Tensor:
        return self.pseudo_inverse(u) / self.factor**2

    def pseudo_inverse(self, u: torch.Tensor) -> torch.Tensor:
        """Return A+ u: each pixel as a square."""
        return F.interpolate(u, scale_factor=self.factor, mode="nearest")

    def complete(self, y: torch.Tensor) -> torch.Tensor:
        """Return y at full size, by bicubic interpolation, corrected to have the pixels of y as its means."""
        x = F.interpolate(y, scale_factor=self.factor, mode="bicubic", align_corners=False)
        return x + self.pseudo_inverse(y - self.measure(x))

    def request(self) -> dict[str, Any]:
        return {"downscale": self.factor}

    def record(self) -> dict[str, Any]:
        return super().record() | {"factor": self.factor}


def random_mask(size: tuple[int, int], missing: float, generator: torch.Generator) -> torch.Tensor:
    """Draw which pixels are known, each with the same chance.

    Args:
        size: Height and width, in pixels.
        missing: Share of the pixels that are missing; at least one is known, and at least one is missing.
        generator: CPU generator.

    Returns:
        bool, shape (1, 1, H, W), True where known.
    """
    count = size[0] * size[1]
    gone = min(max(round(missing * count), 1), count - 1)
    known = torch.ones(count, dtype=torch.bool)
    known[torch.randperm(count, generator=generator)[:gone]] = False
    return known.reshape(1, 1, *size)


def fill(y: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Fill missing pixels from the known ones around them by the biharmonic equation, with scikit-image.

    Args:
        y: Shape (1, 3, H, W); its values at missing pixels are not read.
        known: bool, shape (1, 1, H, W).

    Returns:
        Shape (1, 3, H, W), with the known pixels of y to the bit.
    """
    from skimage.restoration import inpaint_biharmonic

    pixels = torch.where(known, y, 0.0)[0].permute(1, 2, 0).numpy()
    filled = inpaint_biharmonic(pixels, ~known[0, 0].numpy(), channel_axis=-1)
    return torch.where(known, y, torch.from_numpy(filled).to(y).permute(2, 0, 1)[None])
