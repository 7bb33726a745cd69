"""Clean and noise estimates at a noise level, and DDPM, DDIM and DPM-Solver++ steps to a lower level.

A step goes from level t to any level s < t. ab_t and ab_s are the ``alpha_bar`` of both, 0-d float32 tensors. States
have the shape (N, 3, H, W) and lie about [-1, 1]. The operations have diffusers' order: a step of one level is
bit-equal to diffusers' step.

References:
    Ho et al., Denoising Diffusion Probabilistic Models, https://arxiv.org/abs/2006.11239
    Song et al., Denoising Diffusion Implicit Models, https://arxiv.org/abs/2010.02502
    Lu et al., DPM-Solver++, https://arxiv.org/abs/2211.01095
    Salimans and Ho, Progressive Distillation (v-prediction), https://arxiv.org/abs/2202.00512
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dipddpm.gpu import sent

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


def draw(like: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Draw N(0, 1) noise with the shape, dtype and device of ``like``. Row i comes from CPU generator i."""
    rows = [torch.randn((1, *like.shape[1:]), generator=g, dtype=like.dtype) for g in generators]
    return sent(torch.cat(rows), like.device)


def x0_from_eps(x_t: Tensor, eps: Tensor, ab_t: Tensor) -> Tensor:
    """Return the clean estimate that follows from x_t and its noise (Ho et al., eq. 15)."""
    return (x_t - (1 - ab_t) ** 0.5 * eps) / ab_t**0.5


def eps_from_x0(x_t: Tensor, x0: Tensor, ab_t: Tensor) -> Tensor:
    """Return the noise estimate that follows from x_t and its clean estimate."""
    return (x_t - ab_t**0.5 * x0) / (1 - ab_t) ** 0.5


def estimates(x_t: Tensor, output: Tensor, ab_t: Tensor, prediction_type: str) -> tuple[Tensor, Tensor]:
    """Turn a network's output at level t into (clean estimate, noise estimate).

    The output is eps (``epsilon``), x_0 (``sample``) or sqrt(ab) eps - sqrt(1 - ab) x_0 (``v_prediction``).

    Raises:
        ValueError: For another ``prediction_type``.
    """
    a, b = ab_t**0.5, (1 - ab_t) ** 0.5
    if prediction_type == "epsilon":
        return x0_from_eps(x_t, output, ab_t), output
    if prediction_type == "sample":
        return output, eps_from_x0(x_t, output, ab_t)
    if prediction_type == "v_prediction":
        return a * x_t - b * output, a * output + b * x_t
    raise ValueError(f"prediction_type={prediction_type!r}: must be one of {', '.join(PREDICTION_TYPES)}")


def ddpm_step(
    x_t: Tensor, x0: Tensor, ab_t: Tensor, ab_s: Tensor, variance_type: str = "fixed_small"
) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of x_s given x_t and x_0 (Ho et al., eq. 6 and 7, for any s < t).

    With ``fixed_large`` the deviation is that of q(x_t | x_s), which is above 0 also for s = 0. The caller adds no
    noise at s = 0.
    """
    alpha = ab_t / ab_s
    beta = 1 - alpha
    mean = ab_s**0.5 * beta / (1 - ab_t) * x0 + alpha**0.5 * (1 - ab_s) / (1 - ab_t) * x_t
    variance = beta if variance_type == "fixed_large" else (1 - ab_s) / (1 - ab_t) * beta
    return mean, variance**0.5


def ddim_step(x0: Tensor, eps: Tensor, ab_s: Tensor) -> Tensor:
    """Return the deterministic x_s from both estimates (Song et al., eq. 12 with sigma = 0)."""
    return ab_s**0.5 * x0 + (1 - ab_s) ** 0.5 * eps


def dpmpp_step(
    x_t: Tensor, x0: Tensor, ab_t: Tensor, ab_s: Tensor, before: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Return the deterministic x_s of DPM-Solver++ 2M (Lu et al., algorithm 2).

    The clean estimate is taken to be linear in the logarithm of the signal-to-noise ratio. It is extrapolated to the
    middle of the step from the two newest estimates. A DDIM step takes the result, with the noise that follows from it.

    Args:
        x_t: The state at level t.
        x0: Its clean estimate.
        ab_t: ``alpha_bar`` of level t.
        ab_s: ``alpha_bar`` of level s. At s = 0 the ratio is infinite, and the step is of first order: x_s = x0.
        before: The clean estimate of the step before, and ``alpha_bar`` of its level. None: a step of first order.
    """
    if before is not None and ab_s < 1:
        earlier, ab_r = before
        x0 = x0 + (_log_ratio(ab_s) - _log_ratio(ab_t)) / (2 * (_log_ratio(ab_t) - _log_ratio(ab_r))) * (x0 - earlier)
    return ddim_step(x0, eps_from_x0(x_t, x0, ab_t), ab_s)


def _log_ratio(ab: Tensor) -> Tensor:
    """Return log(ab / (1 - ab)), twice the lambda of Lu et al."""
    return torch.logit(ab.double())
