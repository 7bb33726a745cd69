"""Operators A of y = A x + noise: the base class, and the identity.

    A'                      the adjoint of a linear A: <A x, u> = <x, A' u>
    A A' = I / spread^2     some linear operators have this, so that A+ = spread^2 A'
    P = A+ A                the projection onto the part of a picture that A measures

A sampler and a DIP need pictures of full size: `Operator.complete` makes one of y, without a network. It is a start,
and nothing learns from it. `Operator.replace` moves a picture towards the pictures whose A is y.

`dipddpm.degradation.masks` has missing pixels, `dipddpm.degradation.scaling` smaller pictures.

References:
    Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, 2018, eq. 4 and 5, https://arxiv.org/abs/1711.10925
    Wang, Yu and Zhang, Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model, 2022 (DDNM),
    https://arxiv.org/abs/2212.00490
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from dipddpm.registry import Registry

Weight = float | torch.Tensor  # a number, or one for each picture, shape (N, 1, 1, 1)


class Operator(torch.nn.Module):
    """A of y = A x + noise. A new operator is a subclass with a ``name`` and `measure`, which torch can differentiate.

    An operator with A A' = I / spread^2 also has ``spread`` and `adjoint`. A fit that is stored needs `request`. An
    operator that is drawn for each picture needs `bind`, `joined` and `of`. `OPERATORS` holds the operators that have a
    name in the configuration.

    Attributes:
        name: The operator's word in the configuration and in metrics.json.
        partial: Whether y lacks a part of the picture.
        faint: rms of the noise in the measured part of A+ y, on the 0-255 scale, up to which a window keeps the noise
            estimate of the network (`dipddpm.diffusion.agreement.form_of`). None: the default there.
        noise_first: Whether noise is added before A is applied: y = A (x + noise). With A A' = I the noise of y is as
            strong.
        noise_shows: Whether the noise of y can be estimated from y.
        shown_as: File name, without ``.png``, of the picture that shows y to people.
        completion: A past participle for the result of `complete`, such as ``filled``.
        linear: Whether A is linear.
        stable: Whether `replace` amplifies no error of a y without noise. A blur erases frequencies, and is not stable.
        spread: s of A A' = I / s^2, or None where A A' is no multiple of the identity. Noise of sigma in y becomes
            noise of s sigma in the measured part of A+ y.
    """

    name: ClassVar[str]
    partial: ClassVar[bool] = True
    faint: ClassVar[float | None] = None
    noise_first: ClassVar[bool] = False
    noise_shows: ClassVar[bool] = False
    shown_as: ClassVar[str] = "measured"
    completion: ClassVar[str] = "completed"
    stable: ClassVar[bool] = True
    linear: bool = True
    spread: float | None = None

    @property
    def words(self) -> str:
        """The effect of A in words, such as ``50% missing``."""
        return self.name

    @property
    def closed(self) -> bool:
        """Whether `replace` has a closed form. Otherwise `dipddpm.diffusion.consistency` iterates."""
        return self.spread is not None

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

    def pull(self, x: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the function u -> J' u, where J is the derivative of A at x: A' for a linear A. See `measure_at`."""
        return self.measure_at(x)[1]

    def measure_at(self, x: torch.Tensor) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
        """Return A x and the function u -> J' u, where J is the derivative of A at x, also where grad mode is off.

        Args:
            x: Shape (N, 3, H, W).
        """
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y = self.measure(x)
        return y.detach(), lambda u: torch.autograd.grad(y, x, u, retain_graph=True)[0]

    def complete(self, y: torch.Tensor, sigma: float = 0.0) -> torch.Tensor:
        """Return a picture of full size, made of y without a network: the best cheap start. The default is y itself.

        Args:
            y: Shape (N, 3, h, w).
            sigma: rms of the noise of y on the 0-255 scale.

        Returns:
            Shape (N, 3, H, W).
        """
        return y

    def show(self, y: torch.Tensor, completed: torch.Tensor) -> torch.Tensor:
        """Return y for people: A+ y where there is an A+, else y itself, its pixels repeated up to full size.

        Args:
            y: Shape (N, 3, h, w).
            completed: Completed y, shape (N, 3, H, W).
        """
        if self.spread is not None:
            return self.pseudo_inverse(y)
        return y if y.shape == completed.shape else F.interpolate(y, completed.shape[-2:], mode="nearest")

    def pseudo_inverse(self, u: torch.Tensor) -> torch.Tensor:
        """Return A+ u, shape (N, 3, H, W), for u of the shape of y. Only operators with a ``spread`` have it."""
        assert self.spread is not None
        return self.spread**2 * self.adjoint(u)

    def replace(self, x: torch.Tensor, y: torch.Tensor, rho: Weight = 0.0) -> torch.Tensor:
        """Return the picture v with the least |A v - y|^2 / sigma^2 + |v - x|^2 / r^2, where it has a closed form.

        For an operator with a ``spread`` s it is v = x + A+ (y - A x) / (1 + rho). With rho = 0 it is the picture
        nearest to x whose A is y.

        Args:
            x: Shape (N, 3, H, W), in the units of y.
            y: Shape (1 or N, 3, h, w).
            rho: s^2 sigma^2 / r^2, 0 or more. s is 1 where ``spread`` is None.
        """
        return x + 1 / (1 + rho) * self.pseudo_inverse(y.to(x) - self.measure(x))

    def put_back(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return x with the measured part of a y without noise; x itself where A has no stable inverse of y."""
        return self.replace(x, y) if self.closed and self.stable else x

    def known_in(self, y: torch.Tensor) -> torch.Tensor:
        """Return where y has values: bool, in the shape of y, (N, 3, h, w)."""
        return torch.ones_like(y, dtype=torch.bool)

    def residuals(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return A x - y in the shape of y, and 0 where y has no value.

        Args:
            output: x, shape (N, 3, H, W).
            y: Shape (N, 3, h, w).
        """
        return self.measure(output) - y

    def losses(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return for each picture the mean square of `residuals` over the values of y, shape (N,)."""
        return self.residuals(output, y).square().flatten(1).mean(1)

    def request(self) -> dict[str, Any]:
        """Return the values of the operator that a fit depends on, as JSON types. They enter the fit's key.

        Raises:
            ValueError: Where a subclass does not define it; only fits that are stored ask.
        """
        raise ValueError(f"{type(self).__name__} has no request(): a stored fit needs the values that it depends on")

    @property
    def alike(self) -> str:
        """A text that is the same for operators that `joined` can join."""
        return f"{self.name} {self.request()}"

    def record(self) -> dict[str, Any]:
        """Return the entry ``operator`` of metrics.json: name, share of missing pixels, ratio of sides, own values."""
        return {"kind": self.name, "missing": 0.0, "factor": None}

    def bind(self, size: tuple[int, int], seed: int, content: str) -> Operator:
        """Return the operator for one picture, with its random part drawn.

        Args:
            size: Height and width of the picture, in pixels.
            seed: The seed of the run.
            content: The picture's content hash (`dipddpm.seeds.content_hash`).
        """
        return self

    def of(self, i: int) -> Operator:
        """Return the operator of picture ``i`` of a batch."""
        return self

    @classmethod
    def joined(cls, bound: Sequence[Operator]) -> Operator:
        """Return one operator for a batch of pictures, from the bound operators of its pictures, which are `alike`.

        Raises:
            ValueError: Where each picture has its own operator, and a subclass does not define how they are joined.
        """
        for one in bound:
            if one is not bound[0] and (cls.request is Operator.request or one.alike != bound[0].alike):
                raise ValueError(f"{cls.__name__} has no joined(): damage the pictures one by one")
        return bound[0]


OPERATORS: Registry[type[Operator]] = Registry("operator")


@OPERATORS.register("identity")
class Identity(Operator):
    """A x = x: y holds the whole picture."""

    name = "identity"
    partial = False
    noise_shows = True
    shown_as = "noisy"
    completion = "noisy"
    spread = 1.0

    def request(self) -> dict[str, Any]:
        return {}

    def measure(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def adjoint(self, u: torch.Tensor) -> torch.Tensor:
        return u

    def replace(self, x: torch.Tensor, y: torch.Tensor, rho: Weight = 0.0) -> torch.Tensor:
        """Return x + (y - x) / (1 + rho); for rho = 0 y itself, expanded to the shape of x."""
        return towards(x, y, rho)


def towards(x: torch.Tensor, y: torch.Tensor, rho: Weight) -> torch.Tensor:
    """Return x + (y - x) / (1 + rho), in the shape of x; for rho = 0 y itself, to the bit."""
    y = y.to(x)
    return y.expand_as(x) if isinstance(rho, float) and rho == 0 else x + 1 / (1 + rho) * (y - x)
