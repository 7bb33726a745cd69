"""Keep a sweep's summary up to date from within Hydra; nothing here ever fails a job.

    hydra: {callbacks: {study: {_target_: dipddpm.study.callback.StudyCallback}}}

Hydra does not call ``on_multirun_end`` when a job failed, and a job's end may come too soon after the last build.
So a process that skipped a build makes up for it as it exits.
"""

from __future__ import annotations

import atexit
import logging
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from dipddpm.study.build import build, build_if_due

log = logging.getLogger(__name__)


class StudyCallback(Callback):
    """Build the study of a sweep after its jobs (not after every one, in big sweeps) and at its end."""

    def __init__(self) -> None:
        self._owed: Path | None = None  # a sweep folder whose last build was skipped
        self._listening = False

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Build if it is due."""
        try:
            if config.hydra.mode != RunMode.MULTIRUN:
                return
            folder = sweep_folder(config)
            self._owed = None if build_if_due(folder) else folder
            if self._owed and not self._listening:
                self._listening = True
                atexit.register(self.settle)
        except Exception:
            log.exception("the sweep's summary could not be built")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Build once more, and say where."""
        try:
            log.info("study of the sweep: %s", build(sweep_folder(config)))
            self._owed = None
        except Exception:
            log.exception("the sweep's summary could not be built")

    def settle(self) -> None:
        """Build what is owed; registered to run as the process exits."""
        try:
            if self._owed:
                build(self._owed)
                self._owed = None
        except Exception:
            log.exception("the sweep's summary could not be built")


def sweep_folder(config: DictConfig) -> Path:
    """Return the folder of the sweep that a composed configuration belongs to."""
    return Path(config.hydra.runtime.cwd, config.hydra.sweep.dir)
