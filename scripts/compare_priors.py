"""Compare two priors end to end: the same DIP fits of held-out faces, then a window of each prior.

    python scripts/compare_priors.py OLD NEW --count 60 --out outputs/priors ddpm.start_t=50

OLD and NEW are diffusers folders. The prior does not enter a fit, so each face is fitted once. Run again,
it goes on: what was run with the same settings and weights is read from its metrics.json.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `scripts` run as files
from dipddpm import files
from dipddpm.cli.explain import explained
from dipddpm.config import compose as config
from dipddpm.diffusion import folder as prior_folder
from dipddpm.errors import UserError
from dipddpm.files import is_kept_file
from dipddpm.names import QUALITIES
from dipddpm.pictures import write
from dipddpm.runs.job import Job
from scripts.paired import Difference, paired_difference
from scripts.refusals import refusals

ROOT = Path(__file__).parents[1]
PICTURES = Path("../shared/data/faces64-val.tar")


def extract(pictures: Path, count: int, folder: Path) -> list[Path]:
    """Write ``count`` faces of a tar, evenly spread over its names, as PNG files; return them."""
    from scripts.faces import read_faces

    chosen = read_faces(pictures, count)
    tar = files.sha256(pictures)[:8]
    paths = [folder / f"{i:03d}-of-{count}-{tar}.png" for i in range(len(chosen))]
    for path, pixels in zip(paths, chosen, strict=True):
        if not path.exists():
            write.save(path, pixels / 255)
    return paths


def restore(face: Path, prior: Path, folder: Path, store: Path, overrides: list[str]) -> dict[str, Any]:
    """Return metrics.json of ``sample`` for one face and one prior, run only where it has not been.

    Args:
        face: Picture file.
        prior: diffusers folder.
        folder: The run's own.
        store: Of the fits.
        overrides: More, as for sample.py.
    """
    settings = ["baselines=false", *overrides, f"prior.path={prior}", f"store={store}"]
    if done := _done(folder / "metrics.json", settings, prior):
        return done
    from hydra import compose, initialize_config_dir

    from dipddpm.runs import commands as runs

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"), explained(overrides):
        cfg = config.typed(compose("config", overrides=[*settings, f"image.path={face}"]))
    if cfg.checkpoint == "none" or is_kept_file(cfg.checkpoint):
        raise UserError(f"checkpoint={cfg.checkpoint} starts from no fit of the face: type a start that does")
    with redirect_stdout(io.StringIO()):  # the table of one run; its numbers are in metrics.json
        runs.sample(cfg, Job(folder, overrides=tuple(settings)))
    return json.loads((folder / "metrics.json").read_text())


def summarise(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> dict[str, Any]:
    """Return, by quality, the means of DIP output and both results and the paired difference new - old, JSON types.

    ST-LPIPS is left out where not every run has it.
    """
    keys = [[m["fit"]["key"] for m in runs] for runs in (old, new)]
    assert keys[0] == keys[1], "the two priors started from different fits"
    found: dict[str, Any] = {"count": len(old)}
    for key in (key for key in QUALITIES if all(key in m["result"] for m in (*old, *new))):
        before, after = ([m["result"][key] for m in runs] for runs in (old, new))
        found[key] = {"dip": fmean(m["dip"][key] for m in old), "old": fmean(before), "new": fmean(after),
                      "new_minus_old": vars(paired_difference(after, before))}  # fmt: skip
    return found


def _done(file: Path, settings: list[str], prior: Path) -> dict[str, Any] | None:
    if not file.exists():
        return None
    metrics = json.loads(file.read_text())
    # A prior that is trained further keeps its folder: only its weights tell.
    fingerprint = files.sha256(prior_folder.weights_file(prior))[:16]
    same = metrics["overrides"] == settings and metrics["prior"]["fingerprint"] == fingerprint
    return metrics if same else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="diffusers folder")
    parser.add_argument("new", type=Path, help="diffusers folder")
    parser.add_argument("overrides", nargs="*", help="as for sample.py, such as dip.max_epochs=1000")
    parser.add_argument("--count", type=int, default=30, help="faces, evenly spread over the file; at least 2")
    parser.add_argument("--pictures", type=Path, default=PICTURES, help="tar of held-out faces")
    parser.add_argument("--out", type=Path, default=Path("outputs/priors"), help="folder of faces, fits and runs")
    args = parser.parse_intermixed_args()
    if args.count < 2:
        parser.error(f"--count={args.count}: an interval needs at least 2")
    config.register()
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), console=Console(stderr=True),
    )  # fmt: skip
    results: dict[str, list[dict[str, Any]]] = {"old": [], "new": []}
    faces = extract(args.pictures, args.count, args.out / "faces")
    with bar:
        for face in bar.track(faces, description="faces"):
            for name, prior in (("old", args.old), ("new", args.new)):
                folder = args.out / name / face.stem
                results[name].append(restore(face, prior, folder, args.out / "fits", args.overrides))
    summary = summarise(results["old"], results["new"])
    files.write_json(args.out / "comparison.json", {"overrides": args.overrides, **summary})
    print(f"{summary['count']} faces; means, and new minus old with its 95% interval")
    for key, (title, digits) in QUALITIES.items():
        if of := summary.get(key):
            dip, old, new = (f"{of[name]:.{digits}f}" for name in ("dip", "old", "new"))
            gain = Difference(**of["new_minus_old"])
            print(f"{title}: DIP {dip}, old {old}, new {new}: {gain:+.{digits}f}")


if __name__ == "__main__":
    with refusals():
        main()
