"""Which pixels are taken away, and what fills them again."""

from __future__ import annotations

import torch


def random_mask(size: tuple[int, int], missing: float, generator: torch.Generator) -> torch.Tensor:
    """Draw which pixels are known, each with the same chance.

    Args:
        size: Height and width, in pixels.
        missing: Share of the pixels that are not; at least one is, and at least one is not.
        generator: CPU generator.

    Returns:
        bool, shape (1, 1, H, W), True where known.
    """
    count = size[0] * size[1]
    gone = min(max(round(missing * count), 1), count - 1)
    known = torch.ones(count, dtype=torch.bool)
    known[torch.randperm(count, generator=generator)[:gone]] = False
    return known.reshape(1, 1, *size)


def fill(y: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Fill missing pixels from the known ones around them, which stay as they are; no network is needed.

    By the biharmonic equation, with scikit-image (Damelin and Hoang, On surface completion and image inpainting by
    biharmonic functions, 2018, https://doi.org/10.1155/2018/3950312).

    Args:
        y: Shape (1, 3, H, W); what it holds where pixels are missing is not looked at.
        known: bool, shape (1, 1, H, W).
    """
    from skimage.restoration import inpaint_biharmonic

    pixels = torch.where(known, y, 0.0)[0].permute(1, 2, 0).numpy()
    filled = inpaint_biharmonic(pixels, ~known[0, 0].numpy(), channel_axis=-1)
    return torch.where(known, y, torch.from_numpy(filled).to(y).permute(2, 0, 1)[None])
