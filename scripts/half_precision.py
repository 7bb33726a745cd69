"""Store a prior's weights in half precision, if its evaluations do not change.

`dipddpm.diffusion.prior` computes in float32 whatever a file holds, so only the rounding of the weights counts. How
far it moved the PSNR is written into the file's metadata, since the float32 weights are gone afterwards.

A few stay in float32: vectors, which shift whole channels, and what follows the last upsampling. Near pure noise
(level 900) the PSNR hangs on the mean of the picture, and rounding them too moved it by 0.04 dB.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dipddpm.diffusion import folder as prior_folder
from dipddpm.diffusion import prior
from dipddpm.files import replacing
from scripts.one_evaluation import LEVELS, Watch, errors_by_level

MOST = 0.005  # dB: half of the last digit of the tables
CHANGE = "largest_psnr_change_db"


def store_half(folder: Path, pictures: torch.Tensor, most: float = MOST, watch: Watch | None = None) -> float:
    """Round the weights of a prior to float16 in its file, but for those that are `kept`.

    Args:
        folder: Of the prior.
        pictures: uint8, shape (N, 3, H, W): held-out ones.
        most: Change of the mean PSNR in dB, at any level, up to which the file is replaced.
        watch: Called with the number of pictures after each evaluation; 2 x levels x pictures in all.

    Returns:
        The largest change of the mean PSNR, in dB; of weights that were rounded before, what the file says.

    Raises:
        ValueError: When it is above ``most``; the file is then as it was.
    """
    file = prior_folder.weights_file(folder)
    _, metadata = _stored(file)
    if CHANGE in metadata:
        return float(metadata[CHANGE])
    full = load_file(file)
    as_they_are = kept(full)
    half = {key: w if key in as_they_are else w.half() for key, w in full.items()}
    network = prior.load(folder)

    def quality() -> list[float]:
        rows = errors_by_level(network.unet, network.schedule.alphas_cumprod, pictures, LEVELS, watch=watch)
        return [psnr for _, _, psnr in rows]

    before = quality()
    unet: Any = network.unet
    unet.load_state_dict({key: w.float() if w.is_floating_point() else w for key, w in half.items()})
    change = max(abs(a - b) for a, b in zip(before, quality(), strict=True))
    if change > most:
        raise ValueError(f"half precision moves the PSNR by {change:.4f} dB, more than {most}: kept as it was")
    with replacing(file) as temporary:
        save_file(half, temporary, {"format": "pt", CHANGE: f"{change:.2g}", "pictures": str(len(pictures))})
    return change


def kept(weights: Mapping[str, torch.Tensor]) -> set[str]:
    """Return the names of a UNet2DModel's tensors that stay as they are: vectors, and from the last resolution on."""
    last = max(int(key.split(".")[1]) for key in weights if key.startswith("up_blocks."))
    end = (f"up_blocks.{last}.", "conv_out.")
    return {key for key, w in weights.items() if w.ndim < 2 or not w.is_floating_point() or key.startswith(end)}


def describe_precision(folder: Path) -> str:
    """Return in words what precision the weights are stored in."""
    kinds, metadata = _stored(prior_folder.weights_file(folder))
    words = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    text = " and ".join(sorted(words.get(kind, kind) for kind in kinds))
    if CHANGE in metadata:
        text += (
            f"; rounding them from float32 moved the mean PSNR of one evaluation by at most {metadata[CHANGE]} dB "
            f"at any level of the first table ({metadata['pictures']} faces)"
        )
    return text


def _stored(weights: Path) -> tuple[set[str], dict[str, str]]:
    """Return the kinds of number in a safetensors file, in its own names, and its metadata."""
    with safe_open(weights, "pt") as file:
        return {str(file.get_slice(key).get_dtype()) for key in file.keys()}, file.metadata() or {}
