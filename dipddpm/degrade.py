"""Degradations y = A x + noise. So far A is the identity: what is not known is the noise."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from dipddpm.errors import UserError


def gaussian(clean: torch.Tensor, sigma: float, generator: torch.Generator) -> torch.Tensor:
    """Add white Gaussian noise; the result is neither clipped nor quantised.

    Args:
        clean: Shape (N, 3, H, W), in [0, 1].
        sigma: Standard deviation on the 0-255 scale.
        generator: CPU generator.
    """
    noise = torch.randn(clean.shape, generator=generator)
    return clean + sigma / 255 * noise.to(clean.device)


def estimate_sigma(noisy: torch.Tensor) -> float:
    """Estimate the noise of a picture on the 0-255 scale, by scikit-image.

    The median of the finest wavelet coefficients (Donoho and Johnstone, 1994), averaged over the channels that are
    not constant.

    Args:
        noisy: Shape (1, 3, H, W).

    Raises:
        UserError: Where there is nothing to estimate from, as in a picture of one colour.
    """
    from skimage.restoration import estimate_sigma as by_wavelets

    pixels = noisy[0].permute(1, 2, 0).cpu().numpy()
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of no coefficients, answered below
        sigma = 255 * float(np.nanmean(by_wavelets(pixels, channel_axis=-1)))
    if not sigma > 0:
        raise UserError("the noise of the picture cannot be estimated: type degrade.sigma=<0-255 scale>")
    return sigma
