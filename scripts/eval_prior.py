"""Judge a prior on held-out faces: error of the noise estimate and PSNR of one evaluation, by level.

    python scripts/eval_prior.py outputs/prior/faces64 ../shared/data/faces64-val.tar

At level t a clean picture x0 becomes x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps; one evaluation
estimates eps, hence the posterior mean of x0 (Ho et al., https://arxiv.org/abs/2006.11239, eq. 15).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `scripts` run as files
from scripts.faces import read_faces

LEVELS = (5, 20, 50, 100, 200, 300, 500, 700, 900)


@torch.no_grad()
def errors_by_level(
    unet: torch.nn.Module,
    alphas_cumprod: torch.Tensor,
    pictures: torch.Tensor,
    levels: tuple[int, ...] = LEVELS,
    batch_size: int = 50,
) -> list[tuple[int, float, float]]:
    """Measure one evaluation of the network at each level.

    Args:
        unet: diffusers UNet2DModel that predicts epsilon.
        alphas_cumprod: shape (T,), the scheduler's.
        pictures: uint8, shape (N, 3, H, W).
        levels: Levels in 1..T; the network receives level - 1.
        batch_size: Pictures an evaluation.

    Returns:
        One (level, mean squared error of epsilon, PSNR in dB of the clipped clean estimate averaged
        over the pictures) a level. The noise is the same in every call.
    """
    rows = []
    for level in levels:
        generator = torch.Generator().manual_seed(level)
        ab = alphas_cumprod[level - 1]
        mse, psnr = [], []
        for chunk in pictures.split(batch_size):
            x0 = chunk.float() / 127.5 - 1
            eps = torch.randn(x0.shape, generator=generator)
            x_t = ab.sqrt() * x0 + (1 - ab).sqrt() * eps
            device = next(unet.parameters()).device
            estimate = unet(x_t.to(device), level - 1).sample.float().cpu()
            x0_hat = ((x_t - (1 - ab).sqrt() * estimate) / ab.sqrt()).clamp(-1, 1)
            mse.append((estimate - eps).square().flatten(1).mean(1))
            psnr.append(-10 * torch.log10(((x0_hat - x0) / 2).square().flatten(1).mean(1)))
        rows.append((level, float(torch.cat(mse).mean()), float(torch.cat(psnr).mean())))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prior", help="diffusers folder")
    parser.add_argument("pictures", help="tar of held-out faces")
    parser.add_argument("--limit", type=int, help="only the first so many pictures")
    args = parser.parse_args()
    from diffusers import DDPMPipeline

    pipeline = DDPMPipeline.from_pretrained(args.prior, torch_dtype=torch.float32)
    pictures = read_faces(args.pictures, args.limit)
    rows = errors_by_level(pipeline.unet, pipeline.scheduler.alphas_cumprod, pictures)
    print(f"{len(pictures)} pictures\n\n| level | epsilon error | PSNR (dB) |\n|---|---|---|")
    for level, mse, psnr in rows:
        print(f"| {level} | {mse:.4f} | {psnr:.2f} |")


if __name__ == "__main__":
    main()
