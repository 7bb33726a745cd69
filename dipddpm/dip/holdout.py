"""Held-out values: values of y that a fit does not see. Each colour of a pixel is a value of its own.

A fit f sees the other values of y. Where the noise of y is white, the noise of a held-out value is independent of f:

    E (A f - y)^2 = E (A f - A x)^2 + sigma^2

So this mean squared error has its minimum where f is nearest to the clean picture x, and needs neither x nor sigma to
show it. Blurred noise breaks this: the neighbours of a held-out value tell its noise.

References:
    Batson and Royer, Noise2Self: Blind Denoising by Self-Supervision, 2019, https://arxiv.org/abs/1901.11365
    Yaman, Hosseini and Akcakaya, Zero-Shot Self-Supervised Learning for MRI Reconstruction, 2021 (held-out
    measurements stop a fit to one picture), https://arxiv.org/abs/2102.07737
"""

from __future__ import annotations

import math

import torch

from dipddpm import seeds
from dipddpm.degradation.masks import Mask
from dipddpm.degradation.operators import Identity
from dipddpm.degradation.problem import Problem

FACTOR = 1.0  # of the estimated rms error: its bias is within the spread (docs/results/error.md)


def held_out(known: torch.Tensor, share: float, seed: int, content: str) -> torch.Tensor:
    """Draw the values of y that the fit of one picture does not see.

    Args:
        known: bool, shape (1, 3, h, w): where y has values.
        share: The share of the known values that is held out, above 0. At least one is.
        seed: The seed of the fit.
        content: The content hash of the picture.

    Returns:
        bool, in the shape of ``known``.

    Raises:
        ValueError: When no value would be left to see.
    """
    count, drawn = int(known.sum()), torch.rand(known.shape, generator=seeds.generator(seed, "dip holdout", content))
    n = max(1, round(share * count))
    if n >= count:
        raise ValueError(f"holdout={share:g}: y has {count} values, and none would be left to fit")
    places = drawn.masked_fill(~known, 2.0).flatten().argsort(stable=True)[:n]
    chosen = torch.zeros(known.numel(), dtype=torch.bool)
    chosen[places] = True
    return chosen.view(known.shape)


def shares(chosen: torch.Tensor) -> torch.Tensor:
    """Return weights of the chosen values, bool of shape (N, 3, h, w), whose sum is 1 for each picture."""
    weights = chosen.float()
    return weights / weights.sum((1, 2, 3), keepdim=True)


def error_sigma(picture: torch.Tensor, problem: Problem, share: float, seed: int) -> float | None:
    """Estimate the rms error of a DIP output from the held-out values of y, without the clean picture.

    The square of the error is the mean of (f - y)^2 over the held-out values, less sigma^2. It is at least one standard
    deviation of that mean for white noise alone, sigma^2 sqrt(2 / n): a smaller error does not show.

    Args:
        picture: f, the kept picture clipped to [0, 1], shape (1, 3, H, W), before parts of y are put back.
        problem: The problem of the fit, of one picture.
        share: The share of the values that the fit did not see.
        seed: The seed of the fit.

    Returns:
        The rms error on the 0-255 scale of the picture with the known part of a y without noise put back; None without
        held-out values, and for operators other than the identity and a mask.
    """
    a, y = problem.operator, problem.y
    if not share or not isinstance(a, Identity | Mask):
        return None
    held = held_out(a.known_in(y), share, seed, problem.content)
    noise = (problem.sigma / 255) ** 2
    square = a.residuals(picture, y)[held].double().square().mean().item() - noise
    square = max(square, noise * math.sqrt(2 / int(held.sum())))
    if isinstance(a, Mask) and not noise:
        square *= a.missing  # the known pixels are those of y
    return 255 * FACTOR * math.sqrt(square)
