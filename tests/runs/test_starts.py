"""The three kinds of start: what each costs, and what people call it."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.curves import from_columns

from dipddpm.cli.check import check_arguments
from dipddpm.dip.keeping import Trajectory
from dipddpm.errors import UserError
from dipddpm.fits import FitStore, manifest
from dipddpm.fits.choice import Choice
from dipddpm.runs.inspect import inspect
from dipddpm.runs.job import Job
from dipddpm.runs.posing import problem_of
from dipddpm.runs.starts import DirectStart, FileStart, FittedStart, start_of

PICTURE = torch.zeros(1, 3, 5, 7)


@pytest.mark.parametrize("epochs", [47, 200])
def test_a_fit_costs_the_epochs_that_were_needed_however_fast_the_others_were(epochs: int):
    curves = from_columns(seconds=[1.0] * 47 + [3.0] * (epochs - 47))
    dip = {"network": "cnn", "layers": 1, "channels": 3, "kernel_size": 3, "final_relu": True, "steps_per_epoch": 1}
    fit: Any = SimpleNamespace(curves=curves, seconds=2.0 * epochs, request={"dip": dip})
    start = FittedStart(PICTURE, fit, Choice(40, "loss_floor", None, needed=47), made=True)
    assert start.seconds == pytest.approx(2 * epochs * 47 / (47 + 3 * (epochs - 47)))
    assert start.gflop == pytest.approx(47 * 2 * 9 * 9 * 35 * (3 * 3 - 1) / 1e9), "of z no gradient is taken"
    assert start.label == "epoch 40 (loss_floor)"


def test_a_file_has_no_known_cost_and_y_itself_has_none():
    assert FileStart(PICTURE, "a file", Path("a file")).gflop is None
    assert DirectStart(PICTURE, "noisy picture").gflop == 0


@pytest.fixture
def kept(tmp_path):
    """The file of a kept epoch of a stored fit, 16x16."""
    folder = tmp_path / "fits" / ("ab" * 8)
    manifest.write_epoch(folder, 10, {"w": torch.zeros(3)}, torch.rand(1, 3, 16, 16), "pixels")
    (folder / "fit.json").write_text("{}")
    (folder / manifest.state_name(1)).write_bytes(b"state")
    curves = from_columns(loss_noisy=[1.0])
    manifest.commit(folder, folder.name, Trajectory(curves, {10: None}, 1.0, 0, [{"from_epoch": 1}]))
    return folder / "epochs/000010.safetensors"


def flip(path):
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])


def test_a_file_is_a_start_and_its_fit_is_used(configure, tiny_prior, tmp_path, kept):
    latin = tmp_path / os.fsdecode(b"caf\xe9.safetensors")
    shutil.copy(kept, latin)
    c = configure(f'checkpoint="{latin}"')
    assert start_of(c, problem_of(c, Path(tiny_prior)), Job(tmp_path)).label == f"{tmp_path}/caf\\udce9.safetensors"
    c = configure(f"checkpoint={kept}")
    inspect(c, "sample")
    problem = problem_of(c, Path(tiny_prior))
    start = start_of(c, problem, Job(tmp_path))
    assert torch.equal(start.picture, manifest.read_picture(kept).clamp(0, 1)) and start.label == str(kept)
    store = FitStore(tmp_path / "fits")
    assert store.uses("ab" * 8) == [tmp_path]
    flip(kept)
    with pytest.raises(UserError, match=f"checkpoint={kept} cannot be used: the file was altered"):
        start_of(c, problem, Job(tmp_path))


def test_a_file_in_a_strangers_folder_makes_no_list_of_uses_there(configure, tiny_prior, tmp_path, kept):
    alone = tmp_path / "stranger/assets/a.safetensors"
    alone.parent.mkdir(parents=True)
    shutil.copy(kept, alone)
    copied = tmp_path / "copy"
    shutil.copytree(kept.parent.parent, copied)
    (tmp_path / "stranger/manifest.json").write_text('{"name": "a web page"}')
    for file in (alone, copied / "epochs/000010.safetensors"):
        c = configure(f"checkpoint={file}")
        start_of(c, problem_of(c, Path(tiny_prior)), Job(tmp_path))
    assert not list(tmp_path.glob("*/uses.txt"))


SPOILT = [
    ("16", flip, "the file was altered: the fit's manifest.json has another hash"),
    ("16", lambda path: os.truncate(path, 100), "the file holds no kept epoch"),
    ("16", lambda path: (path.parents[1] / "manifest.json").write_text("[" * 100_000), "the fit's manifest.json is"),
    ("64", lambda path: None, "the file holds a picture of 16x16, and the noisy picture has 64x64"),
]


@pytest.mark.parametrize(("size", "spoil", "said"), SPOILT, ids=[said for *_, said in SPOILT])
def test_a_damaged_file_is_refused_before_the_first_job(kept, capsys, monkeypatch, size, spoil, said):
    spoil(kept)
    monkeypatch.chdir(kept.parent)
    with pytest.raises(SystemExit) as left:
        check_arguments("sample", ["-m", f"image.size={size}", "checkpoint=stop,000010.safetensors"])
    (line,) = capsys.readouterr().err.splitlines()
    assert left.value.code == 2
    assert line.startswith(f"error: checkpoint=000010.safetensors cannot be used: {said}")
    assert line.count("000010.safetensors") == 2, "here, and in the name of the job"
    assert "; type checkpoint=stop, or the path of another kept epoch (in the job" in line
