"""What a job reads beside its configuration, so that a result is known to be of it. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from dipddpm import files, prior_folder
from dipddpm.config import Config

FIT_VERSION = 1  # raise it when the same request would no longer give the same fit


def fingerprints(c: Config, command: str) -> dict[str, str]:
    """Return by key of the configuration what tells one content from another: a picture, weights, a kept epoch.

    Args:
        c: Of the job.
        command: ``fit``, which leaves the prior's weights unread, or ``sample``.

    Returns:
        The SHA-256 of each file that the job reads; of a network on the Hub its revision, which is pinned.
    """
    named = {"image.path": c.image.path, "image.reference": c.image.reference, "checkpoint": c.checkpoint}
    paths = {key: Path(path).expanduser() for key, path in named.items() if isinstance(path, str)}
    found = {key: files.sha256(path) for key, path in paths.items() if path.is_file()}  # "stop" is none
    found["fit version"] = str(FIT_VERSION)
    if command == "sample":
        found["prior"] = _prior(c)
    return found


def _prior(c: Config) -> str:
    folder = prior_folder.local(c.prior.name, c.prior.path)
    return f"{c.prior.repo}@{c.prior.revision}" if folder is None else files.sha256(prior_folder.weights_file(folder))
