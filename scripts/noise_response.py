"""Print how far a prior's noise estimate follows the strength of the noise, level by level.

    python scripts/noise_response.py [<diffusers folder>] [--limit 30]

The noise of a state is made 10% stronger and 10% weaker than its level says; the slope of the estimate along that
noise is the response. Where little of the picture is left, an exact prior has 1. One whose last normalisation
divides the strength away has nearly 0: it finds the same amount of noise in everything, and what it leaves at
level T grows with each deterministic step (`scripts/pass_scale.py`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `scripts` run as files
from dipddpm.diffusion import prior
from scripts import eval_prior
from scripts.one_evaluation import LEVELS, estimate_once, noisy_states
from scripts.refusals import refusals

CHANGE = 0.1


def response(unet: torch.nn.Module, alphas_cumprod: torch.Tensor, pictures: torch.Tensor, level: int) -> float:
    """Return the slope of the estimate along the noise against the strength of the noise.

    Args:
        unet: diffusers UNet2DModel that predicts epsilon.
        alphas_cumprod: shape (T,), the scheduler's.
        pictures: uint8, shape (N, 3, H, W).
        level: In 1..T.
    """
    ab = alphas_cumprod[level - 1]
    _, eps, x_t = noisy_states(pictures, ab, level)
    found = []
    for change in (CHANGE, -CHANGE):
        estimate = estimate_once(unet, x_t + change * (1 - ab).sqrt() * eps, level)
        found.append(float((estimate * eps).sum() / eps.square().sum()))
    return (found[0] - found[1]) / (2 * CHANGE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prior", nargs="?", help="diffusers folder; default: the prior in the package")
    parser.add_argument("--data", type=Path, default=eval_prior.PICTURES, help="tar of held-out faces")
    parser.add_argument("--limit", type=int, default=30, help="held-out faces to use, evenly spread over the file")
    args = parser.parse_args()
    network = prior.load(prior.resolve("faces64", args.prior, None, None))
    pictures = eval_prior.read(args.data, args.limit)
    print("| level | response |\n|---:|---:|")
    for level in (*LEVELS, network.schedule.T):
        print(f"| {level} | {response(network.unet, network.schedule.alphas_cumprod, pictures, level):.3f} |")


if __name__ == "__main__":
    with refusals():
        main()
