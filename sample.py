"""Start the DDPM from a Deep Image Prior: find the fit (or make it), then run the window.

python sample.py dip.layers=6 ddpm.start_t=50
"""

import hydra
from omegaconf import DictConfig

from dipddpm import cli


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    cli.set_threads(cfg)
    from dipddpm import runs  # late: torch, diffusers and Lightning take seconds to import

    return cli.run_job(cfg, runs.sample)


if __name__ == "__main__":
    cli.check_arguments()
    main()
