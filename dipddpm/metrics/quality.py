"""Quality of pictures: PSNR, SSIM and ST-LPIPS, per picture, of outputs clipped to [0, 1]."""

from __future__ import annotations

import math

import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from dipddpm.metrics.perceptual import stlpips
from dipddpm.pictures.check import check_alike

BEST_PSNR = 100.0  # dB, for a perfect match: JSON has no infinity


def mse(output: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return the mean squared difference of each picture, not clipped, shape (N,), for two tensors (N, 3, H, W)."""
    return (output - reference).square().flatten(1).mean(1)


def psnr(output: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return the PSNR of each picture in dB, shape (N,), at most `BEST_PSNR`.

    Args:
        output: Shape (N, 3, H, W); clipped to [0, 1] here.
        reference: Same shape, in [0, 1].

    Raises:
        TypeError, ValueError: For values that are no pictures, or two shapes (`dipddpm.pictures.check`).
    """
    check_alike(output, reference)
    return (-10 * torch.log10(mse(output.clamp(0, 1), reference))).clamp(max=BEST_PSNR)


def psnr_of(error: float) -> float:
    """Return the PSNR in dB, at most `BEST_PSNR`, for a mean squared error of a clipped output, in [0, 1] units."""
    return min(BEST_PSNR, -10 * math.log10(error)) if error > 0 else BEST_PSNR


def ssim(output: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return the SSIM of each picture, shape (N,), at most 1.

    Wang et al., Image quality assessment, 2004: Gaussian window of sigma 1.5, as torchmetrics computes it.

    Args:
        output: Shape (N, 3, H, W); clipped to [0, 1] here.
        reference: Same shape, in [0, 1].

    Raises:
        TypeError, ValueError: As for `psnr`.
    """
    check_alike(output, reference)
    value = structural_similarity_index_measure(output.clamp(0, 1), reference, data_range=1.0, reduction="none")
    assert isinstance(value, torch.Tensor)
    return value.reshape(-1)


def rms(output: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return the root mean squared error of each picture, not clipped, in [0, 1] units, shape (N,).

    Arguments and errors are those of `psnr`.
    """
    check_alike(output, reference)
    return mse(output, reference).sqrt()


def evaluate(output: torch.Tensor, reference: torch.Tensor | None) -> dict[str, float]:
    """Return the means over the pictures of PSNR, SSIM and, where its weights are installed, ST-LPIPS.

    Args:
        output: Shape (N, 3, H, W); clipped to [0, 1] here.
        reference: Same shape, in [0, 1]; None returns no figures.

    Raises:
        TypeError, ValueError: As for `psnr`.
    """
    if reference is None:
        return {}
    measured = {"psnr": psnr(output, reference), "ssim": ssim(output, reference), "stlpips": stlpips(output, reference)}
    return {name: each.mean().item() for name, each in measured.items() if each is not None}
