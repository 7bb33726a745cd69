"""A sweep read as one table: its jobs, their status, what was swept, what was not typed."""

import random

import pytest
from support.study_jobs import fit_metrics, job, metrics, table

from dipddpm.names import STOPPED
from dipddpm.study import build, read_frame
from dipddpm.study.frame import constants, swept
from dipddpm.study.labels import labels, natural, short_names

# jobs


def test_a_frame_has_the_jobs_with_their_status_and_what_was_swept(mixed):
    frame = read_frame(mixed)
    assert swept(frame) == ["dip.layers", "dip.lr"]
    assert constants(frame) == {"seed": "1"}
    assert frame[["dip.layers", "status"]].values.tolist() == [
        [4, "complete"], [4, "complete"], [10, "failed"], [10, "unfinished"], [12, "unfinished"], [14, "complete"],
    ]  # fmt: skip
    assert frame["error"][2] == "the fit diverged: try a smaller dip.lr"
    assert (frame["result_psnr"][0], frame["nfe"][0]) == (25.5, 50)
    assert frame.loc[[4], "noisy_psnr":].isna().all(axis=None), "metrics.json is cut off"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"result": 3}', "\x00\x01", "[" * 100_000])
def test_an_invalid_metrics_file_is_none(text, tmp_path):
    folder = job(tmp_path, ["a=1"], text)
    assert read_frame(tmp_path)["status"].tolist() == ["unfinished"]
    (folder / "error.txt").write_text("why\n")
    assert read_frame(tmp_path)[["status", "error"]].values.tolist() == [["failed", "why"]]
    build(tmp_path)


@pytest.mark.parametrize("value", ["25", True, None, [1], {"a": 1}, float("nan"), float("inf")])
def test_a_value_that_is_no_finite_number_is_no_figure(value, tmp_path):
    job(tmp_path, ["a=1"], metrics() | {"result": {"psnr": value, "nfe": 5}})
    assert read_frame(tmp_path)["result_psnr"].isna().all()
    build(tmp_path)
    assert table(tmp_path)[0]["result_psnr"] == ""


def test_a_complete_job_stays_complete_when_a_later_attempt_failed(tmp_path):
    job(tmp_path, ["a=1"], metrics(), error="out of memory")
    assert read_frame(tmp_path)[["status", "error"]].values.tolist() == [["complete", "out of memory"]]


def test_a_job_that_was_stopped_has_not_failed(tmp_path):
    job(tmp_path, ["a=1"], error=f"{STOPPED}\n")
    job(tmp_path, ["a=2"], error="out of memory")
    rows = read_frame(tmp_path)[["status", "error"]].values.tolist()
    assert rows == [["unfinished", STOPPED], ["failed", "out of memory"]]


def test_a_window_from_noise_is_not_charged_with_the_fit_beside_it(tmp_path):
    alone = metrics(nfe=1000)
    alone["cost"] |= {"fit_seconds": 0.0, "fit_gflop": 0.0, "total_evaluations_worth": 1000}
    job(tmp_path, ["ddpm.init=noise"], alone)
    job(tmp_path, ["ddpm.init=scaled"], metrics(fit_seconds=8.0))
    job(tmp_path, ["fit=only"], fit_metrics(fit_seconds=8.0))
    rows = read_frame(tmp_path)[["fit_seconds", "fit_gflop"]].values.tolist()
    assert rows == [[8, 800], [0, 0], [8, 800]]


def test_jobs_that_restored_the_same_have_the_same_problem(tmp_path):
    said = {"picture": {"content": "aa", "path": "one.png"}, "noise": {"kind": "gaussian", "sigma": 25.0}}
    for i, more in enumerate(
        [{}, {"picture": {"content": "aa", "path": "copy.png"}}, {"noise": {"sigma": 50.0}},
         {"inputs": {"operator.file": "abc"}}, {"inputs": {"prior": "abc"}}, {"operator": {"missing": 0.5}}]
    ):  # fmt: skip
        job(tmp_path, [f"a={i}"], metrics() | said | more)
    problem = read_frame(tmp_path)["problem"].tolist()
    assert problem[0] == problem[1] == problem[4]
    assert len(set(problem)) == 4


# keys


def test_a_key_that_some_jobs_set_was_swept_and_overrides_that_cannot_be_read_say_nothing(tmp_path):
    job(tmp_path, ["a=1", "b=2"], metrics())
    job(tmp_path, ["+a=1"], metrics())
    broken = job(tmp_path, ["a=1"], name="broken")
    for text in ("", "{", "- [", "a: 1"):
        (broken / ".hydra" / "overrides.yaml").write_text(text)
        frame = read_frame(tmp_path)
        assert swept(frame) == ["b"]
        assert constants(frame) == {"a": "1"}
        assert (frame["status"] == "unfinished").sum() == 1


def test_how_a_job_ran_is_swept_only_where_nothing_else_tells_jobs_apart(tmp_path):
    for i, where in enumerate(["threads=1", "threads=2", "device=cuda"]):
        job(tmp_path / "elsewhere", [f"image.path={i}.png", where], metrics())
        job(tmp_path / "measured", ["dip.layers=4", where], metrics(), name=str(i))
    frame = read_frame(tmp_path / "elsewhere")
    assert swept(frame) == ["image.path"] and constants(frame) == {}
    assert swept(read_frame(tmp_path / "measured")) == ["device", "threads"]


def test_overrides_come_from_the_metrics_where_hydras_file_is_gone(tmp_path):
    folder = job(tmp_path, ["a=1"], metrics(overrides=["a=1", "b=[1,2]"]))
    (folder / ".hydra" / "overrides.yaml").unlink()
    assert read_frame(tmp_path)[["a", "b"]].values.tolist() == [[1, "[1,2]"]]


def test_a_key_with_the_name_of_a_column_gets_its_own(tmp_path):
    for value in "12":
        job(tmp_path, [f"status={value}"], metrics())
    build(tmp_path)
    assert [(r["override.status"], r["status"]) for r in table(tmp_path)] == [("1", "complete"), ("2", "complete")]
    assert "| override.status | status |" in (tmp_path / "summary.md").read_text()


CONFIG = """
dip: {layers: 4, lr: 1.0e-05, precision: fp32}
ddpm: {exact: false, steps: null, start_t: 25}
image: {size: 64, box: [1, 2]}
"""


def test_a_key_that_a_job_did_not_type_is_as_its_configuration_says(tmp_path):
    typed = ["dip.layers=6", "dip.lr=1e-5", "ddpm.exact=true", "ddpm.steps=10", "ddpm.start_t=25"]
    typed += ["dip=skip", "image.box=null"]
    job(tmp_path, typed, metrics(), config=CONFIG)
    default = job(tmp_path, [], metrics(), name="defaults", config=CONFIG)
    (default / ".hydra" / "hydra.yaml").write_text("hydra: {runtime: {choices: {dip: cnn, image: astronaut}}}")
    frame = read_frame(tmp_path).set_index("job")
    keys = ["dip", "dip.layers", "dip.lr", "ddpm.exact", "ddpm.start_t"]
    (defaults,) = frame.loc[["defaults"]].to_dict("records")
    assert [defaults[key] for key in keys] == ["cnn", 4, 1e-5, False, 25]
    assert frame.loc[["defaults"], ["ddpm.steps", "image.box"]].isna().all(axis=None)
    assert swept(frame.reset_index()) == ["ddpm.exact", "ddpm.steps", "dip", "dip.layers"], "equal ones are not swept"


@pytest.mark.parametrize("text", [None, "", "{", "[]", "dip: 3", "dip: {}", "\x00"])
def test_a_configuration_that_says_nothing_leaves_a_key_unset(text, tmp_path):
    job(tmp_path, ["dip.layers=6"], metrics(), config=CONFIG)
    job(tmp_path, [], metrics(), name="defaults", config=text)
    frame = read_frame(tmp_path).set_index("job")
    assert frame["dip.layers"].isna()["defaults"]


def test_natural_order_is_by_number_then_word_and_total():
    values = ["auto", "50", "1e-3", "100", "0.01", "-2", "nan", "layers=10", "layers=4", "x0.1", "x0.02", "1.0", "1"]
    expected = ["-2", "1e-3", "0.01", "1", "1.0", "50", "100", "auto", "layers=4", "layers=10", "nan", "x0.02", "x0.1"]
    for seed in range(5):
        random.Random(seed).shuffle(values)
        assert sorted(values, key=natural) == expected
    natural("9" * 5000)


def test_short_names_are_the_last_words_where_they_tell_keys_apart(tmp_path):
    assert short_names(["dip.layers", "dip.precision", "ddpm.precision", "seed"]) == {
        "dip.layers": "layers", "dip.precision": "dip.precision", "ddpm.precision": "ddpm.precision", "seed": "seed",
    }  # fmt: skip
    for text in ("0.5", "1e-05", "null"):
        job(tmp_path, [f"dip.lr={text}", "ddpm.exact=true", "c=1"], metrics(), name=text)
    assert sorted(labels(read_frame(tmp_path), ["dip.lr", "ddpm.exact"])) == [
        "lr=0.5, exact=true", "lr=1e-05, exact=true", "lr=null, exact=true",
    ]  # fmt: skip


# types and several sweeps


def test_a_frame_has_typed_columns(mixed):
    job(mixed, ["dip.layers=null", "dip.lr=0.1", "seed=1"], metrics(21.0))
    frame = read_frame(mixed)
    kinds = {name: str(kind) for name, kind in frame.dtypes.items()}
    assert kinds["dip.layers"] == kinds["nfe"] == "Int64"
    assert kinds["dip.lr"] == kinds["result_psnr"] == "Float64"
    assert kinds["status"] == kinds["study"] == "string"
    assert frame["dip.layers"].sum() == 4 + 4 + 10 + 10 + 12 + 14
    assert frame["dip.layers"].isna().sum() == 1
    assert frame["result_psnr"].count() == 3
    assert frame.groupby("dip.lr")["result_psnr"].mean().to_dict() == {0.01: 25.5, 0.1: (24.5 + 21) / 2}


def test_frames_of_several_sweeps_share_their_keys(tmp_path):
    for name, more in (("one", ["ddpm.exact=true", "dip.layers=6"]), ("two", ["ddpm.exact=false"])):
        for start_t in ("50", "auto"):
            job(tmp_path / name, [f"ddpm.start_t={start_t}", *more], metrics(), config=CONFIG)
    frame = read_frame(tmp_path / "one", str(tmp_path / "two"))
    assert frame["study"].tolist() == [str(tmp_path / "one")] * 2 + [str(tmp_path / "two")] * 2
    assert str(frame["ddpm.exact"].dtype) == "boolean"
    assert frame["ddpm.exact"].tolist() == [True, True, False, False]
    assert frame["ddpm.start_t"].tolist() == ["50", "auto"] * 2
    assert frame["dip.layers"].tolist() == [6, 6, 4, 4], "filled from the configuration of those that did not type it"
    assert len(read_frame(tmp_path / "one")) == 2
