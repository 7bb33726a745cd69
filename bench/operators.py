r"""Compare starts from a DIP, from the completed y and from pure noise, where y holds only a part of the picture.

    python bench/operators.py ../shared/data/faces256 --problems half square \
        --overrides hydra/launcher=joblib hydra.launcher.n_jobs=2

Every face is resized to the prior's size. It then loses half of its pixels at random places, or a square of a quarter
of its pixels in the middle, or becomes 4 times smaller. "Completed" is y filled or upscaled without a network. Sweeps
of sample.py run the windows, with experiment=inpaint or superres. A second run continues an unfinished one. Each DIP is
fitted once.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import fmean

from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `bench` run as files
from bench.faces import Finished, arguments, finished, parsed
from bench.starts import ROOT, figure
from dipddpm.metrics.paired import paired_difference
from dipddpm.names import QUALITIES

DIPS = ("cnn", "skip")
LEVELS = ("50", "100", "200", "400", "600", "800")
SHOWN = {key: QUALITIES[key] for key in ("psnr", "stlpips")}
PROBLEMS = {  # by the value of --problems: words for people, experiment, override of the operator
    "half": ("half of the pixels missing", "inpaint", "operator.missing=0.5"),
    "square": ("a square of a quarter missing", "inpaint", "operator.file="),
    "smaller": ("4 times smaller", "superres", "operator.factor=4"),
}


def run(faces: Sequence[Path], experiment: str, operator: str, out: Path, more: Sequence[str]) -> None:
    """Run the windows from both DIPs, from the completed picture, and from pure noise."""
    common = [f"image.path={','.join(map(str, faces))}", f"experiment={experiment}", operator, f"store={out / 'fits'}",
              f"hydra.sweep.dir={out / 'jobs'}", *more]  # fmt: skip
    levels = f"ddpm.start_t={','.join(LEVELS)}"
    noise = "ddpm.init=noise ddpm.start_t=1000 ddpm.steps=10,100"
    for window in (levels, f"{levels} dip=skip baselines=false", noise):
        subprocess.run([sys.executable, str(ROOT / "sample.py"), "-m", *common, *window.split()], check=True)


def hole(faces: Sequence[Path], out: Path) -> str:
    """Write a mask with a square hole in the middle, half as wide as the pictures, and return its path."""
    with Image.open(faces[0]) as picture:
        width, height = picture.size
    mask = Image.new("L", (width, height), 255)
    box = (width // 4, height // 4, width - width // 4 - 1, height - height // 4 - 1)
    ImageDraw.Draw(mask).rectangle(box, fill=0)
    out.mkdir(parents=True, exist_ok=True)
    mask.save(out / "hole.png")
    return str(out / "hole.png")


def table(jobs: Sequence[Finished], faces: Sequence[str], problems: Sequence[str]) -> list[str]:
    """Return the lines of the table: one for each start, with its mean quality over the faces for each problem."""

    def found(operator: str, dip: str = "cnn", **typed: str) -> list[Finished]:
        key, value = operator.split("=")
        wanted: dict[str, str | None] = {key: value, "dip": dip, **{f"ddpm.{k}": v for k, v in typed.items()}}
        if key == "operator.missing":  # the configuration of a job with a drawn mask keeps its group's share
            wanted["operator.file"] = None
        overrides = [({"dip": "cnn", **j.overrides}, j) for j in jobs]
        of = {o["image.path"]: j for o, j in overrides if all(o.get(k) == v for k, v in wanted.items())}
        if lacking := [face for face in faces if face not in of]:
            raise SystemExit(
                f"error: no job of {lacking[0]} with {wanted}: to run it, type the same command without --only-table"
            )
        return [of[face] for face in faces]

    def quality(key: str, operator: str, row: str, **typed: str) -> list[float]:
        return [figure(job, row, key) for job in found(operator, **typed)]

    lines = []
    cells = [(d, key, digits) for d, (key, (_, digits)) in product(problems, SHOWN.items())]

    def add(label: str, nfe: int, row: str, **typed: str) -> None:
        means = (f"{fmean(quality(key, d, row, **typed)):.{digits}f}" for d, key, digits in cells)
        lines.append(f"| {label} | {' | '.join(means)} | {nfe} |")

    add("completed, no network", 0, "noisy", start_t=LEVELS[0])
    for dip in DIPS:
        add(f"DIP ({dip}) alone", 0, "dip", dip=dip, start_t=LEVELS[0])
    for steps in ("10", "100"):
        add(f"noise, from 1000 in {steps} steps", int(steps), "result", init="noise", steps=steps)
    for level in LEVELS:
        add(f"completed, from {level} in 10 steps", 10, "noisy_window", start_t=level)
    for dip, level in product(DIPS, LEVELS):
        add(f"DIP ({dip}), from {level} in 10 steps", 10, "result", dip=dip, start_t=level)
    for dip, level in product(DIPS, LEVELS):
        gains = []
        for d, key, digits in cells:
            of_dip = quality(key, d, "result", dip=dip, start_t=level)
            completed = quality(key, d, "noisy_window", start_t=level)
            gains.append(f"{paired_difference(of_dip, completed):+.{digits}f}")
        lines.append(f"| DIP ({dip}) minus completed, from {level} (95%) | {' | '.join(gains)} | |")
    return lines


def main() -> None:
    parser = arguments(__doc__, "outputs/operators")
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS), help="problems to run (all)")
    args, faces = parsed(parser)
    chosen = [PROBLEMS[name] for name in args.problems]
    operators = [d + hole(faces, args.out) * d.endswith("=") for _, _, d in chosen]
    if not args.only_table:
        for (_, experiment, _), operator in zip(chosen, operators, strict=True):
            run(faces, experiment, operator, args.out, args.overrides)
    jobs = finished(parser, args.out)
    heads = [f"{words}: {title}" for (words, _, _), (title, _) in product(chosen, SHOWN.values())]
    print(f"{len(faces)} faces\n\n| start | {' | '.join(heads)} | NFE |\n|---|{'---:|' * (len(heads) + 1)}")
    print("\n".join(table(jobs, [str(face) for face in faces], operators)))


if __name__ == "__main__":
    main()
