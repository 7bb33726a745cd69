"""A fit that is kept in a folder of the store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from dipddpm.dip.keeping import Trajectory
from dipddpm.fits import manifest
from dipddpm.fits.manifest import Fit


class FolderKeeper:
    """Keep epochs as files, and commit by replacing the manifest, which is written last.

    Args:
        folder: Of the fit.
        key: Its name in the store.
        content: Content hash of the picture that it is fitted to, as loaded.
        fit: The fit so far, or None.
    """

    def __init__(self, folder: Path, key: str, content: str, fit: Fit | None) -> None:
        self.folder, self.name, self.content, self.fit = folder, key, content, fit

    def before(self) -> tuple[Trajectory, Path] | None:
        return (self.fit, self.fit.state) if self.fit else None

    def keep(self, epoch: int, weights: Mapping[str, torch.Tensor], picture: torch.Tensor) -> None:
        manifest.write_epoch(self.folder, epoch, weights, picture, self.content)

    def picture(self, epoch: int) -> torch.Tensor:
        return manifest.read_picture(self.folder / manifest.epoch_name(epoch))

    def state_file(self, epoch: int) -> Path:
        return self.folder / manifest.state_name(epoch)

    def commit(self, trajectory: Trajectory) -> None:
        manifest.commit(self.folder, self.name, trajectory)
