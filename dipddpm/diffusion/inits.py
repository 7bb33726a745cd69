"""Inits: the rules for the state that a window starts from.

The start is a picture p in [-1, 1] units; ab is ``alpha_bar`` of the first noise level, and eps ~ N(0, I):

    raw       x = p
    scaled    x = sqrt(ab) p
    diffused  x = sqrt(ab) p + sqrt(1 - ab) eps                      (SDEdit, CCDF)
    matched   x = sqrt(ab) p + sqrt(max(0, (1 - ab) - ab r^2)) eps   (DiffPIR; r is the rms error of p)
    noise     x = eps                                                (the plain DDPM)

References:
    Meng et al., SDEdit, https://arxiv.org/abs/2108.01073
    Chung et al., Come-Closer-Diffuse-Faster, https://arxiv.org/abs/2112.05146
    Zhu et al., DiffPIR, https://arxiv.org/abs/2305.08995
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from dipddpm.diffusion.steps import draw
from dipddpm.registry import Registry


class Init(Protocol):
    """A rule for the first state.

    Args:
        p: The picture, shape (N, 3, H, W), about [-1, 1].
        ab: ``alpha_bar`` of the first level, a 0-d tensor.
        noise: A function that draws N(0, 1) noise in the shape of p; each call draws new noise.
        error_rms: The rms error of p in [-1, 1] units; None where it is unknown.
    """

    def __call__(self, p: Tensor, ab: Tensor, noise: Callable[[], Tensor], error_rms: float | None) -> Tensor: ...


INITS: Registry[Init] = Registry("init")


@INITS.register("raw")
def raw(p: Tensor, ab: Tensor, noise: Callable[[], Tensor], error_rms: float | None) -> Tensor:
    """Return the picture unchanged, as the original does."""
    return p.clone()


@INITS.register("scaled")
def scaled(p: Tensor, ab: Tensor, noise: Callable[[], Tensor], error_rms: float | None) -> Tensor:
    """Return the picture scaled to the share of signal of the level."""
    return ab**0.5 * p


@INITS.register("diffused")
def diffused(p: Tensor, ab: Tensor, noise: Callable[[], Tensor], error_rms: float | None) -> Tensor:
    """Return the scaled picture with the full noise of the level."""
    return ab**0.5 * p + (1 - ab) ** 0.5 * noise()


@INITS.register("matched")
def matched(p: Tensor, ab: Tensor, noise: Callable[[], Tensor], error_rms: float | None) -> Tensor:
    """Return the scaled picture with the noise that the level has beyond the picture's own error."""
    if error_rms is None:
        raise ValueError("error_rms: init 'matched' needs the rms error of the picture")
    missing = (1 - ab - ab * error_rms**2).clamp(min=0)
    return ab**0.5 * p + missing**0.5 * noise()


@INITS.register("noise")
def noise_alone(p: Tensor, ab: Tensor, noise: Callable[[], Tensor], error_rms: float | None) -> Tensor:
    """Return pure noise in the shape of the picture."""
    return noise()


def initial_state(
    init: str | Init,
    p: Tensor,
    alpha_bar: Tensor | float,
    generators: Sequence[torch.Generator],
    error_rms: float | None = None,
) -> Tensor:
    """Make the states that a window starts from.

    Args:
        init: A name in `INITS`, or a rule.
        p: Shape (1, 3, H, W) or (N, 3, H, W), about [-1, 1].
        alpha_bar: ``alpha_bar`` of the first level.
        generators: N CPU generators, one for each state. Each draws (1, 3, H, W): the states of a batch are those of
            its single pictures.
        error_rms: The rms error of p in [-1, 1] units; ``matched`` needs it.

    Returns:
        Shape (N, 3, H, W), on p's device.

    Raises:
        ValueError: For an unknown name, for ``matched`` without ``error_rms``, or for p of neither 1 nor N pictures.
    """
    rule = INITS[init] if isinstance(init, str) else init
    if p.shape[0] not in (1, len(generators)):
        raise ValueError(f"p: {p.shape[0]} pictures for {len(generators)} generators; must be 1 or the same number")
    p = p.expand(len(generators), *p.shape[1:])
    return rule(p, torch.as_tensor(alpha_bar, dtype=p.dtype), lambda: draw(p, generators), error_rms)
