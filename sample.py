"""Start the DDPM from a Deep Image Prior: find the fit (or make it), then run the window.

python sample.py dip.layers=6 ddpm.start_t=50
"""

import sys
from typing import Any

import hydra
from omegaconf import DictConfig

from dipddpm.cli import check as cli
from dipddpm.cli import launch


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> Any:
    return launch.run_job(cfg, "sample")


if __name__ == "__main__":
    cli.check_arguments("sample")
    sys.argv[1:] = launch.distinct_fits_first(sys.argv[1:])
    main()
