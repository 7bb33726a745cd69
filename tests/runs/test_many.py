"""Many pictures in one job: each as it is alone, those that fail left out, and means with intervals."""

import csv
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import t
from support.runs import events, read, run

from dipddpm.cli.launch import done_before
from dipddpm.config.schema import of_picture
from dipddpm.dip.fitting import RunSettings
from dipddpm.errors import FitFailed, UserError
from dipddpm.fits import FitStore
from dipddpm.fits.many import obtain_all as many_fits
from dipddpm.fits.wanted import Wanted
from dipddpm.runs import commands as runs
from dipddpm.runs.folder import listed, result_names
from dipddpm.runs.inspect import inspect
from dipddpm.runs.job import Job
from dipddpm.study import read_frame
from dipddpm.study.charts import quality_against_cost
from dipddpm.study.summary import build
from dipddpm.study.words import summary

QUICK = ["dip.max_epochs=10", "baselines=false", "ddpm.start_t=7", "ddpm.steps=2"]


pytestmark = pytest.mark.usefixtures("quick_panels")


@pytest.fixture
def quick_panels(monkeypatch):
    """Draw no figure: tests/pictures/test_panels.py does."""
    monkeypatch.setattr("dipddpm.pictures.panels._pixels", lambda figure: np.zeros((2, 2, 3), np.uint8))


@pytest.fixture
def faces(tmp_path):
    """A folder of three pictures of other sizes, and of files that are none."""
    folder, draw = tmp_path / "faces", np.random.default_rng(0)
    folder.mkdir()
    for i, name in enumerate(("a.png", "b.png", "c.bmp")):
        pixels = draw.integers(0, 256, (4, 4, 3)).astype(np.uint8)
        smooth = np.asarray(Image.fromarray(pixels).resize((17 + i, 19 + i)))
        noisy = smooth + draw.normal(0, 20 + 9 * i, smooth.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / name)
    Image.new("RGB", (4, 4)).save(folder / "small.png")
    (folder / "torn.png").write_bytes((folder / "a.png").read_bytes()[:60])
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").touch()
    return folder


def table(folder):
    with (folder / "pictures.csv").open(newline="") as file:
        return {row["file"].rpartition("/")[2]: row for row in csv.DictReader(file)}


def many(faces):
    return "image=folder", f"image.path={faces}"


def test_the_pictures_of_a_folder_are_sorted_and_their_results_have_names_of_their_own(faces):
    names = [path.name for path in listed(str(faces))]
    assert names == ["a.png", "b.png", "c.bmp", "small.png", "torn.png"]
    assert [path.name for path in listed(f"{faces}/[ab].*")] == ["a.png", "b.png"]
    with pytest.raises(UserError, match="image.path=nothing does not exist: type image.path=<folder>"):
        listed("nothing")
    assert result_names([f"{'é' * 120}{end}.png" for end in "ab"]) == [f"{'é' * 100}-{i}.png" for i in (1, 2)]
    assert result_names(["x/a.png", "y/a.png", "y/a-1.png", "b.jpg"]) == ["a-2.png", "a-3.png", "a-1.png", "b.png"]


CASES = {
    "noise": ["ddpm.start_t=auto", "ddpm.init=matched", "baselines=true"],
    "holes": ["operator=mask", "ddpm.init=matched", "ddpm.start_t=400"],
    "smaller": ["operator=downscale", "operator.factor=2", "noise=poisson", "ddpm.scheduler=ddim"],
    "own": ["noise=own", "baselines=true", "ddpm.data_consistency=true"],
}


@pytest.mark.parametrize("case", CASES)
def test_each_picture_is_restored_as_it_is_alone(case, configure, faces, tmp_path):
    """Fit, figures and result are those of a job of the picture alone, whichever of the two ran first."""
    c = configure(*many(faces), *QUICK, "ddpm.exact=true", *CASES[case])
    before = run(of_picture(c, str(faces / "b.png")), tmp_path / "before")[1]
    psnr, metrics = run(c, tmp_path / "many")
    rows, found, jobs = table(tmp_path / "many"), metrics["fit"]["keys"], [("b", before, "before")]
    if case == "noise":
        after = run(of_picture(c, str(faces / "a.png")), tmp_path / "after")[1]
        assert not after["fit"]["made_by_this_run"]
        jobs.append(("a", after, "after"))
    for name, one, folder in jobs:
        row = rows[f"{name}.png"]
        assert (row["fit"], int(row["epoch"])) == (one["fit"]["key"], one["fit"]["epoch"]) and row["fit"] in found
        assert row["sigma"] == str(one["noise"]["sigma"]) and int(row["start_t"]) == one["window"]["start_t"]
        for figure in ("noisy_psnr", "dip_psnr", "result_psnr", "result_ssim", "noisy_window_psnr", "noisy_window_nfe"):
            of_row, _, key = figure.rpartition("_")
            assert row.get(figure, "") == str(one.get(of_row, {}).get(key, "")), figure
        assert np.array_equal(read(tmp_path / f"many/results/{name}.png"), read(tmp_path / folder / "result.png"))
    assert len(found) == 3 and psnr == metrics["result"].get("psnr")
    store = FitStore(tmp_path / "fits")
    assert all(tmp_path / "many" in store.uses(key) for key in found)
    own = {"noise": "start_t", "own": "sigma"}.get(case)  # each picture has a level, or a sigma, of its own
    assert own is None or len({row[own] for row in rows.values() if row[own]}) == 3


def test_what_cannot_be_restored_is_named_left_out_and_counted(configure, faces, tmp_path, caplog, capsys):
    caplog.set_level("INFO")
    metrics = run(configure(*many(faces), *QUICK), tmp_path / "run")[1]
    small, torn = (f"{faces}/{name}.png" for name in ("small", "torn"))
    assert metrics["pictures"]["count"] == 3 and list(metrics["pictures"]["left_out"]) == [small, torn]
    assert f"{small} is left out: image.path={small} is 4x4" in caplog.text and f"{torn} is left out: " in caplog.text
    out = capsys.readouterr().out
    assert "3 of 5 pictures" in out and "left out: 2" in out
    assert "3 pictures, noise of sigma 25.0 (added)" in caplog.text
    rows = table(tmp_path / "run")
    assert list(rows) == ["a.png", "b.png", "c.bmp", "small.png", "torn.png"]
    assert "at least 8 pixels" in rows["small.png"]["left_out"] and not rows["a.png"]["left_out"]
    assert {path.name for path in (tmp_path / "run").glob("*.png")} == {"sheet.png"}
    shown = events(tmp_path / "run")
    assert {"sheet", "restored/result", "restored/dip"} <= set(shown.Tags()["images"])
    assert shown.Scalars("PSNR/result")[0].value == pytest.approx(metrics["result"]["psnr"], rel=1e-6)


@pytest.mark.usefixtures("on_cpu")
def test_a_fit_that_fails_is_left_out_and_a_full_disk_ends_the_job(configure, faces, tmp_path, monkeypatch):
    real, failing = Wanted.make_in, []

    def make_in(wanted, folder, key, before, run):
        if len(failing) < 1 or isinstance(failing[0], type):
            failing.append(key)
            raise failing[0]("the fit diverged") if isinstance(failing[0], type) else FitFailed("the fit diverged")
        real(wanted, folder, key, before, run)

    monkeypatch.setattr(Wanted, "make_in", make_in)
    c = configure(*many(faces), "dip.max_epochs=10")
    metrics = run(c, tmp_path / "one", job=runs.fit)[1]
    assert metrics["pictures"]["left_out"][f"{faces}/a.png"] == "the fit diverged"
    assert metrics["pictures"]["count"] == 2 and sorted(p.name for p in (tmp_path / "one/results").glob("*.png")) == [
        "b.png",
        "c.png",
    ]
    assert set(metrics["differences"]["dip"]) == {"noisy"}
    for kind in (FitFailed, OSError):
        failing[:] = [kind]
        with pytest.raises((RuntimeError, OSError), match="the fit diverged"):
            runs.fit(configure(*many(faces), "dip.max_epochs=10", "seed=1"), Job(tmp_path / "none"))


def test_a_process_that_is_killed_ends_the_job(configure, faces, tmp_path, monkeypatch):
    """Its fits can be made by the same command: no picture is left out."""

    def obtained(store, wanted, *_, **__):
        killed = RuntimeError("a process was killed")
        return [killed, *many_fits(store, wanted[1:], RunSettings())]

    monkeypatch.setattr("dipddpm.runs.starts.obtain_all", obtained)
    with pytest.raises(RuntimeError, match="^a process was killed"):
        runs.fit(configure(*many(faces), "dip.max_epochs=10"), Job(tmp_path / "run"))
    assert not (tmp_path / "run/metrics.json").exists()


def test_means_have_students_intervals_and_differences_are_paired(configure, faces, tmp_path, capsys):
    metrics = run(configure(*many(faces), *QUICK, "baselines=true"), tmp_path / "run")[1]
    rows = [row for row in table(tmp_path / "run").values() if not row["left_out"]]

    def expected(numbers):
        half = t.ppf(0.975, len(numbers) - 1) * np.std(numbers, ddof=1) / np.sqrt(len(numbers))
        return pytest.approx((np.mean(numbers), half))

    of = {name: np.array([float(row[f"{name}_psnr"]) for row in rows]) for name in ("noisy", "result", "noisy_window")}
    for name, numbers in of.items():
        assert (metrics[name]["psnr"], metrics[name]["interval"]["psnr"]) == expected(numbers)
    paired = metrics["differences"]["result"]["noisy_window"]
    assert (paired["psnr"], paired["interval"]["psnr"]) == expected(of["result"] - of["noisy_window"])
    assert set(metrics["differences"]["result"]) == {"noisy", "dip", "posterior_mean", "noisy_window"}
    assert f"{paired['psnr']:+.2f} ± {paired['interval']['psnr']:.2f} dB" in capsys.readouterr().out
    worth = np.mean([float(row["total_evaluations_worth"]) for row in rows])
    assert metrics["cost"]["total_evaluations_worth"] == pytest.approx(worth)
    for name in ("b.png", "c.bmp"):
        (faces / name).unlink()
    alone = run(configure(*many(faces), *QUICK), tmp_path / "alone")[1]
    assert "interval" not in alone["result"] and not alone["differences"]["result"], "one picture has no interval"


def test_a_folder_without_a_picture_that_can_be_restored_is_refused_before_any_work(configure, faces, tmp_path):
    for name in ("a.png", "b.png", "c.bmp"):
        (faces / name).unlink()
    said = f"image.path={faces}: none of its 2 pictures can be restored; image.path={faces}/small.png is 4x4"
    with pytest.raises(UserError, match=said):
        inspect(configure(*many(faces)), "sample")
    with pytest.raises(UserError, match="a folder: give a .*, or type image=folder image.path="):
        inspect(configure(f"image.path={faces}"), "sample")


def test_a_drawn_mask_must_be_as_large_as_each_picture(configure, faces, tmp_path):
    mask = Image.new("L", (18, 20), 255)
    mask.paste(0, (0, 0, 9, 9))
    mask.save(tmp_path / "mask.png")
    drawn = ["operator=mask", f"operator.file={tmp_path}/mask.png"]
    c = configure(*many(faces), *QUICK, *drawn, "ddpm.exact=true")
    metrics = run(c, tmp_path / "run")[1]
    said = metrics["pictures"]["left_out"]
    assert (
        metrics["pictures"]["count"] == 1
        and "operator.file is 18x20, but image.path is 17x19" in said[f"{faces}/a.png"]
    )
    alone = run(of_picture(c, f"{faces}/b.png"), tmp_path / "alone")[1]
    assert alone["fit"]["key"] == metrics["fit"]["keys"][0] and alone["result"]["psnr"] == metrics["result"]["psnr"]


REFUSED = [
    (
        "ddpm.samples=2",
        "ddpm.samples=2 is not allowed: 1 with image=folder; for more samples of one picture type",
    ),
    ("checkpoint=a.safetensors", "is the picture of one fit, and image=folder has many pictures: type checkpoint=stop"),
    ("noise=own checkpoint=oracle", "noise=own has none: type checkpoint=stop, checkpoint=last or an epoch"),
    ("noise=own operator=mask", "operator=mask with noise=own needs operator.file"),
    ("noise=own operator=downscale", "type noise.sigma=<0-255 scale>, or noise.sigma=0 if the picture has no noise"),
    ("dip.batch=0", "dip.batch=0 is not allowed: auto, or 1 or more fits at once"),
    (
        "noise=own operator=clip ddpm.init=matched",
        "type ddpm.error_sigma=<0-255 scale>, or ddpm.start_t=<level> ddpm.init=scaled",
    ),
    ("image.path=", "image.path= names no picture: type image.path=<folder>"),
]


@pytest.mark.parametrize(("typed", "message"), REFUSED, ids=[typed for typed, _ in REFUSED])
def test_what_many_pictures_cannot_have_is_refused(typed, message, configure, faces):
    with pytest.raises(UserError) as caught:
        inspect(configure(*many(faces), *typed.split()), "sample")
    assert message in str(caught.value) and "image.reference" not in str(caught.value)


def test_a_job_is_done_while_its_pictures_and_results_are_what_they_were(configure, faces, tmp_path):
    c, folder = configure(*many(faces), *QUICK), tmp_path / "run"
    run(c, folder)
    assert done_before(folder, c, "sample")
    assert done_before(folder, configure(*many(faces), *QUICK, "dip.batch=3"), "sample"), "the same result"
    (folder / "results/a.png").write_bytes(b"")
    assert not done_before(folder, c, "sample")
    Image.new("RGB", (20, 20)).save(faces / "torn.png")  # it was left out
    run(c, folder)
    assert done_before(folder, c, "sample")
    Image.new("RGB", (20, 20), "red").save(faces / "more.png")
    assert not done_before(folder, c, "sample")
    run(of_picture(c, f"{faces}/a.png"), folder)
    assert not list((folder / "results").glob("*.png")) and not (folder / "pictures.csv").exists(), "of the run before"


def test_the_files_of_others_are_left_alone(configure, faces, tmp_path):
    c, folder = configure(*many(faces), *QUICK), tmp_path / "run"
    (folder / "results").mkdir(parents=True)
    (folder / "results/mine.txt").touch()
    (folder / "results/b.png").touch()
    with pytest.raises(UserError, match="results holds b.png, which dipddpm did not write: type hydra.run.dir="):
        runs.fit(c, Job(folder))
    (folder / "results/b.png").unlink()
    runs.fit(c, Job(folder))
    assert (folder / "results/mine.txt").exists()
    (tmp_path / "file").mkdir()
    (tmp_path / "file/results").touch()
    with pytest.raises(UserError, match="holds results, which is no folder: type hydra.run.dir="):
        runs.fit(c, Job(tmp_path / "file"))


def test_a_study_shows_such_a_job_as_a_point_with_its_interval(configure, faces, tmp_path):
    sweep = tmp_path / "sweep"
    for level in (3, 9):
        typed = [*many(faces), "dip.max_epochs=10", f"ddpm.start_t={level}", "ddpm.steps=2"]
        runs.sample(configure(*typed), Job(sweep / f"start_t={level}", True, tuple(typed)))
    frame, of = read_frame(sweep), [json.loads((sweep / f"start_t={n}/metrics.json").read_text()) for n in (3, 9)]
    assert frame["result_psnr_interval"].tolist() == [m["result"]["interval"]["psnr"] for m in of]
    assert frame["result_minus_noisy_window"].tolist() == [
        m["differences"]["result"]["noisy_window"]["psnr"] for m in of
    ]
    assert frame["pictures"].tolist() == [3, 3] and frame["fit_jobs"].tolist() == [2, 2], "the same fits"
    said = " ".join(summary(frame))
    best = max(of, key=lambda m: m["result"]["psnr"])["result"]
    assert f"Best result of a job: {best['psnr']:.2f} ± {best['interval']['psnr']:.2f} dB" in said
    assert "means over 3 pictures" in said and "3 fits" in said
    figure: Any = quality_against_cost(frame)
    bars = [value for trace in figure.data if trace.error_y.array is not None for value in trace.error_y.array]
    assert sorted(bars) == sorted(frame["result_psnr_interval"])
    page = build(sweep).read_text()
    assert "sheet.png" in page and "result - no DIP: window (dB) ±" in page
    assert len(list((sweep / "fits").iterdir())) == 3, "linked once for both jobs"


def test_the_look_before_work_ends_at_the_first_picture_that_can_be_restored(configure, faces, monkeypatch):
    looked = []
    monkeypatch.setattr("dipddpm.pictures.read.check", lambda path, *more: looked.append(path) or (17, 19))
    for i in range(20):
        (faces / f"z{i}.png").touch()
    inspect(configure(*many(faces)), "sample")
    assert looked == [f"{faces}/a.png"]
