"""Pictures a second that the training of the prior sees, by batch and precision, with and without `torch.compile`.

    python bench/training_step.py --batch-sizes 16 24
    python bench/training_step.py --batch-sizes 256 512 --precisions bf16 --compiled no yes    # on a GPU

Steps of `scripts/train_prior.py` on random pictures, with the network and optimiser of conf/train_prior.yaml, in one
process. "launched" is the part of a step after which the program could go on: where it is the whole step on a GPU, the
machine's own processor is the limit, not the GPU. "first" is what the first step took, compiling included.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `scripts`
from scripts.train_prior_config import DEFAULTS, TrainPriorConfig
from scripts.training import Training


def measure(overrides: list[str], steps: int, device: str) -> tuple[float, float, float]:
    """Return the seconds of the first step, and the medians of a step and of launching it, after two to warm up."""
    torch._dynamo.reset()  # of an earlier batch size, for which it would compile a network for any size
    with initialize_config_dir(str(DEFAULTS.parent), version_base="1.3"):
        composed = compose("train_prior", overrides)
    cfg: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(TrainPriorConfig), composed))
    training = Training(cfg, device)
    pictures = torch.randint(256, (1024, 3, 64, 64), dtype=torch.uint8, device=device)
    wholes, launches = [], []
    for _ in range(3 + steps):
        started = time.perf_counter()
        training.step(pictures)
        launches.append(time.perf_counter() - started)
        if device == "cuda":
            torch.cuda.synchronize()
        wholes.append(time.perf_counter() - started)
    return wholes[0], statistics.median(wholes[3:]), statistics.median(launches[3:])


def main() -> None:
    """Measure each combination and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[24])
    parser.add_argument("--precisions", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--compiled", nargs="+", choices=("no", "yes"), default=["no"])
    parser.add_argument("--steps", type=int, default=10)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    where = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    table = Table(title=f"steps of training on {device} ({where})")
    for column in ("batch", "precision", "compiled", "first (s)", "step (ms)", "launched (ms)", "pictures a second"):
        table.add_column(column, justify="right")
    cases = list(product(args.batch_sizes, args.precisions, args.compiled))
    for size, precision, compiled in track(cases, "measuring", transient=True):
        overrides = [f"batch_size={size}", f"precision={precision}", f"compile={compiled == 'yes'}"]
        first, step, launch = measure(overrides, args.steps, device)
        milliseconds = (f"{1000 * seconds:.0f}" for seconds in (step, launch))
        table.add_row(str(size), precision, compiled, f"{first:.1f}", *milliseconds, f"{size / step:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
