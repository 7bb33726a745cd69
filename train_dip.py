"""Fit a Deep Image Prior to one noisy picture and keep it.

python train_dip.py image.path=me.png dip.layers=6
"""

import sys
from typing import Any

import hydra
from omegaconf import DictConfig

from dipddpm.cli import check as cli
from dipddpm.cli import launch


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> Any:
    return launch.run_job(cfg, "fit")


if __name__ == "__main__":
    cli.check_arguments("fit")
    sys.argv[1:] = launch.distinct_fits_first(sys.argv[1:])
    main()
