"""Sweeps under the launchers, through kills and on a full disk: one fit for all, nothing done twice, nothing lost.

Real processes through the command line. Each test runs one sweep as often as it must and asks it everything.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from support import ROOT

from dipddpm.cli import check as cli
from dipddpm.cli import jobs as found_jobs
from dipddpm.cli.launch import share_of_threads
from dipddpm.fits import FitStore

STARTED: list[subprocess.Popen] = []
FULL = "No space left on device"
PATIENCE = 240  # seconds, on a machine that does much else


@pytest.fixture
def sample(tiny_prior, tmp_path):
    """The command of a small sweep, without its summary (tests/study/test_summary.py); more arguments may follow."""
    return [
        sys.executable, str(ROOT / "sample.py"), "-m", f"prior.path={tiny_prior}", "dip.layers=1", "dip.channels=8",
        "stopping=never", "baselines=false", "~hydra.callbacks.study", "hydra.sweep.dir=sweep", "store=fits",
    ]  # fmt: skip


def environment(**more):
    return {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | more


def run(command, folder, **more):
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, env=environment(**more)
    )


def start(command, folder, log, **more):
    with (folder / log).open("w") as file:
        process = subprocess.Popen(
            command, cwd=folder, stdout=file, stderr=subprocess.STDOUT, start_new_session=True, env=environment(**more)
        )
    STARTED.append(process)
    return process


@pytest.fixture(autouse=True)
def nothing_is_left_running():
    yield
    while STARTED:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(STARTED.pop().pid, signal.SIGKILL)


def wait_for(condition, *processes):
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert all(p.poll() is None for p in processes), "it ended too soon"
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
    return found


def jobs(folder):
    """The metrics of the complete jobs of ``folder/sweep``."""
    return [json.loads(p.read_text()) for p in sorted((folder / "sweep").glob("*/metrics.json"))]


def made(metrics):
    return sum(m["fit"]["made_by_this_run"] for m in metrics)


def needs(plugin, extra):
    pytest.importorskip(f"hydra_plugins.{plugin}", reason=f"needs the extra `{extra}`")


def test_a_killed_search_under_joblib_goes_on_with_one_fit_and_shared_threads(sample, tmp_path):
    needs("hydra_joblib_launcher", "joblib")
    needs("hydra_optuna_sweeper", "optuna")
    search = [
        *sample, "experiment=search", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_trials=4",
        "hydra.sweeper.n_jobs=2", "dip.max_epochs=60", "checkpoint=choice(20,60,stop)",
        "ddpm.start_t=int(interval(5,20))", "ddpm.init=choice(raw,scaled)", "ddpm.steps=null",
    ]  # fmt: skip
    killed = start(search, tmp_path, "killed.log")
    wait_for(lambda: list(tmp_path.glob("sweep/*/metrics.json")), killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    done = {p: p.stat().st_mtime_ns for p in tmp_path.glob("sweep/*/metrics.json")}
    end = run(search, tmp_path)
    assert end.returncode == 0, end.stdout + end.stderr
    assert end.stdout.count("done before") >= len(done) > 0, "the seed chooses the same trials"
    assert all(p.stat().st_mtime_ns == stamp for p, stamp in done.items()), "what was complete is not repeated"

    metrics = jobs(tmp_path)
    (key,) = FitStore(tmp_path / "fits").keys()
    assert {m["fit"]["key"] for m in metrics} == {key}
    logs = (tmp_path / "killed.log").read_text() + end.stdout
    assert logs.count(f"- fitting {key}") == 1, "two trials at once want the same fit"
    assert {m["environment"]["threads"] for m in metrics} == {share_of_threads({"n_jobs": 2})}
    for m in metrics:
        chosen = dict(o.split("=", 1) for o in m["overrides"])
        assert 5 <= int(chosen["ddpm.start_t"]) <= 20
        assert m["result"]["nfe"] == int(chosen["ddpm.start_t"])
    best = yaml.safe_load((tmp_path / "sweep/optimization_results.yaml").read_text())["solutions"]
    told = [[m["result"]["psnr"], m["cost"]["total_evaluations_worth"]] for m in metrics]
    front = [solution["values"] for solution in best]
    assert front and all(values in told for values in front)
    assert not any(a[0] >= b[0] and a[1] < b[1] for a in told for b in front), "nothing beats it"


SEARCHES = [
    (["ddpm.init=choice(raw,scald)"], "ddpm.init=scald is not allowed"),
    (["ddpm.start_t=range(0,100,10)"], "ddpm.start_t=0 is not allowed: auto or a noise level of 1 or more"),
    (["ddpm.start_t=int(interval(5,2000))"], "ddpm.start_t=2000 is not allowed"),
    (["ddpm.start_t=interval(5,200)"], "for whole numbers type ddpm.start_t=int(interval(5,200))"),
    (
        ["objective=[result.psnr]"],
        "has the wrong number of directions (2): type one for each figure of objective=[result.psnr] (1)",
    ),
    (["hydra.sweeper.direction=[maximise,minimize]"], "minimize or maximize (did you mean maximize?)"),
    (["image=noisy", "image.path=astronaut"], "objective=result.psnr needs a clean picture"),
    (["objective=[result.stlpips,result.nfe]"], "would maximize result.stlpips: type minimize in its place"),
    (
        [
            "objective=[result.stlpips,result.nfe]",
            "hydra.sweeper.direction=[minimize,minimize]",
            "dip=cnn",
            "image.size=64,16",
        ],
        "image.size=16 is not allowed: 21 or more for objective=result.stlpips",
    ),
    (["objective=[dip.stlpips,result.nfe]", "hydra.sweeper.direction=[minimize,minimize]"], ""),
    (
        ["hydra.sweeper.trials=3"],
        "hydra.sweeper.trials is not a key of Hydra: to see its keys, type python sample.py --cfg hydra",
    ),
    (["ddpm.start_t=30", "~hydra.callbacks.study"], ""),
]


@pytest.mark.parametrize(("typed", "message"), SEARCHES, ids=[" ".join(s[0]) for s in SEARCHES])
def test_the_ends_and_choices_of_a_search_are_checked_before_it(typed, message, refuse):
    needs("hydra_optuna_sweeper", "optuna")
    if message:
        assert any(message in line for line in refuse("sample", "-m", "experiment=search", *typed))
    else:
        cli.check_arguments("sample", ["-m", "experiment=search", *typed])


def test_a_search_for_what_looks_alike_needs_its_weights(refuse, monkeypatch):
    needs("hydra_optuna_sweeper", "optuna")
    monkeypatch.setattr(found_jobs, "stlpips_weights", lambda: None)
    typed = ["-m", "experiment=search", "objective=[dip.stlpips]", "hydra.sweeper.direction=[minimize]"]
    (line,) = refuse("sample", *typed)
    assert 'dip.stlpips needs the weights of ST-LPIPS: type pip install -e ".[perceptual]"' in line


def test_a_grid_over_an_interval_and_typed_params_are_refused_with_what_to_type(refuse):
    (line,) = refuse("sample", "-m", "ddpm.start_t=interval(10,100)")
    assert "type ddpm.start_t=range(first,end,step)" in line
    for arguments in (["-m", 'hydra.sweeper.params={seed: "1,2"}'], ['+hydra.sweeper.params.seed="1,2"']):
        (line,) = refuse("sample", *arguments)
        assert "type the swept keys themselves, such as seed=1,2" in line


def test_threads_where_no_number_is_asked_for(monkeypatch):
    local = {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"}
    assert share_of_threads(local | {"cpus_per_task": None}) == 1, "all jobs start at once"
    assert share_of_threads({"ray": {"init": {}, "remote": {}}}) == 1
    assert share_of_threads({"ray": {"init": {}, "remote": {"num_cpus": 0.5}}}) == 1
    slurm = {"cpus_per_task": None, "array_parallelism": 256}
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "3")
    assert share_of_threads(slurm) == 3
    monkeypatch.delenv("SLURM_CPUS_ON_NODE")
    assert share_of_threads(slurm) is None


def owner_of(lock):
    """The process that holds a lock file, by what the kernel says; None where nobody does."""
    if not lock.exists():
        return None
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if words[1] == "FLOCK" and words[5].endswith(f":{lock.stat().st_ino}"):
            return int(words[4])
    return None


SBATCH = """#!/bin/bash
# Copies the script, as SLURM does, and a second later runs every task of the array at once.
cp "$1" "$(dirname "$0")/script"
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$1")
cpus=$(sed -n 's/^#SBATCH --cpus-per-task=//p' "$1")
export SLURM_ARRAY_JOB_ID=4711 SLURM_CPUS_ON_NODE=${cpus:-1} SLURM_JOB_NUM_NODES=1 SLURM_NTASKS=1
export SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_JOB_NODELIST=here
for i in $(seq 0 "${last:-0}"); do
  (sleep 1; SLURM_JOB_ID=4$i SLURM_ARRAY_TASK_ID=$i exec bash "$(dirname "$0")/script") > "$0.$i.log" 2>&1 &
done
echo "Submitted batch job 4711"
"""
SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do
  [[ $1 == --output || $1 == --error ]] && shift
  shift
done
exec "$@"
"""
SACCT = "#!/bin/bash\necho 'JobID|State|NodeList'\n"


@pytest.fixture
def cluster(tmp_path):
    """An environment with stand-ins for SLURM's commands: all but SLURM itself is real."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "sacct": SACCT}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.skipif(not os.path.exists("/proc/locks"), reason="needs /proc/locks to know which worker to kill")
def test_a_killed_owner_under_joblib_is_followed_by_a_job_of_slurms_from_where_it_was(sample, cluster, tmp_path):
    needs("hydra_joblib_launcher", "joblib")
    needs("hydra_submitit_launcher", "submitit")
    sweep = [*sample, "dip.max_epochs=600", "ddpm.start_t=5,6"]
    joblib = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    slurm = ["hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.partition=short"]
    slurm += ["hydra.launcher.timeout_min=30", "hydra.launcher.array_parallelism=2"]

    def told():
        return "".join(p.read_text() for p in tmp_path.glob("sweep/*/sample.log"))

    first = start([*sweep, *joblib], tmp_path, "first.log")
    manifest = wait_for(lambda: next(tmp_path.glob("fits/*/manifest.json"), None), first)
    key = manifest.parent.name
    owner = owner_of(tmp_path / f"fits/.{key}.lock")
    assert owner not in (None, first.pid), "one of joblib's workers"
    os.kill(owner, signal.SIGSTOP)  # so that it lasts until others wait for it
    stored = json.loads(manifest.read_text())["epochs"]
    second = start([*sweep, *slurm], tmp_path, "second.log", **cluster)
    wait_for(lambda: told().count("another process runs the same job") == 2, first, second)
    assert told().count(f"another process is fitting {key}") == 1, "the other of joblib's workers"
    os.kill(owner, signal.SIGKILL)
    assert first.wait(PATIENCE) != 0
    assert "terminated" in (tmp_path / "first.log").read_text(), "joblib says what ended the sweep"
    assert second.wait(PATIENCE) == 0, (tmp_path / "second.log").read_text() + told()
    _, _, after = told().partition("continuing from epoch ")
    assert int(after.split()[0]) >= stored, "what the killed owner had stored"

    metrics = jobs(tmp_path)
    assert len(metrics) == 2
    assert made(metrics) == 1, "one of them, and the other found it"
    assert {m["environment"]["threads"] for m in metrics} == {1}
    fit = FitStore(tmp_path / "fits").find(key)
    assert fit is not None and fit.epochs == 600
    (script,) = (tmp_path / "sweep/.submitit").glob("*/*_submission.sh")
    for line in ("--array=0-1%2", "--cpus-per-task=1", "--partition=short", "--time=30"):
        assert f"#SBATCH {line}\n" in script.read_text()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of two megabytes, and a function that leaves so many kilobytes of it free."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    said = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "none", disk], capture_output=True)
    if not said or said.returncode:
        pytest.skip("needs the right to mount a small file system")

    def leave(kilobytes):
        ballast = disk / "ballast"
        ballast.unlink(missing_ok=True)
        stat = os.statvfs(disk)
        ballast.write_bytes(b"\0" * (stat.f_bavail * stat.f_frsize - kilobytes * 1024))

    yield disk, leave
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_named_loses_nothing_and_the_same_command_goes_on(sample, small_disk, tmp_path):
    disk, leave = small_disk
    whole, store = FitStore(tmp_path / "whole"), FitStore(disk / "fits")
    sweep = [*sample, "threads=1", "dip.max_epochs=100", "ddpm.start_t=10"]
    # The disk fills in the middle of the first job's fit, then in the middle of the second's pictures.
    for kilobytes, root in ((520, "fits"), (64, whole.root)):  # a state is 350, and the next is written before it goes
        leave(kilobytes)
        full = run([*sweep, f"store={root}"], disk)
        assert full.returncode != 0
        assert FULL in full.stdout + full.stderr and "Traceback" not in full.stdout + full.stderr
    notes = {p.parent: p.read_text() for p in disk.glob("sweep/*/error.txt")}
    assert notes and all(FULL in note for note in notes.values()), "whole or not at all"
    assert not jobs(disk), "neither is taken for complete"
    (key,) = store.keys()
    cut, other = store.find(key), whole.find(key)
    assert cut is not None and 10 <= cut.epochs < 100, "whole up to the last epoch for which there was room"
    assert other is not None and other.epochs == 100
    assert list(disk.glob("sweep/*/result.png")), "the second had begun to leave its pictures"

    (disk / "ballast").unlink()
    freed = run([*sweep, f"store=fits,{whole.root}"], disk)
    assert freed.returncode == 0, freed.stdout + freed.stderr
    assert f"continuing from epoch {cut.epochs}" in freed.stdout
    assert made(jobs(disk)) == freed.stdout.count("made fit") == freed.stdout.count("found fit") == 1
    assert len(jobs(disk)) == 2
    ends = [store.find(key), whole.find(key)]
    assert torch.equal(*(f.picture(100) for f in ends if f)), "as if the disk had never been full"
    assert not list(disk.rglob("*.tmp")) and not list(disk.rglob("error.txt"))


def test_the_same_job_twice_in_a_grid_runs_once_and_the_summary_stands(sample, tmp_path):
    needs("hydra_joblib_launcher", "joblib")
    sample.remove("~hydra.callbacks.study")
    at_once = [*sample, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=0,0,0,1"]
    end = run([*at_once, "dip.max_epochs=60", "ddpm.start_t=5"], tmp_path)
    assert end.returncode == 0, end.stdout + end.stderr
    assert end.stdout.count("done before") == 2
    assert len(jobs(tmp_path)) == 2
    assert all(len(list(folder.glob("events.*"))) == 1 for folder in (tmp_path / "sweep").glob("*seed=*"))
    assert (tmp_path / "sweep/summary.csv").read_text().count(",complete,") == 2


def test_a_terminated_sweep_says_so_and_its_code_is_no_success(sample, tmp_path):
    sample.remove("~hydra.callbacks.study")
    sweep = [*sample, "dip.max_epochs=100000", "ddpm.start_t=5,6"]
    process = start(sweep, tmp_path, "log")
    wait_for(lambda: list(tmp_path.glob("fits/*/manifest.json")), process)
    process.terminate()
    assert process.wait(PATIENCE) == 128 + signal.SIGTERM
    (note,) = tmp_path.glob("sweep/*/error.txt")
    assert note.read_text() == "stopped by a signal\n"
    assert "stopped by a signal" in (tmp_path / "log").read_text()
    assert "1 unfinished" in (tmp_path / "sweep/summary.md").read_text(), "the summary tells of it"


def test_a_fit_needs_no_room_in_the_systems_temporary_folder(sample, small_disk, tmp_path):
    disk, leave = small_disk
    leave(100)  # a state is 350
    end = run([*sample, "dip.max_epochs=20", "ddpm.start_t=5"], tmp_path, TMPDIR=str(disk))
    assert end.returncode == 0, end.stdout + end.stderr
    assert [m["fit"]["epochs"] for m in jobs(tmp_path)] == [20]
