"""What is typed is what is run: texts, the places of options, keys typed twice, and bounds."""

import json
import os
import subprocess
import sys

import pytest
from omegaconf import OmegaConf
from PIL import Image
from support import ROOT

from dipddpm.cli import check as cli
from dipddpm.cli import jobs
from dipddpm.cli.texts import TEXTS, as_typed
from dipddpm.config.hydra_private import replaced
from dipddpm.config.schema import Config
from dipddpm.errors import UserError

TYPED = [  # what is typed, in a sweep or not, and what Hydra gets
    ("store=2026_11_27", False, "store='2026_11_27'"),
    ("prior.revision=5e7", False, "prior.revision='5e7'"),
    ("image.path=1_2", False, "image.path='1_2'"),
    ("hydra.run.dir=2026_11", False, "hydra.run.dir='2026_11'"),
    ("+image.reference=1.50", False, "+image.reference='1.50'"),
    ("operator.file=true", False, "operator.file='true'"),
    ("experiment=2026_11", False, "experiment='2026_11'"),
    ("checkpoint=5e1", False, "checkpoint='5e1'"),
    ("image.path=1_2,3_4", True, "image.path='1_2','3_4'"),
    ("image.path=choice(1_2,a)", True, "image.path='1_2',a"),
    ("image.path=me (1).png", False, "image.path='me (1).png'"),
    ("image.path=me (1).png,2.png", True, "image.path='me (1).png',2.png"),
    ("image.path=it's.png", False, r"image.path='it\'s.png'"),
    ("store=~/fits", False, "store='/home/me/fits'"),
    ("""store="~/my fits" """.strip(), False, "store='/home/me/my fits'"),
    ("hydra.sweep.dir=~/x", True, "hydra.sweep.dir='/home/me/x'"),
    ("checkpoint=~/e/000010.safetensors", False, "checkpoint='/home/me/e/000010.safetensors'"),
    *((typed, sweep, typed) for sweep in (False, True) for typed in (
        "store=fits", "store=", "image.reference=null", "seed=1_0", "checkpoint=250", "checkpoint=10,stop",
        "store=${oc.env:HOME}/fits", "image.path='a, b.png'", "dip={layers:3}", "noise.sigma=5e1", "-m", "~seed")),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "sweep", "given"), TYPED, ids=[f"{t} {s}" for t, s, _ in TYPED])
def test_a_text_is_what_was_typed_and_anything_else_stays(typed, sweep, given, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert as_typed(typed, sweep) == given


def test_the_texts_are_those_of_the_schema():
    own = {"image.path", "image.reference", "operator.file", "operator.kernel", "prior.name", "prior.path",
           "prior.repo", "prior.revision", "store", "device", "checkpoint", "experiment"}  # fmt: skip
    assert {key for key in TEXTS if not key.startswith("hydra.")} == own
    assert {"hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir"} <= TEXTS


def test_a_picture_and_a_store_with_the_names_of_numbers_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("1_2", "5e7"):
        Image.new("RGB", (16, 16), (200, 100, 50)).save(tmp_path / name, "PNG")
    given = cli.check_arguments("sample", ["-m", "image.path=1_2,5e7", "store=1_000"])
    assert given == ["-m", "store='1_000'", "image.path='1_2','5e7'"]
    assert cli.check_arguments("sample", ["-m", "image.path=choice(1_2,5e7)"]) == ["-m", "image.path='1_2','5e7'"]
    os.rename("1_2", "~1.png")  # where there is no user of that name, ~ is a letter
    assert cli.check_arguments("sample", ["image.path=~1.png"]) == ["image.path='~1.png'"]


def test_the_keys_of_a_fit_vary_fastest_and_options_keep_their_values(tmp_path):
    typed = ["dip.layers=4,6", "ddpm.start_t=50,100", "seed=0,1", "checkpoint=stop"]
    ordered = ["ddpm.start_t=50,100", "checkpoint=stop", "dip.layers=4,6", "seed=0,1"]
    assert cli.distinct_fits_first(typed) == ordered
    assert cli.distinct_fits_first(["dip=cnn,skip", "image@image=astronaut", "ddpm.seed=1,2"])[0] == "ddpm.seed=1,2"
    for before, after in (([], ["--config-dir", "/x/dip=1"]), (["--config-dir", "/x/dip=1"], []), (["-cd=seed=1"], [])):
        assert replaced([*before, "-m", *typed, *after], ordered) == [*before, "-m", *ordered, *after]


def test_any_folder_can_hold_ones_own_configuration(tmp_path, refuse):
    mine = tmp_path / "my cönf=+%1"
    (mine / "experiment").mkdir(parents=True)
    (mine / "experiment/mine.yaml").write_text("# @package _global_\nseed: 7\n")
    typed = ["-m", "experiment=mine", "dip.layers=3,4", "--config-dir", str(mine)]
    assert cli.check_arguments("sample", typed) == typed
    (line,) = refuse("sample", "--config-dir", str(tmp_path / "gone"))
    assert "is no folder: type --config-dir" in line


def test_a_copy_without_its_configuration_names_the_folder_that_is_missing(tmp_path, monkeypatch, refuse):
    monkeypatch.setattr(cli, "conf_folder", lambda: tmp_path / "conf")
    assert refuse("sample") == [f"error: there is no folder {tmp_path}/conf; type --config-path <a copy of conf/>"]


def test_a_sweep_by_hydras_mode_is_a_sweep():
    assert cli.check_arguments("sample", ["seed=1,2", "ddpm.start_t=20", "hydra.mode=MULTIRUN"])[-1] == "seed=1,2"


def test_a_key_that_is_typed_twice_is_named(capsys):
    cli.check_arguments("sample", ["seed=1", "ddpm.start_t=20", "++seed=2"])
    assert capsys.readouterr().err == (
        "note: seed=2 replaces seed=1, which is typed before it; to run each, type -m seed=1,2\n"
    )
    cli.check_arguments("sample", ["-m", "dip.layers=1", "dip.layers=1,2"])
    assert capsys.readouterr().err.endswith("to run each, type -m dip.layers=1,2\n")
    cli.check_arguments("sample", ["seed=1", "seed=1", "hydra.run.dir=a", "hydra.run.dir=b"])
    assert capsys.readouterr().err == (
        "note: seed=1 is typed 2 times, and counts once\n"
        "note: hydra.run.dir=b replaces hydra.run.dir=a, which is typed before it\n"
    )


TOGETHER = [["-m", "--cfg", "job"], ["--run", "-m"], ["-c", "job", "--run"]]
EARLY = [
    *((options, "exclude one another: type one of them") for options in TOGETHER),
    (["--resolve"], "type --cfg job --resolve"),
    (["--cfg", "job", "seed=1,2"], "seed=1,2 is for a sweep, and --cfg shows one configuration: type one value"),
    (["-c", "nosuch"], "--cfg/-c: invalid choice: 'nosuch'"),
    (["--package"], "--package/-p: expected one argument; to see the options, type --help"),
    (["image", "own.png"], "image cannot be read: type image=<choice>"),
    (["prior=google/ddpm-celebahq-256"], "type prior=celebahq256 prior.repo=google/ddpm-celebahq-256"),
    (["=1"], "=1 cannot be read: type key=value"),
    (["-m", "seed=range(1,5,0)"], "seed=range(1,5,0) never ends"),
    (["-m", "dip=shuffle(range(0,1000000000000))"], "names no choice"),
    (
        ["-m", "seed=range(0,1000000)"],
        "makes a sweep of 1000000 jobs or more: type fewer values, for at most 10",
    ),
    (["-m", "seed=range(0,1000)", "ddpm.seed=range(0,1000)"], "makes a sweep of 1000000 jobs or more"),
    (["dip.steps_per_epoch=1000000000000000000000"], "is not allowed: a whole number up to 2147483647"),
    (["panel_every=9999999999"], "panel_every=9999999999 is not allowed: a whole number up to 2147483647"),
    (
        ["dip.channels=1000000000"],
        "dip.channels=1000000000 dip.kernel_size=3 would need 5.76e+11 GB of memory at 64x64",
    ),
    (["ddpm.samples=100000000"], "ddpm.samples=100000000 would need"),
    (["threads=1000000"], "threads=1000000 is not allowed: from 1 to 1024"),
    (["image.box=[[1],[2],[3],[4]]"], "image.box"),
]


@pytest.mark.parametrize(("typed", "said"), EARLY, ids=[" ".join(typed) for typed, _ in EARLY])
def test_what_cannot_be_meant_is_one_line_at_once(typed, said, refuse):
    (line,) = refuse("sample", *typed)
    assert said in line


def test_a_bar_counts_the_jobs_of_a_large_sweep(capsys):
    assert list(cli._counted([["seed=1"]] * 3)) == [["seed=1"]] * 3
    assert capsys.readouterr().out == ""
    assert len(list(cli._counted([["seed=1"]] * 300))) == 300
    assert "300/300 jobs" in capsys.readouterr().out


def test_launchers_and_sweepers_are_asked_for_what_they_can_do():
    with pytest.raises(UserError, match="hydra.launcher.n_jobs=0 is not allowed: 1 or more"):
        jobs._check_launcher(OmegaConf.create({"n_jobs": 0}))
    jobs._check_launcher(OmegaConf.create({"n_jobs": -1}))
    for sweeper in ({"n_trials": -1}, {"n_trials": 10**9}, {"n_jobs": 0}):
        with pytest.raises(UserError, match="is not allowed: from 1 to 10000"):
            jobs._check_search(Config(), OmegaConf.create(sweeper), "sample")
    with pytest.raises(UserError, match="type hydra.sweeper.storage=null"):
        jobs._check_search(Config(), OmegaConf.create({"storage": "sqlite:///a.db"}), "sample")


SCRIPT = """
import json, os, sys
from dipddpm.cli import sample, start
def job(cfg):
    raise AssertionError("no job is run")
for case in json.loads(sys.argv[1]):
    if not (child := os.fork()):
        sys.argv[1:] = case
        start.start(job, "sample")
        os._exit(0)
    print("code", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=sys.stderr, flush=True)
"""


def test_an_error_of_hydra_before_a_job_is_one_line(tmp_path):
    (tmp_path / "outputs").symlink_to("/mnt/nothere")
    (tmp_path / "file").write_text("in the way")
    cases = [["store=fits", *more] for more in (["hydra.run.dir=${nosuch}"], ["hydra.run.dir=file/x"], [])]
    cases += [["-m", "store=fits", f"hydra.sweep.dir={folder}"] for folder in ("/dev/null/x", "${nosuch}")]
    told = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(cases)], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ).stderr.splitlines()  # fmt: skip
    assert told[1::2] == ["code 2"] * len(cases), told
    assert all(line.startswith("error: ") for line in told[::2]), told
    assert "Interpolation key 'nosuch' not found" in told[0]
    assert told[2].startswith("error: file/x cannot be made or read (Not a directory): type hydra.run.dir=<folder>")
    assert told[4].startswith("error: outputs") and told[6].startswith("error: /dev/null/x")
    assert "Interpolation key 'nosuch' not found" in told[8]


LEFT_BEHIND = """
import sys
from dipddpm.surroundings import settle
settle(); settle()
import matplotlib.pyplot
from rich.console import Console
Console(file=sys.stderr).print("a table of some width")
for _ in range(9999):
    print("a line that nobody reads")
print("done", file=sys.stderr)
"""


def test_a_process_is_independent_of_pipes_terminals_and_notebooks():
    left = {"COLUMNS": "0", "MPLBACKEND": "module://a_notebooks.backend", "PYTHONPATH": str(ROOT)}
    more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": os.environ | left}
    with subprocess.Popen([sys.executable, "-c", LEFT_BEHIND], **more) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == "a table of some width\ndone\n"
    assert process.returncode == 0
    closed = "import os, sys; sys.stdout = None\nfrom dipddpm.surroundings import settle\nsettle(); sys.stdout.isatty()"
    assert subprocess.run([sys.executable, "-c", closed], env=more["env"]).returncode == 0
