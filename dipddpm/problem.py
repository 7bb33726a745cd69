"""The picture a run is about: what is given, what it was made from, how noisy it is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from dipddpm import degrade, images, masks, seeds
from dipddpm.images import Picture


@dataclass(frozen=True)
class Problem:
    """A noisy picture y and what is known about it.

    Attributes:
        noisy: y, shape (1, 3, H, W); neither clipped nor quantised. Missing pixels hold what `degrade.fill` makes of
            the known ones.
        clean: The picture behind it, same shape, or None.
        content: Content hash of the picture as loaded, which enters every seed and the fit's key.
        known_sigma: Noise of y on the 0-255 scale where it is given, else None.
        notes: What was done to the picture on loading.
        known: bool, shape (1, 1, H, W), False where pixels are missing; None where none are.
    """

    noisy: torch.Tensor
    clean: torch.Tensor | None
    content: str
    known_sigma: float | None
    notes: tuple[str, ...]
    known: torch.Tensor | None = None

    @cached_property
    def sigma(self) -> float:
        """Noise of y on the 0-255 scale: given, else estimated."""
        if self.known_sigma is not None:
            return self.known_sigma
        return degrade.estimate_sigma(self.noisy)

    @property
    def sigma_source(self) -> str:
        return "given" if self.known_sigma is not None else "estimated"

    @property
    def missing(self) -> float:
        """Share of the pixels that are missing."""
        return 0.0 if self.known is None else 1 - self.known.double().mean().item()

    @property
    def shown(self) -> torch.Tensor:
        """y for people: black where pixels are missing."""
        return self.noisy if self.known is None else self.noisy * self.known

    def put_back(self, picture: torch.Tensor) -> torch.Tensor:
        """Return a picture of the same shape with the known pixels as they are, where these have no noise.

        Where they have, or none are missing, it is returned as it is: which of the two is better is not known.
        """
        if self.known is None or self.sigma > 0:
            return picture
        return torch.where(self.known, self.noisy, picture)


def pose(
    picture: Picture,
    *,
    kind: str,
    sigma: float | None,
    seed: int,
    reference: Picture | None = None,
    missing: float | None = None,
    mask: Picture | None = None,
) -> Problem:
    """Degrade a picture, or take it as the noisy one.

    Args:
        picture: As loaded.
        kind: ``gaussian`` (the picture is clean) or ``none`` (the picture is y).
        sigma: On the 0-255 scale; needed for ``gaussian``.
        seed: Of the noise and of the mask.
        reference: The clean picture behind a noisy one, where there is one.
        missing: Share of the pixels to take away at random; None for none.
        mask: White where pixels are known; takes the place of ``missing``.

    Raises:
        UserError: When reference or mask had another size, or the mask hides nothing or everything.
    """
    pixels = images.to_tensor(picture.pixels)
    content = seeds.content_hash(picture.pixels)
    known = None
    if mask is not None:
        images.check_same(mask.size, picture.size, "degrade.mask")
        known = torch.from_numpy(masks.drawn(mask))[None, None]
    elif missing is not None:
        height, width = picture.pixels.shape[:2]
        known = degrade.random_mask((height, width), missing, seeds.generator(seed, "mask", content))
    if kind == "none":
        clean = None
        if reference is not None:
            images.check_same(reference.size, picture.size)
            clean = images.to_tensor(reference.pixels)
        noisy = pixels
    else:
        assert sigma is not None
        clean, noisy = pixels, degrade.gaussian(pixels, sigma, seeds.generator(seed, "noise", content))
    if known is not None:
        noisy = degrade.fill(noisy, known)
    return Problem(noisy, clean, content, sigma, picture.notes, known)
