"""Keep Hydra from writing through links and into pipes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException


class RemoveLinks(Callback):
    """Remove the links and pipes that stand in place of the files that Hydra writes; the targets of links stay.

    Hydra opens the log of a job, ``.hydra/*.yaml`` and ``multirun.yaml`` for writing. In a folder of an earlier run it
    would follow a link and write to a file elsewhere, and wait for the reader of a pipe. The project's own files
    replace both.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        with suppress(OmegaConfBaseException):  # Hydra refuses such a folder itself
            _remove(Path(config.hydra.run.dir), config.hydra.job.name)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        with suppress(OmegaConfBaseException):
            sweep = Path(config.hydra.sweep.dir)
            for folder in (sweep, *_folders(sweep)):
                _remove(folder, config.hydra.job.name)


def _folders(sweep: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError, NotADirectoryError):
        yield from (path for path in sweep.iterdir() if path.is_dir())


def _remove(folder: Path, name: str) -> None:
    hydras = folder / ".hydra"
    for path in (folder / f"{name}.log", folder / "multirun.yaml", hydras, *hydras.glob("*.yaml")):
        if path.is_symlink() or path.is_fifo():
            path.unlink()
