"""The command ``dipddpm-sample``, in a clone ``python sample.py``."""

from __future__ import annotations

from omegaconf import DictConfig

from dipddpm.cli.launch import Objective, run_job
from dipddpm.cli.start import start


def job(cfg: DictConfig) -> Objective:
    """Run one job; return the figures that ``objective`` names."""
    return run_job(cfg, "sample")


def main() -> None:
    """Run the command line."""
    start(job, "sample")


if __name__ == "__main__":  # python -m; launchers then still know the job by the name of its module
    from dipddpm.cli import sample

    sample.main()
