r"""Starts from a DIP and from the noisy picture itself, where the noise is the DDPM's own and where it is not.

    python bench/noises.py ../shared/data/faces256 --overrides threads=1 hydra/launcher=joblib hydra.launcher.n_jobs=2

Every face is resized to the embedded prior's size and given noise of sigma 25 of each kind. The windows are real
sweeps of sample.py into one folder, from the DIP (dip=skip) and without one (checkpoint=none), at each level with and
without the noise that the level has more: run again, it goes on with what is missing, and the DIP is fitted once a
face and kind.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `bench` run as files
from bench.starts import ROOT, figure
from dipddpm.jobs import QUALITIES
from dipddpm.study import Job, read_study
from scripts.paired import paired_difference

KINDS = ("gaussian", "poisson", "correlated", "impulse")
LEVELS = ("25", "50", "100", "200", "300")
SHOWN = {key: QUALITIES[key] for key in ("psnr", "stlpips")}
STARTS = {"DIP": ("stop", ("scaled", "diffused")), "no DIP": ("none", ("scaled", "matched"))}  # checkpoint, inits
Cell = dict[str, Job]  # by the path of the face


def run(faces: Sequence[Path], out: Path, more: Sequence[str]) -> None:
    """Run the windows from the DIP, those from y, and once a face and kind the starts of every run."""
    common = [
        f"image.path={','.join(map(str, faces))}",
        f"degrade={','.join(KINDS)}",
        "dip=skip",
        "ddpm.scheduler=ddim",
        "ddpm.steps=10",
        f"store={out / 'fits'}",
        f"hydra.sweep.dir={out / 'jobs'}",
        *more,
    ]
    for checkpoint, inits in STARTS.values():
        window = [f"checkpoint={checkpoint}", f"ddpm.init={','.join(inits)}", f"ddpm.start_t={','.join(LEVELS)}"]
        subprocess.run([sys.executable, str(ROOT / "sample.py"), "-m", *common, *window], check=True)


def cells(jobs: Sequence[Job], faces: Sequence[str]) -> dict[tuple[str, ...], Cell]:
    """Return the jobs by (kind, checkpoint, init, level), then by face; a cell that lacks a face is refused."""
    found: dict[tuple[str, ...], Cell] = {}
    for job in jobs:
        of = job.overrides
        key = (of["degrade"], of["checkpoint"], of["ddpm.init"], of["ddpm.start_t"])
        found.setdefault(key, {})[of["image.path"]] = job
    for kind, (checkpoint, inits), level in product(KINDS, STARTS.values(), LEVELS):
        for init in inits:
            key = (kind, checkpoint, init, level)
            if lacking := set(faces) - found.get(key, {}).keys():
                raise SystemExit(
                    f"error: no job of {min(lacking)} with {key}: run again, it goes on with what is missing"
                )
    return found


def table(found: dict[tuple[str, ...], Cell], faces: Sequence[str]) -> list[str]:
    """Return the table's lines: a start each, with its quality on each kind of noise, mean over the faces."""

    def quality(key: str, row: str, kind: str, checkpoint: str, init: str, level: str) -> list[float]:
        return [figure(found[kind, checkpoint, init, level][face], row, key) for face in faces]

    lines, columns = [], [(kind, key, digits) for kind, (key, (_, digits)) in product(KINDS, SHOWN.items())]

    def add(label: str, nfe: int, row: str, *of: str) -> None:
        means = (f"{fmean(quality(key, row, kind, *of)):.{digits}f}" for kind, key, digits in columns)
        lines.append(f"| {label} | {' | '.join(means)} | {nfe} |")

    add("noisy picture", 0, "noisy", "stop", "scaled", LEVELS[0])
    add("no DIP, one evaluation at the noise's level", 1, "posterior_mean", "stop", "scaled", LEVELS[0])
    add("DIP alone", 0, "dip", "stop", "scaled", LEVELS[0])
    for name, (checkpoint, inits) in reversed(STARTS.items()):
        for init, level in product(inits, LEVELS):
            add(f"{name}, {init} at {level}", 10, "result", checkpoint, init, level)
    for key, (title, digits) in SHOWN.items():
        best = max if key == "psnr" else min
        gains = []
        for kind in KINDS:
            dip, none = (
                best(
                    (quality(key, "result", kind, checkpoint, init, level) for init in inits for level in LEVELS),
                    key=fmean,
                )
                for checkpoint, inits in STARTS.values()
            )
            gains.append(f"{paired_difference(dip, none):+.{digits}f}")
        apart = [" | ".join((gain, "") if key == "psnr" else ("", gain)) for gain in gains]
        lines.append(f"| best DIP start minus best without, {title} (95%) | {' | '.join(apart)} | |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, help="folder of PNG faces")
    parser.add_argument("--names", nargs="+", help="of the faces to use, without .png (all)")
    parser.add_argument("--out", type=Path, default=Path("outputs/noises"), help="sweeps and fits (outputs/noises)")
    parser.add_argument("--only-table", action="store_true", help="run nothing")
    parser.add_argument("--overrides", nargs="*", default=[], help="more of them for every job, such as threads=1")
    args = parser.parse_args()
    faces = sorted(args.pictures.glob("*.png"))
    if args.names:
        faces = [args.pictures / f"{name}.png" for name in args.names]
    if not args.only_table:
        run(faces, args.out, args.overrides)
    jobs = [j for j in read_study(args.out / "jobs").jobs if j.status == "complete"]
    heads = [f"{kind}: {title}" for kind, (title, _) in product(KINDS, SHOWN.values())]
    print(f"{len(faces)} faces\n\n| start | {' | '.join(heads)} | NFE |\n|---|{'---:|' * (len(heads) + 1)}")
    names = [str(face) for face in faces]
    print("\n".join(table(cells(jobs, names), names)))


if __name__ == "__main__":
    main()
