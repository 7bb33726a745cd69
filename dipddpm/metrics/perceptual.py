"""ST-LPIPS, a perceptual distance: how different two pictures look. 0 is the same picture; lower is better.

    d(a, b) = sum over layers l of mean over places of sum over channels c of w_lc (f_lc(a) - f_lc(b))^2

f are the features of an AlexNet behind each of its five convolutions, scaled to length 1 at every place. The weights w
were fitted to the judgements of people about patches of 64x64. ST-LPIPS is LPIPS with a network that blurs before it
subsamples, so that a shift by one pixel changes it little.

The weights come from the package ``stlpips-pytorch`` of the authors, and are read as tensors. The package itself is not
imported: it needs torchvision, IPython and torchsummary, which the distance does not use. LPIPS is not used, because
its package downloads a network on first use.

References:
    Ghildyal and Liu, Shift-tolerant Perceptual Similarity Metric, ECCV 2022, https://arxiv.org/abs/2207.13686
    Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018,
    https://arxiv.org/abs/1801.03924
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F

from dipddpm.metrics.weights import stlpips_weights
from dipddpm.names import STLPIPS_SMALLEST
from dipddpm.pictures.check import check_alike

LAYERS = ("slice1.0", "slice2.5", "slice3.9", "slice4.11", "slice5.13")  # names of the convolutions in the file
PADDING = (2, 2, 1, 1, 1)


def stlpips(output: torch.Tensor, reference: torch.Tensor) -> torch.Tensor | None:
    """Return the ST-LPIPS of each picture, shape (N,), 0 or more.

    Args:
        output: Shape (N, 3, H, W); clipped to [0, 1] here.
        reference: Same shape, in [0, 1].

    Returns:
        None where the weights are not installed, or a side is shorter than `STLPIPS_SMALLEST`.

    Raises:
        TypeError, ValueError: For values that are no pictures, or two shapes (`dipddpm.pictures.check`).
    """
    check_alike(output, reference)
    weights = _weights()
    if weights is None or min(output.shape[-2:]) < STLPIPS_SMALLEST:
        return None
    with torch.no_grad():
        pairs = zip(_features(output.clamp(0, 1), weights), _features(reference, weights), strict=True)
        layers = [F.conv2d((a - b).square(), weights[f"lin{i}.model.1.weight"]) for i, (a, b) in enumerate(pairs)]
    return torch.stack([layer.flatten(1).mean(1) for layer in layers]).sum(0)


@cache
def _weights() -> dict[str, torch.Tensor] | None:
    file = stlpips_weights()
    return None if file is None else torch.load(file, map_location="cpu", weights_only=True)


def _features(picture: torch.Tensor, weights: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Return the features behind each convolution, of length 1 at every place, for pictures in [0, 1]."""
    x = (2 * picture.cpu().float() - 1 - weights["scaling_layer.shift"]) / weights["scaling_layer.scale"]
    found = []
    for i, (name, padding) in enumerate(zip(LAYERS, PADDING, strict=True)):
        if i in (1, 2):  # the first two are followed by pooling
            x = _halved(F.max_pool2d(x, 3, stride=1))
        x = F.conv2d(x, weights[f"net.{name}.weight"], weights[f"net.{name}.bias"], padding=padding)
        x = (_halved(x) if i == 0 else x).relu()
        found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
    return found


def _halved(x: torch.Tensor) -> torch.Tensor:
    """Blur by the filter 1 2 1 in both directions, padded by reflection, and take every second place."""
    line = torch.tensor([1.0, 2.0, 1.0]) / 4
    filters = torch.outer(line, line).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), filters, stride=2, groups=x.shape[1])
