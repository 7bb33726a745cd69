"""Where pixels are missing: DIP starts, a filled start and pure noise, before the same few evaluations.

    python bench/inpainting.py ../shared/data/faces256 --overrides hydra/launcher=joblib hydra.launcher.n_jobs=2

Every face is resized to the embedded prior's size and loses pixels: half of them anywhere, or a square of a quarter in
the middle. The windows are real sweeps of sample.py with experiment=inpaint into one folder: run again, it goes on with
what is missing, and each DIP is fitted once.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import fmean

from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `bench` run as files
from bench.starts import ROOT, figure
from dipddpm.jobs import QUALITIES
from dipddpm.study import Job, read_study
from scripts.paired import paired_difference

DIPS = ("cnn", "skip")
LEVELS = ("50", "100", "200", "400", "600", "800")
SHOWN = {key: QUALITIES[key] for key in ("psnr", "stlpips")}
PROBLEMS = {"half of the pixels, anywhere": "degrade.missing=0.5", "a square of a quarter": "degrade.mask="}


def run(faces: Sequence[Path], problems: Sequence[str], out: Path, more: Sequence[str]) -> None:
    """Run the windows from both DIPs and from the filled picture, and those from noise."""
    for degrade in problems:
        common = [f"image.path={','.join(map(str, faces))}", degrade, f"store={out / 'fits'}", *more,
                  "experiment=inpaint", f"hydra.sweep.dir={out / 'jobs'}"]  # fmt: skip
        levels = f"ddpm.start_t={','.join(LEVELS)}"
        noise = "ddpm.init=noise ddpm.start_t=1000 ddpm.steps=10,100"
        for window in (levels, f"{levels} dip=skip baselines=false", noise):
            command = [sys.executable, str(ROOT / "sample.py"), "-m", *common, *window.split()]
            subprocess.run(command, check=True)


def hole(faces: Sequence[Path], out: Path) -> str:
    """Write the mask of a square in the middle, half as wide as the pictures, and return its path."""
    with Image.open(faces[0]) as picture:
        width, height = picture.size
    mask = Image.new("L", (width, height), 255)
    box = (width // 4, height // 4, width - width // 4 - 1, height - height // 4 - 1)
    ImageDraw.Draw(mask).rectangle(box, fill=0)
    out.mkdir(parents=True, exist_ok=True)
    mask.save(out / "hole.png")
    return str(out / "hole.png")


def table(jobs: Sequence[Job], faces: Sequence[str], problems: Sequence[str]) -> list[str]:
    """Return the table's lines: a start each, with its PSNR on each problem, mean over the faces."""

    def found(degrade: str, dip: str = "cnn", **typed: str) -> list[Job]:
        key, value = degrade.split("=")
        wanted = {key: value, "dip": dip, **{f"ddpm.{k}": v for k, v in typed.items()}}
        overrides = [({"dip": "cnn", **j.overrides}, j) for j in jobs]
        of = {o["image.path"]: j for o, j in overrides if all(o.get(k) == v for k, v in wanted.items())}
        if lacking := [face for face in faces if face not in of]:
            raise SystemExit(f"error: no job of {lacking[0]} with {wanted}: run again, it goes on with what is missing")
        return [of[face] for face in faces]

    def quality(key: str, degrade: str, row: str, **typed: str) -> list[float]:
        return [figure(job, row, key) for job in found(degrade, **typed)]

    lines = []

    def add(label: str, nfe: int, row: str, **typed: str) -> None:
        means = (
            f"{fmean(quality(key, d, row, **typed)):.{digits}f}"
            for d, (key, (_, digits)) in product(problems, SHOWN.items())
        )
        lines.append(f"| {label} | {' | '.join(means)} | {nfe} |")

    add("filled, no network", 0, "noisy", start_t=LEVELS[0])
    for dip in DIPS:
        add(f"DIP ({dip}) alone", 0, "dip", dip=dip, start_t=LEVELS[0])
    for steps in ("10", "100"):
        add(f"noise, from 1000 in {steps} steps", int(steps), "result", init="noise", steps=steps)
    for level in LEVELS:
        add(f"filled, from {level} in 10 steps", 10, "noisy_window", start_t=level)
    for dip, level in product(DIPS, LEVELS):
        add(f"DIP ({dip}), from {level} in 10 steps", 10, "result", dip=dip, start_t=level)
    for dip, level in product(DIPS, LEVELS):
        gains = []
        for d, (key, (_, digits)) in product(problems, SHOWN.items()):
            of_dip = quality(key, d, "result", dip=dip, start_t=level)
            of_filled = quality(key, d, "noisy_window", start_t=level)
            gains.append(f"{paired_difference(of_dip, of_filled):+.{digits}f}")
        lines.append(f"| DIP ({dip}) minus filled, from {level} (95%) | {' | '.join(gains)} | |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, help="folder of PNG faces, all of one size")
    parser.add_argument("--names", nargs="+", help="of the faces to use, without .png (all)")
    parser.add_argument("--out", type=Path, default=Path("outputs/inpainting"), help="sweeps and fits")
    parser.add_argument("--only-table", action="store_true", help="run nothing")
    parser.add_argument("--overrides", nargs="*", default=[], help="more of them for every job, such as threads=1")
    args = parser.parse_args()
    faces = sorted(args.pictures.glob("*.png"))
    if args.names:
        faces = [args.pictures / f"{name}.png" for name in args.names]
    problems = [value + hole(faces, args.out) * value.endswith("=") for value in PROBLEMS.values()]
    if not args.only_table:
        run(faces, problems, args.out, args.overrides)
    jobs = [j for j in read_study(args.out / "jobs").jobs if j.status == "complete"]
    heads = [f"{problem}: {title}" for problem, (title, _) in product(PROBLEMS, SHOWN.values())]
    print(f"{len(faces)} faces\n\n| start | {' | '.join(heads)} | NFE |\n|---|{'---:|' * (len(heads) + 1)}")
    print("\n".join(table(jobs, [str(face) for face in faces], problems)))


if __name__ == "__main__":
    main()
