"""Denoisers that were not learnt, for comparison with a prior: they know sigma and see one picture.

A picture here is float64, shape (H, W, 3), in [0, 1] up to noise, which is neither clipped nor
quantised; sigma is on the same scale. Total variation and non-local means have free parameters: `tune`
takes those with the best mean PSNR on other pictures than are judged. BM3D runs as its authors set it.

References:
    Chambolle, An algorithm for total variation minimization and applications, 2004
    Buades et al., A non-local algorithm for image denoising, 2005
    Dabov et al., Image denoising by sparse 3-D transform-domain collaborative filtering, 2007;
        the package follows Makinen et al., Collaborative filtering of correlated noise, 2020
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

GRIDS: dict[str, dict[str, tuple[float, ...]]] = {  # the best are inside, not at an edge
    "total variation": {"weight": tuple(round(0.3 + 0.1 * i, 1) for i in range(13))},  # times sigma
    "non-local means": {
        "h": tuple(round(0.3 + 0.1 * i, 1) for i in range(7)),  # times sigma
        "patch_size": (3, 5, 7),
        "patch_distance": (6,),  # beats 11 on 64x64 faces, at both levels
    },
}


@dataclass(frozen=True)
class Denoiser:
    """A method with its settings, called with (noisy picture, sigma)."""

    name: str
    run: Callable[[np.ndarray, float], np.ndarray]
    settings: dict[str, float] = field(default_factory=dict)

    def __call__(self, noisy: np.ndarray, sigma: float) -> np.ndarray:
        return np.clip(self.run(noisy, sigma), 0, 1)


def total_variation(noisy: np.ndarray, sigma: float, *, weight: float) -> np.ndarray:
    """Chambolle's algorithm on all channels together; ``weight`` is in units of sigma."""
    from skimage.restoration import denoise_tv_chambolle

    return denoise_tv_chambolle(noisy, weight=weight * sigma, channel_axis=-1)


def non_local_means(noisy: np.ndarray, sigma: float, *, h: float, **patch: float) -> np.ndarray:
    """Non-local means in the form that subtracts the noise from patch distances; ``h`` in units of sigma."""
    from skimage.restoration import denoise_nl_means

    sizes: Any = {name: int(value) for name, value in patch.items()}
    return denoise_nl_means(noisy, h=h * sigma, sigma=sigma, fast_mode=True, channel_axis=-1, **sizes)


def bm3d_colour(noisy: np.ndarray, sigma: float) -> np.ndarray:
    """BM3D for colour pictures, its authors' ``np`` profile and opponent colours."""
    # By name, since it is an extra: nothing else, the type checker included, may need it.
    bm3d = importlib.import_module("bm3d")
    profile = bm3d.BM3DProfile()
    profile.num_threads = 1  # more give slightly other results each time, and no speed at 64x64
    return bm3d.bm3d_rgb(noisy, sigma, profile)


METHODS: dict[str, Callable[..., np.ndarray]] = {
    "total variation": total_variation,
    "non-local means": non_local_means,
}
BM3D = Denoiser("BM3D", bm3d_colour)


def tune(name: str, clean: Sequence[np.ndarray], sigma: float, seed: int = 0) -> Denoiser:
    """Return the method of `METHODS` with the settings of `GRIDS` that have the best mean PSNR.

    Args:
        name: Of the method.
        clean: Pictures that are not among those to be judged; the noise is drawn here.
        sigma: Of the noise.
        seed: Of the noise.
    """
    rng = np.random.default_rng(seed)
    noisy = [picture + sigma * rng.standard_normal(picture.shape) for picture in clean]

    def quality(denoiser: Denoiser) -> float:
        pairs = zip(clean, noisy, strict=True)
        return float(np.mean([psnr(denoiser(y, sigma), picture) for picture, y in pairs]))

    return max(_candidates(name), key=quality)


def psnr(output: np.ndarray, clean: np.ndarray) -> float:
    """PSNR in dB of one picture that is in [0, 1] already."""
    return float(-10 * np.log10(np.mean((output - clean) ** 2)))


def to_arrays(pictures: Iterable[torch.Tensor]) -> list[np.ndarray]:
    """Turn (3, H, W) tensors into pictures as this module takes them."""
    return [p.permute(1, 2, 0).double().numpy() for p in pictures]


def _candidates(name: str) -> Iterator[Denoiser]:
    grid = GRIDS[name]
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        yield Denoiser(name, partial(METHODS[name], **settings), settings)
