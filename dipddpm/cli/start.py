"""From the command line to Hydra: check the arguments, then let Hydra compose the configuration and run the jobs."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable

import hydra
from omegaconf import DictConfig

from dipddpm.cli.check import check_arguments
from dipddpm.cli.launch import SIGNALLED, JobFailed, Objective, go_on
from dipddpm.config.folder import conf_folder
from dipddpm.surroundings import settle

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)  # no space, and no space for this user
FULL = "HYDRA_FULL_ERROR"  # the variable that makes Hydra print tracebacks


def start(job: Callable[[DictConfig], Objective], command: str) -> None:
    """Run the jobs of the command line, or leave with exit code 2 and one line.

    Args:
        job: Runs one job. Hydra names runs after its module (``hydra.job.name``), and launchers send it to other
            processes by the name of its module. Each command therefore has a module of its own.
        command: ``fit`` or ``sample``, the function that the jobs run.
    """
    settle()
    asked = os.environ.get(FULL) == "1"
    os.environ[FULL] = "1"  # Hydra then raises its errors; otherwise it prints many lines and exits with 1
    try:
        sys.argv[1:] = check_arguments(command)
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")(job)()
    except KeyboardInterrupt:  # outside a job, such as during the check of a sweep; a job says so itself
        if asked:
            raise
        print(SIGNALLED, file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        if asked:
            raise
        if isinstance(error, JobFailed):
            print(f"error: a job of the sweep failed: {error}", file=sys.stderr)
            sys.exit(1)
        line, code = _line(error)
        print(f"error: {line}", file=sys.stderr)
        sys.exit(code)


def _line(error: Exception) -> tuple[str, int]:
    """Return one line for an error of Hydra or its plugins outside the jobs, and the exit code."""
    if isinstance(error, OSError) and error.errno in FULL_DISK:
        return go_on(error), 1
    if isinstance(error, OSError) and error.filename:
        return (
            f"{error.filename} cannot be made or read ({error.strerror}): type hydra.run.dir=<folder>, or with -m "
            "hydra.sweep.dir=<folder>"
        ), 2
    text = next((line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()), "")
    return (
        f"Hydra cannot run this command ({type(error).__name__}: {text}): to see the traceback, type {FULL}=1 first"
    ), 2
