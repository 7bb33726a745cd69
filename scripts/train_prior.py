"""Train the 64x64 face prior that the package ships.

    python scripts/train_prior.py data=../shared/data pictures=150000

Epsilon prediction, linear schedule 1e-4 to 0.02, T = 1000 (Ho et al., https://arxiv.org/abs/2006.11239),
so that the prior behaves like google/ddpm-celebahq-256. Run again, it goes on from its last checkpoint;
with a larger ``pictures`` it goes on further. The averaged weights are written as a diffusers folder at
each checkpoint.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import hydra

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `scripts` run as files
from scripts.refusals import refusals
from scripts.train_prior_config import TrainPriorConfig, check_arguments, typed


def train(cfg: TrainPriorConfig) -> None:
    """Train until ``cfg.pictures`` have been seen; resume when ``cfg.out`` holds a checkpoint.

    Of several processes the first alone writes.
    """
    import torch
    from rich.progress import Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from scripts.data_parallel import rank
    from scripts.faces import read_faces
    from scripts.training import Training
    from scripts.training_report import Report

    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    out, first = Path(cfg.out), rank() == 0
    out.mkdir(parents=True, exist_ok=True)
    training = Training(cfg, "cuda" if torch.cuda.is_available() else "cpu")
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        training.load(checkpoint)
    faces = read_faces(Path(cfg.data) / "faces64-train.tar").to(training.device)
    report = None
    if first:
        report = Report(out, read_faces(Path(cfg.data) / "faces64-val.tar", cfg.eval_pictures), training)
        if training.seen:
            done = "" if training.seen < cfg.pictures else f": done; type pictures=<more than {training.seen}> to go on"
            print(f"going on from {checkpoint}, {training.seen} pictures seen{done}")
        size = sum(p.numel() for p in training.unet.parameters())
        print(f"{size:,} parameters, on {training.device} in {'bf16' if training.bf16 else 'fp32'}")

    columns = (TextColumn("{task.description}"), *Progress.get_default_columns()[1:3])
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), disable=not first) as progress:
        bar = progress.add_task("training", total=cfg.pictures, completed=training.seen)
        while training.seen < cfg.pictures:
            due = time.monotonic() + 60 * cfg.checkpoint_minutes
            with training.clock():
                while True:
                    index_t, errors = training.step(faces)
                    progress.update(bar, completed=training.seen)
                    if report:
                        report.step(training, index_t, errors)
                    if training.seen >= cfg.pictures or (report and time.monotonic() > due):
                        break
            if report:
                report.checkpoint(training)
                training.save(checkpoint)  # last: killed before it, the training goes on from the one before
    if report:
        report.writer.close()


@hydra.main(version_base="1.3", config_path="../conf", config_name="train_prior")
def main(cfg: Any) -> None:
    from scripts.data_parallel import spawn

    with refusals():
        c = typed(cfg)
        spawn(c.processes, train, c)


if __name__ == "__main__":
    with refusals():
        check_arguments(sys.argv[1:])
    main()
