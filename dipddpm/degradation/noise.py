"""Noise of a given rms, and the noise of a given picture.

Every kind has the expected squared error sigma^2, over the picture and over draws, so that kinds are compared at one
strength. Pictures are in [0, 1], sigma is on the 0-255 scale, and s = sigma / 255. The noisy picture is neither clipped
nor quantised.

References:
    Donoho and Johnstone, Ideal spatial adaptation by wavelet shrinkage, 1994 (`estimate_sigma`),
    https://doi.org/10.1093/biomet/81.3.425
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from dipddpm.registry import Registry


@dataclass(frozen=True)
class Noise(ABC):
    """A kind of noise. A new kind is a subclass with a ``name`` and `add`; it can be registered in `NOISES`.

    Attributes:
        sigma: Expected rms of the noise, 0-255 scale.
    """

    name: ClassVar[str]
    sigma: float = 25.0

    @abstractmethod
    def add(self, clean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the picture with noise.

        Args:
            clean: Shape (N, 3, H, W), in [0, 1].
            generator: CPU generator; every draw comes from it.

        Returns:
            Shape, dtype and device of ``clean``; may leave [0, 1].
        """

    def words(self, clean: torch.Tensor) -> str:
        """Return the strength in the terms of the kind, such as ``photons: 50 where the picture is white``, or nothing.

        Args:
            clean: Shape (N, 3, H, W), in [0, 1].
        """
        return ""


NOISES: Registry[type[Noise]] = Registry("noise")


@NOISES.register("gaussian")
@dataclass(frozen=True)
class Gaussian(Noise):
    """White Gaussian noise: y = x + s n, with n ~ N(0, 1) for every value by itself.

    It is the noise that a DDPM was trained to tell from a picture.

    Attributes:
        sigma: Standard deviation on the 0-255 scale, 0 or more.
    """

    name = "gaussian"

    def add(self, clean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        noise = torch.randn(clean.shape, generator=generator)
        return clean + self.sigma / 255 * noise.to(clean.device)


@NOISES.register("poisson")
@dataclass(frozen=True)
class Poisson(Noise):
    """Counts of photons: y = Poisson(p x) / p, where a white value counts p photons.

    The variance of a value is x / p, on average mean(x) / p, so that p = mean(x) / s^2 gives the rms s. Bright pixels
    are noisier than dark ones. y is 0 or more.

    Attributes:
        sigma: Expected rms on the 0-255 scale, 0 or more. At 0.1 a white value counts some millions of photons.
    """

    name = "poisson"

    def photons(self, clean: torch.Tensor) -> float:
        """Return p, the photons that a white value counts, for a picture of shape (N, 3, H, W)."""
        return clean.mean().item() / (self.sigma / 255) ** 2

    def add(self, clean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the picture with noise, as `Noise.add`.

        Raises:
            ValueError: For a black picture.
        """
        if self.sigma == 0:
            return clean
        if not (photons := self.photons(clean)):
            raise ValueError("a black picture has no photons to count, hence no Poisson noise")
        return torch.poisson(photons * clean.cpu(), generator=generator).to(clean) / photons

    def words(self, clean: torch.Tensor) -> str:
        return f"photons: {self.photons(clean):.3g} where the picture is white"


@NOISES.register("impulse")
@dataclass(frozen=True)
class Impulse(Noise):
    """Salt and pepper: each value becomes 0 or 1 with the chance q / 2 each, and stays with the chance 1 - q.

    A value x that is hit has the expected squared error (x^2 + (1 - x)^2) / 2, at least 1/4, so that
    q = s^2 / mean((x^2 + (1 - x)^2) / 2) gives the rms s. Each colour is hit by itself.

    Attributes:
        sigma: Expected rms on the 0-255 scale, from 0 to 127.5, which every picture can have.
    """

    name = "impulse"

    def share(self, clean: torch.Tensor) -> float:
        """Return q, the share of the values that are hit, for a picture of shape (N, 3, H, W)."""
        return (self.sigma / 255) ** 2 / ((clean.square() + (1 - clean).square()) / 2).mean().item()

    def add(self, clean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        hit, end = (torch.rand(clean.shape, generator=generator).to(clean) for _ in range(2))
        return torch.where(hit < self.share(clean), (end < 0.5).to(clean), clean)

    def words(self, clean: torch.Tensor) -> str:
        return f"impulses: {self.share(clean):.1%} of the values"


@NOISES.register("correlated")
@dataclass(frozen=True)
class Correlated(Noise):
    """Blurred Gaussian noise: y = x + s (g * n) / |g|, where g is a periodic Gaussian of ``correlation`` pixels.

    Values at a distance of d pixels have the correlation exp(-d^2 / 4 correlation^2). Demosaicking and resizing leave
    such noise in photographs.

    Attributes:
        sigma: Standard deviation on the 0-255 scale, after the blur, 0 or more.
        correlation: Standard deviation of the blur, in pixels, above 0.
    """

    name = "correlated"
    correlation: float = 1.0

    def add(self, clean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        noise = self._blurred(torch.randn(clean.shape, generator=generator))
        return clean + self.sigma / 255 * noise.to(clean.device)

    def _blurred(self, white: torch.Tensor) -> torch.Tensor:
        """Blur periodically, and scale: the expected square of each value stays 1."""
        rows, columns = (torch.fft.fftfreq(n) for n in white.shape[-2:])
        transfer = torch.exp(-2 * (torch.pi * self.correlation) ** 2 * (rows[:, None].square() + columns.square()))
        transfer /= transfer.square().mean().sqrt()  # white noise has the same power at every frequency
        return torch.fft.ifft2(torch.fft.fft2(white) * transfer).real

    def words(self, clean: torch.Tensor) -> str:
        return f"correlated noise: blurred by {self.correlation:g} pixels"


@NOISES.register("none")
@dataclass(frozen=True)
class NoNoise(Noise):
    """No noise: y = A x."""

    name = "none"
    sigma: float = 0.0

    def add(self, clean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return clean


def estimate_sigma(noisy: torch.Tensor) -> float:
    """Estimate the rms of white noise in a picture, by scikit-image; other noise is underestimated.

    The median of the finest wavelet coefficients (Donoho and Johnstone), averaged over the channels that are not
    constant.

    Args:
        noisy: Shape (1, 3, H, W), in [0, 1] units.

    Returns:
        Sigma on the 0-255 scale, above 0.

    Raises:
        ValueError: Where there is nothing to estimate from, as in a picture of one colour.
    """
    from skimage.restoration import estimate_sigma as by_wavelets

    pixels = noisy[0].permute(1, 2, 0).cpu().numpy()
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of no coefficients, answered below
        sigma = 255 * float(np.nanmean(by_wavelets(pixels, channel_axis=-1)))
    if not sigma > 0:
        raise ValueError("the noise of the picture cannot be estimated")
    return sigma
