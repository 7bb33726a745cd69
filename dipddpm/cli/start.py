"""From the command line to Hydra: check the arguments, then let Hydra compose the configuration and run the jobs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from omegaconf import DictConfig

from dipddpm.cli.check import check_arguments
from dipddpm.cli.launch import Objective, distinct_fits_first
from dipddpm.config import hydra_private
from dipddpm.config.folder import conf_folder


def start(job: Callable[[DictConfig], Objective], command: str) -> None:
    """Run the jobs of the command line, or leave with exit code 2 and one line.

    Args:
        job: Runs one job. Hydra names runs after its module (``hydra.job.name``), and launchers send it to other
            processes by the name of its module. Each command therefore has a module of its own.
        command: ``fit`` or ``sample``, the function that the jobs run.
    """
    check_arguments(command)
    sys.argv[1:] = distinct_fits_first(sys.argv[1:])
    given = hydra_private.parse_arguments(None)[0].config_path
    if given:  # Hydra would look beside the module of `job`
        sys.argv += ["--config-path", str(Path(given).absolute())]
    hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")(job)()
