"""Whose a file is: a run, a sweep and a training never replace or remove a file that they did not write."""

import json
import os
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from support import ROOT
from support.study_jobs import job, metrics

from dipddpm.cli import launch
from dipddpm.config import compose as config
from dipddpm.errors import UserError
from dipddpm.names import Precision
from dipddpm.ownership import RECORD, claim, claimed
from dipddpm.runs import commands as runs
from dipddpm.runs.job import Job
from dipddpm.study import build
from dipddpm.study.callback import StudyCallback
from prior_training.run import train


def own(folder, *names, lock=".job.lock", older=()):
    claim(folder, names, "type another", lock=lock, older=older)


def test_what_is_not_in_the_record_is_somebody_elses(tmp_path):
    own(tmp_path / "new", "a", "b")
    assert claimed(tmp_path / "new") == {"a", "b"}
    (tmp_path / "new/a").write_text("ours")
    own(tmp_path / "new", "a", "c")
    (tmp_path / "new/d").write_text("theirs")
    with pytest.raises(UserError, match="new holds d, which dipddpm did not write: type another"):
        own(tmp_path / "new", "a", "d")
    assert claimed(tmp_path / "new") == {"a", "b", "c"}
    (tmp_path / "link").mkdir()
    (tmp_path / "link/a").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds a"):
        own(tmp_path / "link", "a")
    (tmp_path / "new" / RECORD).write_text('{"files": ["a", "../a.png", "/a.png", 1]}')
    assert claimed(tmp_path / "new") == {"a", "1"}, "files elsewhere are nobody's"
    for spoil in (lambda path: path.write_text("["), os.mkfifo):
        (tmp_path / "new" / RECORD).unlink()
        spoil(tmp_path / "new" / RECORD)
        with pytest.raises(UserError, match="holds a"):
            own(tmp_path / "new", "a")


def test_a_folder_of_a_version_without_the_record_goes_on(tmp_path):
    for name in (".job.lock", "a", "a-1", "b"):
        (tmp_path / name).touch()
    own(tmp_path, "a", "c", older=["a*"])
    assert claimed(tmp_path) == {"a", "a-1", "c"}


THEIRS = {"panel.png": b"p", "result-2.png": b"r", "result-2x.png": b"x", "events.out.tfevents.1.host": b"e"}


def test_a_run_leaves_the_files_of_others_in_its_folder(configure, tmp_path, monkeypatch, capsys):
    """As with ``hydra.run.dir=.``: refused where a name is taken, and else nothing of the others' is lost."""
    c = configure("baselines=false", "ddpm.scheduler=ddpm")
    for name, content in THEIRS.items():
        (tmp_path / name).write_bytes(content)
    node = {"runtime": {"cwd": str(tmp_path)}, "run": {"dir": "."}}
    with pytest.raises(SystemExit) as left:
        StudyCallback().on_run_start(OmegaConf.create({"hydra": node}))
    said = capsys.readouterr().err
    assert left.value.code == 2 and said.count("\n") == 1
    assert "holds panel.png, which dipddpm did not write: type hydra.run.dir=<another folder>" in said
    with pytest.raises(UserError, match="panel.png"):
        runs.sample(c, Job(tmp_path))
    assert not (tmp_path / "fits").exists(), "before any work"
    (tmp_path / "panel.png").unlink()
    StudyCallback().on_run_start(OmegaConf.create({"hydra": node}))
    runs.sample(c, Job(tmp_path))
    assert (tmp_path / "panel.png").stat().st_size > 1000
    with pytest.raises(UserError, match="result-2.png"):
        runs.sample(configure("baselines=false", "ddpm.samples=3"), Job(tmp_path))
    runs.sample(configure("baselines=false", "ddpm.samples=2"), Job(tmp_path))
    runs.fit(c, Job(tmp_path))
    assert not (tmp_path / "result-1.png").exists() and not (tmp_path / "strip.png").exists(), "of the run before"
    assert len(list(tmp_path.glob("events.out.tfevents.*.dipddpm"))) == 1
    for name in set(THEIRS) - {"panel.png"}:
        assert (tmp_path / name).read_bytes() == THEIRS[name]


def test_a_job_of_a_sweep_that_meets_a_strange_folder_writes_no_note_there(tmp_path, monkeypatch, caplog):
    (tmp_path / "error.txt").write_text("theirs")
    node = {"runtime": {"output_dir": str(tmp_path)}, "mode": "MULTIRUN", "overrides": {"task": []}, "launcher": {},
            "verbose": False, "job": {"chdir": False}}  # fmt: skip
    hydra = OmegaConf.create(node)
    hydra.mode = launch.RunMode.MULTIRUN
    monkeypatch.setattr(launch.HydraConfig, "get", lambda: hydra)
    with pytest.raises(launch.JobFailed, match="holds error.txt"):
        launch.run_job(OmegaConf.create(), "fit")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"error.txt": "theirs"}


def test_a_study_writes_over_no_page_but_its_own(tmp_path, capsys):
    job(tmp_path, ["a=1"], metrics())
    for name in ("index.html", "summary.md"):
        (tmp_path / name).write_text("theirs")
        with pytest.raises(UserError, match=f"holds {name}, which dipddpm did not write: move the file away"):
            build(tmp_path)
        node = {"runtime": {"cwd": str(tmp_path)}, "sweep": {"dir": ".", "subdir": "x"}}
        with pytest.raises(SystemExit):
            StudyCallback().on_multirun_start(OmegaConf.create({"hydra": node}))
        assert "type hydra.sweep.dir=<another folder>" in capsys.readouterr().err
        assert (tmp_path / name).read_text() == "theirs" and not (tmp_path / "summary.csv").exists()
        (tmp_path / name).unlink()
    (tmp_path / "multirun.yaml").write_text("theirs")  # of another program that uses Hydra
    with pytest.raises(SystemExit):
        StudyCallback().on_multirun_start(OmegaConf.create({"hydra": node}))
    assert "holds multirun.yaml, which dipddpm did not write: type hydra.sweep.dir=" in capsys.readouterr().err
    build(tmp_path)  # which writes no such file
    (tmp_path / RECORD).unlink()
    build(tmp_path)  # as of an older version, which left its lock


def test_a_training_writes_over_no_readme_but_its_own(tmp_path):
    (tmp_path / "README.md").write_text("theirs")
    given = SimpleNamespace(
        out=str(tmp_path), work=tmp_path / "training", device="cpu", precision=Precision.fp32, threads=0
    )
    with pytest.raises(UserError, match="holds README.md, which dipddpm did not write: type another out=<folder>"):
        train(cast(Any, given))
    assert [p.name for p in tmp_path.iterdir()] == ["README.md"]


def test_a_done_job_with_a_damaged_picture_is_made_again(configure, tmp_path, caplog):
    c = configure("baselines=false")
    runs.sample(c, Job(tmp_path))
    caplog.set_level("INFO")
    assert launch.done_before(tmp_path, c, "sample")
    recorded = json.loads((tmp_path / "metrics.json").read_text())["files"]
    assert {"result.png", "dip.png", "noisy.png", "clean.png", "panel.png", "fit.png", "strip.png"} == set(recorded)
    for name, damage in {"result.png": b"", "strip.png": None}.items():
        whole = (tmp_path / name).read_bytes()
        if damage is None:
            (tmp_path / name).unlink()
        else:
            (tmp_path / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert not launch.done_before(tmp_path, c, "sample")
        assert f"{name} is missing or damaged: the job runs again" in caplog.text
        (tmp_path / name).write_bytes(whole)
        assert launch.done_before(tmp_path, c, "sample")
    text = json.loads((tmp_path / "metrics.json").read_text())
    del text["files"]  # as of an older version
    (tmp_path / "metrics.json").write_text(json.dumps(text))
    (tmp_path / "result.png").unlink()
    assert launch.done_before(tmp_path, c, "sample")


def test_a_sweeps_folders_begin_with_what_was_swept_and_old_ones_are_found(tmp_path):
    config.register()
    typed = ["image.path=anna.png,bert.png", "baselines=false", "dip.lr=0.01", f"hydra.sweep.dir={tmp_path}"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        whole = compose("config", overrides=typed[1:], return_hydra_config=True)
        whole.hydra.overrides.task = typed[:-1]
        _ = whole.hydra.sweep.subdir  # as the callback does
        jobs = []
        for picture in ("anna", "bert"):
            one = compose("config", overrides=typed[1:], return_hydra_config=True)
            one.hydra.overrides.task = [f"image.path={picture}.png", *typed[1:-1]]
            one.hydra.job.name = "sample"
            OmegaConf.copy_cache(whole, one)
            jobs.append(one)
        names = [one.hydra.sweep.subdir for one in jobs]
        assert [name.rpartition("-")[0] for name in names] == [
            f"path={picture}.png,baselines=false,lr=0.01" for picture in ("anna", "bert")
        ]
        old = f"baselines=false,lr=0.01,path=anna.png-{names[0][-8:]}"
        (tmp_path / old).mkdir()
        assert [one.hydra.sweep.subdir for one in jobs] == [old, names[1]]
