"""Noise of a given rms: a DDPM's own, white and Gaussian, and three kinds that are not; and how noisy a picture is.

All have the same expected squared error sigma^2, over the picture and over draws. So they differ in what they are made
of and not in how much there is of them. PSNR is of y clipped, which takes away some of all but impulses.

- `gaussian`, independent from value to value: what the network was trained to tell from a picture.
- `gaussian` with a correlation: white noise blurred by a Gaussian, as demosaicking and resizing leave a camera's.
- `poisson`: counts of photons. Bright pixels are noisier in the picture, dark ones hardly.
- `impulse`: salt and pepper, a share of the values at one end of the range. All others are right.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch

from dipddpm.errors import UserError


def gaussian(
    clean: torch.Tensor, sigma: float, generator: torch.Generator, correlation: float | None = None
) -> torch.Tensor:
    """Add Gaussian noise; the result is neither clipped nor quantised.

    Args:
        clean: Shape (N, 3, H, W), in [0, 1].
        sigma: Standard deviation on the 0-255 scale.
        generator: CPU generator.
        correlation: Standard deviation in pixels of the Gaussian that white noise is blurred by, periodically, before
            it is given its strength; None leaves it white.
    """
    noise = torch.randn(clean.shape, generator=generator)
    if correlation is not None:
        noise = _blurred(noise, correlation)
    return clean + sigma / 255 * noise.to(clean.device)


def _blurred(white: torch.Tensor, width: float) -> torch.Tensor:
    """Blur periodically, and scale so that the expected square of each value stays what it was."""
    rows, columns = (torch.fft.fftfreq(n) for n in white.shape[-2:])
    transfer = torch.exp(-2 * (torch.pi * width) ** 2 * (rows[:, None].square() + columns.square()))
    transfer /= transfer.square().mean().sqrt()  # of white noise every frequency has the same power
    return torch.fft.ifft2(torch.fft.fft2(white) * transfer).real


def peak(clean: torch.Tensor, sigma: float) -> float:
    """Return how many photons a white value counts where Poisson noise has the rms ``sigma``.

    A count of mean P x has the variance P x, so x is known with the variance x / P, on average mean(x) / P.
    """
    return clean.mean().item() / (sigma / 255) ** 2


def poisson(clean: torch.Tensor, sigma: float, generator: torch.Generator) -> torch.Tensor:
    """Count photons, `peak` of them where the picture is white, and divide by that; 0 or more, and not clipped at 1.

    Args:
        clean: Shape (1, 3, H, W), in [0, 1].
        sigma: rms error on the 0-255 scale, expected.
        generator: CPU generator.

    Raises:
        UserError: For a black picture, in which there is nothing to count.
    """
    if sigma == 0:
        return clean
    if not (photons := peak(clean, sigma)):
        raise UserError("degrade=poisson: a black picture has no photons, hence no such noise; type degrade=gaussian")
    return torch.poisson(photons * clean.cpu(), generator=generator).to(clean) / photons


def share(clean: torch.Tensor, sigma: float) -> float:
    """Return which share of the values impulses have to replace for the rms error ``sigma``.

    A value x is off by x or by 1 - x, each with the same chance: by half the range or more, as a root mean square.
    """
    return (sigma / 255) ** 2 / ((clean.square() + (1 - clean).square()) / 2).mean().item()


def impulse(clean: torch.Tensor, sigma: float, generator: torch.Generator) -> torch.Tensor:
    """Replace values, each with the chance `share`, by 0 or by 1 (salt and pepper, in each colour by itself).

    Args:
        clean: Shape (1, 3, H, W), in [0, 1].
        sigma: rms error on the 0-255 scale, expected; at most 127.5, of which every picture can have as much.
        generator: CPU generator.
    """
    hit, end = (torch.rand(clean.shape, generator=generator).to(clean) for _ in range(2))
    return torch.where(hit < share(clean, sigma), (end < 0.5).to(clean), clean)


KINDS: dict[str, Callable[..., torch.Tensor]] = {"gaussian": gaussian, "poisson": poisson, "impulse": impulse}


def words(kind: str, clean: torch.Tensor, sigma: float, correlation: float | None) -> str:
    """Return what noise of a kind and strength is in that kind's own terms; empty for white Gaussian noise."""
    if kind == "poisson":
        return f"photons: {peak(clean, sigma):.3g} where the picture is white"
    if kind == "impulse":
        return f"impulses: {share(clean, sigma):.1%} of the values"
    return "" if correlation is None else f"correlated noise: blurred by {correlation:g} pixels"


def estimate_sigma(noisy: torch.Tensor) -> float:
    """Estimate the noise of a picture on the 0-255 scale, by scikit-image; of noise that is not white it is no measure.

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
