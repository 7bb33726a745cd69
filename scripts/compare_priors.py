"""Compare two priors end to end: the same DIP fits of held-out pictures, then a window of each prior.

    python scripts/compare_priors.py OLD NEW --count 60 --out outputs/priors ddpm.start_t=50

OLD and NEW are diffusers folders with one picture size. To continue a stopped comparison, type the same command.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository
from dipddpm.diffusion import layout
from dipddpm.files import write_json
from dipddpm.metrics.paired import Difference
from dipddpm.names import QUALITIES
from prior_training import compare, pictures
from prior_training.cli import refusals
from scripts.eval_prior import PICTURES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="diffusers folder")
    parser.add_argument("new", type=Path, help="diffusers folder")
    parser.add_argument("overrides", nargs="*", help="overrides for sample.py, such as dip.max_epochs=1000")
    parser.add_argument(
        "--count", type=int, default=30, help="number of pictures, evenly spread over the names; 2 or more"
    )
    parser.add_argument("--pictures", type=Path, default=PICTURES, help="folder or tar of held-out pictures")
    parser.add_argument("--out", type=Path, default=Path("outputs/priors"), help="folder of pictures, fits and runs")
    args = parser.parse_intermixed_args()
    if args.count < 2:
        parser.error(f"--count={args.count} is not allowed: 2 or more, for an interval")
    found = pictures.read(args.pictures, layout.sample_size(args.old), count=args.count)
    files = compare.write_pictures(found, args.out / "pictures")
    old, new = compare.restore(files, (args.old, args.new), args.out, args.overrides)
    summary = compare.summarise(old, new)
    write_json(args.out / "comparison.json", {"overrides": args.overrides, **summary})
    print(f"means over {summary['count']} pictures, and new minus old with its 95% interval")
    for key, (title, digits) in QUALITIES.items():
        if of := summary.get(key):
            dip, before, after = (f"{of[name]:.{digits}f}" for name in ("dip", "old", "new"))
            gain = Difference(**of["new_minus_old"])
            print(f"{title}: DIP {dip}, old {before}, new {after}: {gain:+.{digits}f}")


if __name__ == "__main__":
    with refusals():
        main()
