"""The picture a run is about: what is given, what it was made from, how noisy it is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from dipddpm import degrade, images, seeds
from dipddpm.images import Picture


@dataclass(frozen=True)
class Problem:
    """A noisy picture y and what is known about it.

    Attributes:
        noisy: y, shape (1, 3, H, W); neither clipped nor quantised.
        clean: The picture behind it, same shape, or None.
        content: Content hash of the picture as loaded, which enters every seed and the fit's key.
        known_sigma: Noise of y on the 0-255 scale where it is given, else None.
        notes: What was done to the picture on loading.
    """

    noisy: torch.Tensor
    clean: torch.Tensor | None
    content: str
    known_sigma: float | None
    notes: tuple[str, ...]

    @cached_property
    def sigma(self) -> float:
        """Noise of y on the 0-255 scale: given, else estimated."""
        if self.known_sigma is not None:
            return self.known_sigma
        return degrade.estimate_sigma(self.noisy)

    @property
    def sigma_source(self) -> str:
        return "given" if self.known_sigma is not None else "estimated"


def pose(picture: Picture, *, kind: str, sigma: float | None, seed: int, reference: Picture | None = None) -> Problem:
    """Degrade a picture, or take it as the noisy one.

    Args:
        picture: As loaded.
        kind: ``gaussian`` (the picture is clean) or ``none`` (the picture is y).
        sigma: On the 0-255 scale; needed for ``gaussian``.
        seed: Of the noise.
        reference: The clean picture behind a noisy one, where there is one.

    Raises:
        UserError: When the reference had another size.
    """
    pixels = images.to_tensor(picture.pixels)
    content = seeds.content_hash(picture.pixels)
    if kind == "none":
        clean = None
        if reference is not None:
            images.check_same(reference.size, picture.size)
            clean = images.to_tensor(reference.pixels)
        return Problem(pixels, clean, content, sigma, picture.notes)
    assert sigma is not None
    noisy = degrade.gaussian(pixels, sigma, seeds.generator(seed, "noise", content))
    return Problem(noisy, pixels, content, sigma, picture.notes)
