"""The small commands that the kinds of trial share. Each is typed in the trial's own folder."""

from __future__ import annotations

SMALL = ["threads=1", "stopping=never", "image.size=16", "dip.channels=8"]
TO_ONE_FOLDER = ["store=fits", "hydra.run.dir=out"]
FIT = ["train_dip.py", *SMALL, "dip.layers=1", "dip.max_epochs=60", *TO_ONE_FOLDER]
EXTENDED = ["train_dip.py", *SMALL, "dip.layers=1", "dip.max_epochs=90", *TO_ONE_FOLDER]
WINDOW = ["sample.py", *SMALL, "dip.layers=1", "dip.max_epochs=60", "noise.sigma=5", "ddpm.start_t=6", *TO_ONE_FOLDER]
SWEEP = [
    *("sample.py", "-m", *SMALL, "dip.layers=1,2", "dip.max_epochs=30", "noise.sigma=5", "ddpm.start_t=3,4"),
    *("baselines=false", "store=fits", "hydra.sweep.dir=out"),
]  # four jobs, two fits
