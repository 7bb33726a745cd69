"""Hashes of the files that a job reads and of the pictures that it writes. Imports no torch.

A job is done only while all of them have the same hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dipddpm import files
from dipddpm.config.schema import Config, kernel_of, mask_of, reference_of
from dipddpm.diffusion import folder as prior_folder
from dipddpm.diffusion import layout
from dipddpm.names import FIT_VERSION
from dipddpm.runs.folder import is_many, listed


def of(c: Config, command: str) -> dict[str, str]:
    """Return a hash of each file that a job reads, by the key of the configuration that names it.

    Args:
        c: The job's configuration, checked.
        command: ``fit`` or ``sample``. A fit reads only the prior's size, and only with ``image.size=auto``.

    Returns:
        The SHA-256 of each file; for a prior on the Hub its commit.
    """
    found = {key: _hash(path) for key, path in inputs(c).items()}
    found["fit version"] = str(FIT_VERSION)
    if command == "sample" or c.image.size == "auto":
        found["prior"] = _prior(c, config_only=command == "fit")
    return found


def inputs(c: Config) -> dict[str, Path]:
    """Return the files that a job reads, without those of its prior, by key of the configuration."""
    named = {"image.path": c.image.path, "image.reference": reference_of(c), "operator.file": mask_of(c),
             "operator.kernel": kernel_of(c), "checkpoint": c.checkpoint}  # fmt: skip
    if is_many(c):
        named |= {f"image.path {path}": str(path) for path in listed(c.image.path)}
    paths = {key: files.expanded(path) for key, path in named.items() if isinstance(path, str)}
    return {key: path for key, path in paths.items() if path.is_file()}  # "stop" is no file


def _hash(path: Path) -> str:
    try:
        return files.sha256(path)
    except PermissionError:  # a picture of a folder is then left out, and one alone has been refused
        return "not readable"


def written(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the size in bytes and the SHA-256 of files in a folder, by name; files that do not exist are left out."""
    return {name: files.facts(folder / name) for name in sorted(names) if (folder / name).is_file()}


def damaged(folder: Path, recorded: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the names of the files that are missing, or are not as `written` found them."""
    now = written(folder, recorded)
    return [name for name, facts in recorded.items() if now.get(name) != facts]


def _prior(c: Config, *, config_only: bool) -> str:
    p = c.prior
    folder = prior_folder.local(p.name, p.path, p.repo)
    if folder is None:
        assert p.repo is not None
        return f"{p.repo}@{prior_folder.commit(p.repo, p.revision)}"
    return " ".join(layout.digest(file) for file in prior_folder.contents(folder, config_only=config_only))
