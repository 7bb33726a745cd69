"""Operators A of y = A x + noise: identity, missing pixels, a smaller picture.

    A'                      the adjoint: <A x, u> = <x, A' u>
    A A' = I / spread^2     every operator here has this, so that A+ = spread^2 A'
    P = A+ A                the projection onto the part of a picture that A measures

A sampler and a DIP need pictures of full size: `Operator.complete` turns y into an x with A x = y. `Operator.replace`
puts the measured part of y into another picture: x + P (y - x).

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
from dipddpm.pictures.check import check_area, check_tensor
from dipddpm.registry import Registry


class Operator(torch.nn.Module):
    """A of y = A x + noise. A new operator is a subclass with a ``name``, `measure`, `adjoint` and `complete`.

    A fit that is stored also needs `request`; an operator that is drawn for each picture also needs `joined`.

    `OPERATORS` holds the operators that have a name in the configuration.

    Attributes:
        name: The operator's word in the configuration and in metrics.json.
        partial: Whether y holds only a part of the picture.
        noise_first: Whether noise is added before A is applied: y = A (x + noise). Such an A removes values and leaves
            the others unchanged.
        shown_as: File name, without ``.png``, of the picture that shows P y to people.
        completion: A past participle for the result of `complete`, such as ``filled``.
    """

    name: ClassVar[str]
    partial: ClassVar[bool] = True
    noise_first: ClassVar[bool] = False
    shown_as: ClassVar[str] = "measured"
    completion: ClassVar[str] = "completed"

    @property
    def spread(self) -> float:
        """s of A A' = I / s^2. Noise of sigma in y becomes noise of s sigma in the measured part of A+ y."""
        return 1.0

    @property
    def words(self) -> str:
        """The effect of A in words, such as ``50% missing``."""
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
        """Return a picture x with A x = y, whose other part is filled without a network.

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
        """Return x + P (y - x): x with the measured part of y.

        Args:
            x: Shape (N, 3, H, W).
            y: Completed y, as `complete` returns it, shape (1 or N, 3, H, W).
        """
        return x + self.project(y.to(x) - x)

    def losses(self, residual: torch.Tensor) -> torch.Tensor:
        """Return for each picture the mean square of A r over the values of y, shape (N,).

        Args:
            residual: r = output - completed y, shape (N, 3, H, W).
        """
        return self.measure(residual).square().flatten(1).mean(1)

    def request(self) -> dict[str, Any]:
        """Return the values of the operator that a fit depends on, as JSON types. They enter the fit's key.

        Raises:
            ValueError: Where a subclass does not define it; only fits that are stored ask.
        """
        raise ValueError(f"{type(self).__name__} has no request(): a stored fit needs the values that it depends on")

    def record(self) -> dict[str, Any]:
        """Return the entry ``operator`` of metrics.json: name, share of missing pixels, ratio of sides."""
        return {"kind": self.name, "missing": 0.0, "factor": None}

    def bind(self, size: tuple[int, int], seed: int, content: str) -> Operator:
        """Return the operator for one picture, with its random part drawn.

        Args:
            size: Height and width of the picture, in pixels.
            seed: The seed of the run.
            content: The picture's content hash (`dipddpm.seeds.content_hash`).
        """
        return self

    @classmethod
    def joined(cls, bound: Sequence[Operator]) -> Operator:
        """Return one operator for a batch of pictures, from the bound operators of its pictures.

        Raises:
            ValueError: Where each picture has its own operator, and a subclass does not define how they are joined.
        """
        if any(one is not bound[0] for one in bound):
            raise ValueError(f"{cls.__name__} has no joined(): damage the pictures one by one")
        return bound[0]


NOT_DRAWN = "the missing pixels are not drawn yet: use Mask(known=...), or degrade(...)"
OPERATORS: Registry[type[Operator]] = Registry("operator")


@OPERATORS.register("identity")
class Identity(Operator):
    """A x = x: y holds the whole picture."""

    name = "identity"
    partial = False
    shown_as = "noisy"
    completion = "noisy"

    def request(self) -> dict[str, Any]:
        return {}

    def measure(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def adjoint(self, u: torch.Tensor) -> torch.Tensor:
        return u

    def complete(self, y: torch.Tensor) -> torch.Tensor:
        return y

    def project(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def replace(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return y, expanded to the shape of x."""
        return y.to(x).expand_as(x)


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

    def project(self, x: torch.Tensor) -> torch.Tensor:
        return self.measure(x)

    def replace(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return x with the known pixels of y, bit-equal."""
        return torch.where(self._known(x), y.to(x), x)

    def losses(self, residual: torch.Tensor) -> torch.Tensor:
        known = self._known(residual)
        return (residual.square() * known).flatten(1).sum(1) / (residual.shape[1] * known.flatten(1).sum(1))

    def complete(self, y: torch.Tensor) -> torch.Tensor:
        """Return y with its missing pixels filled by `fill`."""
        known = self._known(y).expand(len(y), -1, -1, -1)
        return torch.cat([fill(y[i : i + 1], known[i : i + 1]) for i in range(len(y))])

    def request(self) -> dict[str, Any]:
        if self.known is None:
            raise ValueError(NOT_DRAWN)
        return {"mask": seeds.content_hash(self.known.cpu())}

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

    Each mean is over n = factor^2 pixels. Hence A A' = I / n, and A+ repeats each pixel over its square.

    Args:
        factor: Side of a square in pixels, 2 or more; a divisor of both sides of the picture.

    Raises:
        ValueError: When ``factor`` is no whole number from 2. When it does not divide the sides of a picture, `measure`
            raises it, and `complete` when the large picture has too many pixels.
    """

    name = "downscale"
    shown_as = "downscaled"
    completion = "upscaled"

    def __init__(self, factor: int = 4):
        super().__init__()
        if not isinstance(factor, int) or factor < 2:
            raise ValueError(f"factor={factor}: must be 2 or more, and whole")
        self.factor = factor

    @property
    def spread(self) -> float:
        return float(self.factor)

    @property
    def words(self) -> str:
        return f"{self.factor} times smaller"

    def measure(self, x: torch.Tensor) -> torch.Tensor:
        """Return A x, shape (N, 3, H / factor, W / factor)."""
        height, width = x.shape[-2:]
        if height % self.factor or width % self.factor:
            raise ValueError(f"factor={self.factor}: must divide both sides of the picture, {height}x{width}")
        return F.avg_pool2d(x, self.factor)

    def adjoint(self, u: torch.Tensor) -> torch.Tensor:
        return self.pseudo_inverse(u) / self.factor**2

    def pseudo_inverse(self, u: torch.Tensor) -> torch.Tensor:
        """Return A+ u: each pixel repeated over its square."""
        return F.interpolate(u, scale_factor=self.factor, mode="nearest")

    def complete(self, y: torch.Tensor) -> torch.Tensor:
        """Return y at full size by bicubic interpolation, corrected: the means over its squares are the pixels of y."""
        check_area(f"y, {self.words},", *(self.factor * side for side in y.shape[-2:]))
        x = F.interpolate(y, scale_factor=self.factor, mode="bicubic", align_corners=False)
        return x + self.pseudo_inverse(y - self.measure(x))

    def request(self) -> dict[str, Any]:
        return {"downscale": self.factor}

    def record(self) -> dict[str, Any]:
        return super().record() | {"factor": self.factor}


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
