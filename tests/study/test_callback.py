"""The callback by which Hydra keeps a sweep's summary up to date."""

import pickle
import subprocess
import sys

import pytest
from filelock import FileLock
from hydra.core.utils import JobReturn
from hydra.types import RunMode
from omegaconf import OmegaConf
from support import ROOT

from dipddpm.study.callback import StudyCallback


@pytest.fixture
def mixed(mixed):
    (mixed / ".study.lock").touch()  # the folder is this project's
    return mixed


def hydra_config(folder, mode="MULTIRUN"):
    node = {"mode": RunMode[mode], "runtime": {"cwd": str(folder.parent)}, "sweep": {"dir": folder.name}}
    return OmegaConf.create({"hydra": node})


def test_the_callback_builds_when_due(mixed):
    callback, config, page = StudyCallback(), hydra_config(mixed), mixed / "index.html"
    callback.on_job_end(hydra_config(mixed, "RUN"), JobReturn())
    assert not page.exists(), "a run of its own is no sweep"
    callback.on_job_end(config, JobReturn())
    assert page.exists()
    (mixed / ".study.json").write_text('{"seconds": 1000}')
    page.unlink()
    callback.on_job_end(config, JobReturn())
    assert not page.exists(), "built just now"
    callback.on_multirun_end(config)
    assert page.exists()


def test_a_job_does_not_wait_for_another_that_builds(mixed):
    with FileLock(mixed / ".study.lock"):
        StudyCallback().on_job_end(hydra_config(mixed), JobReturn())
    assert not (mixed / "index.html").exists()


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
print((folder / "index.html").exists(), flush=True)
"""


def test_the_process_that_started_a_sweep_builds_at_its_exit_and_its_workers_do_not(mixed):
    (mixed / ".study.json").write_text('{"seconds": 1000}')  # as if built just now: no worker's job is due
    done = subprocess.run(
        [sys.executable, "-c", SUBMITTER, mixed], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False"]
    assert (mixed / "index.html").exists()


def test_a_sweep_that_ended_well_is_not_built_again_at_the_exit(mixed, monkeypatch):
    registered = []
    monkeypatch.setattr("atexit.register", lambda function, config: registered.append(function))
    monkeypatch.setattr("atexit.unregister", registered.remove)
    callback, config = StudyCallback(), hydra_config(mixed)
    callback.on_multirun_start(config)
    assert len(registered) == 1
    pickle.loads(pickle.dumps(callback)).on_job_end(config, JobReturn())
    assert len(registered) == 1, "a worker registers nothing"
    callback.on_multirun_end(config)
    assert registered == []


def test_the_callback_never_fails_a_job(mixed, tmp_path, caplog, monkeypatch):
    callback = StudyCallback()
    callback.on_job_end(OmegaConf.create({}), JobReturn())
    monkeypatch.setattr("dipddpm.study.summary._build", lambda folder: 1 / 0)
    callback.on_job_end(hydra_config(mixed), JobReturn())
    callback.on_multirun_end(hydra_config(mixed))
    assert caplog.text.count("the sweep's summary could not be built") == 3
    callback.on_multirun_end(hydra_config(tmp_path / "missing"))
    assert caplog.text.count("the sweep's summary could not be built") == 3, "no job has begun: there is nothing to say"
