"""Read a prior's folder: its files, the size of its pictures, its noise levels. Imports no torch.

A DIP fit needs only the picture size. Whatever a file of the folder says, the answer is a value or a refusal in one
line. No memory is taken for a network before its weights are known to be as large.
"""

from __future__ import annotations

import hashlib
import re
import reprlib
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

from dipddpm import files
from dipddpm.errors import UserError
from dipddpm.names import TRAINING
from dipddpm.ownership import claimed

STEM = "diffusion_pytorch_model"
DEFAULT_CHANNELS = (224, 448, 672, 896)  # diffusers' default for a config.json without block_out_channels
DEFAULT_LEVELS = 1000  # diffusers' default, that of Ho et al. (https://arxiv.org/abs/2006.11239)
MOST_LEVELS = 100_000
MOST_PIXELS = 16_384  # a side; a network of 15 resolutions takes no smaller picture
MOST_RESOLUTIONS = 15
MOST = 10**6  # of any other whole number in config.json
WAY_OUT = "give prior.path=<folder written by DDPMPipeline.save_pretrained>"


def network_folder(folder: Path) -> Path:
    """Return the folder of the network's config.json: ``unet/`` or ``folder`` itself; raise a UserError without one."""
    for network in (folder / "unet", folder):
        if (network / "config.json").is_file():
            return network
    if (folder / TRAINING).is_dir() and "model_index.json" in (claimed(folder) or ()):
        raise UserError(f"prior {folder}: its training has not ended; type its train_prior.py command again")
    raise refusal(folder, "the folder has neither unet/config.json nor config.json")


def scheduler_file(folder: Path) -> Path | None:
    """Return the scheduler's configuration file, or None.

    The file is in ``scheduler/``, in ``folder`` itself, or in the pipeline's folder around a network's folder.
    """
    return _of_pipeline(folder, "scheduler/scheduler_config.json", "scheduler_config.json")


def weights_files(folder: Path) -> list[Path]:
    """Return the files of the network's weights: one file, or an index and its shards.

    They are those that diffusers loads: shards before a single file, safetensors before .bin. A variant, such as fp16,
    is taken where there are no weights without one.

    Raises:
        UserError: When there are no weights, or a shard is missing.
    """
    network = network_folder(folder)
    name = chosen_weights({file.name for file in network.iterdir() if file.is_file()})
    if name is None:
        raise refusal(network, f"the folder has no {STEM}.safetensors")
    if not is_index(name):
        return [network / name]
    shards = read_json(network / name).get("weight_map")
    shards = sorted(set(map(str, shards.values()))) if isinstance(shards, dict) else []
    absent = [shard for shard in shards if Path(shard).name != shard or not (network / shard).is_file()]
    if absent or not shards:
        raise refusal(network / name, f"its shard {absent[0]} is missing" if absent else "it names no file")
    return [network / name, *(network / shard for shard in shards)]


def chosen_weights(names: Collection[str]) -> str | None:
    """Return the name of the weights, or of the index of their shards, among the names of a network's files."""
    found = (re.fullmatch(rf"{STEM}(?:\.\w+\.index)?(\.\w+)\.(?:safetensors|bin|json)", name) for name in names)
    variants = sorted({match[1] for match in found if match})
    return next((name for v in ("", *variants) for name in weights_names(v) if name in names), None)


def weights_names(variant: str = "") -> tuple[str, ...]:
    """Return the names that weights can have, the first choice first. ``variant`` begins with a dot."""
    index = f".index{variant}.json"
    return (f"{STEM}.safetensors{index}", f"{STEM}{variant}.safetensors", f"{STEM}{variant}.bin", f"{STEM}.bin{index}")


def is_index(name: str) -> bool:
    """Return whether a name of `chosen_weights` is that of an index of shards."""
    return name.endswith(".json")


def weights_digest(folder: Path) -> str:
    """Return the SHA-256 of the weights file, in hexadecimal; of several files, that of their hashes."""
    digests = [digest(file) for file in weights_files(folder)]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def digest(file: Path) -> str:
    """Return the SHA-256 of a prior's file, in hexadecimal. While a file stays the same, a process reads it once."""
    now = file.stat()
    return _digest(file.absolute(), now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)


@cache
def _digest(file: Path, *_: int) -> str:
    return files.sha256(file)


def check_weights(folder: Path) -> None:
    """Refuse weights that are absent, or too few for the network of config.json. Reads no weights.

    Raises:
        UserError: One line with both sizes.
    """
    config, found = network_config(folder), weights_files(folder)
    for file in found:
        with file.open("rb") as opened:
            if opened.read(30).startswith(b"version https://git-lfs"):
                raise UserError(f"prior {file}: is a pointer of Git LFS, not the weights; type git lfs pull there")
    # The least number of parameters: each layer of c channels has four 3x3 convolutions from c to c channels, two on
    # the way down and two on the way up.
    parameters = 36 * config.get("layers_per_block", 2) * sum(c**2 for c in _channels(config))
    held = sum(file.stat().st_size for file in found)
    if parameters > held:  # a parameter takes a byte or more
        raise refusal(
            network_folder(folder),
            f"the network of config.json takes {4 * parameters / 1e6:,.1f} MB of memory or more, and the weights have "
            f"{held / 1e6:,.1f} MB",
        )


def network_config(folder: Path) -> dict[str, Any]:
    """Return the network's config.json.

    Raises:
        UserError: When it is not that of an unconditional UNet2DModel over RGB pixels, or holds a value that no such
            network has.
    """
    file = network_folder(folder) / "config.json"
    config = read_json(file)
    kind = config.get("_class_name", "UNet2DModel")
    if kind != "UNet2DModel":
        raise refusal(file, f"the network is a {kind}, and must be a UNet2DModel")
    if any(config.get(key) is not None for key in ("num_class_embeds", "class_embed_type")):
        raise refusal(file, "the network is class-conditional, and must be unconditional")
    if config.get("time_embedding_type") == "fourier":
        raise refusal(file, "time_embedding_type=fourier is that of a score-based network, and must be that of a DDPM")
    for key in ("in_channels", "out_channels"):
        if config.get(key, 3) != 3:
            raise refusal(file, f"{key}={reprlib.repr(config[key])} must be 3 (RGB)")
    channels = _channels(config)
    if (
        not isinstance(channels, list | tuple)
        or not 1 <= len(channels) <= MOST_RESOLUTIONS
        or not all(_is_whole(c, MOST) for c in channels)
    ):
        raise refusal(file, f"block_out_channels={reprlib.repr(channels)} must be a list of 1 to {MOST_RESOLUTIONS} "
                      "whole numbers")  # fmt: skip
    for key in ("layers_per_block", "norm_num_groups", "attention_head_dim"):
        value = config.get(key, 1)
        if not _is_whole(value, MOST) and (value is not None or key == "layers_per_block"):
            raise refusal(file, f"{key}={reprlib.repr(value)} must be a whole number from 1 to {MOST}")
    index = _of_pipeline(folder, "model_index.json")
    if index and (others := parts_beside_the_network(read_json(index))):
        raise refusal(index, f"the pipeline has {', '.join(others)} beside its network, and must be a DDPM over pixels")
    return config


def parts_beside_the_network(index: Mapping[str, Any]) -> list[str]:
    """Return the parts in a pipeline's model_index.json that a DDPM over pixels does not have, as an autoencoder."""
    parts = [key for key, value in index.items() if isinstance(value, list | tuple) and any(value)]
    return [key for key in parts if key not in ("unet", "scheduler")]


def sample_size(folder: Path) -> int:
    """Return the side of a prior's pictures, in pixels, from config.json.

    Raises:
        UserError: As for `network_config`, and when config.json does not give one side.
    """
    size = network_config(folder).get("sample_size")
    if isinstance(size, list) and len(size) == 2 and size[0] == size[1]:
        size = size[0]
    if not _is_whole(size, MOST_PIXELS):
        raise UserError(
            f"prior {network_folder(folder) / 'config.json'}: sample_size={reprlib.repr(size)} must be one side in "
            f"pixels, a whole number up to {MOST_PIXELS}; write the side into that file"
        )
    return size


def check_size(folder: Path, size: int) -> None:
    """Refuse a picture size that a prior's network cannot take.

    Args:
        folder: The folder of the prior, as `dipddpm.diffusion.folder.resolve` returns it.
        size: Side of the pictures, in pixels.

    Raises:
        UserError: One line with the nearest allowed sizes.
    """
    unit = unit_of(network_config(folder))
    if size % unit:
        near = " or ".join(f"image.size={n}" for n in (size // unit * unit, size // unit * unit + unit) if n)
        raise UserError(f"image.size={size} is not allowed: the prior takes multiples of {unit} pixels; type {near}")


def unit_of(config: Mapping[str, Any]) -> int:
    """Return the number of pixels that a side must be a multiple of: n resolutions halve a picture n - 1 times."""
    return 2 ** (len(_channels(config)) - 1)


def levels(folder: Path) -> int:
    """Return the number of a prior's noise levels, T, from the scheduler's file; 1000 without one.

    Raises:
        UserError: When the file holds no such number.
    """
    file = scheduler_file(folder)
    if file is None:
        return DEFAULT_LEVELS
    config = read_json(file)
    betas = config.get("trained_betas")
    listed = isinstance(betas, list)
    found = len(betas) if listed else config.get("num_train_timesteps", DEFAULT_LEVELS)
    if not _is_whole(found, MOST_LEVELS):
        key = "number of trained_betas" if listed else "num_train_timesteps"
        raise refusal(file, f"{key}={reprlib.repr(found)} must be a whole number from 1 to {MOST_LEVELS}")
    return found


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file; raise a UserError for anything else."""
    try:
        return files.read_json(file)
    except (OSError, ValueError) as error:
        raise refusal(file, f"the file holds no JSON object ({brief(error)})") from error


def brief(error: Exception) -> str:
    """Return an exception's type and the start of its text, in one line."""
    return f"{type(error).__name__}: {_start(str(error), 200)}"


def refusal(file: Path, why: str) -> UserError:
    """Return the refusal of a prior: one line, whatever the words of ``why`` that come from its files."""
    return UserError(f"prior {file}: {_start(why, 400)}; {WAY_OUT}")


def _start(text: str, most: int) -> str:
    text = " ".join(text.split())
    return f"{text[:most]}{'...' if len(text) > most else ''}"


def _channels(config: Mapping[str, Any]) -> Any:
    return config.get("block_out_channels", DEFAULT_CHANNELS)


def _of_pipeline(folder: Path, *names: str) -> Path | None:
    """Return the first file of these names in a pipeline's folder; ``folder`` may be, or link to, its network's."""
    places = [folder / name for name in names]
    if not (folder / "unet").is_dir():
        places += [network.parent / names[0] for network in (folder.absolute(), folder.resolve())]
    return next((file for file in places if file.is_file()), None)


def _is_whole(value: object, most: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most
