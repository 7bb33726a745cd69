"""Held-out values: values of y that a fit does not see. Each colour of a pixel is a value of its own.

A fit f sees the other values of y. Where the noise of y is white, the noise of a held-out value is independent of f.
Where its mean is 0, too:

    E (A f - y)^2 = E (A f - A x)^2 + sigma^2

So the mean squared error at held-out values has its minimum where A f is nearest to A x, for the clean picture x. This
minimum shows without x and without sigma. With blurred noise the equation does not hold: the neighbours of a held-out
value tell its noise. With ``loss=l1`` the error at held-out values is the mean absolute error, too: squares of impulses
would hide the picture.

References:
    Batson and Royer, Noise2Self: Blind Denoising by Self-Supervision, 2019, https://arxiv.org/abs/1901.11365
    Yaman, Hosseini and Akcakaya, Zero-Shot Self-Supervised Learning for MRI Reconstruction, 2021 (held-out
    measurements stop a fit to one picture), https://arxiv.org/abs/2102.07737
"""

from __future__ import annotations

import torch

from dipddpm import seeds


def held_out(known: torch.Tensor, share: float, seed: int, content: str) -> torch.Tensor:
    """Draw the values of y that the fit of one picture does not see.

    Args:
        known: bool, shape (1, 3, h, w): where y has values.
        share: The share of the known values that is held out, above 0. At least one value is held out.
        seed: The seed of the fit.
        content: The content hash of the picture.

    Returns:
        bool, in the shape of ``known``.

    Raises:
        ValueError: When no value would be left to fit.
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
    """Return equal weights of the chosen values, and 0 elsewhere. Their sum is 1 for each picture.

    Args:
        chosen: bool, shape (N, 3, h, w).
    """
    weights = chosen.float()
    return weights / weights.sum((1, 2, 3), keepdim=True)
