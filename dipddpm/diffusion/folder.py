"""Find the folder of a prior, on this machine or on the Hugging Face Hub. Imports no torch.

Any of these can be named:

- a folder in the package, by its name;
- the folder of ``DDPMPipeline.save_pretrained``: ``unet/`` and ``scheduler/``;
- the layout of google/ddpm-celebahq-256: the network and ``scheduler_config.json`` at the root;
- the folder of ``UNet2DModel.save_pretrained``, alone or inside a pipeline's folder;
- a repository of the Hub, or its folder ``models--<owner>--<name>`` in the Hub's cache.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from dipddpm.diffusion.layout import (
    WAY_OUT,
    brief,
    check_weights,
    chosen_weights,
    is_index,
    network_folder,
    scheduler_file,
    weights_files,
)
from dipddpm.errors import UserError
from dipddpm.files import expanded

ASSETS = Path(__file__).parents[1] / "assets"


def resolve(
    name: str,
    path: str | None,
    repo: str | None,
    revision: str | None,
    *,
    config_only: bool = False,
    ahead: bool = False,
) -> Path:
    """Find a prior's folder: ``path``, else the package's folder ``name``, else ``repo`` on the Hub.

    Args:
        name: Name of a folder in ``dipddpm/assets``.
        path: A folder, or None.
        repo: A Hugging Face repository, or None. The local cache is used where it has the repository.
        revision: Branch, tag or commit of ``repo``.
        config_only: Fetch and require only the JSON files, which `dipddpm.diffusion.layout.sample_size` reads.
        ahead: Fetch only the JSON files; the weights are fetched when they are needed.

    Returns:
        A folder with a network's config.json, and with its weights unless ``config_only`` or ``ahead``.

    Raises:
        UserError: When no such folder exists, its weights cannot be those of its config.json, or ``repo`` cannot be
            fetched.
    """
    folder = local(name, path, repo)
    if folder is None:
        if repo is None:
            raise UserError(f"prior.name={name}: not in the package, and no prior.repo; {WAY_OUT}")
        return _from_hub(repo, revision, config_only, ahead)
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
    folder = expanded(path)
    if not folder.is_dir():
        raise UserError(f"prior.path={path}: no such folder; {WAY_OUT}")
    return _snapshot(folder)


def find(name: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a prior by the one name that `dipddpm.diffusion.prior.load_prior` takes; errors likewise."""
    if expanded(name).is_dir():
        return resolve("", str(name), None, None)
    if isinstance(name, str) and (ASSETS / name).is_dir():
        return resolve(name, None, None, revision)
    parent = Path(name).parent
    of_hub = isinstance(name, str) and re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name)
    if not of_hub or (parent.parts and parent.is_dir()):  # `runs/mine` is a path where there is a folder `runs`
        return resolve("", str(name), None, None)
    try:
        return resolve(str(name), None, str(name), revision)
    except UserError as error:
        raise UserError(f"there is no folder {name} and no prior {name} in the package; {error}") from error


def contents(folder: Path, *, config_only: bool = False) -> list[Path]:
    """Return the files that determine a prior's outputs: config.json, then the scheduler's file and the weights."""
    config = network_folder(folder) / "config.json"
    scheduler = scheduler_file(folder)
    return [config] if config_only else [config, *([scheduler] if scheduler else []), *weights_files(folder)]


def commit(repo: str, revision: str | None) -> str:
    """Return the commit of ``revision`` in the local cache of the Hub, or ``revision`` where it is not cached."""
    if revision and re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    from huggingface_hub import snapshot_download

    with suppress(Exception):
        return Path(snapshot_download(repo, revision=revision, local_files_only=True)).name
    return str(revision)


def _snapshot(folder: Path) -> Path:
    """Return the snapshot that a folder of the Hub's cache holds, or any other folder as it is."""
    repositories = [found.parent for found in folder.glob("models--*/snapshots")]
    if len(repositories) > 1:
        raise UserError(f"prior.path={folder} is the Hub's cache: type prior.path={folder}/models--<owner>--<name>")
    folder = (*repositories, folder)[0]
    if not (folder / "snapshots").is_dir():
        return folder
    main = folder / "refs" / "main"
    found = sorted(f for f in (folder / "snapshots").iterdir() if f.is_dir())
    named = [f for f in found if main.is_file() and f.name == main.read_text().strip()]
    for snapshot in named or found[:1] * (len(found) == 1):
        return snapshot
    commits = ", ".join(f.name for f in found) or "none"
    raise UserError(f"prior.path={folder}: type prior.path={folder}/snapshots/<commit>; the commits are: {commits}")


def _check(folder: Path, config_only: bool) -> None:
    network_folder(folder)
    if not config_only:
        check_weights(folder)


def _from_hub(repo: str, revision: str | None, config_only: bool, ahead: bool) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    def snapshot(patterns: list[str], config_only: bool, *, cached: bool) -> Path:
        folder = snapshot_download(repo, revision=revision, allow_patterns=patterns, local_files_only=cached)
        _check(Path(folder), config_only)
        return Path(folder)

    # The cache comes first: it saves a request for each job, and all jobs of a sweep get the same network.
    with suppress(Exception):
        return snapshot(["*.json"], config_only, cached=True)
    try:
        # model_info does not retry. Without a network snapshot_download would retry a pinned commit for 23 seconds.
        files = HfApi().model_info(repo, revision=revision, timeout=10).siblings or ()
        weights = [] if config_only or ahead else _weights_patterns({file.rfilename for file in files})
        return snapshot(["*.json", *weights], config_only or ahead, cached=False)
    except UserError:
        raise
    except Exception as error:  # from the Hub's client, its HTTP library or the system
        raise UserError(
            f"prior.repo={repo}: not in the Hugging Face cache, and cannot be fetched "
            f"({brief(error)}); go online, or {WAY_OUT}"
        ) from error


def _weights_patterns(names: set[str]) -> list[str]:
    """Return the patterns of the weights to fetch, from the names of a repository's files."""
    network = "unet/" if "unet/config.json" in names else ""
    weights = chosen_weights({name.removeprefix(network) for name in names if name.startswith(network)})
    if weights is None:
        return []
    shards = f"{weights.split('.')[0]}*-of-*.{'bin' if '.bin.' in weights else 'safetensors'}"
    return [network + (shards if is_index(weights) else weights)]
