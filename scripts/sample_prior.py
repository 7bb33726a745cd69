"""Draw unconditional samples from a prior: the whole chain, and few DDIM steps, a grid of each.

    python scripts/sample_prior.py --out outputs/prior/samples

Both start from the same noise. The whole chain is 1000 evaluations a picture, which on one CPU core is
more than an hour for 64 pictures; `--only ddim` leaves it out. Each batch is kept when it is done, in a folder
beside the grid that is named after the weights and the seed: run again, it goes on.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `scripts` run as files
from dipddpm import environment, seeds
from dipddpm.diffusion import prior
from dipddpm.diffusion.inits import initial_state
from dipddpm.diffusion.prior import Prior
from dipddpm.diffusion.sampler import sample_window
from dipddpm.diffusion.schedule import to_picture
from dipddpm.diffusion.window import Window
from dipddpm.pictures import images
from scripts.refusals import refusals

DDIM_STEPS = 50


def draw_samples(
    network: Prior,
    indices: Sequence[int],
    scheduler: str,
    steps: int | None = None,
    *,
    seed: int = 0,
    batch_size: int = 16,
    watch: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, torch.Tensor]]:
    """Run windows from noise at level T down to 0.

    Args:
        network: The prior.
        indices: Of the samples; each has a generator of its own, whatever the batch.
        scheduler: ``ddpm`` or ``ddim``.
        steps: Evaluations, None for one a level.
        seed: Of the noise.
        batch_size: Samples an evaluation.
        watch: Called with the evaluations done, counted over all samples.

    Yields:
        Each index and its sample, shape (3, H, W), in [0, 1], when its batch is done.
    """
    T, size, device = network.schedule.T, network.sample_size, network.unet.device
    levels = Window(T, steps=steps).levels
    for first in range(0, len(indices), batch_size):
        batch = indices[first : first + batch_size]
        generators = [seeds.generator(seed, "unconditional", i) for i in batch]
        shape = torch.empty(len(batch), 3, size, size, device=device)
        x = initial_state("noise", shape, network.schedule.alpha_bar(T), generators)
        snapshots = sample_window(network, x, levels, generators, scheduler=scheduler)
        before = 0
        for snapshot in snapshots:
            x = snapshot.x_t
            if watch:
                watch((snapshot.nfe - before) * len(batch))
            before = snapshot.nfe
        yield from zip(batch, to_picture(x).clamp(0, 1).cpu(), strict=True)


def grid(pictures: torch.Tensor) -> torch.Tensor:
    """Lay (N, 3, H, W) pictures out in rows, as square as N allows; black where there are none."""
    n, c, h, w = pictures.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    padded = torch.cat([pictures, pictures.new_zeros(rows * columns - n, c, h, w)])
    return padded.view(rows, columns, c, h, w).permute(2, 0, 3, 1, 4).reshape(c, rows * h, columns * w)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prior", nargs="?", help="diffusers folder; default: the prior in the package")
    parser.add_argument("--out", type=Path, default=Path("outputs/prior/samples"), help="folder of the grids")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("ddpm", "ddim"), help="only one of the two")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16 pays where it is built in")
    args = parser.parse_args()
    folder = prior.resolve("faces64", args.prior, None, None)
    network = prior.load(folder, device=environment.choose_device(args.device), precision=args.precision)
    bar = Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    for scheduler, steps in (("ddim", min(DDIM_STEPS, network.schedule.T)), ("ddpm", None)):
        if args.only not in (None, scheduler):
            continue
        evaluations = steps or network.schedule.T
        file = args.out / f"{scheduler}_{evaluations}.png"
        of = file.with_suffix("") / f"{network.fingerprint}-{args.precision}-{args.seed}"
        kept = [of / f"{i:03d}.png" for i in range(args.count)]
        missing = [i for i, sample in enumerate(kept) if not sample.exists()]
        with bar:
            done = (args.count - len(missing)) * evaluations
            task = bar.add_task(file.stem, total=args.count * evaluations, completed=done)
            samples = draw_samples(
                network,
                missing,
                scheduler,
                steps,
                seed=args.seed,
                batch_size=args.batch_size,
                watch=lambda n, task=task: bar.advance(task, n),
            )
            for i, sample in samples:
                images.save(kept[i], sample)
        pictures = [images.to_tensor(images.load(str(sample)).pixels) for sample in kept]
        images.save(file, grid(torch.cat(pictures)))
        print(file)


if __name__ == "__main__":
    with refusals():
        main()
