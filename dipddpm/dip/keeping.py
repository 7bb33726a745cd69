"""Keepers of a fit's epochs. `Memory` keeps them in memory; `dipddpm.fits` has a keeper on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dipddpm import gpu
from dipddpm.dip.curves import Curves

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Trajectory:
    """A fit so far.

    Attributes:
        curves: One row an epoch.
        kept: PSNR in dB of the picture of each kept epoch; None without a clean picture.
        seconds: Wall-clock seconds of the fit, all its extensions included.
        revived: Number of redraws of the last layer before the first step.
        environments: Versions, threads, precision, memory format and device of each process that worked on the fit.
            ``from_epoch`` is its first epoch.
    """

    curves: Curves
    kept: dict[int, float | None]
    seconds: float
    revived: int
    environments: list[dict[str, Any]]

    @property
    def epochs(self) -> int:
        """The number of epochs of the fit."""
        return len(self.curves)


class Keeper(Protocol):
    """A place for the kept epochs and commits of a running fit.

    For a commit the fit first writes its state to `state_file`, unless that is None, and then calls `commit`. A kill at
    any moment leaves the previous commit whole.
    """

    @property
    def name(self) -> str:
        """The name of the fit in log lines."""
        ...

    @property
    def folder(self) -> Path | None:
        """The folder of the fit, which gets TensorBoard's events too; None for a fit without files."""
        ...

    def before(self) -> tuple[Trajectory, Path] | None:
        """Return the trajectory to continue and the file of its state; None for a new fit."""
        ...

    def keep(self, epoch: int, weights: Mapping[str, torch.Tensor], picture: torch.Tensor) -> Any:
        """Keep the weights after an epoch, by name, and their picture: shape (1, 3, H, W), not clipped.

        A keeper with a folder may be called in a forked process. The parent process then passes the answer to `noted`
        of its own keeper.
        """
        ...

    def noted(self, epoch: int, answer: Any) -> None:
        """Take the answer of `keep` for an epoch."""
        ...

    def picture(self, epoch: int) -> torch.Tensor:
        """Return the picture of a kept epoch: float32, shape (1, 3, H, W), not clipped."""
        ...

    def state_file(self, epoch: int) -> Path | None:
        """Return the file for the state after an epoch; None for a keeper whose fits are never continued."""
        ...

    def commit(self, trajectory: Trajectory) -> None:
        """Make the trajectory so far the kept one. Its epochs and its state are written already."""
        ...


class Memory:
    """A keeper in memory. It holds the weights and pictures that may still be chosen, on the CPU.

    Args:
        pending: A function of the curves. It returns the only epoch before the newest ones that may still be chosen, or
            None where every epoch may be (`dipddpm.dip.stopping.Stopping.pending`). None: every epoch may be.
    """

    name, folder = "a picture", None

    def __init__(self, pending: Callable[[Curves], int | None] | None = None) -> None:
        self._pending = pending
        self.trajectory: Trajectory | None = None
        self._kept: dict[int, tuple[dict[str, torch.Tensor], torch.Tensor]] = {}

    def before(self) -> None:
        return None

    def keep(self, epoch: int, weights: Mapping[str, torch.Tensor], picture: torch.Tensor) -> None:
        self._kept[epoch] = {name: gpu.unpinned(tensor) for name, tensor in weights.items()}, gpu.unpinned(picture)

    def noted(self, epoch: int, answer: None) -> None: ...

    def picture(self, epoch: int) -> torch.Tensor:
        return self._kept[epoch][1]

    def weights(self, epoch: int) -> dict[str, torch.Tensor]:
        """Return the weights of a kept epoch, by name."""
        return self._kept[epoch][0]

    def state_file(self, epoch: int) -> None:
        return None

    def commit(self, trajectory: Trajectory) -> None:
        self.trajectory = trajectory
        pending = self._pending(trajectory.curves) if self._pending else None
        if pending is None:
            return
        epochs = sorted(self._kept)  # of two neighbours one may be the end of the fit, which is never chosen
        needed = {epochs[0], *epochs[-3:], *[epoch for epoch in epochs if epoch <= pending][-2:]}
        self._kept = {epoch: kept for epoch, kept in self._kept.items() if epoch in needed}
