"""The forms of data consistency: how a clean estimate that was made to agree with y enters the step.

    ddnm      the estimate is corrected; the noise estimate of the network stays
    diffpir   the estimate is corrected; the noise estimate is made anew: eps = (x_t - sqrt(ab) x0) / sqrt(1 - ab)
    gradient  as diffpir, corrected by gradients over the pixels, for operators without a closed form
    dip       as diffpir; the DIP of the start then learns the corrected estimate (`dipddpm.diffusion.warm`)
    dps       the estimate stays; the result of the step moves along the gradient through the network

The corrected estimate has the least |A x - y|^2 / sigma^2 + lambda |x - x0|^2 / r_t^2, with lambda = ``prior_weight``.
lambda = 1 weighs both squares by their variances; a larger lambda trusts the prior more. The objective depends on
lambda sigma^2 alone. So lambda acts as if sigma were sqrt(lambda) times as large. It has no effect if y has no noise.
For ``dps`` lambda is the inverse of zeta, the factor of the gradient.

References:
    Wang, Yu and Zhang, Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model, 2022 (DDNM),
    https://arxiv.org/abs/2212.00490.
    Zhu et al., Denoising Diffusion Models for Plug-and-Play Image Restoration, 2023 (DiffPIR, algorithm 1),
    https://arxiv.org/abs/2305.08995.
    Chung et al., Diffusion Posterior Sampling for General Noisy Inverse Problems, 2023 (DPS),
    https://arxiv.org/abs/2209.14687.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch

from dipddpm.degradation.operators import Operator
from dipddpm.degradation.problem import Problem
from dipddpm.diffusion.consistency import data_consistency
from dipddpm.diffusion.gradient import distance_to
from dipddpm.diffusion.prior import Prior
from dipddpm.diffusion.sampler import Consistency
from dipddpm.diffusion.warm import Fitted, check, learning

# 0-255 scale: up to this noise in the measured part of A+ y `auto` is ``ddnm``. Without an A+ `auto` is ``diffpir``.
FAINT = 7


def is_wanted(consistent: bool | None, form: str, operator: Operator) -> bool:
    """Return whether a window is made to agree with y. None: where y is partial, or a form is named."""
    return operator.partial or form != "auto" if consistent is None else consistent


def form_of(form: str, operator: Operator, sigma: float) -> str:
    """Return the form that ``auto`` stands for (docs/results/consistency.md); any other form is returned unchanged.

    Args:
        form: ``auto``, ``ddnm``, ``diffpir``, ``gradient``, ``dip`` or ``dps``.
        operator: A.
        sigma: rms of the noise of y on the 0-255 scale.
    """
    if form != "auto":
        return form
    spread, faint = operator.spread, operator.faint
    if faint is None:
        faint = -1 if spread is None else FAINT
    return "ddnm" if (spread or 1) * sigma <= faint else "diffpir"


def agreement(
    form: str, prior_weight: float, problem: Problem, prior: Prior, dips: Sequence[Fitted] | None = None
) -> Consistency:
    """Return the consistency of a window.

    Args:
        form: As for `form_of`.
        prior_weight: lambda, above 0.
        problem: The problem, whose y the window agrees with.
        prior: The prior. Its device holds the result.
        dips: For ``dip`` the DIP of each picture. Other forms do not use the DIPs.

    Raises:
        ValueError: For ``dip`` without a DIP for each picture that can learn (`dipddpm.diffusion.warm.check`), and for
            ``auto`` where the noises of the pictures have different forms.
    """
    forms = {form_of(form, problem.operator, sigma) for sigma in problem.sigmas}
    if len(forms) > 1:
        noises = ", ".join(f"{sigma:.3g}" for sigma in problem.sigmas)
        raise ValueError(
            f"consistency='auto' has different forms for the pictures' noises ({noises}): give consistency='ddnm' or "
            "'diffpir', or restore the pictures one by one"
        )
    device, (form,) = prior.unet.device, forms
    operator = copy.deepcopy(problem.operator).to(device)  # once, and not in each step
    y = problem.y.to(device)
    if form in ("dps", "gradient") and operator.spread is not None:
        y = operator.measure(operator.replace(problem.noisy.to(device), y))  # missing pixels may hold anything
    if form == "dps":
        return Consistency(distance=distance_to(y, operator, 1 / prior_weight))
    sigmas = [math.sqrt(prior_weight) * sigma for sigma in problem.sigmas]
    agree = data_consistency(y, operator, sigmas, prior.schedule, gradient=form == "gradient")
    if form == "dip":
        checked = check(dips, len(problem), problem.noisy.shape[-2:])
        agree = learning(agree, checked, half=prior.unet.dtype == torch.bfloat16)
    return Consistency(agree, renew=form != "ddnm")
