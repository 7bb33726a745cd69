"""A sweep read as one table: its jobs, its figures, its cost, its maps, its DataFrame."""

import itertools
import random
import re
import sys

import pytest
from study_jobs import by_override, fit_metrics, job, metrics, mixed_sweep, table

from dipddpm.names import STOPPED
from dipddpm.study import build, read_frame, read_study, sheet
from dipddpm.study.cost import cost, duration
from dipddpm.study.front import baselines, measured, pareto_front
from dipddpm.study.heat import MOST_MAPS, MOST_VALUES, heat_map, heat_maps
from dipddpm.study.order import label, natural, short_names
from dipddpm.study.plots import caption, quality_against_cost
from dipddpm.study.table import rows
from dipddpm.study.words import against_no_dip


def grid(folder, **swept):
    """Write a complete job for each point of a grid; its PSNR tells the values."""
    for i, values in enumerate(itertools.product(*swept.values())):
        overrides = [f"{key.replace('__', '.')}={value}" for key, value in zip(swept, values, strict=True)]
        job(folder, [*overrides, "threads=1"], metrics(20.0 + i, nfe=10 * (i + 1), fit=f"fit{i // 2}"))
    return folder


@pytest.fixture
def mixed(tmp_path):
    return mixed_sweep(tmp_path / "sweep")


# reading


def test_a_study_is_its_jobs_with_their_status_and_what_was_swept(mixed):
    study = read_study(mixed)
    assert study.counts == {"complete": 3, "failed": 1, "unfinished": 2}
    assert study.swept == ("dip.layers", "dip.lr")
    assert study.constant == {"seed": "1"}
    assert [(j.overrides["dip.layers"], j.status) for j in study.jobs] == [
        ("4", "complete"), ("4", "complete"), ("10", "failed"), ("10", "unfinished"), ("12", "unfinished"),
        ("14", "complete"),
    ]  # fmt: skip
    assert study.jobs[2].error == "the fit diverged: try a smaller dip.lr"
    assert study.jobs[0].figure("result", "psnr") == 25.5
    assert study.jobs[0].figure("result", "nfe") == 50
    assert study.jobs[0].figure("result", "nothing") is None
    assert study.jobs[4].metrics == {}


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"result": 3}', "\x00\x01", "[" * 100_000])
def test_an_invalid_metrics_file_is_none(text, tmp_path):
    job(tmp_path, ["a=1"], text)
    (found,) = read_study(tmp_path).jobs
    assert (found.status, found.metrics) == ("unfinished", {})
    (found.folder / "error.txt").write_text("why\n")
    assert [(j.status, j.error) for j in read_study(tmp_path).jobs] == [("failed", "why")]
    build(tmp_path)


@pytest.mark.parametrize("value", ["25", True, None, [1], {"a": 1}, float("nan"), float("inf")])
def test_what_is_no_finite_number_is_no_figure(value, tmp_path):
    job(tmp_path, ["a=1"], metrics() | {"result": {"psnr": value, "nfe": 5}})
    assert read_study(tmp_path).jobs[0].figure("result", "psnr") is None
    build(tmp_path)
    assert table(tmp_path)[0]["result_psnr"] == ""


def test_a_complete_job_stays_complete_when_a_later_attempt_failed(tmp_path):
    job(tmp_path, ["a=1"], metrics(), error="out of memory")
    (found,) = read_study(tmp_path).jobs
    assert (found.status, found.error) == ("complete", "out of memory")
    build(tmp_path)
    assert table(tmp_path)[0]["error"] == "out of memory"


def test_a_job_that_was_stopped_has_not_failed(tmp_path):
    job(tmp_path, ["a=1"], error=f"{STOPPED}\n")
    job(tmp_path, ["a=2"], error="out of memory")
    build(tmp_path)
    assert [(row["status"], row["error"]) for row in table(tmp_path)] == [
        ("unfinished", STOPPED),
        ("failed", "out of memory"),
    ]
    assert STOPPED not in (tmp_path / "index.html").read_text().split("<h2>Quality")[0], "not among those that failed"


def test_a_key_that_only_some_jobs_set_was_swept_and_unread_overrides_say_nothing(tmp_path):
    job(tmp_path, ["a=1", "b=2"], metrics())
    job(tmp_path, ["+a=1"], metrics())
    broken = job(tmp_path, ["a=1"], name="broken")
    for text in ("", "{", "- [", "a: 1"):
        (broken / ".hydra" / "overrides.yaml").write_text(text)
        study = read_study(tmp_path)
        assert study.swept == ("b",)
        assert study.constant == {"a": "1"}
        assert study.counts["unfinished"] == 1
    job(tmp_path, [], metrics(), name="defaults")
    assert read_study(tmp_path).swept == ("a", "b")


def test_how_a_job_ran_is_swept_only_where_nothing_else_tells_jobs_apart(tmp_path):
    for i, where in enumerate(["threads=1", "threads=2", "device=cuda"]):
        job(tmp_path / "elsewhere", [f"image.path={i}.png", where], metrics())
        job(tmp_path / "measured", ["dip.layers=4", where], metrics(), name=str(i))
    study = read_study(tmp_path / "elsewhere")
    assert study.swept == ("image.path",) and study.constant == {}
    assert read_study(tmp_path / "measured").swept == ("device", "threads")


def test_a_window_from_noise_is_not_charged_with_the_fit_beside_it(tmp_path):
    alone = metrics(nfe=1000)
    alone["cost"] |= {"fit_seconds": 0.0, "fit_gflop": 0.0, "total_evaluations_worth": 1000}
    job(tmp_path, ["ddpm.init=noise"], alone)
    job(tmp_path, ["ddpm.init=scaled"], metrics(fit_seconds=8.0))
    job(tmp_path, ["fit=only"], fit_metrics(fit_seconds=8.0))
    study = read_study(tmp_path)
    told = {row["ddpm.init"]: (row["fit_seconds"], row["fit_gflop"]) for row in rows(study.jobs, study.swept)}
    assert told == {"noise": (0, 0), "scaled": (8, 800), None: (8, 800)}


def test_overrides_come_from_the_metrics_where_hydras_file_is_gone(tmp_path):
    folder = job(tmp_path, ["a=1"], metrics(overrides=["a=1", "b=[1,2]"]))
    (folder / ".hydra" / "overrides.yaml").unlink()
    assert read_study(tmp_path).jobs[0].overrides == {"a": "1", "b": "[1,2]"}


def test_natural_order_is_by_number_then_word_and_total():
    values = ["auto", "50", "1e-3", "100", "0.01", "-2", "nan", "layers=10", "layers=4", "x0.1", "x0.02", "1.0", "1"]
    expected = ["-2", "1e-3", "0.01", "1", "1.0", "50", "100", "auto", "layers=4", "layers=10", "nan", "x0.02", "x0.1"]
    for seed in range(5):
        random.Random(seed).shuffle(values)
        assert sorted(values, key=natural) == expected
    natural("9" * 5000)


def test_short_names_are_the_last_words_where_they_tell_keys_apart():
    assert short_names(["dip.layers", "dip.precision", "ddpm.precision", "seed"]) == {
        "dip.layers": "layers", "dip.precision": "dip.precision", "ddpm.precision": "ddpm.precision", "seed": "seed",
    }  # fmt: skip
    assert label({"a.b": "1", "c": "2", "d": "3"}, ["a.b", "c"]) == "b=1, c=2"


# the table


def test_every_figure_has_its_column_and_what_is_not_known_is_empty(mixed):
    build(mixed)
    row = by_override(mixed, dip__layers="4", dip__lr="0.01")
    expected = {
        "status": "complete", "noisy_psnr": "20.0", "noisy_ssim": "0.2", "dip_psnr": "23.5", "dip_ssim": "0.235",
        "result_psnr": "25.5", "result_ssim": "0.255", "posterior_mean_psnr": "26.0", "posterior_mean_ssim": "0.26",
        "noisy_window_psnr": "26.5", "noisy_window_ssim": "0.265", "nfe": "50", "fit_seconds": "8.0",
        "window_seconds": "5.0", "total_evaluations_worth": "130.0", "fit_key": "aa", "fit_epoch": "100",
        "fit_jobs": "2", "fit_gflop": "800.0", "error": "",
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert list(row)[:4] == ["job", "dip.layers", "dip.lr", "status"]
    order = ["noisy_window_psnr", "total_evaluations_worth", "noisy_ssim", "fit_key", "error"]
    assert sorted(order, key=list(row).index) == order, "what it cost is seen before SSIM"
    assert "seed" not in row
    unclean = by_override(mixed, dip__layers="14")
    assert unclean["nfe"] == "50" and unclean["total_evaluations_worth"] == "", "the start came from a file"
    assert {unclean[n] for n in unclean if n.endswith(("psnr", "ssim")) or n.startswith("fit")} == {""}
    failed = by_override(mixed, dip__layers="10", dip__lr="0.01")
    assert failed.pop("error") == "the fit diverged: try a smaller dip.lr"
    assert {n for n, value in failed.items() if value} == {"job", "dip.layers", "dip.lr", "status"}
    killed = by_override(mixed, dip__layers="10", dip__lr="0.1")
    assert {n for n, value in killed.items() if value} == {"job", "dip.layers", "dip.lr", "status"}


def test_the_markdown_says_the_same_in_as_many_cells_everywhere(mixed):
    job(mixed, ["dip.layers=a|b", "dip.lr=`x`", "seed=1"], error="<b>x</b> | [y](z) *w*")
    build(mixed)
    text = (mixed / "summary.md").read_text()
    assert "7 jobs: 3 complete, 2 failed, 2 unfinished" in text
    assert "The same in all jobs: `seed=1`" in text
    assert "26.50" in text
    assert r"a\|b" in text and r"\<b\>x\</b\> \| \[y\](z) \*w\*" in text
    lines = text.split("## Fits")[0].splitlines()
    cells = {len(re.findall(r"(?<!\\)\|", line)) for line in lines if line.startswith("|")}
    assert len(cells) == 1
    assert "result PSNR" not in text  # headings name the group first
    assert "PSNR (dB): result" in text and "fit: shared by" in text


VALUES = ["[1,2]", "a,b", 'say "x"', "1;2", "a=b/c", "it's", "ünï", "=1+1", "two\nlines", "$x_{$", "日本"]


def test_awkward_values_come_back_from_the_csv(tmp_path):
    for value in VALUES:
        job(tmp_path, [f"image.path={value}", "b=1"], metrics(), pictures=True)
    build(tmp_path)
    assert sorted(row["image.path"] for row in table(tmp_path)) == sorted(VALUES)


def test_dollars_are_drawn_as_dollars(tmp_path):
    for value in ("$a_{$", "1"):
        job(tmp_path, [f"path={value}"], metrics())
    figure = quality_against_cost(read_study(tmp_path))
    legend = figure.axes[0].get_legend()
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[1] == r"DIP, then DDPM: path=\$a_{\$", "as matplotlib wants a dollar that begins no mathematics"


def test_a_swept_key_with_the_name_of_a_column_gets_its_own(tmp_path):
    for value in "12":
        job(tmp_path, [f"status={value}"], metrics())
    build(tmp_path)
    assert [(r["override.status"], r["status"]) for r in table(tmp_path)] == [("1", "complete"), ("2", "complete")]


# cost


def test_a_shared_fit_counts_once_at_its_longest(tmp_path):
    job(tmp_path, ["a=1"], metrics(nfe=50, fit="aa", fit_seconds=8.0))
    job(tmp_path, ["a=2"], metrics(nfe=10, fit="aa", fit_seconds=12.0))  # needed a later epoch of the same fit
    job(tmp_path, ["a=2b"], metrics(nfe=0, fit="aa", fit_seconds=9.0))
    job(tmp_path, ["a=3"], metrics(nfe=20, fit="bb", fit_seconds=3.0, window={"samples": 4}))
    job(tmp_path, ["a=4"], metrics(nfe=30, fit=None))  # checkpoint=<path>
    job(tmp_path, ["a=5"], error="no")
    total = cost(read_study(tmp_path).jobs)
    assert [(f.key, f.seconds, len(f.jobs), f.found) for f in total.fits] == [("aa", 12, 3, False), ("bb", 3, 1, True)]
    assert total.window_seconds == pytest.approx(5 + 1 + 4 * 2 + 3)
    assert total.seconds == pytest.approx(12 + 3 + 17)
    assert total.unshared_seconds == pytest.approx(8 + 12 + 9 + 3 + 17)
    assert cost([]).seconds == 0


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.357, "0.36 s"), (59.2, "59.20 s"), (65, "1 min 05 s"), (3720, "1 h 02 min")]
)
def test_durations_read_as_people_say_them(seconds, text):
    assert duration(seconds) == text


# quality against cost


@pytest.mark.parametrize("seed", range(30))
def test_the_pareto_front_is_what_nothing_dominates(seed):
    draw = random.Random(seed)
    points = [(draw.randint(1, 8), draw.randint(1, 8)) for _ in range(draw.randint(0, 25))]

    def dominated(p):
        return any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in points)

    front = pareto_front(points)
    assert sorted(front) == [i for i, p in enumerate(points) if not dominated(p)]
    assert [points[i][0] for i in front] == sorted(points[i][0] for i in front)


def test_the_front_is_held_against_the_starts_without_a_dip(tmp_path):
    assert against_no_dip(study_of(tmp_path / "alone", ("none", 25.0, 0.0))) == "", "nothing starts from a DIP"
    for start_t, psnr in ((10, 26.2), (50, 25.0), (60, 26.8)):  # without a DIP: 26.0 for 1, 26.5 for 57 evaluations
        job(tmp_path, [f"ddpm.start_t={start_t}"], metrics(psnr, nfe=start_t, fit_seconds=0.4))
    said = (
        "the same network gives as much for as little in 0 of the 2 points of the front of those that start from a DIP"
    )
    assert said in against_no_dip(read_study(tmp_path)), "at 14 and at 64 evaluations-worth"
    job(tmp_path, ["ddpm.start_t=20"], metrics(26.4, nfe=20, fit_seconds=4.0))  # at 60
    assert "in 1 of the 3 points of the front" in against_no_dip(read_study(tmp_path))
    assert "in 1 of the 3 points" in build(tmp_path).read_text()
    assert "in 1 of the 3 points" in (tmp_path / "summary.md").read_text()
    job(tmp_path, ["checkpoint=none"], metrics(26.3, nfe=5, fit_seconds=0.0))
    assert "in 2 of the 3 points of the front" in against_no_dip(read_study(tmp_path)), "also 26.2 dB at 14"


@pytest.mark.parametrize(("psnr", "gives"), [(24.0, "does not give"), (25.0, "gives")])
def test_a_start_without_a_dip_may_be_a_job_where_the_baselines_were_left_out(tmp_path, psnr, gives):
    study = study_of(tmp_path, ("stop", 25.0, 1.0), ("none", psnr, 0.0))
    assert f"the same network {gives} as much for as little as the one point of the front" in against_no_dip(study)


def study_of(folder, *jobs):
    """Return a study of jobs (checkpoint, PSNR, seconds of the fit) without baselines."""
    for checkpoint, psnr, seconds in jobs:
        said = metrics(psnr, nfe=10, fit_seconds=seconds)
        del said["posterior_mean"], said["noisy_window"]
        job(folder, [f"checkpoint={checkpoint}"], said)
    return read_study(folder)


def test_only_jobs_with_both_figures_are_points_and_baselines_stand_at_their_own_nfe(mixed):
    job(mixed, ["dip.layers=16", "dip.lr=0.1", "seed=1"], metrics(29.0, fit=None))  # from a file: no total
    study = read_study(mixed)
    assert [(point.worth, point.psnr) for point in measured(study)] == [(130.0, 25.5), (180.0, 24.5)]
    assert baselines(study) == {"posterior_mean": [(1, 26.0)], "noisy_window": [(57, 26.5)]}


# heat maps


def test_cells_are_means_over_the_other_keys_in_natural_order(tmp_path):
    study = read_study(grid(tmp_path, a=["10", "9"], b=["0.1", "auto", "1e-3"], c=["x", "y"]))
    heat = heat_map(study, "a", "b")
    assert heat.rows == ("9", "10")
    assert heat.columns == ("1e-3", "0.1", "auto")
    # the grid's PSNR is 20 + its running number: a=10 from 0, a=9 from 6; b=0.1, auto, 1e-3 two each
    assert heat.means == ((30.5, 26.5, 28.5), (24.5, 20.5, 22.5))
    assert heat.counts == ((2, 2, 2), (2, 2, 2))
    assert heat.averaged == ("c",)
    assert caption(heat) == "PSNR of the result (dB) averaged over c, 2 jobs a cell"
    maps, note = heat_maps(study)
    assert [(m.row_key, m.column_key) for m in maps] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert note == ""


def test_a_cell_without_a_result_is_empty_not_zero(tmp_path):
    job(tmp_path, ["a=1", "b=1"], metrics(20.0))
    job(tmp_path, ["a=1", "b=2"], metrics(24.0))
    job(tmp_path, ["a=2", "b=1"], error="no")
    job(tmp_path, ["a=2"], metrics(28.0))
    heat = heat_map(read_study(tmp_path), "a", "b")
    assert heat.columns == ("1", "2", "(not set)")
    assert heat.means == ((20.0, 24.0, None), (None, None, 28.0))
    assert caption(heat) == "PSNR of the result (dB)"
    build(tmp_path)
    assert (tmp_path / "summary/heat-01-a-b.png").exists()


def test_a_setting_that_failed_on_one_picture_gains_nothing_by_it(tmp_path):
    for layers, seed, psnr in (("4", "1", 30.0), ("4", "2", 20.0), ("6", "1", 31.0)):
        job(tmp_path, [f"dip.layers={layers}", f"seed={seed}", "dip.lr=1"], metrics(psnr))
    job(tmp_path, ["dip.layers=6", "seed=2", "dip.lr=1"], error="no")
    job(tmp_path, ["dip.layers=6", "seed=1", "dip.lr=2"], error="no")
    heat = heat_map(read_study(tmp_path), "dip.layers", "dip.lr")
    assert heat.means == ((25.0, None), (None, None)), "6 layers, on the easy seed alone, would be 31"
    assert heat.counts == ((2, 0), (0, 0))


def test_maps_that_would_show_nothing_or_too_much_are_left_out(tmp_path):
    for i in range(MOST_VALUES + 1):
        keys = [f"k{j}={i % 2}" for j in range(7)]
        job(tmp_path, [f"lr={i / 1000}", *keys], metrics(20.0 + i))
    maps, note = heat_maps(read_study(tmp_path))
    assert len(maps) == MOST_MAPS
    assert "lr took more than 40 values" in note
    assert "6 more pairs" in note


def test_maps_without_any_quality_are_left_out(tmp_path):
    for a, b in itertools.product("12", "12"):
        job(tmp_path, [f"a={a}", f"b={b}"], metrics(None), pictures=True)
    assert heat_maps(read_study(tmp_path)) == ([], "")
    page = build(tmp_path).read_text()
    assert [p.name for p in (tmp_path / "summary").iterdir()] == ["results.png"]
    assert "No job has a PSNR of its result, which needs a clean picture, so there is no chart" in page


# results


def test_the_sheet_keeps_the_best_in_order_and_counts_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(sheet, "MOST", 2)
    for i, psnr in enumerate([22.0, 24.0, 21.0, 25.0]):
        job(tmp_path, [f"a={i}"], metrics(psnr), pictures=True)
    shown, more = sheet.results(read_study(tmp_path))
    assert [s.text for s in shown] == ["a=1: 24.00\u00a0dB", "a=3: 25.00\u00a0dB"]
    assert more == 2
    assert "2 are shown" in build(tmp_path).read_text()


def test_a_damaged_picture_is_left_out(mixed):
    study = read_study(mixed)
    folders = [j.folder for j in study.jobs if j.status == "complete"]
    whole = (folders[0] / "result.png").read_bytes()
    (folders[0] / "result.png").write_bytes(whole[: len(whole) // 2])
    (folders[1] / "result.png").write_text("no picture")
    shown, more = sheet.results(study)
    assert ([s.job.folder for s in shown], more) == ([folders[2]], 0)
    assert f"{folders[0].name}/result.png" not in build(mixed).read_text()


# pandas


def test_a_frame_has_typed_columns(mixed):
    job(mixed, ["dip.layers=null", "dip.lr=0.1", "seed=1"], metrics(21.0))
    frame = read_frame(mixed)
    kinds = {name: str(kind) for name, kind in frame.dtypes.items()}
    assert kinds["dip.layers"] == "Int64"
    assert kinds["dip.lr"] == "Float64"
    assert kinds["result_psnr"] == "Float64"
    assert kinds["nfe"] == "Int64"
    assert kinds["status"] == kinds["study"] == "string"
    assert frame["dip.layers"].sum() == 4 + 4 + 10 + 10 + 12 + 14
    assert frame["dip.layers"].isna().sum() == 1
    assert frame["result_psnr"].count() == 3
    assert frame.groupby("dip.lr")["result_psnr"].mean().to_dict() == {0.01: 25.5, 0.1: (24.5 + 21) / 2}


def test_frames_of_several_sweeps_share_what_was_swept(tmp_path):
    for name, flag in (("one", "true"), ("two", "false")):
        for start_t in ("50", "auto"):
            job(tmp_path / name, [f"ddpm.start_t={start_t}", f"ddpm.exact={flag}"], metrics())
    frame = read_frame(tmp_path / "one", str(tmp_path / "two"))
    assert frame["study"].tolist() == [str(tmp_path / "one")] * 2 + [str(tmp_path / "two")] * 2
    assert str(frame["ddpm.exact"].dtype) == "boolean"
    assert frame["ddpm.exact"].tolist() == [True, True, False, False]
    assert str(frame["ddpm.start_t"].dtype) == "string"
    assert len(read_frame(tmp_path / "one")) == 2


def test_a_frame_without_pandas_names_the_extra(mixed, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install -e "\.\[pandas\]"'):
        read_frame(mixed)
