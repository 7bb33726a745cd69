"""The picture a run is about: what is given, what it was made from, how noisy it is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from dipddpm import seeds
from dipddpm.degradation import filling as degrade
from dipddpm.degradation import noise
from dipddpm.degradation.operators import Downscaling, MissingPixels, Operator
from dipddpm.pictures import images, masks
from dipddpm.pictures.images import Picture


@dataclass(frozen=True)
class Problem:
    """A noisy picture y and what is known about it.

    Attributes:
        noisy: y, shape (1, 3, H, W); neither clipped nor quantised. Where an operator took something away, completed as
            its ``complete`` says.
        clean: The picture behind it, same shape, or None.
        content: Content hash of the picture as loaded, which enters every seed and the fit's key.
        known_sigma: Noise of y on the 0-255 scale where it is given, else None.
        notes: What was done to the picture on loading, and what noise was added if not white Gaussian.
        operator: A of y = A x + noise; None for the identity.
    """

    noisy: torch.Tensor
    clean: torch.Tensor | None
    content: str
    known_sigma: float | None
    notes: tuple[str, ...]
    operator: Operator | None = None

    @cached_property
    def sigma(self) -> float:
        """Noise of y on the 0-255 scale: given, else estimated."""
        if self.known_sigma is not None:
            return self.known_sigma
        return noise.estimate_sigma(self.noisy)

    @property
    def sigma_source(self) -> str:
        return "given" if self.known_sigma is not None else "estimated"

    @property
    def shown(self) -> torch.Tensor:
        """y for people: black where pixels are missing, in squares where it is smaller."""
        return self.noisy if self.operator is None else self.operator.project(self.noisy)

    @property
    def words(self) -> str:
        """What y is called, such as ``50% missing, filled``."""
        return "noisy picture" if self.operator is None else f"{self.operator.words}, {self.operator.completed}"

    @property
    def has_crossing(self) -> bool:
        """Whether the two losses cross where half the noise has been learnt: there is noise, and both are over all."""
        return self.operator is None and self.sigma > 0

    def put_back(self, picture: torch.Tensor) -> torch.Tensor:
        """Return a picture of the same shape with what y tells put in, where that has no noise.

        Where it has, or y tells of everything, it is returned as it is: which of the two is better is not known.
        """
        if self.operator is None or self.sigma > 0:
            return picture
        return self.operator.replace(picture, self.noisy)


def pose(
    picture: Picture,
    *,
    kind: str,
    sigma: float | None,
    seed: int,
    reference: Picture | None = None,
    missing: float | None = None,
    mask: Picture | None = None,
    downscale: int | None = None,
    correlation: float | None = None,
) -> Problem:
    """Degrade a picture, or take it as the noisy one.

    Args:
        picture: As loaded; where it is y and smaller than the clean one, at y's size.
        kind: Of `noise.KINDS` (the picture is clean), or ``none`` (the picture is y).
        sigma: rms of the noise on the 0-255 scale; needed unless ``none``.
        seed: Of the noise and of the mask.
        reference: The clean picture behind a noisy one, where there is one.
        missing: Share of the pixels to take away at random; None for none.
        mask: White where pixels are known; takes the place of ``missing``.
        downscale: How many times smaller y is than the clean picture; None for as large.
        correlation: Of Gaussian noise, in pixels of y; None for white.

    Raises:
        UserError: When reference or mask had another size, the mask hides nothing or everything, or photons are to be
            counted in a black picture.
    """
    pixels = images.to_tensor(picture.pixels)
    content = seeds.content_hash(picture.pixels)
    operator, notes = None, picture.notes
    if mask is not None:
        images.check_same(mask.size, picture.size, "degrade.mask")
        operator = MissingPixels(torch.from_numpy(masks.drawn(mask))[None, None])
    elif missing is not None:
        height, width = picture.pixels.shape[:2]
        operator = MissingPixels(degrade.random_mask((height, width), missing, seeds.generator(seed, "mask", content)))
    elif downscale is not None:
        operator = Downscaling(downscale)
    if kind == "none":
        clean = None
        if reference is not None:
            images.check_same(reference.size, picture.size, times=downscale or 1)
            clean = images.to_tensor(reference.pixels)
        y = pixels
    else:
        assert sigma is not None
        clean = pixels
        y = operator.smaller(pixels) if isinstance(operator, Downscaling) else pixels
        said = noise.words(kind, y, sigma, correlation) if sigma else ""
        notes += (said,) if said else ()
        more = {} if correlation is None else {"correlation": correlation}
        y = noise.KINDS[kind](y, sigma, seeds.generator(seed, "noise", content), **more)
    return Problem(y if operator is None else operator.complete(y), clean, content, sigma, notes, operator)
