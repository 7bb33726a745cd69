"""Write a randomly initialised DDPM with the architecture of google/ddpm-celebahq-256.

    python scripts/random_prior.py outputs/prior/random256
    python sample.py experiment=celebahq256 prior.path=outputs/prior/random256

The network cannot denoise, but has the cost of the real one: 113,673,219 parameters, 256x256 pictures, 455 MB. With it
the 256x256 setting can be tried and timed without the Hub. `--tiny` writes the same blocks with few channels, for 64x64
pictures.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.pipelines.ddpm.pipeline_ddpm import DDPMPipeline
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

ARCHITECTURE: dict[str, Any] = {
    "sample_size": 256,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": (128, 128, 256, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": (
        *("DownBlock2D", "DownBlock2D", "DownBlock2D", "DownBlock2D"),
        *("AttnDownBlock2D", "DownBlock2D"),
    ),
    "up_block_types": (
        *("UpBlock2D", "AttnUpBlock2D"),
        *("UpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"),
    ),
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "mid_block_scale_factor": 1,
    "norm_num_groups": 32,
    "norm_eps": 1e-6,
    "act_fn": "silu",
    "attention_head_dim": None,
}
TINY = {"sample_size": 64, "block_out_channels": (8, 8, 16, 16, 32, 32), "norm_num_groups": 8}


def write_prior(folder: Path, *, tiny: bool = False, seed: int = 0) -> UNet2DModel:
    """Write a random network and its scheduler as a DDPMPipeline folder; return the network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DModel(**(ARCHITECTURE | TINY if tiny else ARCHITECTURE))
    scheduler = DDPMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    DDPMPipeline(unet, scheduler).save_pretrained(folder)
    return unet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder to write; must not hold a prior yet")
    parser.add_argument("--tiny", action="store_true", help="few channels, 64x64 pictures")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights")
    args = parser.parse_args()
    if (args.folder / "model_index.json").exists():
        parser.error(f"{args.folder} holds a prior already: type another folder")
    unet = write_prior(args.folder, tiny=args.tiny, seed=args.seed)
    print(f"{args.folder}: {unet.num_parameters():,} random parameters")


if __name__ == "__main__":
    main()
