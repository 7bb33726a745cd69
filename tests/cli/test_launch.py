"""One job: whether it is done, how it ends, how many threads it has, in which order a sweep makes its fits."""

import errno
import json
import logging
import os
import pickle
import shutil
import signal
import threading

import pytest
import torch
import yaml
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file, save_file

from dipddpm.cli import launch, sample, start, train_dip
from dipddpm.cli.launch import done_before, objective, share_of_threads
from dipddpm.config.compose import plain
from dipddpm.runs import commands as runs
from dipddpm.runs import fingerprints
from dipddpm.runs.job import Job


def test_a_job_is_done_only_when_whole_and_of_this_command_and_configuration(configure, tmp_path):
    c = configure("baselines=false")
    runs.sample(c, Job(tmp_path))
    assert done_before(tmp_path, c, "sample")
    assert done_before(tmp_path, configure("baselines=false", "threads=1", "panel_every=7"), "sample"), "how, not what"
    assert not done_before(tmp_path, c, "fit")
    assert not done_before(tmp_path, configure("baselines=false", "ddpm.start_t=21"), "sample")
    whole = (tmp_path / "metrics.json").read_text()
    for damaged in (whole[: len(whole) // 2], whole.replace('"psnr": ', '"psnr": NaN, "x": ', 1)):
        (tmp_path / "metrics.json").write_text(damaged)
        assert not done_before(tmp_path, c, "sample")
    (tmp_path / "metrics.json").unlink()
    assert not done_before(tmp_path, c, "sample")


def test_a_job_that_is_older_than_a_key_is_done_where_that_is_at_its_default(configure, tmp_path):
    c = configure("baselines=false")
    runs.sample(c, Job(tmp_path))
    stored = yaml.safe_load((tmp_path / "config.yaml").read_text())
    del stored["ddpm"]["error_sigma"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(stored))
    assert done_before(tmp_path, c, "sample")
    assert not done_before(tmp_path, configure("baselines=false", "ddpm.error_sigma=5"), "sample")
    of_before = {**{k: v for k, v in stored.items() if k not in ("noise", "operator")}, "degrade": {"kind": "gaussian"}}
    for other in (stored | {"gone": 1}, of_before, "no configuration", None, []):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(other))
        assert not done_before(tmp_path, c, "sample")


def test_a_job_without_the_st_lpips_that_a_search_asks_for_is_run_again(configure, tmp_path):
    c = configure("baselines=false", "objective=[result.stlpips]", "image.size=24")
    runs.sample(c, Job(tmp_path))
    assert done_before(tmp_path, c, "sample")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    del metrics["result"]["stlpips"]  # as of a run before it was installed
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    assert not done_before(tmp_path, c, "sample")


def test_a_result_of_files_that_have_changed_is_not_this_jobs(configure, tiny_prior, tmp_path, caplog):
    picture, weights = tmp_path / "me.png", tmp_path / "prior"
    shutil.copytree(tiny_prior, weights)
    Image.new("RGB", (20, 20), (90, 120, 50)).save(picture)
    typed = ["baselines=false", "image=noisy", f"image.path={picture}", "noise.sigma=5", f"prior.path={weights}"]
    c, folder = configure(*typed), tmp_path / "run"
    runs.sample(c, Job(folder))
    assert done_before(folder, c, "sample")
    Image.new("RGB", (20, 20), (90, 120, 51)).save(picture)
    with caplog.at_level("INFO"):
        assert not done_before(folder, c, "sample")
    assert "done before with another image.path: the job runs again" in caplog.text
    Image.new("RGB", (20, 20), (90, 120, 50)).save(picture)
    assert done_before(folder, c, "sample")
    file = weights / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    save_file({name: w + 1e-3 for name, w in tensors.items()}, file, {"format": "pt"})
    assert not done_before(folder, c, "sample")
    runs.sample(c, Job(folder))
    scheduler = weights / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps(json.loads(scheduler.read_text()) | {"variance_type": "fixed_large"}))
    assert not done_before(folder, c, "sample")
    kept = next((tmp_path / "fits").glob("*/epochs/000030.safetensors"))
    start = configure("baselines=false", f"checkpoint={kept}")
    runs.sample(start, Job(tmp_path / "from-file"))
    assert done_before(tmp_path / "from-file", start, "sample")
    save_file({name: w * 0.9 for name, w in load_file(kept).items()}, kept)
    assert not done_before(tmp_path / "from-file", start, "sample")


def test_threads_of_one_job_are_not_those_of_the_next(monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(launch, "_LIMITED", [])
    before = torch.get_num_threads()
    try:
        launch._set_threads(None)
        assert torch.get_num_threads() == before, "untouched where no job has set any"
        launch._set_threads(3)
        assert torch.get_num_threads() == 3
        launch._set_threads(None)
        assert torch.get_num_threads() == launch._usable_cores()
    finally:
        torch.set_num_threads(before)


def test_the_objective_is_what_metrics_json_says(configure, tmp_path):
    c = configure("objective=[result.psnr,cost.total_evaluations_worth]")
    (tmp_path / "metrics.json").write_text(
        json.dumps({"result": {"psnr": 26.5}, "cost": {"total_evaluations_worth": 700.0}})
    )
    assert objective(c, tmp_path) == (26.5, 700.0)
    assert objective(configure(), tmp_path) == 26.5
    (tmp_path / "metrics.json").write_text(json.dumps({"result": {"nfe": 3}}))
    assert objective(configure(), tmp_path) is None, "no clean picture, no PSNR"


@pytest.mark.parametrize(
    ("launcher", "cores", "threads"),
    [
        ({"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}, 8, None),
        ({"n_jobs": -1}, 8, 1),
        ({"n_jobs": 2}, 8, 4),
        ({"n_jobs": -2}, 8, 1),
        ({"n_jobs": 16}, 8, 1),
        ({"cpus_per_task": 3}, 8, 3),
        ({"ray": {"init": {}, "remote": {"num_cpus": 2}}}, 8, 2),
    ],
)
def test_jobs_side_by_side_share_the_cores(launcher, cores, threads):
    assert share_of_threads(launcher, cores) == threads


def test_ctrl_c_during_a_fit_is_told_from_another_end(configure, tmp_path, monkeypatch):
    def interrupted(self, batch, batch_idx):
        raise KeyboardInterrupt

    monkeypatch.setattr("dipddpm.dip.module.DeepImagePrior.training_step", interrupted)
    c = configure()
    monkeypatch.setattr("dipddpm.config.compose.typed", lambda cfg: c)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as left:
        launch._run(OmegaConf.create(), "fit", Job(tmp_path / "run"), {})
    signal.signal(signal.SIGINT, before)  # Lightning ignores another one from then on
    assert left.value.code == 130, "Lightning leaves with 1"


def test_a_run_does_not_write_over_the_pictures_that_it_reads(run, tmp_path, caplog):
    folder = tmp_path / "run"
    Image.new("RGB", (20, 20), (90, 120, 50)).save(tmp_path / "mine.png")
    own, mine = ["image=noisy", "noise.sigma=5"], f"image.path={tmp_path / 'mine.png'}"
    assert run(*own, mine) == 0
    before = (folder / "noisy.png").read_bytes()
    (tmp_path / "link.png").symlink_to(folder / "noisy.png")
    for given in ([f"image.path={folder}/noisy.png"], [f"image.path={tmp_path}/link.png"],
                  [mine, f"image.reference={folder}/dip.png"]):  # fmt: skip
        assert run(*own, *given) == 2
    assert f"image.path={folder}/noisy.png would be overwritten" in caplog.text
    assert f"image.reference={folder}/dip.png would be overwritten" in caplog.text
    shutil.copy(tmp_path / "mine.png", folder / "noisy-cat.png")
    assert run(*own, f"image.path={folder}/noisy-cat.png") == 0
    assert (folder / "noisy-cat.png").exists()
    assert before == (folder / "noisy.png").read_bytes(), "the same picture again"


def test_a_job_that_is_done_keeps_no_error_of_an_attempt_that_could_not_see_it(configure, tmp_path, monkeypatch):
    c = configure("baselines=false")
    runs.sample(c, Job(tmp_path))
    (tmp_path / "error.txt").write_text("prior.path=/gone: no such folder")
    for name in (".result.png.1-0123abcd.tmp", ".metrics.json.1-0123abcd.tmp", ".mine.1-0123abcd.tmp"):
        (tmp_path / name).touch()
    monkeypatch.setattr("dipddpm.config.compose.typed", lambda cfg: c)
    launch._run(OmegaConf.create(), "sample", Job(tmp_path, sweep=True), {})
    assert not (tmp_path / "error.txt").exists()
    assert [p.name for p in tmp_path.glob(".*.tmp")] == [".mine.1-0123abcd.tmp"], "what a killed run left"


def test_ctrl_c_is_one_line_whatever_the_job_is_at(run, tmp_path, monkeypatch, caplog):
    def interrupted(c, job):
        raise KeyboardInterrupt

    monkeypatch.setattr("dipddpm.runs.commands.sample", interrupted)
    assert run() == 130
    assert (tmp_path / "run/error.txt").read_text() == "stopped by a signal\n"
    assert "to continue, type the same command" in caplog.text


def test_ctrl_c_outside_a_job_is_one_line(monkeypatch, capsys):
    def interrupted(command):
        raise KeyboardInterrupt

    monkeypatch.setenv(start.FULL, "0")
    monkeypatch.setattr(start, "check_arguments", interrupted)
    with pytest.raises(SystemExit) as left:
        start.start(lambda cfg: None, "sample")
    assert left.value.code == 130
    assert capsys.readouterr().err == "stopped by a signal: to continue, type the same command\n"


@pytest.mark.parametrize("command", [sample, train_dip])
def test_a_launcher_can_send_a_job_to_another_process_by_its_name(command):
    assert pickle.loads(pickle.dumps(command.job)) is command.job


@pytest.fixture
def run(configure, tmp_path, monkeypatch):
    """Run one job of sample.py in ``tmp_path/run``, with a log as Hydra makes it; return its exit code."""

    def run(*overrides, sweep=False):
        c = configure("baselines=false", *overrides)
        with monkeypatch.context() as patched:
            patched.setattr("dipddpm.config.compose.typed", lambda cfg: c)
            try:
                launch._run(OmegaConf.create(), "sample", Job(tmp_path / "run", sweep=sweep), {})
            except SystemExit as left:
                return left.code
        return 0

    (tmp_path / "run").mkdir()
    handler = logging.FileHandler(tmp_path / "run/sample.log")
    logging.getLogger().addHandler(handler)
    yield run
    logging.getLogger().removeHandler(handler)
    handler.close()


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "fits/.state-000010.ckpt.1-0123abcd.tmp")
FAILURES = [
    (RuntimeError("the fit diverged at epoch 2: try a smaller dip.lr"),
     "the fit diverged at epoch 2: try a smaller dip.lr"),
    (FULL, f"No space left on device: {FULL.filename}; to continue, type the same command"),
    (torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate"), "CUDA out of memory. Tried to allocate"),
    (KeyError("x"), "KeyError: 'x'"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "line"), FAILURES, ids=[type(error).__name__ for error, _ in FAILURES])
def test_a_job_that_fails_is_one_line_with_its_traceback_in_the_log_alone(
    run, tmp_path, monkeypatch, caplog, capfd, error, line
):
    def fails(c, job):
        raise error

    monkeypatch.setattr("dipddpm.runs.commands.sample", fails)
    assert run() == 1
    with pytest.raises(CompactHydraException) as caught:
        run(sweep=True)
    assert str(caught.value) == line, "which Hydra prints without a traceback"
    assert (tmp_path / "run/error.txt").read_text() == line + "\n"
    assert (tmp_path / "run/sample.log").read_text().count("Traceback") == 2
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [line, line]
    assert "Traceback" not in caplog.text and "Traceback" not in "".join(capfd.readouterr())


def test_the_error_of_a_thread_and_of_a_log_is_no_traceback_on_the_terminal(run, tmp_path, monkeypatch, capfd):
    def fails():
        raise FULL

    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(logging, "raiseExceptions", True)
    launch._set_terminal()
    thread = threading.Thread(target=fails)
    thread.start()
    thread.join()
    monkeypatch.setattr(logging.FileHandler, "format", lambda *_: fails())
    logging.getLogger().error("lost")
    assert "Traceback" not in "".join(capfd.readouterr())
    assert "No space left" in (tmp_path / "run/sample.log").read_text()


@pytest.mark.parametrize("name", ["metrics.json", "config.yaml", "result.png", "noisy-1.png"])
def test_a_folder_in_place_of_a_file_of_the_job_is_one_line_before_the_work(run, tmp_path, caplog, name):
    Job(tmp_path / "run").claim()  # the folder is that of an earlier run
    (tmp_path / "run" / name).mkdir()
    assert run() == 2
    assert f"holds a folder {name}, and a job writes a file of that name: type hydra.run.dir=<another" in caplog.text
    assert not (tmp_path / "fits").exists()


def test_a_job_folder_that_cannot_be_locked_is_one_line(run, tmp_path, caplog):
    (tmp_path / "run/.job.lock").symlink_to(tmp_path / "nowhere")
    assert run() == 2
    assert "holds a link in place of .job.lock" in caplog.text and not (tmp_path / "nowhere").exists()


def test_an_odd_metrics_json_is_no_result(configure, tmp_path):
    c = configure("baselines=false")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain(c)))
    whole = {"command": "sample", "inputs": fingerprints.of(c, "sample"), "result": {"psnr": 20.0}}
    (tmp_path / "metrics.json").write_text(json.dumps(whole))
    assert done_before(tmp_path, c, "sample")
    for odd in ({"inputs": 3}, {"inputs": "ab"}, {"inputs": [1]}, {"command": {}}):
        (tmp_path / "metrics.json").write_text(json.dumps(whole | odd))
        assert not done_before(tmp_path, c, "sample"), odd
    (tmp_path / "metrics.json").write_text("[" * 100_000)
    assert not done_before(tmp_path, c, "sample")
    (tmp_path / "metrics.json").write_text(json.dumps(whole | {"result": 3}))
    assert objective(c, tmp_path) is None
    (tmp_path / "metrics.json").write_text(json.dumps(whole))
    (tmp_path / "config.yaml").write_text("[" * 100_000)
    assert not done_before(tmp_path, c, "sample")


def test_a_verbose_run_shows_what_this_project_logs_and_not_what_its_libraries_do(tmp_path, monkeypatch):
    given = {"runtime": {"output_dir": str(tmp_path), "cwd": str(tmp_path)}, "mode": RunMode.RUN, "verbose": True,
             "overrides": {"task": []}, "job": {"chdir": False}, "launcher": {}}  # fmt: skip
    monkeypatch.setattr(launch.HydraConfig, "get", lambda: OmegaConf.create(given))
    for function in ("settle", "_set_terminal"):
        monkeypatch.setattr(launch, function, lambda: None)
    names = ("dipddpm.runs.windows", "matplotlib.font_manager")
    monkeypatch.setattr(launch, "_run", lambda *_: [logging.getLogger(n).isEnabledFor(logging.DEBUG) for n in names])
    logging.getLogger().setLevel(logging.DEBUG)  # as Hydra does
    assert launch.run_job(OmegaConf.create(), "sample") == [True, False]


def test_a_disk_that_is_full_before_a_job_can_begin_is_no_mistake_of_the_user():
    for code, file in ((errno.ENOSPC, None), (errno.EDQUOT, "out/.hydra")):
        line, exit_code = start._line(OSError(code, os.strerror(code), file))
        assert exit_code == 1 and line.startswith(os.strerror(code))
        assert line.endswith(f"{': out/.hydra' if file else ''}; to continue, type the same command")
    assert start._line(PermissionError(errno.EACCES, "Permission denied", "out"))[1] == 2
