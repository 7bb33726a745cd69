"""Add noise of a given rms, and estimate the noise of a picture.

Every kind has the expected squared error sigma^2, as a mean over the picture and over draws: kinds can be compared at
one strength. Pictures are in [0, 1], sigma is on the 0-255 scale, and s = sigma / 255. The noisy picture is neither
clipped nor quantised.

References:
    Donoho and Johnstone, Ideal spatial adaptation by wavelet shrinkage, 1994 (`estimate_sigma`),
    https://doi.org/10.1093/biomet/81.3.425
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from dipddpm.registry import Registry


@dataclass(frozen=True)
class Noise(ABC):
    """A kind of noise. A new kind is a subclass with a ``name`` and `add`; `NOISES` registers it under its name.

    Attributes:
        sigma: Expected rms of the noise on the 0-255 scale, 0 or more.

    Raises:
        ValueError: When sigma is negative, infinite or NaN.
    """

    name: ClassVar[str]
    sigma: float = 25.0

    def __post_init__(self) -> None:
        check_sigma(self.sigma)

    def check(self, clean: torch.Tensor) -> None:  # noqa: B027  # most kinds take every picture
        """Refuse a clean picture, before the operator, that cannot have this noise.

        Args:
            clean: Shape (N, 3, H, W).

        Raises:
            ValueError: Where the picture cannot have it.
        """

    @abstractmethod
    def add(self, clean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the picture with noise.

        Args:
            clean: Shape (N, 3, H, W), in [0, 1].
            generator: CPU generator of all draws.

        Returns:
            Shape, dtype and device of ``clean``; values may lie outside [0, 1].
        """

    def words(self, clean: torch.Tensor) -> str:
        """Return the strength in units of the kind, such as ``photons: 50 where the picture is white``, or "".

        Args:
            clean: Shape (N, 3, H, W), in [0, 1].
        """
        return ""


def check_sigma(sigma: float) -> None:
    """Refuse a strength of noise that is negative, infinite or NaN.

    Raises:
        ValueError: The line begins with ``sigma=``.
    """
    if not 0 <= sigma < math.inf:
        raise ValueError(f"sigma={sigma:g}: must be 0 or more and finite, on the 0-255 scale")


NOISES: Registry[type[Noise]] = Registry("noise")


@NOISES.register("gaussian")
@dataclass(frozen=True)
class Gaussian(Noise):
    """White Gaussian noise: y = x + s n, with an independent n ~ N(0, 1) for every value.

    A DDPM is trained on this kind of noise.

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
    """Noise of counted photons: y = Poisson(p x) / p, where p is the number of photons of a white value.

    The variance of a value is x / p, and its mean over the picture is mean(x) / p. Hence p = mean(x) / s^2 gives the
    rms s. Bright pixels are noisier than dark ones. y is 0 or more. An x below 0, such as a bicubic picture has beside
    an edge, counts as 0.

    Attributes:
        sigma: Expected rms on the 0-255 scale, 0 or more. At 0.1 a white value has millions of photons.
    """

    name = "poisson"

    def check(self, clean: torch.Tensor) -> None:
        if clean.min() < 0:
            raise ValueError("a picture with negative values cannot have Poisson noise")

    def photons(self, clean: torch.Tensor) -> float:
        """Return p, the number of photons of a white value, for pictures of shape (N, 3, H, W)."""
        return clean.clamp(min=0).mean().item() / (self.sigma / 255) ** 2

    def add(self, clean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the picture with noise; arguments and result as for `Noise.add`.

        Raises:
            ValueError: For a black picture, which has no photons.
        """
        if self.sigma == 0:
            return clean
        if clean.max() <= 0:
            raise ValueError("a black picture has no photons, and cannot have Poisson noise")
        photons = self.photons(clean)
        return torch.poisson(photons * clean.clamp(min=0).cpu(), generator=generator).to(clean) / photons

    def words(self, clean: torch.Tensor) -> str:
        return f"photons: {self.photons(clean):.3g} where the picture is white"


@NOISES.register("impulse")
@dataclass(frozen=True)
class Impulse(Noise):
    """Salt and pepper: each value becomes 0 with probability q / 2 and 1 with probability q / 2, or stays.

    A changed value x has the expected squared error (x^2 + (1 - x)^2) / 2, which is at least 1/4. Hence
    q = s^2 / mean((x^2 + (1 - x)^2) / 2) gives the rms s. The three colours of a pixel are drawn independently.

    Attributes:
        sigma: Expected rms on the 0-255 scale, from 0 to 127.5. Some pictures cannot have more.
    """

    name = "impulse"

    def share(self, clean: torch.Tensor) -> float:
        """Return q, the expected share of the values that change, for pictures of shape (N, 3, H, W)."""
        return (self.sigma / 255) ** 2 / self._squared_error(clean).mean().item()

    def add(self, clean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the picture with noise; arguments and result as for `Noise.add`.

        Raises:
            ValueError: When all values together cannot have this sigma.
        """
        if self.share(clean) > 1:
            most = 255 * self._squared_error(clean).mean().item() ** 0.5
            raise ValueError(f"sigma={self.sigma:g}: this picture can have less {self.name} noise, at most {most:.1f}")
        hit, drawn = (torch.rand(clean.shape, generator=generator).to(clean) for _ in range(2))
        return torch.where(hit < self.share(clean), self._impulses(drawn), clean)

    def words(self, clean: torch.Tensor) -> str:
        return f"impulses: {self.share(clean):.1%} of the values"

    @staticmethod
    def _squared_error(clean: torch.Tensor) -> torch.Tensor:
        """Return the expected squared error of each value, where it changes."""
        return (clean.square() + (1 - clean).square()) / 2

    @staticmethod
    def _impulses(drawn: torch.Tensor) -> torch.Tensor:
        """Return the new values, from uniform draws in [0, 1)."""
        return (drawn < 0.5).to(drawn)


@NOISES.register("random_impulse")
@dataclass(frozen=True)
class RandomImpulse(Impulse):
    """Random-valued impulses: each value becomes a uniform draw from [0, 1] with probability q, or stays.

    A changed value x has the expected squared error x^2 - x + 1/3, which is at least 1/12. Hence
    q = s^2 / mean(x^2 - x + 1/3) gives the rms s. The three colours of a pixel are drawn independently. The new values
    are values that a picture has, so they are harder to find than black and white ones.

    Attributes:
        sigma: Expected rms on the 0-255 scale, from 0 to 73.6 (255 / sqrt(12)). Some pictures cannot have more.
    """

    name = "random_impulse"

    @staticmethod
    def _squared_error(clean: torch.Tensor) -> torch.Tensor:
        return clean.square() - clean + 1 / 3

    @staticmethod
    def _impulses(drawn: torch.Tensor) -> torch.Tensor:
        return drawn


@NOISES.register("correlated")
@dataclass(frozen=True)
class Correlated(Noise):
    """Blurred Gaussian noise: y = x + s (g * n) / |g|, where g is a periodic Gaussian of ``correlation`` pixels.

    Values at a distance of d pixels have the correlation exp(-d^2 / 4 correlation^2). Demosaicking and resizing leave
    such noise in photographs.

    Attributes:
        sigma: Standard deviation on the 0-255 scale, after the blur, 0 or more.
        correlation: Standard deviation of the blur, in pixels, above 0.

    Raises:
        ValueError: For another sigma or correlation.
    """

    name = "correlated"
    correlation: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.correlation < math.inf:
            raise ValueError(f"correlation={self.correlation:g}: must be above 0 pixels, and finite")

    def add(self, clean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        noise = self._blurred(torch.randn(clean.shape, generator=generator))
        return clean + self.sigma / 255 * noise.to(clean.device)

    def _blurred(self, white: torch.Tensor) -> torch.Tensor:
        """Return the noise blurred with periodic borders, and scaled: the expected square of each value stays 1."""
        rows, columns = (torch.fft.fftfreq(n) for n in white.shape[-2:])
        transfer = torch.exp(-2 * (torch.pi * self.correlation) ** 2 * (rows[:, None].square() + columns.square()))
        transfer /= transfer.square().mean().sqrt()  # white noise has the same power at every frequency
        return torch.fft.ifft2(torch.fft.fft2(white) * transfer).real

    def words(self, clean: torch.Tensor) -> str:
        return f"correlated noise: blurred by {self.correlation:g} pixels"


@NOISES.register("none")
@dataclass(frozen=True)
class NoNoise(Noise):
    """No noise: y = A x.

    Raises:
        ValueError: For a sigma other than 0.
    """

    name = "none"
    sigma: float = 0.0

    def __post_init__(self) -> None:
        if self.sigma != 0:
            raise ValueError(f"sigma={self.sigma:g}: must be 0 for no noise; or give another kind of noise")

    def add(self, clean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return clean


def estimate_sigma(noisy: torch.Tensor) -> float:
    """Estimate the rms of white noise in a picture. Noise that is not white is underestimated.

    The estimate is the scaled median of the finest wavelet coefficients (Donoho and Johnstone), by scikit-image. It is
    averaged over the channels that are not constant.

    Args:
        noisy: Shape (1, 3, H, W), in [0, 1] units.

    Returns:
        Sigma on the 0-255 scale, above 0.

    Raises:
        ValueError: When every channel is constant, as in a picture of one colour.
    """
    from skimage.restoration import estimate_sigma as by_wavelets

    pixels = noisy[0].permute(1, 2, 0).cpu().numpy()
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of no coefficients, answered below
        sigma = 255 * float(np.nanmean(by_wavelets(pixels, channel_axis=-1)))
    if not sigma > 0:
        raise ValueError("the noise of the picture cannot be estimated")
    return sigma
