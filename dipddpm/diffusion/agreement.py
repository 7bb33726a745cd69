"""The forms of data consistency: how a clean estimate that was made to agree with y enters the step.

    ddnm      the estimate is corrected; the noise estimate of the network stays
    diffpir   the estimate is corrected; the noise estimate is made anew: eps = (x_t - sqrt(ab) x0) / sqrt(1 - ab)
    gradient  as diffpir, corrected by gradients over the pixels, for operators without a closed form
    dps       the estimate stays; the result of the step moves along the gradient through the network

The corrected estimate has the least |A x - y|^2 / sigma^2 + lambda |x - x0|^2 / r_t^2, with lambda = ``prior_weight``.
lambda = 1 weighs both squares by their variances; a larger lambda trusts the prior more. The objective depends on
lambda sigma^2 alone. So lambda acts as noise that is stronger by sqrt(lambda), and not at all on a y without noise.
Of ``dps`` lambda is the inverse of zeta, the length of its steps.

References:
    Wang, Yu and Zhang, Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model, 2022 (DDNM),
    https://arxiv.org/abs/2212.00490.
    Zhu et al., Denoising Diffusion Models for Plug-and-Play Image Restoration, 2023 (DiffPIR, eq. 12 and algorithm 1),
    https://arxiv.org/abs/2305.08995.
    Chung et al., Diffusion Posterior Sampling for General Noisy Inverse Problems, 2023 (DPS),
    https://arxiv.org/abs/2209.14687.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dipddpm.degradation.operators import Operator
from dipddpm.degradation.problem import Problem
from dipddpm.diffusion.consistency import data_consistency
from dipddpm.diffusion.gradient import descend, distance_to
from dipddpm.diffusion.prior import Prior
from dipddpm.diffusion.sampler import Consistency
from dipddpm.diffusion.schedule import Schedule, to_picture, to_state

FAINT = 7  # 0-255 scale: noise in the measured part of A+ y, up to which `auto` is ``ddnm``
LEAST_SIGMA = 0.29  # 0-255 scale, rms of rounding to 8 bits: for gradients a y without noise counts as one with it


def form_of(form: str, operator: Operator, sigma: float) -> str:
    """Return the form that ``auto`` stands for (docs/results/consistency.md); any other form is returned unchanged.

    Args:
        form: ``auto``, ``ddnm``, ``diffpir``, ``gradient`` or ``dps``.
        operator: A.
        sigma: rms of the noise of y on the 0-255 scale.
    """
    if form != "auto":
        return form
    faint = operator.spread is not None and operator.spread * sigma <= FAINT
    return "ddnm" if faint else "diffpir"


def agreement(form: str, prior_weight: float, problem: Problem, prior: Prior) -> Consistency:
    """Return the consistency of a window.

    Args:
        form: As for `form_of`.
        prior_weight: lambda, above 0.
        problem: The problem, whose y the window agrees with.
        prior: The prior. Its device holds the result.
    """
    device, form = prior.unet.device, form_of(form, problem.operator, problem.sigma)
    operator = copy.deepcopy(problem.operator).to(device)  # once, and not in each step
    completed = problem.noisy.to(device)
    if form == "dps":
        return Consistency(distance=distance_to(operator.measure(completed), operator, 1 / prior_weight))
    sigmas = [math.sqrt(prior_weight) * sigma for sigma in problem.sigmas]
    if form == "gradient":
        return Consistency(by_gradients(operator.measure(completed), operator, sigmas, prior.schedule), renew=True)
    return Consistency(data_consistency(completed, operator, sigmas, prior.schedule), renew=form == "diffpir")


def by_gradients(
    y: Tensor, operator: Operator, sigmas: Sequence[float], schedule: Schedule
) -> Callable[[Tensor, int], Tensor]:
    """Return the function that corrects clean estimates by `dipddpm.diffusion.gradient.descend`.

    Arguments and result are those of `dipddpm.diffusion.consistency.data_consistency`, but y has the shape of A x.
    """
    least = [max(sigma, LEAST_SIGMA) for sigma in sigmas]

    def agree(x0: Tensor, level: int) -> Tensor:
        rho = torch.tensor([(sigma / schedule.sigma(level)) ** 2 for sigma in least]).to(x0).reshape(-1, 1, 1, 1)
        return to_state(descend(operator, to_picture(x0), y.to(x0), rho))  # pictures: A may depend on the units

    return agree
