"""Draw pictures from pure noise with a prior: one grid by the whole chain, and one by 50 DDIM steps.

    python scripts/sample_prior.py --out outputs/prior/samples

Both start from the same noise. The whole chain takes 1000 evaluations for each picture: more than an hour for 64
pictures on one CPU core. `--only ddim` leaves it out. Each finished batch is kept in a folder beside the grid, named
after the weights and the seed. To continue a stopped command, type it again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from rich.progress import track

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository
from dipddpm import environment
from dipddpm.diffusion import folder as prior_folder
from dipddpm.diffusion import layout, prior
from dipddpm.pictures import read, write
from prior_training.cli import refusals
from prior_training.samples import draw, grid

DDIM_STEPS = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prior", nargs="?", help="diffusers folder; default: the prior in the package")
    parser.add_argument("--out", type=Path, default=Path("outputs/prior/samples"), help="folder of the grids")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("ddpm", "ddim"), help="draw only this grid")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    args = parser.parse_args()
    device = environment.choose_device(args.device)
    folder = prior_folder.resolve("faces64", args.prior, None, None)
    network = prior.load(folder, device=device)
    config = layout.scheduler_file(folder)
    schedule = DDPMScheduler.from_config(layout.read_json(config) if config else {"beta_schedule": "linear"})
    assert isinstance(schedule, DDPMScheduler)
    for name, steps in (("ddim", DDIM_STEPS), ("ddpm", None)):
        if args.only in (None, name):
            file = args.out / f"{name}_{steps or network.schedule.T}.png"
            of = file.with_suffix("") / f"{network.fingerprint}-{args.seed}"
            kept = [of / f"{i:03d}.png" for i in range(args.count)]
            missing = [i for i, sample in enumerate(kept) if not sample.exists()]
            for first in track(range(0, len(missing), args.batch_size), file.stem):
                batch = missing[first : first + args.batch_size]
                for i, sample in zip(batch, draw(network.unet, schedule, batch, steps, args.seed), strict=True):
                    write.save_picture(kept[i], sample)
            write.save_picture(file, grid(torch.cat([read.to_tensor(read.load(str(path)).pixels) for path in kept])))
            print(file)


if __name__ == "__main__":
    with refusals():
        main()
