"""The command line as people use it: real processes, real files, real kills."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import ROOT
from PIL import Image

from dipddpm.fits import FitStore

SMALL = [
    "dip.layers=1",
    "dip.channels=8",
    "dip.max_epochs=30",
    "ddpm.start_t=20",
    "stopping=never",
    "threads=1",
]


def command(script, *arguments, cwd, **more):
    return subprocess.run(
        [sys.executable, str(ROOT / script), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        **more,
    )


@pytest.fixture
def small(tiny_prior):
    return [f"prior.path={tiny_prior}", *SMALL]


def tiny_picture(path, size=(16, 16)):
    Image.new("RGB", size, (200, 100, 50)).save(path)
    return path


REFUSALS = [
    (["dip.lyers=3"], "dip.lyers is not a key (did you mean dip.layers?)"),
    (["+dip.lyers=3"], "dip.lyers is not a key (did you mean dip.layers?)"),
    (["++dip.lyers=3"], "dip.lyers is not a key (did you mean dip.layers?)"),
    (["imag=file"], "imag is not a key (did you mean image?)"),
    (["dip.layers=four"], "dip.layers=four is not allowed"),
    (["dip.layers=null"], "dip.layers=null is not allowed"),
    (["dip=unet"], "dip=unet is not a choice; dip is one of: cnn"),
    (
        ["stopping=wmw"],
        "stopping=wmw is not a choice (did you mean wmv?); stopping is one of: emv loss_floor",
    ),
    (["ddpm.init=scald"], "ddpm.init=scald is not allowed"),
    (["ddpm.init=scald"], "raw, scaled, diffused, matched, noise"),
    (["ddpm.start_t=0"], "ddpm.start_t=0 is not allowed: auto or a level from 1 to 1000"),
    (["ddpm.start_t=1001"], "ddpm.start_t=1001 is not allowed"),
    (["ddpm.end_t=50"], "ddpm.end_t=50 is not allowed"),
    (["dip.kernel_size=4"], "dip.kernel_size=4 is not allowed: an odd number"),
    (["image.path=missing.png"], "missing.png"),
    (["image.path=words.png"], "words.png"),
    (["image.path=small.png"], "8 pixels"),
    (["layers"], "overrides are key=value"),
    (["image=file"], "image.path has no value: type image.path=<value>"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSALS, ids=[" ".join(a) + "|" + m[:12] for a, m in REFUSALS])
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, tmp_path):
    (tmp_path / "words.png").write_text("no picture")
    tiny_picture(tmp_path / "small.png", (7, 30))
    done = command("sample.py", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not done.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small.png", "words.png"], "no work was begun"


def test_a_sweep_is_checked_whole_before_its_first_job(tmp_path):
    done = command("sample.py", "-m", "ddpm.start_t=50,0", "dip.layers=4,x", cwd=tmp_path)
    assert done.returncode == 2
    assert "ddpm.start_t=0 is not allowed" in done.stderr
    assert "dip.layers=x is not allowed" in done.stderr
    assert "in the job ddpm.start_t=50 dip.layers=x" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_request_that_only_the_run_can_refuse_is_one_line_too(small, tmp_path):
    small = [*small, "degrade=none"]
    done = command("sample.py", *small, "ddpm.init=matched", cwd=tmp_path)
    assert done.returncode == 2
    assert "ddpm.init=matched needs the error of the DIP output" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "outputs/fits").exists()


def test_fit_never_names_the_nearest_fit_and_the_command(small, tmp_path):
    assert command("train_dip.py", *small, cwd=tmp_path).returncode == 0
    done = command("sample.py", *small, "fit=never", "dip.channels=9", cwd=tmp_path)
    assert done.returncode == 2
    text = " ".join((done.stdout + done.stderr).split())
    assert "dip.channels 8 instead of 9" in text
    assert "python train_dip.py" in text and "dip.channels=9" in text
    done = command("sample.py", *small, "fit=never", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_users_sweep_fits_each_network_once_and_then_never_again(small, tmp_path):
    grid = ["-m", *small, "dip.layers=1,2", "ddpm.start_t=10,20"]
    first = command("sample.py", *grid, "hydra.sweep.dir=multirun/one", cwd=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout.count("made fit") == 2
    assert first.stdout.count("found fit") == 2
    assert len(FitStore(tmp_path / "outputs/fits").keys()) == 2
    jobs = sorted(p.parent for p in (tmp_path / "multirun/one").glob("*/metrics.json"))
    assert len(jobs) == 4
    for job in jobs:
        layers, start_t = re.findall(r"layers=(\d)", job.name)[0], re.findall(r"start_t=(\d+)", job.name)[0]
        metrics = json.loads((job / "metrics.json").read_text())
        assert metrics["result"]["nfe"] == int(start_t)
        assert (job / "fit").resolve().name == metrics["fit"]["key"]
        request = json.loads((job / "fit" / "fit.json").read_text())
        assert request["dip"]["layers"] == int(layers)
    second = command("sample.py", *grid, cwd=tmp_path)
    assert second.stdout.count("found fit") == 4
    assert "made fit" not in second.stdout
    again = (tmp_path / "multirun").glob("2*/*/*/metrics.json")
    assert sorted(p.parent.name for p in again) == [j.name for j in jobs]
    assert len(list((tmp_path / "multirun").glob("2*/*/index.html"))) == 1, "the sweep's page"


def test_a_failing_job_leaves_its_traceback_and_the_sweep_resumes_with_what_is_missing(small, tmp_path):
    sweep = ["-m", *small, "hydra.sweep.dir=sweep"]
    done = command("sample.py", *sweep, "dip.lr=1e9,0.001", cwd=tmp_path)
    assert done.returncode != 0
    bad, good = (next((tmp_path / "sweep").glob(f"*lr={lr},*")) for lr in ("1000000000.0", "0.001"))
    assert (good / "metrics.json").exists(), "the others finish"
    assert not (bad / "metrics.json").exists()
    log = (bad / "sample.log").read_text()
    assert "Traceback" in log
    assert "try a smaller dip.lr" in log
    assert "try a smaller dip.lr" in (bad / "error.txt").read_text()
    before = (good / "metrics.json").stat().st_mtime_ns
    (bad / "error.txt").write_text("older")
    again = command("sample.py", *sweep, "dip.lr=1e9,0.001,0.002", cwd=tmp_path)
    assert again.returncode != 0
    assert again.stdout.count("done before") == 1
    assert again.stdout.count("made fit") == 1, "the larger grid's new job"
    assert (good / "metrics.json").stat().st_mtime_ns == before
    assert "try a smaller dip.lr" in (bad / "error.txt").read_text(), "what failed is tried again"
    assert len(list((tmp_path / "sweep").glob("*/metrics.json"))) == 2


def test_a_killed_fit_goes_on_and_ends_with_the_same_picture(small, tmp_path):
    arguments = [*small, "dip.max_epochs=400", "checkpoint=last"]
    whole = command("train_dip.py", *arguments, "store=whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train_dip.py"), *arguments, "store=killed"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    while not list((tmp_path / "killed").glob("*/epochs/000050.safetensors")):
        assert process.poll() is None, "the fit ended before it could be killed"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (key,) = FitStore(tmp_path / "killed").keys()
    cut = FitStore(tmp_path / "killed").find(key)
    assert cut is not None
    assert cut.epochs < 400
    again = command("train_dip.py", *arguments, "store=killed", cwd=tmp_path)
    assert f"going on from epoch {cut.epochs}" in again.stdout
    fits = [FitStore(tmp_path / name).find(key) for name in ("whole", "killed")]
    assert [f.epochs for f in fits] == [400, 400]
    assert torch.equal(fits[0].picture(400), fits[1].picture(400))


def test_two_processes_that_want_the_same_fit_make_it_once(small, tmp_path):
    arguments = [sys.executable, str(ROOT / "train_dip.py"), *small, "dip.max_epochs=200"]
    both = [
        subprocess.Popen([*arguments, f"hydra.run.dir=run{i}"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        for i in (1, 2)
    ]
    texts = [p.communicate()[0] for p in both]
    assert [p.returncode for p in both] == [0, 0]
    assert sum("made fit" in t for t in texts) == 1
    assert sum("found fit" in t for t in texts) == 1
