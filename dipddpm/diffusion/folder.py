"""Find the folder of a prior, and read its picture size. Imports no torch: a DIP fit needs only the size.

A prior is a folder in the package, elsewhere on the disk, or on the Hugging Face Hub. Three layouts can be read:

- the folder of ``DDPMPipeline.save_pretrained``: ``unet/`` and ``scheduler/``;
- the layout of google/ddpm-celebahq-256: the network and ``scheduler_config.json`` at the root;
- the folder of ``UNet2DModel.save_pretrained``, at the root or in ``unet/``, without a scheduler.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from dipddpm import files
from dipddpm.errors import UserError
from dipddpm.names import T

ASSETS = Path(__file__).parents[1] / "assets"
WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
DEFAULT_CHANNELS = (224, 448, 672, 896)  # diffusers' default for a config.json without block_out_channels
WAY_OUT = "give prior.path=<folder written by DDPMPipeline.save_pretrained>"


def resolve(
    name: str,
    path: str | None,
    repo: str | None,
    revision: str | None,
    *,
    config_only: bool = False,
) -> Path:
    """Find a prior's folder: ``path``, else the package's folder ``name``, else ``repo`` on the Hub.

    Args:
        name: Name of a folder in ``dipddpm/assets``.
        path: A folder, or None.
        repo: A Hugging Face repository, or None. The local cache is used where it has the repository.
        revision: Branch, tag or commit of ``repo``.
        config_only: Fetch and require only the JSON files, which `sample_size` reads.

    Returns:
        A folder with a network's config.json, and with its weights unless ``config_only``.

    Raises:
        UserError: When no such folder exists, or ``repo`` cannot be fetched.
    """
    folder = local(name, path, repo)
    if folder is None:
        if repo is None:
            raise UserError(f"prior.name={name}: not in the package, and no prior.repo; {WAY_OUT}")
        return _from_hub(repo, revision, config_only)
    _check(folder, config_only)
    return folder


def local(name: str, path: str | None, repo: str | None) -> Path | None:
    """Find a prior's folder on this machine: ``path``, else the package's folder ``name``; None for one on the Hub.

    Raises:
        UserError: When ``path`` is no folder, or ``repo`` is given for a prior in the package.
    """
    if path is None:
        if not (ASSETS / name).is_dir():
            return None
        if repo is not None:
            raise UserError(
                f"prior.repo={repo} would not be used, because prior.name={name} is in the package: type "
                f"prior=celebahq256 prior.repo={repo} prior.revision=<commit>"
            )
        return ASSETS / name
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise UserError(f"prior.path={path}: no such folder; {WAY_OUT}")
    return folder


def contents(folder: Path, *, config_only: bool = False) -> list[Path]:
    """Return the files that determine a prior's outputs: config.json, then the scheduler's file and the weights."""
    config = network_folder(folder) / "config.json"
    scheduler = scheduler_file(folder)
    return [config] if config_only else [config, *([scheduler] if scheduler else []), weights_file(folder)]


def commit(repo: str, revision: str | None) -> str:
    """Return the commit of ``revision`` in the local cache of the Hub, or ``revision`` where it is not cached."""
    if revision and re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    from huggingface_hub import snapshot_download

    with suppress(Exception):
        return Path(snapshot_download(repo, revision=revision, local_files_only=True)).name
    return str(revision)


def sample_size(folder: Path) -> int:
    """Return the side of a prior's pictures, in pixels, from config.json.

    Raises:
        UserError: When config.json is not that of an unconditional UNet2DModel for square RGB pictures.
    """
    file = network_folder(folder) / "config.json"
    config = read_json(file)
    kind = config.get("_class_name", "UNet2DModel")
    if kind != "UNet2DModel":
        raise UserError(f"prior {file}: is a {kind}, must be a UNet2DModel; {WAY_OUT}")
    if any(config.get(key) is not None for key in ("num_class_embeds", "class_embed_type")):
        raise UserError(f"prior {file}: is class-conditional, must be unconditional; {WAY_OUT}")
    for key in ("in_channels", "out_channels"):
        if config.get(key, 3) != 3:
            raise UserError(f"prior {file}: {key}={config[key]}, must be 3 (RGB); {WAY_OUT}")
    size = config.get("sample_size")
    if isinstance(size, list) and len(size) == 2 and size[0] == size[1]:
        size = size[0]
    if not isinstance(size, int) or size < 1:
        raise UserError(f"prior {file}: sample_size={size}, must be one side in pixels; write it into that file")
    return size


def check_size(folder: Path, size: int) -> None:
    """Refuse a picture size that a prior's network cannot take. A network of n resolutions halves pictures n - 1 times.

    Args:
        folder: The folder of the prior, as `resolve` returns it.
        size: Side of the pictures, in pixels.

    Raises:
        UserError: One line with the nearest allowed sizes.
    """
    channels = read_json(network_folder(folder) / "config.json").get("block_out_channels", DEFAULT_CHANNELS)
    unit = 2 ** (len(channels) - 1)
    if size % unit:
        near = " or ".join(f"image.size={n}" for n in (size // unit * unit, size // unit * unit + unit) if n)
        raise UserError(f"image.size={size} is not allowed: the prior takes multiples of {unit} pixels; type {near}")


def scheduler_file(folder: Path) -> Path | None:
    """Return the scheduler's configuration file, in ``scheduler/`` or in ``folder`` itself, or None."""
    both = [folder / "scheduler" / "scheduler_config.json", folder / "scheduler_config.json"]
    return next((f for f in both if f.is_file()), None)


def network_folder(folder: Path) -> Path:
    """Return the folder of the network's config.json: ``unet/`` or ``folder`` itself; raise a UserError without one."""
    for network in (folder / "unet", folder):
        if (network / "config.json").is_file():
            return network
    raise UserError(f"prior {folder}: has neither unet/config.json nor config.json; {WAY_OUT}")


def weights_file(folder: Path) -> Path:
    """Return the network's weights file, safetensors before .bin; raise a UserError without one."""
    network = network_folder(folder)
    for name in WEIGHTS:
        if (network / name).is_file():
            return network / name
    raise UserError(f"prior {network}: has no {WEIGHTS[0]}; {WAY_OUT}")


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file; raise a UserError for anything else."""
    try:
        return files.read_json(file)
    except (OSError, ValueError) as error:
        raise UserError(f"prior {file}: no JSON object ({brief(error)}); {WAY_OUT}") from error


def brief(error: Exception) -> str:
    """Return an exception's type and the start of its text, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}{'...' if len(text) > 200 else ''}"


def _check(folder: Path, config_only: bool) -> None:
    network_folder(folder)
    if not config_only:
        weights_file(folder)
        _check_levels(folder)


def _check_levels(folder: Path) -> None:
    """Refuse a prior that was not trained on T noise levels: the range of ``ddpm.start_t`` is 1..T."""
    file = scheduler_file(folder)
    given = read_json(file).get("num_train_timesteps", T) if file else T  # diffusers' default is T
    if given != T:
        raise UserError(f"prior {file}: num_train_timesteps={given}, must be {T}; {WAY_OUT}")


def _from_hub(repo: str, revision: str | None, config_only: bool) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    def snapshot(patterns: list[str], *, cached: bool) -> Path:
        folder = snapshot_download(repo, revision=revision, allow_patterns=patterns, local_files_only=cached)
        _check(Path(folder), config_only)
        return Path(folder)

    # The cache comes first: it saves a request for each job, and all jobs of a sweep get the same network.
    with suppress(Exception):
        return snapshot(["*.json"], cached=True)
    try:
        # model_info does not retry. Without a network snapshot_download would retry a pinned commit for 23 seconds.
        files = HfApi().model_info(repo, revision=revision, timeout=10).siblings or ()
        names = {file.rfilename.split("/")[-1] for file in files}
        weights = next((name for name in WEIGHTS if name in names), WEIGHTS[0])
        return snapshot(["*.json"] if config_only else ["*.json", f"*{weights}"], cached=False)
    except UserError:
        raise
    except Exception as error:  # from the Hub's client, its HTTP library or the system
        raise UserError(
            f"prior.repo={repo}: not in the Hugging Face cache, and cannot be fetched "
            f"({brief(error)}); go online, or {WAY_OUT}"
        ) from error
