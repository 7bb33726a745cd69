"""Train a small DDPM on your own pictures. The result is a diffusers folder that ``prior.path=`` takes.

python train_prior.py data=<folder of pictures, or a tar of pictures> size=32 out=outputs/prior/mine
python sample.py prior.path=outputs/prior/mine image.path=me.png
"""

import sys

import hydra
from omegaconf import DictConfig

from prior_training import cli, settings


@hydra.main(version_base="1.3", config_path="conf", config_name="train_prior")
def main(cfg: DictConfig) -> None:
    from prior_training import run  # imports torch, which takes seconds

    with cli.refusals():
        try:
            run.train(settings.typed(cfg))
        except KeyboardInterrupt:
            sys.exit("stopped: to continue from the last checkpoint, type the same command")


if __name__ == "__main__":
    with cli.refusals():
        cli.check_arguments(sys.argv[1:])
    main()
