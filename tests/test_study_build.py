"""Building a study: the same bytes each time, from many processes, from the shell and from within Hydra."""

import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
import time

import pytest
from filelock import FileLock
from hydra.types import RunMode
from omegaconf import OmegaConf
from study_jobs import by_override, job, metrics, mixed_sweep, table
from support import ROOT
from support.commands import SMALL, command

from dipddpm.errors import UserError
from dipddpm.study import __main__ as cli
from dipddpm.study import build, read_study
from dipddpm.study.callback import StudyCallback
from dipddpm.study.cost import cost

building = sys.modules["dipddpm.study.build"]  # in the package, `build` is the function


@pytest.fixture
def mixed(tmp_path):
    return mixed_sweep(tmp_path / "sweep")


def contents(folder):
    """Every file of a study's summary but the record of how long it took."""
    names = ["index.html", "summary.csv", "summary.md", *(f"summary/{p.name}" for p in folder.glob("summary/*"))]
    return {name: (folder / name).read_bytes() for name in names}


def test_a_rebuild_is_byte_identical_whatever_order_the_disk_gives(mixed, tmp_path):
    build(mixed)
    first = contents(mixed)
    assert {"summary/quality.png", "summary/results.png", "summary/heat-01-dip.layers-dip.lr.png"} <= set(first)
    build(mixed)
    assert contents(mixed) == first
    again = tmp_path / "again" / mixed.name
    for folder in sorted((p for p in mixed.iterdir() if (p / ".hydra").is_dir()), reverse=True):
        shutil.copytree(folder, again / folder.name)
    build(again)
    here, there = f"{mixed.parent.name}/{mixed.name}".encode(), f"{again.parent.name}/{again.name}".encode()
    assert {name: data.replace(there, here) for name, data in contents(again).items()} == first


@pytest.mark.parametrize("overrides", [[], ["dip.layers=4"]])
def test_one_job_alone_is_a_study(overrides, tmp_path):
    job(tmp_path, overrides, metrics(), pictures=True)
    page = build(tmp_path).read_text()
    assert "Nothing was swept" in page
    assert sorted(p.name for p in (tmp_path / "summary").iterdir()) == ["quality.png", "results.png"]


def test_pictures_of_an_earlier_build_go_when_they_no_longer_hold(mixed):
    build(mixed)
    for found in read_study(mixed).jobs[1:]:
        shutil.rmtree(found.folder)
    (mixed / "summary" / ".quality.png.x.tmp").write_text("of a killed build")
    (mixed / ".index.html.x.tmp").write_text("of a killed build")
    build(mixed)
    assert sorted(p.name for p in (mixed / "summary").iterdir()) == ["quality.png", "results.png"]
    assert not list(mixed.glob("*.tmp")) + list(mixed.glob(".*.tmp"))


WAITING_BUILDER = """
import sys, time
from pathlib import Path
import dipddpm.study
building = sys.modules["dipddpm.study.build"]
real, built = building._build, []

def build_and_wait(folder):
    real(folder)
    built.append(folder)
    if len(built) == 1:
        (folder / "inside").touch()
        while not (folder / ".study.stale").exists():  # until another process has marked it and waits for the lock
            time.sleep(0.01)

building._build = build_and_wait
building.build(Path(sys.argv[1]))
print(len(built))
"""


def test_a_build_during_another_is_made_by_the_other_and_shows_what_is_new(mixed):
    first = spawn("-c", WAITING_BUILDER, mixed)
    wait_for(mixed / "inside", first)
    (mixed / "inside").unlink()
    job(mixed, ["dip.layers=20", "dip.lr=0.1", "seed=1"], metrics(27.0), pictures=True)  # after the first has read
    second = spawn("-m", "dipddpm.study", mixed)
    texts = [p.communicate(timeout=120) for p in (first, second)]
    assert [p.returncode for p in (first, second)] == [0, 0], texts
    assert texts[0][0].split() == ["2"], "the first builds once more, for the second"
    together = contents(mixed)
    assert "layers=20" in together["index.html"].decode()
    assert not (mixed / ".study.stale").exists()
    build(mixed)
    assert contents(mixed) == together, "as one process alone leaves it"


def spawn(*arguments):
    given = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(given, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(path, process):
    end = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_build_that_cannot_wait_is_left_to_the_one_at_work(mixed, caplog):
    caplog.set_level(logging.INFO)
    with FileLock(mixed / ".study.lock"):
        begun = time.monotonic()
        assert build(mixed, wait=0.2) == mixed / "index.html"
        assert time.monotonic() - begun < 10
        assert not building.build_if_due(mixed)
        assert not (mixed / "index.html").exists()
        assert "left to it" in caplog.text
        assert (mixed / ".study.stale").exists()
    build(mixed)
    assert (mixed / "index.html").exists()
    assert not (mixed / ".study.stale").exists()


def test_a_study_marked_stale_while_it_is_built_is_built_again_but_not_for_ever(mixed, monkeypatch):
    built = []

    def once_more(folder):
        built.append(folder)
        if len(built) == 1:
            (folder / ".study.stale").touch()  # as another process does that finds the lock held

    monkeypatch.setattr(building, "_build", once_more)
    build(mixed)
    assert len(built) == 2
    monkeypatch.setattr(building, "_build", lambda folder: (built.append(folder), (folder / ".study.stale").touch()))
    build(mixed)
    assert len(built) == 2 + building.MOST_ROUNDS


def test_a_failed_build_leaves_the_study_stale_and_the_older_page(mixed, monkeypatch):
    build(mixed)
    before = contents(mixed)

    def fail(study):
        raise OSError("the disk is full")

    monkeypatch.setattr(building, "as_csv", fail)
    with pytest.raises(OSError, match="the disk is full"):
        build(mixed)
    assert contents(mixed) == before
    assert (mixed / ".study.stale").exists()


def test_a_big_sweep_is_not_rebuilt_after_every_job(mixed):
    record = mixed / ".study.json"
    assert building.build_if_due(mixed)
    assert json.loads(record.read_text())["seconds"] > 0
    record.write_text('{"seconds": 10}')
    assert not building.build_if_due(mixed)
    page = mixed / "index.html"
    page.unlink()
    assert not building.build_if_due(mixed)
    assert not page.exists()
    now = time.time()
    for age, due in [(190, False), (210, True), (-50, True)]:  # twenty times ten seconds; a clock set back
        os.utime(record, (now - age, now - age))
        assert building.is_due(mixed) is due
    for text in ("", "{}", '{"seconds": null}', '{"seconds": "x"}', "[]"):
        record.write_text(text)
        assert building.is_due(mixed)


def test_a_refused_folder_is_left_as_it_was(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no jobs"):
        build(tmp_path / "empty")
    assert not list((tmp_path / "empty").iterdir())
    with pytest.raises(UserError, match="is not a folder"):
        read_study(tmp_path / "missing")


def test_a_study_needs_no_torch(mixed):
    script = "import sys; from dipddpm.study import build, read_study, __main__, callback; build(sys.argv[1]); "
    script += "print(sorted({'torch', 'diffusers', 'pytorch_lightning', 'pandas'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script, str(mixed)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "[]", done.stderr


# the command


def test_the_command_prints_the_table_and_the_page(mixed, capsys):
    job(mixed, ["dip.layers=[1,2]", "dip.lr=[/x]", "seed=1"], error="[bold]no")
    assert cli.main([str(mixed)]) == 0
    text = capsys.readouterr().out
    assert text.strip().endswith(str(mixed.resolve() / "index.html"))
    for part in (
        "[1,2]",
        "[/x]",
        "[bold]no",
        "25.50",
        "2 unfinished",
        "the fit diverged",
        "with each fit counted once",
    ):
        assert part in text


def test_the_command_shows_both_starts_without_a_dip_and_counts_in_plain_words(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "MOST", 1)
    for value in "12":
        job(tmp_path, [f"a={value}"], metrics(fit="aa"))
    assert cli.main([str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "no DIP: 1" in text and "26.00" in text, "one evaluation"
    assert "no DIP: window" in text and "26.50" in text
    assert "1 more job is in summary.csv" in text
    assert "(1 fit 8.00 s" in text and "(1 fit 8.00 s" in (tmp_path / "summary.md").read_text()
    shutil.rmtree(next(p for p in tmp_path.iterdir() if p.name.startswith("a=2")))
    build(tmp_path)
    assert "1 job: 1 complete" in (tmp_path / "summary.md").read_text()


def test_the_command_refuses_what_is_no_sweep_in_one_line(mixed, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    inside = next(p for p in mixed.iterdir() if (p / ".hydra").is_dir())
    for folder, part in [
        (tmp_path / "missing", "is not a folder: give a sweep's"),
        (tmp_path / "empty", "holds no jobs"),
        (inside, f"did you mean {mixed}?"),
        (tmp_path, f"did you mean {mixed}?"),
    ]:
        assert cli.main([str(folder)]) == 2
        said = capsys.readouterr()
        assert part in said.err
        assert len(said.err.strip().splitlines()) == 1
        assert not said.out
    assert cli.main([str(tmp_path / "missing"), str(mixed)]) == 2
    assert "index.html" in capsys.readouterr().out, "the others are built all the same"


# from within Hydra


def hydra_config(folder, mode="MULTIRUN"):
    node = {"mode": RunMode[mode], "runtime": {"cwd": str(folder.parent)}, "sweep": {"dir": folder.name}}
    return OmegaConf.create({"hydra": node})


def test_the_callback_builds_when_due_and_marks_what_it_skips(mixed):
    callback = StudyCallback()
    config = hydra_config(mixed)
    page, stale = mixed / "index.html", mixed / ".study.stale"
    callback.on_job_start(hydra_config(mixed, "RUN"))
    callback.on_job_end(hydra_config(mixed, "RUN"), job_return=None)
    assert not page.exists() and not stale.exists(), "a run of its own is no sweep"
    callback.on_job_start(config)
    assert stale.exists() and not page.exists()
    callback.on_job_end(config, job_return=None)
    assert page.exists() and not stale.exists()
    (mixed / ".study.json").write_text('{"seconds": 1000}')
    page.unlink()
    callback.on_job_end(config, job_return=None)
    assert stale.exists() and not page.exists()
    callback.settle(mixed)
    assert page.exists() and not stale.exists()
    page.unlink()
    callback.settle(mixed)
    assert not page.exists(), "nothing was owed any more"
    callback.on_multirun_end(config)
    assert page.exists()


SUBMITTER = """
import pickle, subprocess, sys
from pathlib import Path
from hydra.types import RunMode
from omegaconf import OmegaConf
from dipddpm.study.callback import StudyCallback

folder = Path(sys.argv[1])
node = {"mode": RunMode.MULTIRUN, "runtime": {"cwd": str(folder.parent)}, "sweep": {"dir": folder.name}}
config = OmegaConf.create({"hydra": node})
callback = StudyCallback()
callback.on_multirun_start(config)
worker = "import pickle, sys; callback, config = pickle.load(sys.stdin.buffer); callback.on_job_end(config, None)"
subprocess.run([sys.executable, "-c", worker], input=pickle.dumps((callback, config)), check=True)
print((folder / "index.html").exists(), (folder / ".study.stale").exists(), flush=True)
"""


def test_the_submitting_process_builds_at_its_exit_what_its_workers_owe(mixed):
    (mixed / ".study.json").write_text('{"seconds": 1000}')  # as if built just now: no worker's job is due
    done = spawn("-c", SUBMITTER, mixed)
    said, errors = done.communicate(timeout=120)
    assert done.returncode == 0, errors
    assert said.split() == ["False", "True"], "a worker builds nothing at its exit and leaves a mark"
    assert (mixed / "index.html").exists() and not (mixed / ".study.stale").exists()


def test_the_start_of_a_sweep_registers_one_build_of_its_folder(mixed, monkeypatch):
    registered = []
    monkeypatch.setattr("atexit.register", lambda *call: registered.append(call))
    callback = StudyCallback()
    config = hydra_config(mixed)
    callback.on_multirun_start(config)
    assert registered == [(callback.settle, mixed)]
    worker = pickle.loads(pickle.dumps(callback))
    (mixed / ".study.json").write_text('{"seconds": 1000}')
    worker.on_job_start(config)
    worker.on_job_end(config, job_return=None)
    assert len(registered) == 1, "a worker registers nothing"
    assert not (mixed / "index.html").exists()
    function, folder = registered[0]
    function(folder)
    assert (mixed / "index.html").exists()


def test_the_callback_never_fails_a_job(tmp_path, caplog):
    callback = StudyCallback()
    callback.on_job_end(hydra_config(tmp_path / "missing"), job_return=None)
    callback.on_multirun_end(hydra_config(tmp_path / "missing"))
    callback.on_job_end(OmegaConf.create({}), job_return=None)
    callback.settle(tmp_path / "missing")
    assert caplog.text.count("the sweep's summary could not be built") == 3
    (tmp_path / "missing").mkdir()
    (tmp_path / "missing" / ".study.stale").touch()
    callback.settle(tmp_path / "missing")
    assert caplog.text.count("the sweep's summary could not be built") == 4


def test_a_real_sweep_with_a_failing_job_ends_in_a_study(tiny_prior, tmp_path):
    small = [f"prior.path={tiny_prior}", *SMALL]
    done = command(
        "sample.py", "-m", *small, "ddpm.start_t=10,20", "dip.lr=0.001,1e9", "hydra.sweep.dir=sweep",
        "++hydra.callbacks.study._target_=dipddpm.study.callback.StudyCallback", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode != 0
    folder = tmp_path / "sweep"
    assert (folder / "index.html").exists(), done.stdout + done.stderr
    study = read_study(folder)
    assert study.swept == ("ddpm.start_t", "dip.lr")
    assert [j.status == "complete" for j in study.jobs] == [True, True, False, False]
    assert len(table(folder)) == 4
    row = by_override(folder, ddpm__start_t="20", dip__lr="0.001")
    said = json.loads((study.jobs[1].folder / "metrics.json").read_text())
    for name, path in {
        "noisy_psnr": ("noisy", "psnr"), "dip_ssim": ("dip", "ssim"), "result_psnr": ("result", "psnr"),
        "posterior_mean_psnr": ("posterior_mean", "psnr"), "noisy_window_ssim": ("noisy_window", "ssim"),
        "nfe": ("result", "nfe"), "fit_seconds": ("fit", "seconds"), "window_seconds": ("result", "seconds"),
        "total_evaluations_worth": ("cost", "total_evaluations_worth"), "fit_key": ("fit", "key"),
    }.items():  # fmt: skip
        assert row[name] == str(said[path[0]][path[1]])
    assert row["nfe"] == "20" and row["fit_jobs"] == "2"
    total = cost(study.jobs)
    assert len(total.fits) == 1 and total.seconds < total.unshared_seconds
    assert sorted(p.name for p in (folder / "summary").iterdir()) == [
        "heat-01-ddpm.start_t-dip.lr.png", "quality.png", "results.png",
    ]  # fmt: skip
    before = contents(folder)
    again = subprocess.run(
        [sys.executable, "-m", "dipddpm.study", "sweep"], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert contents(folder) == before
