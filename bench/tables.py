"""Compare what a window can start from, over many faces: means, and 95% intervals of paired differences.

    python -m bench.tables                                 # all tables
    python -m bench.tables starts noises --count 20        # some of them, over fewer faces

A job restores all faces (image=folder) from one kind of start in one way. All jobs share one store, so each fit is made
once. The same command goes on after a stop, and ``--only-table`` prints what is done. The jobs run in one process.
Fits take all cores: do not set OMP_NUM_THREADS.

The faces are drawn from the validation faces of the prior, in the order of `bench/averages.py`. Settings were chosen on
the first 60 of them, and the tables report others. ``--also`` names further pictures, which get columns of their own.
Costly rows, of long fits and long windows, have ``--few`` faces: the first of the others.
A difference is between results of the same faces. ``--out`` also holds the figures, such as ``starts.csv``.
"""

from __future__ import annotations

import csv
import logging
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
from PIL import Image

from bench.averages import SIZE, faces
from bench.jobs import configured
from dipddpm.cli.launch import done_before
from dipddpm.metrics.paired import paired_difference
from dipddpm.names import QUALITIES, TABLE
from dipddpm.pictures import write
from dipddpm.runs import commands
from dipddpm.runs.job import Job

log = logging.getLogger(__name__)
DATA = Path(__file__).parents[2] / "shared/data"
COSTLY = {"skip_z", "skip_z_500", "cnn", "cnn6", "hundred", "each", "raw", "diffused"}  # starts, ways and inits
STARTS = {  # words for people, overrides; in the order in which jobs run
    "y": ("no DIP", "checkpoint=none"),
    "skip": ("skip DIP", "dip=skip"),
    "skip_300": ("skip DIP", "dip=skip dip.max_epochs=300"),  # without noise it gets no better after 200 epochs
    "skip_z": ("skip DIP, noise on z", "dip=skip dip.input_noise=0.33 dip.max_epochs=4000"),
    "noise": ("pure noise", "checkpoint=none ddpm.init=noise"),
    "skip_z_500": ("skip DIP, noise on z", "dip=skip dip.input_noise=0.33 dip.max_epochs=500"),
    "cnn": ("DIP of 4 layers", "dip=cnn"),
    "cnn6": ("DIP of 6 layers", "dip=cnn dip.layers=6"),
}
WAYS = {
    "ten": ("ddim in 10 steps", "ddpm.scheduler=ddim ddpm.steps=10"),
    "hundred": ("ddim in 100 steps", "ddpm.scheduler=ddim ddpm.steps=100"),
    "one": ("one evaluation", "ddpm.scheduler=ddim ddpm.steps=1"),
    "each": ("ddpm", "ddpm.scheduler=ddpm ddpm.steps=null"),
}


@dataclass(frozen=True)
class Row:
    """A row of a table: a key of `STARTS`, and a window from it. Without a level the row is about the start itself."""

    start: str
    level: str = ""
    way: str = "ten"  # a key of `WAYS`
    init: str = "scaled"

    @property
    def overrides(self) -> list[str]:
        init = [f"ddpm.init={self.init}"] * (self.init != "scaled")
        return [*STARTS[self.start][1].split(), f"ddpm.start_t={self.level}", *WAYS[self.way][1].split(), *init]

    def label(self, y: str, level: float) -> str:
        if not self.level:
            return y if self.start == "y" else f"{STARTS[self.start][0]} alone"
        init = "" if self.init == "scaled" else f" ({self.init})"
        return f"{STARTS[self.start][0]}, from {level:.0f}{init}, {WAYS[self.way][0]}"


def rows(start: str, levels: str) -> list[Row]:
    return [Row(start, level) for level in levels.split()]


@dataclass(frozen=True)
class Problem:
    """A table: its title, its overrides, y's name, its rows, and the pairs of rows that are compared below it."""

    title: str
    overrides: str
    y: str
    rows: Sequence[Row]
    pairs: Sequence[tuple[Row, Row]] = ()


def all_of(start: str, levels: str) -> list[Row]:
    return [Row(start), *rows(start, levels)]


INITS = ("raw", "diffused")
ORIGINAL = [Row(start, level, "each", "raw") for start, level in product(("cnn", "cnn6"), ("50", "100"))]
SETS = {
    "starts": [
        Problem("gaussian", "noise=gaussian", "noisy picture", [
            Row("y"), Row("y", "auto", "one"), *rows("y", "50 auto 100"), Row("y", "auto", "each"),
            *all_of("skip", "25 50 100"), Row("skip", "50", "one"), Row("skip", "25", "each"),
            *(Row("skip", "50", init=init) for init in INITS),
            *all_of("skip_z", "30"), *all_of("cnn", "50"), Row("cnn", "25", "each"), *all_of("cnn6", "50"),
            *ORIGINAL,
        ], [
            (ORIGINAL[1], ORIGINAL[0]), (ORIGINAL[3], ORIGINAL[2]), (Row("skip", "50"), Row("skip")),
            (Row("skip_z", "30"), Row("skip_z")), (Row("skip", "25"), Row("skip", "25", "each")),
            (Row("skip", "50"), Row("skip", "50", "one")),
            *((Row("skip", "50", init=init), Row("skip", "50")) for init in INITS),
            (Row("skip_z", "30"), Row("skip", "50")), (Row("skip"), Row("cnn")), (Row("skip", "50"), Row("cnn", "50")),
            (Row("cnn6"), Row("cnn")), (Row("cnn6", "50"), Row("cnn", "50")),
        ]),
    ],
    "noises": [
        Problem(kind, f"noise={kind}", "noisy picture",
                [Row("y"), Row("y", "auto", "one"), *rows("y", "auto 75 150"), *all_of("skip", "50 150")])
        for kind in ("gaussian", "poisson", "correlated", "impulse")
    ],
    "operators": [
        Problem(title, overrides, "completed picture",
                [Row("y"), Row("noise", "1000"), Row("noise", "1000", "hundred"), *rows("y", levels),
                 *all_of("skip_300", levels), *all_of("skip_z_500", levels), *all_of("cnn", levels)],
                [(Row("skip_300", t), Row("y", t)) for t in levels.split()])
        for title, levels, overrides in (
            ("half of the pixels missing", "200 600", "experiment=inpaint operator.missing=0.5"),
            ("a square of a quarter missing", "600 800", "experiment=inpaint operator.file={hole}"),
            ("4 times smaller", "400 600", "experiment=superres operator.factor=4"),
        )
    ],
}  # fmt: skip
Figures = dict[str, dict[str, str]]  # rows of a job's pictures.csv, by the names of the pictures


@dataclass(frozen=True)
class Bench:
    """The jobs of some pictures: their folder, and the number of pictures of all rows and of the costly ones."""

    out: Path
    count: int
    few: int

    def job(self, problem: Problem, row: Row) -> tuple[Path, list[str]]:
        """Return the folder and the overrides of a row's job. Starts themselves are in the jobs of their windows."""
        of = row if row.level else next(r for r in problem.rows if r.level and (r.start, r.way) == (row.start, row.way))
        count = self.few if {of.start, of.way, of.init} & COSTLY else self.count
        own = problem.overrides.format(hole=self.out / "hole.png").split()
        typed = [*own, *of.overrides, "image=folder", f"image.path={self.out}/faces-{count}", "baselines=false"]
        return self.out / f"jobs-{count}" / "-".join((*own, *of.overrides)).replace("/", "_"), typed

    def run(self, problem: Problem, row: Row, store: Path) -> None:
        """Run the job of a row, unless its folder is complete."""
        folder, typed = self.job(problem, row)
        c = configured([*typed, f"store={store}", "panel_every=100000"])
        if not done_before(folder, c, "sample"):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "metrics.json").unlink(missing_ok=True)
            commands.sample(c, Job(folder, overrides=tuple(typed)))

    def figures(self, problem: Problem, row: Row) -> Figures:
        """Return the pictures of a row's job; none where it is not done."""
        folder, _ = self.job(problem, row)
        if not (folder / "metrics.json").exists():
            return {}
        with (folder / TABLE).open(newline="") as file:
            return {Path(of["file"]).name: of for of in csv.DictReader(file) if not of["left_out"]}


def prepared(source: Path, first: int, count: int, few: int, out: Path) -> Bench:
    """Write the pictures, and the mask of a square hole."""
    found = faces(source, first + count)[first:]
    for folder, part in ((out / f"faces-{n}", found[:n]) for n in {len(found), min(few, len(found))}):
        for name, picture in part:
            file = folder / f"{Path(name).with_suffix('.png')}".replace("/", "_")
            if not file.exists():
                write.save_picture(file, picture)
    mask = Image.new("L", (SIZE, SIZE), 255)
    mask.paste(0, (SIZE // 4, SIZE // 4, SIZE - SIZE // 4, SIZE - SIZE // 4))
    mask.save(out / "hole.png")
    return Bench(out, len(found), min(few, len(found)))


def name_of(row: Row) -> str:
    """Return the start of the names of a row's columns in pictures.csv."""
    return "result" if row.level else "noisy" if row.start == "y" else "dip"


def values(figures: Figures, row: Row, key: str, names: Sequence[str]) -> list[float]:
    return [float(figures[name][f"{name_of(row)}_{key}"]) for name in names]


def means(figures: Figures, row: Row) -> dict[str, float]:
    """Return the mean figures of a row over its pictures. The cost of a start itself is that of its fit."""
    names = sorted(figures)
    first = figures[names[0]]
    found = {key: fmean(values(figures, row, key, names)) for key in QUALITIES if f"{name_of(row)}_{key}" in first}
    nfe, total = (
        fmean(float(figures[name][key]) for name in names) for key in ("result_nfe", "total_evaluations_worth")
    )
    level = fmean(float(figures[name]["start_t"]) for name in names)
    return found | {"faces": len(names), "level": level, "nfe": nfe if row.level else 0,
                    "evaluations_worth": total if row.level else total - nfe}  # fmt: skip


def difference(a: tuple[Row, Figures], b: tuple[Row, Figures], key: str = "psnr") -> str:
    """Return the mean difference of a and b over the pictures that both have, with half of its interval."""
    names = sorted(a[1].keys() & b[1].keys())
    if len(names) < 2:
        return ""
    of_a, of_b = (values(figures, row, key, names) for row, figures in (a, b))
    found = paired_difference(of_a, of_b)
    digits = QUALITIES[key][1]
    return f"{found.mean:+.{digits}f} ± {found.high - found.mean:.{digits}f}"


def table(problem: Problem, benches: Sequence[Bench]) -> Iterator[str]:
    """Yield the lines of a problem's table, in the order of its rows. The second set of pictures has two columns."""
    all_ = [{row: of for row in problem.rows if (of := bench.figures(problem, row))} for bench in benches]
    mean = {row: means(of, row) for row, of in all_[0].items()}
    without = [row for row in mean if row.start in ("y", "noise")]
    if not without:
        return
    best = max(without, key=lambda row: mean[row]["psnr"])
    shown = {key: title for key, (title, _) in QUALITIES.items() if key in mean[best]}
    more = [f"{bench.count} others: PSNR (dB) | against the same (95%)" for bench in benches[1:]]
    heads = [
        "start",
        "PSNR (dB)",
        "against the best without a DIP (95%)",
        *list(shown.values())[1:],
        "faces",
        "NFE",
        "with the fit",
        *more,
    ]
    yield f"\n{problem.title}\n\n| {' | '.join(heads)} |"
    yield "|---" + "|---:" * " | ".join(heads[1:]).count("|") + "|---:|"
    for row, of in mean.items():
        cells = [f"{of[key]:.{QUALITIES[key][1]}f}" for key in shown]
        cells[1:1] = ["" if row == best else difference((row, all_[0][row]), (best, all_[0][best]))]
        cells += [f"{of[key]:.0f}" for key in ("faces", "nfe", "evaluations_worth")]
        for others in all_[1:]:
            known = row in others and best in others
            cells += [f"{means(others[row], row)['psnr']:.2f}"] if row in others else [""]
            cells += [difference((row, others[row]), (best, others[best])) if known and row != best else ""]
        label = row.label(problem.y, of["level"])
        yield f"| {f'**{label}**' if row == best else label} | {' | '.join(cells)} |"
    for a, b in problem.pairs:
        if a in mean and b in mean:
            of_both = [difference((a, of[a]), (b, of[b])) if a in of and b in of else "" for of in all_]
            labels = (row.label(problem.y, mean[row]["level"]) for row in (a, b))
            yield f"{' minus '.join(labels)}: {'; others '.join(of_both)} dB"


def record(problem: Problem, bench: Bench) -> Iterator[dict[str, Any]]:
    """Yield the mean figures of each row of a problem, for a file."""
    for row in problem.rows:
        if of := bench.figures(problem, row):
            yield {"problem": problem.title, "start": row.start, "way": row.way if row.level else "",
                   "init": row.init if row.level else "", **means(of, row)}  # fmt: skip


def main() -> None:
    parser = ArgumentParser(
        prog="python -m bench.tables", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", default=list(SETS), help=f"{', '.join(SETS)} (all)")
    parser.add_argument("--faces", type=Path, default=DATA / "faces64-val.tar", help="tar or folder (../shared)")
    parser.add_argument("--first", type=int, default=60, help="faces to pass over: settings were chosen on them (60)")
    parser.add_argument("--count", type=int, default=100, help="faces to restore (100)")
    parser.add_argument("--few", type=int, default=50, help="faces of those for costly rows (50)")
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=list(STARTS), help="starts to run (all)")
    parser.add_argument("--also", type=Path, help="folder of further pictures, for columns of their own")
    parser.add_argument("--out", type=Path, default=Path("outputs/tables"), help="folder of jobs, fits and figures")
    parser.add_argument("--only-table", action="store_true", help="run nothing, print the tables of finished jobs")
    args = parser.parse_args()
    if unknown := set(args.sets) - set(SETS):
        parser.error(f"{unknown.pop()} is no set of tables: {', '.join(SETS)}")
    benches = [prepared(args.faces, args.first, args.count, args.few, args.out / "faces")]
    if args.also:
        benches.append(prepared(args.also, 0, args.count, args.few, args.out / "others"))
    if not args.only_table:
        run([problem for name in args.sets for problem in SETS[name]], benches, args.starts, args.out / "fits")
    for name in args.sets:
        found = [one for problem in SETS[name] for one in record(problem, benches[0])]
        pd.DataFrame(found).round(4).to_csv(args.out / f"{name}.csv", index=False)
        print("\n".join(line for problem in SETS[name] for line in table(problem, benches)))


def run(problems: Sequence[Problem], benches: Sequence[Bench], starts: Sequence[str], store: Path) -> None:
    """Run all jobs of some starts, those of the cheap starts first."""
    for bench, start, problem in product(benches, (start for start in STARTS if start in starts), problems):
        for row in problem.rows:
            if row.start == start and row.level:
                log.info("%s: %s", problem.title, " ".join(row.overrides))
                bench.run(problem, row, store)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    main()
