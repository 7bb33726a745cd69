"""A Hydra callback that keeps a sweep's summary up to date. An error in it never fails a job.

    hydra: {callbacks: {study: {_target_: dipddpm.study.callback.StudyCallback}}}

Hydra calls ``on_multirun_end`` only when no job failed. The process that started the sweep therefore also builds the
summary at its exit.
"""

from __future__ import annotations

import atexit
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dipddpm.errors import UserError
from dipddpm.runs.job import Job
from dipddpm.study.find import job_folders
from dipddpm.study.summary import build, claim_summary, is_due

log = logging.getLogger(__name__)


class StudyCallback(Callback):
    """Build the summary of a sweep after its jobs and at its end. In large sweeps not every job starts a build."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse the folder of a run that holds another program's files, before Hydra writes to it."""
        _refused(lambda: Job(Path(config.hydra.runtime.cwd, config.hydra.run.dir)).claim(1, ".hydra"))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse the folder of a sweep that holds another program's files; register a build for the exit.

        Hydra calls this only in the process that starts the sweep.
        """
        try:
            folder = sweep_folder(config)
        except OmegaConfBaseException:
            return  # Hydra says in one line that the folder's name has no value
        with suppress(OmegaConfBaseException):  # a folder name that only a job has, such as its number
            OmegaConf.select(config, "hydra.sweep.subdir")  # the cache, which every job gets, then knows the swept keys
        advice = "type hydra.sweep.dir=<another folder>"
        _refused(lambda: claim_summary(folder, advice, "multirun.yaml"))  # which Hydra writes
        from dipddpm.study import page  # noqa: F401  now, because Python cannot import pandas during its exit

        atexit.register(self.build, config)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Build if the last build is old enough and no other process builds."""
        with _logged():
            if config.hydra.mode == RunMode.MULTIRUN and is_due(sweep_folder(config)):
                build(sweep_folder(config), wait=0)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Build the summary, and log the path of its page."""
        atexit.unregister(self.build)
        if page := self.build(config):
            log.info("study of the sweep: %s", page)

    def build(self, config: DictConfig) -> Path | None:
        """Build a sweep's summary, and return the path of its page; None when it could not be built."""
        folder = sweep_folder(config)
        with _logged():
            if folder.is_dir() and any(job_folders(folder)):
                return build(folder)
        return None


@contextmanager
def _logged() -> Iterator[None]:
    """Log an exception of the block, and go on behind the block."""
    try:
        yield
    except (OSError, UserError) as error:
        log.warning("the sweep's summary could not be built: %s", error)
    except Exception:
        log.exception("the sweep's summary could not be built")


def _refused(claim: Callable[[], None]) -> None:
    """Call ``claim``; leave with exit code 2 and one line where it refuses. Hydra would go on after an exception."""
    try:
        claim()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except (OSError, OmegaConfBaseException) as error:  # a folder that cannot be written, or a name without a value
        log.debug("no record: %s", error)  # the job itself, or Hydra, says so in one line


def sweep_folder(config: DictConfig) -> Path:
    """Return the folder of the sweep that a composed configuration belongs to."""
    return Path(config.hydra.runtime.cwd, config.hydra.sweep.dir)
