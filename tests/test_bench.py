"""The tables of the benches: each cell from the job that its row names, differences paired by picture."""

import csv

import numpy as np
import pandas as pd
import pytest

from bench import tables
from bench.figures import TABLE, quality_cost
from bench.jobs import configured
from bench.tables import SETS, Bench, Problem, Row

Y, DIP, ALONE, ONE = Row("y", "auto"), Row("cnn", "50"), Row("cnn"), Row("y", "auto", "one")


def leave(bench, problem, row, psnr):
    """Leave what the tables read of a job of image=folder: its row of each picture, a or b and so on."""
    folder, _ = bench.job(problem, row)
    folder.mkdir(parents=True)
    pictures = []
    for name, value in psnr.items():
        known = {"result_psnr": value, "dip_psnr": value - 2, "noisy_psnr": 20.0} if value else {}
        said = {"file": f"faces/{name}", "left_out": "" if value else "its fit failed", "start_t": 50}
        pictures.append({**said, **known, "result_nfe": 10, "total_evaluations_worth": 10 + 400 * (row == DIP)})
    with (folder / "pictures.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, [*dict.fromkeys(key for one in pictures for key in one)], restval="")
        table.writeheader()
        table.writerows(pictures)
    (folder / "metrics.json").write_text("{}")


def test_a_table_pairs_the_pictures_that_both_rows_have_with_the_best_start_that_needs_no_dip(tmp_path):
    problem = Problem("gaussian", "noise=gaussian", "noisy picture", [Row("y"), ONE, Y, ALONE, DIP], [(DIP, ALONE)])
    bench = Bench(tmp_path, count=4, few=3)
    leave(bench, problem, ONE, {"a": 29, "b": 31, "c": 33, "d": 40})
    leave(bench, problem, Y, {"a": 28, "b": 30, "c": 32, "d": 39})
    leave(bench, problem, DIP, {"a": 27, "b": 28, "c": None})
    _, _, *lines = tables.table(problem, [bench])
    assert lines == [
        "| noisy picture | 20.00 | -13.25 ± 7.62 | 4 | 0 | 0 |",
        "| **no DIP, from 50, one evaluation** | 33.25 |  | 4 | 10 | 10 |",
        "| no DIP, from 50, ddim in 10 steps | 32.25 | -1.00 ± 0.00 | 4 | 10 | 10 |",
        "| DIP of 4 layers alone | 25.50 | -4.50 ± 6.35 | 2 | 0 | 400 |",
        "| DIP of 4 layers, from 50, ddim in 10 steps | 27.50 | -2.50 ± 6.35 | 2 | 10 | 410 |",
        "DIP of 4 layers, from 50, ddim in 10 steps minus DIP of 4 layers alone: +2.00 ± 0.00 dB",
    ]
    (noisy, *_), figures = tables.record(problem, bench), [of["psnr"] for of in tables.record(problem, bench)]
    assert figures == [20, 33.25, 32.25, 25.5, 27.5] and noisy["way"] == ""


def test_a_row_without_a_job_is_left_out_and_so_is_a_table_without_any(tmp_path):
    problem, bench = Problem("gaussian", "", "y", [Y, DIP]), Bench(tmp_path, count=2, few=2)
    assert not list(tables.table(problem, [bench]))
    leave(bench, problem, Y, {"a": 30, "b": 31})
    assert len(list(tables.table(problem, [bench]))) == 3


def test_a_job_runs_once_with_all_its_pictures_and_again_after_a_change(tmp_path, tiny_prior, monkeypatch):
    small = f"prior.path={tiny_prior} image.size=16 dip.layers=1 dip.channels=8 dip.max_epochs=10 stopping=never"
    problem, bench = Problem("small", small, "y", [Y, Row("skip", "20")]), Bench(tmp_path, count=2, few=2)
    monkeypatch.setattr(
        tables, "faces", lambda source, count: [(f"x/{i}.webp", np.zeros((16, 16, 3)) + i / 4) for i in range(count)]
    )
    assert tables.prepared(tmp_path, 1, 2, 2, tmp_path) == bench
    assert sorted(path.name for path in (tmp_path / "faces-2").iterdir()) == ["x_1.png", "x_2.png"]
    ran = []
    sample = tables.commands.sample
    monkeypatch.setattr(tables.commands, "sample", lambda c, job: ran.append(c) or sample(c, job))
    for _ in range(2):
        tables.run([problem], [bench], ["y"], tmp_path / "fits")
    assert len(ran) == 1 and set(bench.figures(problem, Y)) == {"x_1.png", "x_2.png"}
    (bench.job(problem, Y)[0] / "pictures.csv").unlink()
    tables.run([problem], [bench], ["y"], tmp_path / "fits")
    assert len(ran) == 2


def test_every_kind_of_row_is_a_job_that_can_be_typed_and_has_a_folder_of_its_own(tmp_path):
    bench, tried = Bench(tmp_path, count=100, few=50), set()
    for problem in (problem for problems in SETS.values() for problem in problems):
        for row in problem.rows:
            for one in {("problem", problem.title), (row.start, row.way, row.init)} - tried:
                tried.add(one)
                configured(bench.job(problem, row)[1])
        windows = [row for row in problem.rows if row.level]
        assert len({bench.job(problem, row)[0] for row in windows}) == len(windows)
        assert {row for pair in problem.pairs for row in pair} <= set(problem.rows)


def test_the_stored_table_is_drawn_and_bears_the_title_of_its_chart():
    table = pd.read_csv(TABLE)
    drawn = table[table["way"].isin(["ten", "each"]) & (table["init"] == "scaled") & (table["start"] != "cnn6")]
    direct = table[table["start"] == "y"].sort_values("psnr").iloc[-1]
    others = table[(table["start"] != "y") & (table["nfe"] > 0)]
    (ax,) = quality_cost(table).axes
    assert "without a DIP are better and cheaper" in ax.get_title()
    assert direct["psnr"] > others["psnr"].max() and direct["evaluations_worth"] < others["evaluations_worth"].min()
    shown = {float(x) for line in ax.lines for x in np.asarray(line.get_xdata())}
    assert shown >= set(drawn["evaluations_worth"]) and pytest.approx(direct["evaluations_worth"]) == min(shown)
