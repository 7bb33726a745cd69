r"""Compare starts from a DIP with starts from the noisy picture, for four kinds of noise.

    python bench/noises.py ../shared/data/faces256 --overrides threads=1 hydra/launcher=joblib hydra.launcher.n_jobs=2

Every face is resized to the prior's size, and gets noise of sigma 25 of each kind. A DDPM is trained on the first kind,
white Gaussian noise. Sweeps of sample.py run a window from each noise level, with a DIP (dip=skip) and without one
(checkpoint=none). A second run continues an unfinished one. The DIP is fitted once for each face and kind.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `bench` run as files
from bench.faces import Finished, arguments, finished, parsed
from bench.starts import ROOT, figure
from dipddpm.metrics.paired import paired_difference
from dipddpm.names import QUALITIES

KINDS = ("gaussian", "poisson", "correlated", "impulse")
LEVELS = ("25", "50", "75", "100", "150", "200")
STARTS = {"none": "no DIP", "stop": "DIP"}  # names of the values of checkpoint
SHOWN = {key: QUALITIES[key] for key in ("psnr", "stlpips")}


def run(faces: Sequence[Path], out: Path, more: Sequence[str]) -> None:
    """Run the window from y at the noise level of its noise, with baselines, and both starts at each level."""
    common = [f"image.path={','.join(map(str, faces))}", f"noise={','.join(KINDS)}", "dip=skip", "ddpm.steps=10",
              "ddpm.scheduler=ddim", f"store={out / 'fits'}", f"hydra.sweep.dir={out / 'jobs'}", *more]  # fmt: skip
    levels = [f"checkpoint={','.join(STARTS)}", f"ddpm.start_t={','.join(LEVELS)}", "baselines=false"]
    for window in (["checkpoint=none", "ddpm.start_t=auto"], levels):
        subprocess.run([sys.executable, str(ROOT / "sample.py"), "-m", *common, *window], check=True)


def table(jobs: Sequence[Finished], faces: Sequence[str]) -> list[str]:
    """Return the lines of the table: one for each start, with its mean quality over the faces by kind of noise."""
    keys = ("image.path", "noise", "checkpoint", "ddpm.start_t")
    found = {tuple(job.overrides.get(key) for key in keys): job for job in jobs}
    lines, columns = [], [(kind, key, digits) for kind, (key, (_, digits)) in product(KINDS, SHOWN.items())]

    def figures(row: str, key: str, kind: str, checkpoint: str, level: str) -> list[float]:
        wanted = [(face, kind, checkpoint, level) for face in faces]
        if lacking := [names for names in wanted if names not in found]:
            raise SystemExit(f"error: no job of {lacking[0]}: to run it, type the same command without --only-table")
        return [figure(found[names], row, key) for names in wanted]

    def add(label: str, nfe: int, row: str, checkpoint: str, level: str) -> None:
        means = (f"{fmean(figures(row, key, kind, checkpoint, level)):.{digits}f}" for kind, key, digits in columns)
        fits = (fmean(figures("cost", "fit_evaluations_worth", kind, checkpoint, level)) for kind in KINDS)
        lines.append(f"| {label} | {' | '.join(means)} | {nfe} | {nfe + fmean(fits):.0f} |")

    add("noisy picture", 0, "noisy", "none", "auto")
    add("DIP alone", 0, "dip", "stop", LEVELS[0])
    add("no DIP, one evaluation at the noise's level", 1, "posterior_mean", "none", "auto")
    add("no DIP, from the noise's level", 10, "result", "none", "auto")
    for (checkpoint, name), level in product(STARTS.items(), LEVELS):
        add(f"{name}, from {level}", 10, "result", checkpoint, level)
    for level in LEVELS:
        gains = []
        for kind, key, digits in columns:
            dip, none = (figures("result", key, kind, checkpoint, level) for checkpoint in ("stop", "none"))
            gains.append(f"{paired_difference(dip, none):+.{digits}f}")
        lines.append(f"| DIP minus no DIP, from {level} (95%) | {' | '.join(gains)} | | |")
    return lines


def main() -> None:
    parser = arguments(__doc__, "outputs/noises")
    args, faces = parsed(parser)
    if not args.only_table:
        run(faces, args.out, args.overrides)
    jobs = finished(parser, args.out)
    heads = [f"{kind}: {title}" for kind, (title, _) in product(KINDS, SHOWN.values())]
    print(
        f"{len(faces)} faces\n\n| start | {' | '.join(heads)} | NFE | with the fit |\n|---|{'---:|' * (len(heads) + 2)}"
    )
    names = [str(face) for face in faces]
    print("\n".join(table(jobs, names)))


if __name__ == "__main__":
    main()
