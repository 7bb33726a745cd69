"""The command line as people use it: real processes, real files, real kills."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import huggingface_hub
import pytest
import torch
from PIL import Image
from support import ROOT
from support.commands import SMALL, command

from dipddpm.cli import check as cli
from dipddpm.cli import explain
from dipddpm.diffusion import folder as prior_folder
from dipddpm.diffusion import layout
from dipddpm.fits import FitStore
from dipddpm.pictures import read

COMMIT = "cd5c944777ea2668051904ead6cc120739b86c4d"  # conf/prior/celebahq256.yaml


@pytest.fixture
def small(tiny_prior):
    return [f"prior.path={tiny_prior}", *SMALL]


def tiny_picture(path, size=(16, 16)):
    Image.new("RGB", size, (200, 100, 50)).save(path)
    return path


REFUSALS = [
    (["dip.lyers=3"], "dip.lyers is not a key (did you mean dip.layers?)"),
    (["+dip.lyers=3"], "dip.lyers is not a key (did you mean dip.layers?)"),
    (["dip.layers=four"], "dip.layers=four is not allowed: a whole number"),
    (["baselines=maybe"], "baselines=maybe is not allowed: true or false"),
    (["dip.layers=null"], "dip.layers=null is not allowed"),
    (["noise=null"], "noise=null names no choice: type noise=<name>; --help shows the names"),
    (["noise=3"], "noise=3 names no choice"),
    (["dip=[cnn,skip]"], "dip=[cnn,skip] names no choice"),
    (["-m", "operator=null,mask"], "operator=null,mask names no choice"),
    (["dip=unet"], "dip=unet is not a choice; dip is one of: cnn skip"),
    (["image=me"], "image is one of: astronaut file folder noisy; for your own type image.path=me for a clean picture"),
    (["prior=mine"], "prior is one of: celebahq256 faces64; for your own type prior.path=mine"),
    (["dip=skip", "dip.layers=6"], "dip.layers=6 is not allowed: at most 5 with dip=skip at 64x64"),
    (["dip=skip", "image.size=16"], "dip.layers=4 is not allowed: at most 3 with dip=skip at 16x16"),
    (
        ["stopping=wmw"],
        "stopping=wmw is not a choice (did you mean wmv?); stopping is one of: emv holdout",
    ),
    (
        ["ddpm.init=scald"],
        "ddpm.init=scald is not allowed: one of raw, scaled, diffused, matched, noise (did you mean scaled?)",
    ),
    (
        ["ddpm.start_t=1001"],
        "ddpm.start_t=1001 is not allowed: auto or a noise level of this prior, from 1 to 1000",
    ),
    (["ddpm.start_t=auto", "ddpm.end_t=1000"], "ddpm.end_t=1000 is not allowed: a noise level from 0 to 999"),
    (["image.path=missing.png"], "missing.png"),
    (["image.path=words.png"], "words.png"),
    (["image.path=small.png"], "8 pixels"),
    (["checkpoint=nothere.safetensors"], "checkpoint=nothere.safetensors: no such file; type stop, last, oracle"),
    (["dip.layers=4,6"], "type -m first: python sample.py -m ..."),
    (["layers"], "layers cannot be read: type key=value"),
    (["image.path=me (1).png"], "image.path=me (1).png does not exist"),
    (["seed=(1)"], "seed=(1) cannot be read: type seed=<value>"),
    (["store=words.png"], "words.png is no folder; type store=<folder>"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSALS, ids=[" ".join(a) + "|" + m[:12] for a, m in REFUSALS])
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, refuse, tmp_path):
    (tmp_path / "words.png").write_text("no picture")
    tiny_picture(tmp_path / "small.png", (7, 30))
    (line,) = refuse("sample", *arguments)
    assert message in line
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small.png", "words.png"], "no work was begun"


def test_a_linked_script_and_a_module_are_the_command(tmp_path):
    (tmp_path / "mine.py").symlink_to(ROOT / "sample.py")
    done = command(str(tmp_path / "mine.py"), "dip.lyers=3", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: dip.lyers is not a key (did you mean dip.layers?)")
    assert len(done.stderr.strip().splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["mine.py"], "no work was begun"
    told = subprocess.run(
        [sys.executable, "-m", "dipddpm.cli.train_dip", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert "train_dip is powered by Hydra" in told.stdout


def test_a_sweep_is_checked_whole_before_its_first_job(tmp_path):
    done = command("sample.py", "-m", "ddpm.start_t=50,0", "dip.layers=4,x", cwd=tmp_path)
    assert done.returncode == 2
    assert "ddpm.start_t=0 is not allowed" in done.stderr
    assert "dip.layers=x is not allowed" in done.stderr
    assert "in the job ddpm.start_t=50 dip.layers=x" in done.stderr
    assert not list(tmp_path.iterdir())


LISTS = ["ddpm.start_t=20,50", "dip.layers=4,6", "dip.layers=range(1,5)", "ddpm.init=choice(raw,scaled)",
         "stopping=emv,wmv", "store=a,b"]  # fmt: skip


@pytest.mark.parametrize(("name", "script"), [("sample", "sample.py"), ("fit", "train_dip.py")])
@pytest.mark.parametrize("typed", LISTS)
def test_a_list_of_values_without_m_is_told_of_it(typed, name, script, refuse):
    line = f"error: {typed} is a list of values: to run each, type -m first: python {script} -m ..."
    assert refuse(name, "seed=1", typed) == [line]


def test_what_else_is_typed_without_m_is_told_of_it(refuse):
    way_out = "type -m first: python sample.py -m ..."
    assert refuse("sample", "dip.lr=interval(0.1,1)") == [
        f"error: dip.lr=interval(0.1,1) is a range to search: {way_out}"
    ]
    (line,) = refuse("sample", "image.box=1,2,30,40")
    assert line.endswith(f"{way_out}; for one list, type image.box=[1,2,30,40]")
    (line,) = refuse("sample", "seed=1", "-m", "dip.layers=1,2")
    assert line == "error: dip.layers=1,2 cannot be read: type options such as -m first, then key=value"


MANY = [
    ("experiment=search", "optuna", "experiment=search has hydra/sweeper=optuna, which is for a sweep's jobs"),
    ("hydra/sweeper=optuna", "optuna", "hydra/sweeper=optuna is for a sweep's jobs"),
    ("hydra/launcher=joblib", "joblib", "hydra/launcher=joblib is for a sweep's jobs"),
]


@pytest.mark.parametrize(("typed", "extra", "message"), MANY, ids=[m[0] for m in MANY])
def test_a_sweeper_or_launcher_without_m_is_refused(typed, extra, message, refuse):
    plugin = {"optuna": "hydra_optuna_sweeper", "joblib": "hydra_joblib_launcher"}[extra]
    pytest.importorskip(f"hydra_plugins.{plugin}", reason=f"needs the extra `{extra}`")
    assert refuse("sample", typed) == [f"error: {message}: type -m first: python sample.py -m ..."]
    cli.check_arguments("sample", ["--cfg", "job", typed])
    direction = ["hydra.sweeper.direction=maximize"] * (typed == "hydra/sweeper=optuna")
    cli.check_arguments("sample", [typed, "hydra.mode=MULTIRUN", *direction])
    cli.check_arguments("sample", ["hydra/launcher=basic", "hydra/sweeper=basic", "experiment=original"])


def test_slurm_is_refused_where_there_is_none(refuse, tmp_path, monkeypatch):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs the extra `submitit`")
    sweep = ["-m", "hydra/launcher=submitit_slurm", "seed=1,2"]
    monkeypatch.setenv("PATH", str(tmp_path))
    (line,) = refuse("sample", *sweep)
    assert line.startswith("error: hydra/launcher=submitit_slurm needs SLURM's sbatch")
    assert line.endswith("type hydra/launcher=submitit_local or hydra/launcher=joblib")
    (tmp_path / "sbatch").write_text("#!/bin/sh\n")
    (tmp_path / "sbatch").chmod(0o755)
    cli.check_arguments("sample", sweep)


def test_an_extra_that_is_missing_is_named_as_a_clone_installs_it(refuse, monkeypatch):
    monkeypatch.setitem(explain.EXTRAS, "hydra/launcher=elsewhere", "elsewhere")
    line = 'error: hydra/launcher=elsewhere is not installed: type pip install -e ".[elsewhere]"'
    assert refuse("sample", "-m", "hydra/launcher=elsewhere", "seed=1,2") == [line]


def test_the_key_of_a_choice_is_refused_for_the_choice(refuse):
    for typed, choice in (("noise.kind=poisson", "noise=poisson"), ("image.kind=clean", "image=file"),
                          ("operator.kind=mask", "operator=mask")):  # fmt: skip
        for prefix in ("", "++"):
            (line,) = refuse("sample", f"{prefix}{typed}")
            group = typed.partition(".")[0]
            assert line == f"error: {prefix}{typed} is not allowed: the choice of {group} sets it; type {choice}"


@pytest.fixture
def priors(tmp_path):
    """Folders that are called a prior: without a network, without weights."""
    for name in ("empty", "weightless"):
        (tmp_path / name).mkdir()
    (tmp_path / "weightless/config.json").write_text('{"sample_size": 16}')


FILES = [
    ("prior.path=/nonexist", "prior.path=/nonexist: no such folder; give prior.path="),
    ("prior.path=empty", "prior empty: the folder has neither unet/config.json nor config.json"),
    ("prior.name=none", "prior.name=none: not in the package, and no prior.repo"),
    ("prior.repo=google/x", "prior.repo=google/x would not be used, because prior.name=faces64 is in the package: type "
     "prior=celebahq256 prior.repo=google/x prior.revision=<commit>"),
    ("image.path=", "image.path= names no picture: type image.path=<file> or image.path=astronaut"),
]  # fmt: skip
MINE = "image=noisy image.path=astronaut"
SAMPLE_ALONE = [
    ("image.size=100", "image.size=100 is not allowed: the prior takes multiples of 8 pixels; type image.size=96 or "
     "image.size=104"),
    (
        f"ddpm.init=matched operator=blur image.box=[140,20,204,84] {MINE}",
        "ddpm.init=matched cannot be used: the error of the DIP output is unknown without a clean picture, because it "
        "is estimated with operator=identity alone; type ddpm.error_sigma=<0-255 scale>",
    ),
    (
        f"ddpm.start_t=auto ddpm.init=matched operator=blur image.box=[140,20,204,84] {MINE}",
        "ddpm.start_t=auto and ddpm.init=matched cannot be used: the error",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "message"), SAMPLE_ALONE, ids=[t for t, _ in SAMPLE_ALONE])
def test_what_only_a_window_cannot_take_is_refused_of_sample_before_any_work(typed, message, refuse):
    (line,) = refuse("sample", *typed.split())
    assert line.startswith(f"error: {message}")
    (line,) = refuse("sample", "-m", "seed=1", *typed.split())
    assert line.startswith(f"error: {message}")
    cli.check_arguments("fit", typed.split())


def test_sizes_that_the_prior_takes_and_errors_that_are_given_are_allowed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("noisy.png", "clean.png"):
        tiny_picture(tmp_path / name)
    cli.check_arguments("sample", ["-m", "image.size=8,72,128"])
    cli.check_arguments("sample", ["ddpm.init=matched", *MINE.split(), "ddpm.error_sigma=10"])
    cli.check_arguments("sample", ["ddpm.init=matched", *MINE.split(), "checkpoint=none"])
    mine = ["image=noisy", "image.path=noisy.png", "image.reference=clean.png"]
    cli.check_arguments("sample", ["ddpm.start_t=auto", *mine])


def test_a_clean_picture_of_another_size_is_refused_before_both_are_made_square(refuse, tmp_path):
    tiny_picture(tmp_path / "noisy.png", (20, 16))
    tiny_picture(tmp_path / "clean.png", (16, 16))
    mine = ["image=noisy", "image.path=noisy.png", "image.reference=clean.png"]
    line = "error: image.reference is 16x16, but image.path is 20x16: give image.reference at 20x16"
    assert refuse("sample", *mine) == refuse("fit", *mine) == [line]
    assert len(refuse("sample", "-m", *mine, "seed=1,2")) == 1
    cli.check_arguments("sample", [*mine, "image.box=[0,0,16,16]"])


@pytest.mark.parametrize("typed", ["noise.correlation=4.5", "operator=downscale noise.correlation=1.5"])
def test_noise_that_is_too_wide_for_the_picture_is_refused_before_any_work(typed, refuse):
    (line,) = refuse("sample", "-m", "seed=0,1", "noise=correlated", *typed.split())
    assert line.startswith(f"error: {typed.split()[-1]} is not allowed: at most ")
    cli.check_arguments("sample", ["noise=correlated", "noise.correlation=4"])


def test_a_configuration_of_ones_own_is_what_is_checked(refuse, tmp_path):
    shutil.copytree(ROOT / "conf", tmp_path / "mine")
    (tmp_path / "mine/dip/wide.yaml").write_text("defaults: [cnn]\nchannels: 128\n")
    cli.check_arguments("sample", ["-cp", str(tmp_path / "mine"), "dip=wide"])
    (line,) = refuse("sample", "--config-path", str(tmp_path / "mine"), "dip=wider")
    assert line.startswith("error: dip=wider is not a choice (did you mean wide?)")
    (line,) = refuse("sample", "--config-path", "nowhere")
    assert line.startswith(f"error: --config-path nowhere: there is no folder {tmp_path}/nowhere; ")


def test_a_network_that_nobody_builds_is_not_looked_at(refuse):
    (line,) = refuse("sample", "dip=skip", "dip.layers=9")
    assert line.startswith("error: dip.layers=9 is not allowed: at most 5")
    cli.check_arguments("sample", ["dip=skip", "dip.layers=9", "checkpoint=none"])


@pytest.mark.parametrize(("typed", "message"), FILES, ids=[f[0] for f in FILES])
@pytest.mark.parametrize("name", ["sample", "fit"])
def test_files_that_are_missing_are_refused_before_any_work(typed, message, name, refuse, priors):
    (line,) = refuse(name, typed)
    assert line.startswith(f"error: {message}")
    (line,) = refuse(name, "-m", typed, "seed=1,2")
    assert line.startswith(f"error: {message}") and line.endswith(f"(in the job {typed} seed=1)")
    if typed != "image.path=":
        cli.check_arguments(name, ["--cfg", "job", typed])


def test_weights_are_asked_for_where_they_are_read(refuse, priors):
    (line,) = refuse("sample", "prior.path=weightless")
    assert line.startswith("error: prior weightless: the folder has no diffusion_pytorch_model.safetensors")
    cli.check_arguments("fit", ["prior.path=weightless"])
    (line,) = refuse("fit", "prior.path=empty", "image.size=16")
    assert line.startswith("error: prior empty: the folder has neither")


def test_a_prior_of_the_hub_is_looked_up_before_any_work(refuse, monkeypatch, tiny_prior, tmp_path):
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (line,) = refuse("sample", "prior=celebahq256")
    assert line.startswith("error: prior.repo=google/ddpm-celebahq-256: not in the Hugging Face cache")
    (line,) = refuse("fit", "prior=celebahq256")
    assert "not in the Hugging Face cache" in line, "its picture size is that of the fit"
    cli.check_arguments("fit", ["prior=celebahq256", "image.size=64"])
    cli.check_arguments("sample", ["--cfg", "job", "prior=celebahq256"])
    snapshot = tmp_path / "hub/models--google--ddpm-celebahq-256/snapshots" / COMMIT
    shutil.copytree(tiny_prior, snapshot)
    (line,) = refuse("sample", "prior=celebahq256", "ddpm.start_t=1001")
    assert line.startswith("error: ddpm.start_t=1001 is not allowed"), "its files are looked at, too"


def test_a_sweep_looks_at_each_file_once(monkeypatch):
    looked = []

    def counted(module, name):
        real = getattr(module, name)

        def look(*given, **named):
            looked.append((name, given[0]))
            return real(*given, **named)

        look.__qualname__ = name
        monkeypatch.setattr(module, name, look)

    for module, name in ((read, "check"), (prior_folder, "resolve"), (layout, "sample_size"), (layout, "levels")):
        counted(module, name)
    cli.check_arguments("sample", ["-m", "seed=1,2,3"])
    faces = prior_folder.ASSETS / "faces64"
    assert looked == [("check", "astronaut"), ("resolve", "faces64"), ("sample_size", faces), ("levels", faces)]


def test_what_cannot_be_met_is_one_line_and_leaves_no_fit(small, tiny_prior, tmp_path):
    shutil.copytree(tiny_prior, tmp_path / "prior")
    scheduler = tmp_path / "prior/scheduler/scheduler_config.json"
    scheduler.write_text(scheduler.read_text().replace('"fixed_small"', '"learned_range"'))
    for arguments, said in (
        (["prior.path=prior"], "scheduler_config.json: the scheduler cannot be used"),  # known by the run alone
        (
            [*MINE.split(), "ddpm.init=matched", "operator=clip", "image.box=[140,20,156,36]"],
            "ddpm.init=matched cannot be used: the error of the DIP output is unknown",
        ),
    ):
        done = command("sample.py", *small, *arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert said in done.stdout + done.stderr
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
        assert (job.parent / "fits" / metrics["fit"]["key"]).is_symlink()
        request = json.loads((job.parent / "fits" / metrics["fit"]["key"] / "fit.json").read_text())
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
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr, "it is in the job's log"
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
    assert f"continuing from epoch {cut.epochs}" in again.stdout
    whole, extended = (FitStore(tmp_path / name).find(key) for name in ("whole", "killed"))
    assert whole is not None and extended is not None
    assert (whole.epochs, extended.epochs) == (400, 400)
    assert torch.equal(whole.picture(400), extended.picture(400))


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


def test_paths_are_those_where_one_typed_them_in_folders_of_any_name(small, tmp_path):
    """With hydra.job.chdir, with names in Latin-1, and with links in place of the files that Hydra writes."""
    run, elsewhere = tmp_path / os.fsdecode(b"r\xfcn"), tmp_path / "elsewhere"
    (run / ".hydra").mkdir(parents=True)
    (run / ".job.lock").touch()  # of an earlier run
    for link in (run / "sample.log", run / ".hydra/config.yaml"):
        link.symlink_to(elsewhere)
    tiny_picture(tmp_path / os.fsdecode(b"m\xe9.png"))
    names = {"image.path": "m\udce9.png", "store": "st\udcf6re", "hydra.run.dir": run.name}
    typed = [*small, *(f'{key}="{name}"' for key, name in names.items()), "baselines=false", "hydra.job.chdir=true"]
    done = command("sample.py", *typed, cwd=tmp_path, env=os.environ | {"PYTHONIOENCODING": "utf-8"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    store = FitStore(tmp_path / names["store"])
    (key,) = store.keys()
    assert store.uses(key) == [run] and list(store.folder(key).glob("events.*"))
    assert (run / "metrics.json").is_file() and not (run / names["store"]).exists()
    assert not elsewhere.exists() and (run / "sample.log").is_file() and not (run / "sample.log").is_symlink()
