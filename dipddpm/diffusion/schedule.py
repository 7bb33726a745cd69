"""The arithmetic of a denoising diffusion chain: levels, windows, initial states and steps.

With eps ~ N(0, I) and ab = ``alpha_bar(t)``, falling from 1 at level 0 to nearly 0 at level T,

    x_t = sqrt(ab) x_0 + sqrt(1 - ab) eps.

A step goes from level t to any level s < t. ``alpha_bar`` is float32 and the order of operations
that of diffusers, so that a step of one level is bit-equal to its own.

References:
    Ho et al., Denoising Diffusion Probabilistic Models, https://arxiv.org/abs/2006.11239
    Song et al., Denoising Diffusion Implicit Models, https://arxiv.org/abs/2010.02502
    Salimans and Ho, Progressive Distillation (v-prediction), https://arxiv.org/abs/2202.00512
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dipddpm.errors import UserError

INITS = ("raw", "scaled", "diffused", "matched", "noise")
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
VARIANCE_TYPES = ("fixed_small", "fixed_small_log", "fixed_large")


def to_state(picture: Tensor) -> Tensor:
    """Map a picture from [0, 1] to a state in [-1, 1]; any shape."""
    return picture * 2 - 1


def to_picture(state: Tensor) -> Tensor:
    """Map a state from [-1, 1] to a picture in [0, 1], without clipping; any shape."""
    return (state + 1) / 2


@dataclass(frozen=True, eq=False)
class Schedule:
    """The noise schedule that a network was trained with.

    Args:
        alphas_cumprod: float32, shape (T,), strictly falling, inside (0, 1); diffusers' tensor.
        variance_type: Variance of a DDPM step (Ho et al., section 3.2): that of q(x_s | x_t, x_0)
            for ``fixed_small`` and ``fixed_small_log``, of q(x_t | x_s) for ``fixed_large``.

    Raises:
        ValueError: When an argument is not as described.
    """

    alphas_cumprod: Tensor
    variance_type: str = "fixed_small"

    def __post_init__(self) -> None:
        ab = self.alphas_cumprod
        if ab.ndim != 1 or not len(ab) or not (0 < ab[-1] <= ab[0] < 1) or (ab.diff() >= 0).any():
            raise ValueError("alphas_cumprod: must be 1-D, strictly falling and inside (0, 1)")
        if self.variance_type not in VARIANCE_TYPES:
            raise ValueError(f"variance_type={self.variance_type!r}: must be one of {', '.join(VARIANCE_TYPES)}")

    @property
    def T(self) -> int:
        """Number of levels; also the noisiest level."""
        return len(self.alphas_cumprod)

    def alpha_bar(self, level: int) -> Tensor:
        """The share of signal at a level in 0..T: a 0-d float32 tensor, 1 at level 0."""
        if not 0 <= level <= self.T:
            raise ValueError(f"level={level}: must be in 0..{self.T}")
        return self.alphas_cumprod[level - 1] if level else torch.ones((), dtype=self.alphas_cumprod.dtype)

    def sigma(self, level: int) -> float:
        """The noise of a level in 0..T on the 0-255 scale: 127.5 sqrt((1 - ab) / ab)."""
        ab = float(self.alpha_bar(level))
        return 127.5 * math.sqrt((1 - ab) / ab)

    def level_of_sigma(self, sigma: float) -> int:
        """The level in 1..T whose sigma is nearest to ``sigma`` (0-255 scale, finite, >= 0)."""
        if not (math.isfinite(sigma) and sigma >= 0):
            raise ValueError(f"sigma={sigma}: must be finite and at least 0")
        ab = self.alphas_cumprod.double()
        return int((127.5 * ((1 - ab) / ab).sqrt() - sigma).abs().argmin()) + 1


def window(start_t: int, end_t: int, steps: int | None = None, *, T: int = 1000) -> list[int]:
    """List the levels that a window passes, the noisiest first.

    Args:
        start_t: First level, in 1..T.
        end_t: Last level, in 0..start_t - 1.
        steps: Network evaluations, 1..start_t - end_t; default: one a level.
        T: Levels of the schedule.

    Returns:
        ``steps + 1`` strictly falling levels, both ends included, evenly spaced up to rounding.

    Raises:
        UserError: When an argument is outside its range.
    """
    if not 1 <= start_t <= T:
        raise UserError(f"ddpm.start_t={start_t}: must be a level in 1..{T}")
    if not 0 <= end_t < start_t:
        raise UserError(f"ddpm.end_t={end_t}: must be in 0..{start_t - 1}, below ddpm.start_t={start_t}")
    span = start_t - end_t
    if steps is None:
        steps = span
    if not 1 <= steps <= span:
        raise UserError(
            f"ddpm.steps={steps}: must be in 1..{span}, the number of levels from "
            f"ddpm.start_t={start_t} to ddpm.end_t={end_t}"
        )
    # Integers only: floor(x + 1/2) keeps levels that are at least 1 apart distinct.
    return [start_t - (2 * i * span + steps) // (2 * steps) for i in range(steps + 1)]


def initial_state(
    init: str,
    p: Tensor,
    alpha_bar: Tensor | float,
    *,
    error_rms: float | None,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Make the states that a window starts from; the five rules stand in ``dipddpm``'s docstring.

    Args:
        init: ``raw``, ``scaled``, ``diffused`` (SDEdit, https://arxiv.org/abs/2108.01073),
            ``matched`` (as DiffPIR starts, https://arxiv.org/abs/2305.08995) or ``noise``.
        p: shape (1, 3, H, W) or (N, 3, H, W), about [-1, 1]; ``noise`` reads its shape alone.
        alpha_bar: That of the first level.
        error_rms: rms error of p in [-1, 1] units; only ``matched`` needs it.
        generators: N CPU generators, one a sample: each draws its own (1, 3, H, W), so that a batch
            starts as its singles do. ``raw`` and ``scaled`` draw nothing.

    Returns:
        shape (N, 3, H, W), on p's device.

    Raises:
        UserError: For an unknown ``init``, and for ``matched`` without ``error_rms``.
        ValueError: When p holds neither 1 nor N pictures.
    """
    if init not in INITS:
        raise UserError(f"ddpm.init={init}: must be one of {', '.join(INITS)}")
    if p.shape[0] not in (1, len(generators)):
        raise ValueError(f"p: {p.shape[0]} pictures for {len(generators)} generators; must be 1 or as many")
    if init == "matched" and error_rms is None:
        raise UserError(
            "ddpm.init=matched: needs the error of the start, and that of a DIP output is not "
            "known from the noisy picture alone; give ddpm.error_sigma=<0-255 scale>"
        )
    ab = torch.as_tensor(alpha_bar, dtype=p.dtype)
    p = p.expand(len(generators), *p.shape[1:])
    if init == "raw":
        return p.clone()
    if init == "scaled":
        return ab**0.5 * p
    eps = draw(p, generators)
    if init == "noise":
        return eps
    missing = 1 - ab
    if init == "matched":
        assert error_rms is not None  # refused above
        missing = (missing - ab * error_rms**2).clamp(min=0)
    return ab**0.5 * p + missing**0.5 * eps


def draw(like: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Draw N(0, 1) noise in ``like``'s shape, dtype and device: row i from CPU generator i."""
    rows = [torch.randn((1, *like.shape[1:]), generator=g, dtype=like.dtype) for g in generators]
    return torch.cat(rows).to(like.device)


def x0_from_eps(x_t: Tensor, eps: Tensor, ab_t: Tensor) -> Tensor:
    """The clean picture that x_t and its noise imply (Ho et al., eq. 15)."""
    return (x_t - (1 - ab_t) ** 0.5 * eps) / ab_t**0.5


def estimates(x_t: Tensor, output: Tensor, ab_t: Tensor, prediction_type: str) -> tuple[Tensor, Tensor]:
    """Turn a network's output at level t into (clean estimate, noise estimate).

    The output is eps (``epsilon``), x_0 (``sample``) or sqrt(ab) eps - sqrt(1 - ab) x_0
    (``v_prediction``).

    Raises:
        ValueError: For any other ``prediction_type``.
    """
    a, b = ab_t**0.5, (1 - ab_t) ** 0.5
    if prediction_type == "epsilon":
        return x0_from_eps(x_t, output, ab_t), output
    if prediction_type == "sample":
        return output, (x_t - a * output) / b
    if prediction_type == "v_prediction":
        return a * x_t - b * output, a * output + b * x_t
    raise ValueError(f"prediction_type={prediction_type!r}: must be one of {', '.join(PREDICTION_TYPES)}")


def ddpm_step(
    x_t: Tensor, x0: Tensor, ab_t: Tensor, ab_s: Tensor, variance_type: str = "fixed_small"
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of x_s given x_t and x_0 (Ho et al., eq. 6 and 7, for any s < t).

    With ``fixed_large`` the deviation is that of q(x_t | x_s), not 0 at s = 0: add no noise there.
    """
    alpha = ab_t / ab_s
    beta = 1 - alpha
    mean = ab_s**0.5 * beta / (1 - ab_t) * x0 + alpha**0.5 * (1 - ab_s) / (1 - ab_t) * x_t
    variance = beta if variance_type == "fixed_large" else (1 - ab_s) / (1 - ab_t) * beta
    return mean, variance**0.5


def ddim_step(x0: Tensor, eps: Tensor, ab_s: Tensor) -> Tensor:
    """The deterministic x_s (Song et al., eq. 12 with sigma = 0) from both estimates."""
    return ab_s**0.5 * x0 + (1 - ab_s) ** 0.5 * eps
