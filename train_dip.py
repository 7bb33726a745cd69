"""Fit a Deep Image Prior to one noisy picture and keep it.

python train_dip.py image.path=me.png dip.layers=6
"""

import hydra
from omegaconf import DictConfig

from dipddpm import cli


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    cli.set_threads(cfg)
    from dipddpm import runs  # late: torch, diffusers and Lightning take seconds to import

    return cli.run_job(cfg, runs.fit)


if __name__ == "__main__":
    cli.check_arguments()
    main()
