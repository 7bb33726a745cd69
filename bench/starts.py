r"""Compare the noise levels, inits and networks that start a window: means over several faces, with paired intervals.

    python bench/starts.py ../shared/data/faces256 \
        --names congress_B001287 congress_C001067 congress_D000197 congress_G000551

Every face is resized to the prior's size, and gets the default noise. Sweeps of sample.py run the windows. A second run
continues an unfinished one. Each network is fitted once for each face.
"""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `bench` run as files
from bench.faces import Finished, arguments, finished, parsed
from dipddpm.metrics.paired import paired_difference

ROOT = Path(__file__).parents[1]
HEAD = "| start | PSNR (dB) | above the DIP of 4 layers (95%) | SSIM | ST-LPIPS | NFE | with the fit |\n"
HEAD += "|---|---|---|---|---|---|---|"
QUICK = ["ddpm.scheduler=ddim", "ddpm.steps=10"]
SWEEPS = (
    ["ddpm.start_t=10,25,50,100", "dip.layers=4,6", "ddpm.scheduler=ddpm,ddim"],
    ["ddpm.start_t=25,50,100", "ddpm.init=raw,diffused,matched"],
    ["ddpm.start_t=10,25,50,100", "dip=skip", "ddpm.scheduler=ddpm,ddim"],
    ["ddpm.start_t=50,100", "dip=cnn,skip", *QUICK],
    ["ddpm.start_t=25,50", "dip=cnn,skip", "ddpm.scheduler=ddim", "ddpm.steps=1"],
)
DEFAULTS = {"dip": "cnn", "dip.layers": "4", "ddpm.scheduler": "ddpm", "ddpm.init": "scaled", "ddpm.steps": "null"}
PLAIN = "DIP of 4 layers"


def run(faces: Sequence[Path], out: Path, more: Sequence[str]) -> None:
    """Run the sweeps. The two starts without a DIP run once for each face and kind of window."""
    paths = "image.path=" + ",".join(map(str, faces))
    common = ["image=file", paths, f"hydra.sweep.dir={out / 'jobs'}", f"store={out / 'fits'}", *more]
    for sweep in [["ddpm.start_t=50"], ["ddpm.start_t=50", *QUICK], *([*s, "baselines=false"] for s in SWEEPS)]:
        subprocess.run([sys.executable, str(ROOT / "sample.py"), "-m", *common, *sweep], check=True)


def rows(jobs: Sequence[Finished]) -> list[str]:
    """Return the lines of the table, best first. Differences are to the DIP outputs of 4 layers for the same faces."""
    groups: dict[tuple[str, ...], dict[str, Finished]] = defaultdict(dict)
    base: dict[str, Finished] = {}
    quick: dict[str, Finished] = {}
    for job in jobs:
        of = {**DEFAULTS, **job.overrides}
        network = "skip DIP" if of["dip"] == "skip" else f"DIP of {of['dip.layers']} layers"
        name = (network, *(of[f"ddpm.{key}"] for key in ("start_t", "init", "scheduler", "steps")))
        groups[name][of["image.path"]] = job
        if network == PLAIN:
            base.setdefault(of["image.path"], job)
        if of.get("baselines", "true").lower() == "true":
            (quick if of["ddpm.steps"] == "10" else base)[of["image.path"]] = job
    faces = sorted(base)
    table: list[tuple[float, str]] = []

    def add(label: str, row: str, of: dict[str, Finished], fit: bool = True) -> None:
        psnr = [figure(of[f], row, "psnr") for f in faces]
        gain = paired_difference(psnr, [figure(base[f], "dip", "psnr") for f in faces])
        ssim, look, nfe = (fmean(figure(of[f], row, name) for f in faces) for name in ("ssim", "stlpips", "nfe"))
        cost = nfe + fit * fmean(figure(of[f], "cost", "fit_evaluations_worth") for f in faces)
        line = f"| {label} | {fmean(psnr):.2f} | {gain} | {ssim:.3f} | {look:.3f} | {nfe:.0f} | {cost:.0f} |"
        table.append((fmean(psnr), line))

    add("noisy picture", "noisy", base, fit=False)
    add("no DIP, one evaluation at the noise's level", "posterior_mean", base, fit=False)
    add("no DIP, ddpm over that window", "noisy_window", base, fit=False)
    add("no DIP, ddim over that window in 10 steps", "noisy_window", quick, fit=False)
    whole = {name: of for name, of in groups.items() if set(of) == set(faces)}
    for (network, start_t, init, scheduler, steps), of in whole.items():
        known = " (oracle error)" if init == "matched" else ""  # measured against the clean picture
        few = {"null": "", "1": " in one evaluation"}.get(steps, f" in {steps} steps")
        add(f"{network}, {init} at {start_t}{known}, {scheduler} to 0{few}", "result", of)
    for network, of in {name[0]: of for name, of in whole.items()}.items():
        add(f"{network} alone", "dip", of)
    return [line for _, line in sorted(table, reverse=True)]


def figure(job: Finished, row: str, key: str) -> float:
    value = job.figure(row, key)
    if value is None:
        way_out = "to run the job, type the same command without --only-table"
        if key == "stlpips":  # a done job is not run again
            way_out = 'type pip install -e ".[perceptual]", then the same command with another --out'
        raise SystemExit(f"error: {job.folder} has no {row}.{key}: {way_out}")
    return value


def main() -> None:
    parser = arguments(__doc__, "outputs/starts", named=True)
    args, faces = parsed(parser)
    if not args.only_table:
        run(faces, args.out, args.overrides)
    jobs = finished(parser, args.out)
    jobs = [j for j in jobs if j.overrides["image.path"] in map(str, faces)]  # the folder may hold jobs of other faces
    print(f"{len(faces)} faces\n\n{HEAD}")
    print("\n".join(rows(jobs)))


if __name__ == "__main__":
    main()
