"""Classical denoisers, for comparison with a prior. They get one noisy picture and its sigma, and learn from no others.

A picture here is float64, shape (H, W, 3), in [0, 1] plus noise, which is neither clipped nor quantised. sigma is on
the same scale. Total variation and non-local means have free settings: `tune` chooses those with the best mean PSNR on
pictures that are not judged. BM3D runs with its authors' settings.

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

GRIDS: dict[str, dict[str, tuple[float, ...]]] = {  # the best values are inside the grid, not at its edge
    "total variation": {"weight": tuple(round(0.3 + 0.1 * i, 1) for i in range(13))},  # times sigma
    "non-local means": {
        "h": tuple(round(0.3 + 0.1 * i, 1) for i in range(7)),  # times sigma
        "patch_size": (3, 5, 7),
        "patch_distance": (6,),  # better than 11 on 64x64 faces, at both noise levels
    },
}


@dataclass(frozen=True)
class Denoiser:
    """A method with its settings. It is called with (noisy picture, sigma), and returns a picture clipped to [0, 1]."""

    name: str
    run: Callable[[np.ndarray, float], np.ndarray]
    settings: dict[str, float] = field(default_factory=dict)

    def __call__(self, noisy: np.ndarray, sigma: float) -> np.ndarray:
        return np.clip(self.run(noisy, sigma), 0, 1)


def total_variation(noisy: np.ndarray, sigma: float, *, weight: float) -> np.ndarray:
    """Denoise by Chambolle's algorithm on all channels together; ``weight`` is in units of sigma."""
    from skimage.restoration import denoise_tv_chambolle

    return denoise_tv_chambolle(noisy, weight=weight * sigma, channel_axis=-1)


def non_local_means(noisy: np.ndarray, sigma: float, *, h: float, **patch: float) -> np.ndarray:
    """Denoise by non-local means, with the noise subtracted from patch distances; ``h`` is in units of sigma."""
    from skimage.restoration import denoise_nl_means

    sizes: Any = {name: int(value) for name, value in patch.items()}
    return denoise_nl_means(noisy, h=h * sigma, sigma=sigma, fast_mode=True, channel_axis=-1, **sizes)


def bm3d_colour(noisy: np.ndarray, sigma: float) -> np.ndarray:
    """Denoise by BM3D for colour pictures, with its authors' ``np`` profile and opponent colours."""
    # Imported by name, because bm3d is an extra: without it the type checker must not fail.
    bm3d = importlib.import_module("bm3d")
    profile = bm3d.BM3DProfile()
    profile.num_threads = 1  # more threads change the last digits from run to run, and are no faster at 64x64
    return bm3d.bm3d_rgb(noisy, sigma, profile)


METHODS: dict[str, Callable[..., np.ndarray]] = {
    "total variation": total_variation,
    "non-local means": non_local_means,
}
BM3D = Denoiser("BM3D", bm3d_colour)


def tune(name: str, clean: Sequence[np.ndarray], sigma: float) -> Denoiser:
    """Return the method of `METHODS` with the settings in `GRIDS` that have the best mean PSNR.

    Args:
        name: The name of the method.
        clean: Clean pictures that are not judged. The function draws their noise.
        sigma: Standard deviation of the noise, in [0, 1] units.
    """
    rng = np.random.default_rng(0)
    noisy = [picture + sigma * rng.standard_normal(picture.shape) for picture in clean]

    def quality(denoiser: Denoiser) -> float:
        pairs = zip(clean, noisy, strict=True)
        return float(np.mean([psnr(denoiser(y, sigma), picture) for picture, y in pairs]))

    return max(_candidates(name), key=quality)


def psnr(output: np.ndarray, clean: np.ndarray) -> float:
    """Return the PSNR in dB of one picture in [0, 1]; it is not clipped here."""
    return float(-10 * np.log10(np.mean((output - clean) ** 2)))


def to_arrays(pictures: Iterable[torch.Tensor]) -> list[np.ndarray]:
    """Turn tensors of shape (3, H, W) into float64 arrays of shape (H, W, 3)."""
    return [p.permute(1, 2, 0).double().numpy() for p in pictures]


def _candidates(name: str) -> Iterator[Denoiser]:
    grid = GRIDS[name]
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        yield Denoiser(name, partial(METHODS[name], **settings), settings)
