"""`python -m bench`: known numbers, rows at tiny sizes, and rows that cannot be measured."""

import json
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch

from bench import __main__ as harness
from bench import command_rows, fit_rows, memory, prior_rows, report
from bench.pairs import CannotMeasure, Floor, Limit, Measured, Outcome, Pair, Quality, Row, Sample, Side, close, in_turn
from bench.pairs import measure as measured
from bench.setting import Setting
from dipddpm.dip.settings import DipSettings
from dipddpm.fits.wanted import Wanted

SMALL = ("dip.layers=1", "dip.channels=4", "dip.max_epochs=10", "stopping=never", "ddpm.start_t=12", "threads=1")
ROWS = {row.name: row for row in harness.ROWS}


@pytest.fixture
def tiny(tiny_prior):
    """A setting whose rows take a second."""
    return Setting(rounds=1, epochs=12, long_epochs=12, pictures=2, many=3, singles=2, chain=2, job=SMALL, levels=2,
                   starts=1, size=32, large=16, target=8.0, patience=60, prior=tiny_prior)  # fmt: skip


def side(name, values, order=None):
    """A side whose runs give these values in turn, and its newest value as output."""
    left = list(values)

    def run():
        if order is not None:
            order.append(name)
        value = left.pop(0)
        return Sample(value, value)

    return Side(name, run)


def row(pair: Any, kind: Any = "at most", limit=2.0):
    return Row("r", "ours", "theirs", Limit(kind, limit), "cpu", lambda setting: pair)


def test_the_sides_run_in_turn_each_first_in_every_other_round_and_the_first_run_of_each_does_not_count():
    order = []
    pair = Pair(side("a", [9, 1, 2, 3], order), side("b", [9, 5, 6, 7], order), close("output", 0))
    assert in_turn(pair, rounds=3, seconds=60).values == {"a": [1, 2, 3], "b": [5, 6, 7]}
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"


def test_no_round_begins_after_the_time_of_the_row():
    found = in_turn(Pair(side("a", [1, 2, 3]), side("b", [1, 2, 3]), close("x", 9)), rounds=2, seconds=0)
    assert isinstance(found, Measured) and found.values == {"a": [2], "b": [2]}


@pytest.mark.parametrize(
    ("kind", "ratios", "median", "limit", "reached"),
    [
        ("at most", [2.0, 0.5, 1.5], 1.5, 1.5, True),
        ("at most", [2.0, 0.5, 1.5], 1.5, 1.49, False),
        ("at least", [0.5, 2.0, 2 / 3], 2 / 3, 0.6, True),
        ("at least", [0.5, 2.0, 2 / 3], 2 / 3, 0.7, False),
    ],
)
def test_the_figure_of_a_row_is_the_median_of_the_rounds_ratios(kind, ratios, median, limit, reached):
    pair = Pair(side("a", [4.0, 1.0, 6.0]), side("b", [2.0, 2.0, 4.0]), close("x", 9), warm_up=False)
    outcome = measured(row(pair, kind, limit), None, rounds=3, seconds=60)
    assert outcome.ratios == pytest.approx(ratios)
    assert (outcome.ratio.median, outcome.ratio.least, outcome.ratio.largest) == pytest.approx(
        (median, min(ratios), max(ratios))
    )
    assert outcome.reached is reached


def test_a_row_whose_sides_differ_in_quality_is_not_reached():
    pair = Pair(side("a", [1.0]), side("b", [2.0]), close("dB", 0.5), warm_up=False)
    outcome = measured(row(pair), None, rounds=1, seconds=60)
    assert not outcome.reached and report.cells(outcome)[5] == "no: the quality differs"


def test_the_floor_is_the_operations_over_the_rate():
    outcome = Outcome(
        row(None), Limit("at most", 2), values={"a": [30.0], "b": [20.0]}, quality=Quality("q", 1.0, 1.0, True),
        unit="ms", floor=Floor(gflop=5.0, rate=500.0, scale=1000),
    )  # fmt: skip
    assert report.cells(outcome)[-1] == "10 ms (5 GFLOP); A takes 3.0 times that"


@pytest.mark.usefixtures("on_cpu")
def test_rows_run_through_the_harness_and_leave_a_table_and_json(tiny, tmp_path, capsys):
    names = ("demo", "plain", "skip", "evaluation", "gpu-job")
    output = tmp_path / "new" / "found"
    outcomes = harness.run([ROWS[name] for name in names], tiny, output, "python -m bench", float("inf"))
    told = json.loads(output.with_suffix(".json").read_text())
    rows = {one["name"]: one for one in told["rows"]}
    assert list(rows) == list(names) and set(told["machine"]) >= {"processor", "flags", "load before", "load after"}
    for name in ("plain", "skip", "evaluation"):
        assert rows[name]["quality"]["equal"] and all(v > 0 for values in rows[name]["values"].values() for v in values)
        assert rows[name]["floor"]["value"] > 0
    # The bare loop has the weights, z and steps of the fit.
    assert rows["plain"]["quality"]["a"] == pytest.approx(rows["plain"]["quality"]["b"], abs=1e-4)
    page = output.with_suffix(".md").read_text()
    table = [line for line in page.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 3 and {line.count("|") for line in table} == {len(report.COLUMNS) + 1}
    assert "git worktree add ../old 30a8b0f" in rows["demo"]["why_not"] and rows["demo"]["why_not"] in page
    if not torch.cuda.is_available():
        assert rows["gpu-job"]["why_not"] == "this machine has no GPU" and "`gpu-job`" in page
    assert "not measured" in capsys.readouterr().out and len(outcomes) == len(names)


def test_a_row_after_the_five_minutes_says_so_and_names_its_command(tiny, tmp_path):
    (over,) = harness.run([ROWS["plain"]], tiny, tmp_path / "x", "", 0.0)
    (long,) = harness.run([ROWS["quality"]], tiny, tmp_path / "x", "", 60.0)
    assert "type python -m bench --row plain" in over.why_not and "type python -m bench --row quality" in long.why_not


def test_fits_at_once_and_in_turn_have_the_same_quality(tiny):
    settings = DipSettings.of("skip", layers=2, channels=4, max_epochs=10, precision="fp32")
    wanted = [replace(one, settings=settings) for one in fit_rows.skip_fits(tiny, 3, "cpu")]
    assert all(isinstance(one, Wanted) for one in wanted)
    outcome = measured(row(fit_rows.many(tiny, wanted, "cpu", singles=2), "at least"), tiny, 1, 60)
    assert outcome.quality is not None and outcome.quality.equal and list(outcome.values) == ["3 at once", "in turn"]
    assert any("2 fits, their time counted for 3" in note for note in outcome.notes)


def test_the_time_to_quality_ends_where_both_outputs_are_good_or_says_that_one_is_not(tiny):
    small = replace(tiny, large=32)
    outcome = measured(row(fit_rows.time_to_quality(small, "cpu")), small, 1, 60)
    assert outcome.quality is not None and outcome.quality.equal
    assert min(float(outcome.quality.a), float(outcome.quality.b)) >= 8
    with pytest.raises(CannotMeasure, match="did not reach 99 dB in 20 epochs"):
        fit_rows._plain_loop(small.face(16), 99.0, 20, "cpu")


def test_a_whole_job_is_compared_with_the_whole_chain(tiny):
    outcome = measured(row(prior_rows.job_pair(tiny, prior_rows.FAST, "cpu")), tiny, 1, 60)
    assert outcome.quality is not None and outcome.quality.equal and outcome.floor is not None
    assert "job: skip, at most 10 epochs, window from 12" in outcome.notes


@pytest.mark.parametrize("what", ["job", "evaluation"])
def test_the_peak_memory_is_printed_without_the_imports(what, tiny_prior, monkeypatch, capsys):
    peaks = iter([1000.0, 1250.0])
    monkeypatch.setattr(memory, "peak", lambda device: next(peaks))
    monkeypatch.setattr(memory, "SHORT", (*memory.SHORT, *SMALL[:2]))
    monkeypatch.setattr(sys, "argv", ["memory", what, str(tiny_prior), "16", "cpu"])
    memory.main()
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"mib": 250.0, "ended": "well"}
    monkeypatch.undo()
    assert memory.peak("cpu") > 50, "MiB of this process"


def test_a_command_that_answers_at_once_is_compared_with_the_import_of_hydra(tiny):
    pair = replace(command_rows.answer(tiny, ["dip.lr=0"], 2), warm_up=False, others=())
    outcome = measured(row(pair, limit=6), tiny, 1, 60)
    assert outcome.quality == Quality("exit code; torch", "as expected, without torch", "as expected", True)
    assert not command_rows.answer(tiny, ["dip.lr=0"], 2).compare("{0}", "as expected").equal


def test_every_row_has_a_name_of_its_own_and_can_be_listed(capsys):
    assert len(ROWS) == len(harness.ROWS)
    harness.main(["--list"])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(ROWS)
    with pytest.raises(SystemExit):
        harness.main(["--row", "plian"])
    assert "invalid choice: 'plian'" in capsys.readouterr().err
