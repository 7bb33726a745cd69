"""The error of a DIP output without its clean picture, from a second fit of a noisier y.

y = x + noise has N values, each with noise of variance sigma^2. Stein's unbiased risk estimate (SURE) of a fit f is

    E |f(y) - x|^2 = E |f(y) - y|^2 - N sigma^2 + 2 sigma^2 E div f(y).

A second fit, of y + tau n' with new noise n' of the same sigma, tells the divergence div f at the noisier y. That at y
is taken to be the same:

    sigma^2 E div f(y + tau n') = E (f(y + tau n') - f(y)) n' / tau.

Both fits have the same z, the same first weights and the same number of epochs. The noise must be white and Gaussian.

References:
    Ramani, Blu and Unser, Monte-Carlo SURE, IEEE Transactions on Image Processing 17, 2008,
    https://doi.org/10.1109/TIP.2008.2001404
    Pang, Zheng, Quan and Ji, Recorrupted-to-Recorrupted, CVPR 2021. That method fits y + tau n' alone. Its picture is
    0.5 dB worse than that of y (docs/results/error.md).
"""

from __future__ import annotations

import math

import torch

from dipddpm import seeds
from dipddpm.degradation.operators import Identity
from dipddpm.degradation.problem import Problem

TAU = 0.5  # 0.25 is as good, 1 was not measured (8 faces, docs/results/error.md)
NOT_WHOLE = "the error of a DIP output is estimated only where y holds the whole picture (operator=identity)"


def noisier(problem: Problem, seed: int) -> Problem:
    """Return the problem of the second fit, whose y is y + tau n'.

    Its content hash is that of the first problem. So both fits have the same z and the same first weights.

    Args:
        problem: The problem of the first fit, of one picture.
        seed: The seed of both fits.

    Raises:
        ValueError: Where y does not hold the whole picture, or its noise is known to be correlated.
    """
    if not isinstance(problem.operator, Identity):
        raise ValueError(f"{NOT_WHOLE}, and not with {problem.operator.name}")
    if problem.correlated:
        raise ValueError("the error of a DIP output is estimated only where the noise is white, and not correlated")
    y = problem.y + TAU * _noise(problem, seed)
    return Problem(y, problem.sigma * math.hypot(1, TAU), contents=problem.contents)


def error_sigma(problem: Problem, seed: int, first: torch.Tensor, second: torch.Tensor) -> float:
    """Estimate the rms error of a kept picture.

    The estimated square is at least (sigma / 255)^2 sqrt(2 / N), one standard deviation of the mean square of the
    noise: a smaller error cannot be measured. The estimate is at most rms(f - y) + sigma: x is no farther from f.

    Args:
        problem: The problem of the first fit, of one picture.
        seed: The seed of both fits.
        first: The kept picture of the first fit, shape (1, 3, H, W), clipped to [0, 1].
        second: The kept picture of the second fit at the same epoch, likewise.

    Returns:
        The rms error of ``first`` on the 0-255 scale.
    """
    noise, of_noise = _noise(problem, seed).double(), (problem.sigma / 255) ** 2
    off = (first.double() - problem.y).square().mean().item()
    follows = ((second.double() - first) * noise).mean().item() / TAU
    least, most = of_noise * math.sqrt(2 / problem.y.numel()), (math.sqrt(off) + math.sqrt(of_noise)) ** 2
    return 255 * math.sqrt(max(min(off - of_noise + 2 * follows, most), least))


def _noise(problem: Problem, seed: int) -> torch.Tensor:
    """Return n', in the shape of y."""
    drawn = torch.randn(problem.y.shape, generator=seeds.generator(seed, "second fit", problem.content))
    return problem.sigma / 255 * drawn
