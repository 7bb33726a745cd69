"""The keeper of a fit in a folder of the store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dipddpm.dip.keeping import Trajectory
from dipddpm.fits import manifest
from dipddpm.fits.manifest import Fit


class FolderKeeper:
    """Keep the epochs of a fit as files (`dipddpm.fits.manifest`). A commit writes the manifest last.

    Args:
        folder: The folder of the fit.
        key: The name of the fit in the store.
        content: Content hash of the loaded picture.
        fit: The fit so far, or None.
    """

    def __init__(self, folder: Path, key: str, content: str, fit: Fit | None) -> None:
        self.folder, self.name, self.content, self.fit = folder, key, content, fit
        self.facts: dict[str, Any] = {}  # hash and size of the files of kept epochs

    def before(self) -> tuple[Trajectory, Path] | None:
        return (self.fit, self.fit.state) if self.fit else None

    def keep(self, epoch: int, weights: Mapping[str, torch.Tensor], picture: torch.Tensor) -> Any:
        return manifest.write_epoch(self.folder, epoch, weights, picture, self.content)

    def noted(self, epoch: int, answer: Any) -> None:
        self.facts[manifest.epoch_name(epoch)] = answer

    def picture(self, epoch: int) -> torch.Tensor:
        return manifest.read_picture(self.folder / manifest.epoch_name(epoch))

    def state_file(self, epoch: int) -> Path:
        return self.folder / manifest.state_name(epoch)

    def commit(self, trajectory: Trajectory) -> None:
        manifest.commit(self.folder, self.name, trajectory, self.facts)
