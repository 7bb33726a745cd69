"""Run a campaign; print a line for each trial that failed, and one line of counts. Exit code 1 if a trial failed."""

import argparse
import importlib
import random
import sys
import tempfile
from pathlib import Path

from campaign.children import warm
from campaign.desk import Desk, counts

KINDS = ("kills", "damage", "bad_input", "concurrency", "disk", "security")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m campaign", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="kind", help=f"{', '.join(KINDS)}; all without one")
    parser.add_argument("--seed", type=int, default=1, help="of all draws (1)")
    parser.add_argument("--times", type=float, default=1.0, help="how many times the usual number of trials (1)")
    parser.add_argument("--keep", action="store_true", help="keep the folders of failed trials")
    args = parser.parse_args()
    if unknown := set(args.kinds) - set(KINDS):
        parser.error(f"{', '.join(sorted(unknown))} is no kind: type {', '.join(KINDS)}")
    kinds = {kind: importlib.import_module(f"campaign.{kind}") for kind in args.kinds or KINDS}
    warm()
    work = Path(tempfile.mkdtemp(prefix="dipddpm-campaign-"))
    desks = []
    for kind, module in kinds.items():
        desk = Desk(kind, work / kind, random.Random(f"{kind} {args.seed}"), args.times, args.keep)
        desks.append(desk)
        module.run(desk)
        desk.clear()
    if any(work.iterdir()):
        print(f"the folders of failed trials are in {work}")
    else:
        work.rmdir()
    print(f"campaign, seed {args.seed}: {'; '.join(map(counts, desks))}")
    return int(any(desk.failed for desk in desks))


if __name__ == "__main__":
    sys.exit(main())
