"""Keep a sweep's summary up to date from within Hydra; nothing here ever fails a job.

    hydra: {callbacks: {study: {_target_: dipddpm.study.callback.StudyCallback}}}

Hydra does not call ``on_multirun_end`` when a job failed, and a job's end may come too soon after the last build: the
summary is then marked stale. The process that started the sweep makes up for that as it exits; its workers, of which
there may be as many as jobs, do not.
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

from dipddpm.study.build import build, build_if_due, is_stale, mark_stale

log = logging.getLogger(__name__)


class StudyCallback(Callback):
    """Build the study of a sweep after its jobs (not after every one, in big sweeps) and at its end."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Build at the exit what will then be owed: called in the process that started the sweep alone."""
        atexit.register(self.settle, sweep_folder(config))

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Mark the summary stale: a job that a signal stops has no end."""
        try:
            if config.hydra.mode == RunMode.MULTIRUN:
                mark_stale(sweep_folder(config))
        except OSError:
            log.exception("the sweep's summary could not be marked stale")

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Build if it is due."""
        try:
            if config.hydra.mode == RunMode.MULTIRUN:
                build_if_due(sweep_folder(config))
        except Exception:
            log.exception("the sweep's summary could not be built")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Build once more, and say where."""
        try:
            log.info("study of the sweep: %s", build(sweep_folder(config)))
        except Exception:
            log.exception("the sweep's summary could not be built")

    def settle(self, folder: Path) -> None:
        """Build what is owed."""
        try:
            if is_stale(folder):
                build(folder)
        except Exception:
            log.exception("the sweep's summary could not be built")


def sweep_folder(config: DictConfig) -> Path:
    """Return the folder of the sweep that a composed configuration belongs to."""
    return Path(config.hydra.runtime.cwd, config.hydra.sweep.dir)
