"""What a job reads beside its configuration, so that a result is known to be of it. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from dipddpm import files
from dipddpm.config.schema import Config
from dipddpm.diffusion import folder as prior_folder

FIT_VERSION = 1  # raise it when the same request would no longer give the same fit


def of(c: Config, command: str) -> dict[str, str]:
    """Return by key of the configuration what tells one content from another: a picture, weights, a kept epoch.

    Args:
        c: Of the job.
        command: ``fit``, which reads of a prior no more than its size, and this only for ``image.size=auto``; or
            ``sample``.

    Returns:
        The SHA-256 of each file that the job reads; of a network on the Hub its commit.
    """
    found = {key: files.sha256(path) for key, path in inputs(c).items()}
    found["fit version"] = str(FIT_VERSION)
    if command == "sample" or c.image.size == "auto":
        found["prior"] = _prior(c, config_only=command == "fit")
    return found


def inputs(c: Config) -> dict[str, Path]:
    """Return the files that a job reads beside those of its prior, by key of the configuration."""
    named = {"image.path": c.image.path, "image.reference": c.image.reference, "degrade.mask": c.degrade.mask,
             "checkpoint": c.checkpoint}  # fmt: skip
    paths = {key: Path(path).expanduser() for key, path in named.items() if isinstance(path, str)}
    return {key: path for key, path in paths.items() if path.is_file()}  # "stop" is none


def _prior(c: Config, *, config_only: bool) -> str:
    p = c.prior
    folder = prior_folder.local(p.name, p.path, p.repo)
    if folder is None:
        assert p.repo is not None
        return f"{p.repo}@{prior_folder.commit(p.repo, p.revision)}"
    return " ".join(files.sha256(file) for file in prior_folder.contents(folder, config_only=config_only))
