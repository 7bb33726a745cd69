"""Training a prior of one's own: the optimiser, exact resuming, refusals, and the command from pictures to a run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from skimage.data import astronaut
from support import ROOT
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from dipddpm.diffusion import prior
from dipddpm.errors import UserError
from prior_training import run
from prior_training.cli import check_arguments
from prior_training.evaluation import errors_by_level
from prior_training.optimizer import Muon, muon_and_adamw, orthogonalized
from prior_training.run import train
from prior_training.settings import CONF, Settings, build_unet, typed
from prior_training.training import Training

SMALL = ["size=16", "batch_size=4", "unet.channels=[8,16]", "unet.norm_num_groups=4", "unet.attention_head_dim=8",
         "unet.layers_per_block=1", "unet.attention_levels=1", "warmup_pictures=2", "ema=0.5", "lr=5e-3"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures, one of them damaged."""
    folder = tmp_path_factory.mktemp("pictures")
    whole = Image.fromarray(np.asarray(astronaut()))
    for i in range(5):
        whole.crop((140 + 10 * i, 20, 312, 192)).save(folder / f"{i}.png")
    (folder / "damaged.png").write_bytes(b"no picture")
    return folder


def composed(*overrides: str) -> Settings:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return typed(compose("train_prior", list(overrides)))


@pytest.fixture
def settings(folder: Path, tmp_path: Path) -> Settings:
    return composed(*SMALL, f"data={folder}", f"out={tmp_path}", "pictures=16")


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.randint(0, 256, (6, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


@pytest.mark.parametrize("shape", [(6, 40), (40, 6)])
def test_orthogonalizing_iterates_a_polynomial_of_the_singular_values_alone(shape: tuple[int, int]):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, s, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / s.norm()
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    assert 0.6 < s.min() and s.max() < 1.3
    assert torch.allclose(orthogonalized(3 * matrix).double(), u * s @ vh, atol=1e-5)
    assert torch.allclose(orthogonalized(matrix.bfloat16()).double(), u * s @ vh, atol=0.15)
    assert not orthogonalized(torch.zeros(shape)).any(), "no gradient, no update"


@pytest.mark.parametrize("shape", [(6, 40), (40, 6)])
def test_muon_takes_the_steps_of_torchs(shape: tuple[int, int]):
    generator = torch.Generator().manual_seed(0)
    ours, theirs = nn.Parameter(torch.zeros(*shape, 1, 1)), nn.Parameter(torch.zeros(shape))
    muon = Muon([ours], lr=0.01)
    torchs = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        theirs.grad = torch.randn(shape, generator=generator)
        ours.grad = theirs.grad[..., None, None].clone()
        muon.step()
        torchs.step()
    moved = theirs.norm()
    assert moved > 0.01 and (ours[..., 0, 0] - theirs).norm() < 0.03 * moved, "torch's is in bfloat16"


def test_muon_has_the_kernels_and_adamw_all_else(settings: Settings):
    unet = build_unet(settings.unet, settings.size)
    muon, adamw = ({id(p) for p in each.param_groups[0]["params"]} for each in muon_and_adamw(unet, 0.01))
    assert not muon & adamw and len(muon | adamw) == len(list(unet.parameters()))
    for name, p in unet.named_parameters():
        inner_kernel = p.dim() >= 2 and not name.startswith(("conv_in", "conv_out"))
        assert (id(p) in muon) == inner_kernel, name


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_training_goes_on_from_its_checkpoint_as_if_it_had_never_stopped(
    optimizer: str, folder: Path, pictures: torch.Tensor, tmp_path: Path
):
    settings = composed(*SMALL, f"data={folder}", f"out={tmp_path}", f"optimizer={optimizer}", "pictures=16")
    whole, first = Training(settings, "cpu"), Training(settings, "cpu")
    for _ in range(4):
        whole.step(pictures)
    for _ in range(2):
        first.step(pictures)
    first.save(tmp_path / "checkpoint.pt")
    second = Training(settings, "cpu")
    second.load(tmp_path / "checkpoint.pt")
    with second.averaged():
        pass  # as a report does
    for _ in range(2):
        second.step(pictures)
    assert second.seen == whole.seen == 16
    for a, b in zip(second.unet.parameters(), whole.unet.parameters(), strict=True):
        assert a.equal(b)
    for a, b in zip(second.ema.shadow_params, whole.ema.shadow_params, strict=True):
        assert a.equal(b)


def test_the_averaged_weights_come_and_go(settings: Settings, pictures: torch.Tensor):
    training = Training(settings, "cpu")
    for _ in range(3):
        training.step(pictures)
    before = [p.detach().clone() for p in training.unet.parameters()]
    with training.averaged() as unet:
        averaged = [p.detach().clone() for p in unet.parameters()]
    assert all(a.equal(b) for a, b in zip(averaged, training.ema.shadow_params, strict=True))
    assert not all(a.equal(b) for a, b in zip(averaged, before, strict=True))
    assert all(a.equal(b) for a, b in zip(before, training.unet.parameters(), strict=True))


def test_the_rate_rises_stays_and_falls(settings: Settings):
    s = replace(settings, lr=1.0, batch_size=10, warmup_pictures=100, pictures=1000, decay_fraction=0.5)
    training = Training(s, "cpu")
    rates = []
    for training.seen in (0, 50, 90, 400, 500, 750, 1000):
        rates.append(training.learning_rate)
    assert rates == pytest.approx([0.1, 0.6, 1, 1, 1, 0.5, 0])


def test_a_compiled_network_learns_the_same(settings: Settings, pictures: torch.Tensor, monkeypatch):
    ran = []

    def backend(graph, _):  # the default one needs a C++ compiler
        return lambda *given: ran.append(1) or graph(*given)

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    plain, compiled = Training(settings, "cpu"), Training(replace(settings, compile=True), "cpu")
    assert torch.allclose(compiled.step(pictures)[1], plain.step(pictures)[1], rtol=1e-3)
    assert ran


@pytest.mark.parametrize(("size", "channels"), [(8, [32]), (32, [32, 64, 128]), (64, [32, 64, 128, 128]),
                                                (100, [32, 64, 128, 128]), (128, [32, 64, 128, 128, 128])])  # fmt: skip
def test_the_network_halves_a_picture_to_8_pixels_or_a_little_more(size: int, channels: list[int], folder: Path):
    if size == 100:
        with pytest.raises(UserError, match="halves it 3 times; type size=96 or size=104$"):
            composed(f"data={folder}", f"size={size}")
        return
    unet = build_unet(composed(f"data={folder}", f"size={size}", "unet.attention_levels=1").unet, size)
    assert list(unet.config["block_out_channels"]) == channels and unet.config["sample_size"] == size


@pytest.mark.parametrize(
    ("typed_in", "said"),
    [
        ("size=7", "size=7 is not allowed: 8 pixels or more"),
        ("held_out=1", "held_out=1.0 is not allowed: a share of the pictures above 0"),
        ("lr=nan", "lr=nan is not allowed: a number above 0"),
        ("pictures=1.5", "pictures=1.5 is not allowed: a whole number"),
        ("+unet.depth=2", "unet.depth: Key 'depth' not in"),
        ("siez=32", r"siez.*did you mean size\?"),
        ("loss=l2", "loss=l2 is not allowed: one of log_mse, mse"),
        (
            "unet.channels=[30,60]",
            r"unet.norm_num_groups=8 is not allowed: a divisor of each of .*=\[30,60\]",
        ),
        ("unet.channels=[8,24]", "unet.attention_head_dim=32 is not allowed: a divisor of the channels"),
        ("unet.attention_levels=9", "unet.attention_levels=9 is not allowed: from 0 to 4"),
        ("data=/absent", "data=/absent does not exist"),
        ("-m", "-m is not allowed: type one command for each prior"),
        ("--wrong", "--wrong cannot be read"),
        ("--cfg=nosuch", "--cfg/-c: invalid choice: 'nosuch'.*; to see the options, type --help"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(typed_in: str, said: str, folder: Path):
    with pytest.raises(UserError, match=said) as refused:
        check_arguments([typed_in, *([] if typed_in.startswith("data") else [f"data={folder}"])])
    assert "\n" not in str(refused.value)


SCRIPT = [sys.executable, str(ROOT / "train_prior.py")]


def test_a_refusal_comes_before_any_work(folder: Path, tmp_path: Path):
    done = subprocess.run([*SCRIPT, f"data={folder}", "size=50"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and not list(tmp_path.iterdir())
    said = "error: size=50 is not allowed: unet.channels=[32,64,128] halves it 2 times; type size=48 or size=52\n"
    assert done.stderr == said


def test_a_killed_training_goes_on_and_leaves_a_prior_that_a_run_takes(
    folder: Path, tmp_path: Path, capsys, monkeypatch
):
    out = tmp_path / "own"
    command = [f"data={folder}", f"out={out}", *SMALL, "samples=4", "threads=1", "device=cpu", "held_out=0.3"]
    endless = [*SCRIPT, *command, "checkpoint_minutes=1e-3", "pictures=1000000"]
    killed = subprocess.Popen(endless, cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 250
        while not (out / "training" / "checkpoint.pt").exists():
            assert killed.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        with pytest.raises(UserError, match="is in use by another training: type another out=<folder>"):
            train(composed(*command))
    finally:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
    seen = torch.load(out / "training" / "checkpoint.pt")["seen"]
    monkeypatch.setattr(run, "LINES", 0.0)
    train(composed(*command, f"pictures={seen + 600}"))
    said = capsys.readouterr().out
    assert re.search(rf"^\d+ of {seen + 600} pictures, error 0\.\d+$", said, re.MULTILINE), "no terminal, no bar"
    assert f"continuing from {out}/training/checkpoint.pt after {seen} pictures" in said
    assert "left out: damaged.png is no picture" in said and "3 pictures to train on, 2 held out" in said
    with pytest.raises(
        UserError, match="lr=0.001, but the training in .*own has lr=0.005: type lr=0.005, or another out="
    ):
        composed(*command, "lr=1e-3")

    learnt = prior.load(out)
    torch.manual_seed(0)
    fresh = build_unet(composed(*SMALL, f"data={folder}").unet, 16)
    record = json.loads((out / "training" / "training.json").read_text())
    assert list(record["data"]["left_out"]) == ["damaged.png"] and len(record["data"]["held_out"]) == 2
    assert record["pictures"] >= seen + 600 and record["settings"]["ema"] == 0.5
    face = torch.from_numpy(np.array(Image.open(folder / "0.png").resize((16, 16)))).permute(2, 0, 1)[None]
    for after, before in zip(
        *(errors_by_level(u, learnt.schedule, face, (100, 300)) for u in (learnt.unet, fresh)), strict=True
    ):
        assert after["epsilon_error"] < 0.5 * before["epsilon_error"]

    tags = EventAccumulator(str(out / "training")).Reload().Tags()
    shown = {"train/epsilon_error", "train_epsilon_error/levels_001-100", "held_out_psnr/level_050"}
    assert shown <= {*tags["scalars"]} and {"samples_ddim_25", "held_out"} <= {*tags["images"]}
    card = (out / "README.md").read_text()
    psnr = next(row["psnr"] for row in record["evaluation"]["levels"] if row["level"] == 50)
    assert "1 could not be read" in card and "Write the licence" in card and f"| {psnr:.2f} |" in card
    assert str(tmp_path) not in card, "no path of this machine"

    sample = [sys.executable, str(ROOT / "sample.py"), f"prior.path={out}", f"image.path={folder / '0.png'}",
              "dip.layers=1", "dip.channels=8", "dip.max_epochs=10", "ddpm.start_t=5", "threads=1",
              f"hydra.run.dir={tmp_path / 'run'}", f"store={tmp_path / 'fits'}"]  # fmt: skip
    restored = subprocess.run(sample, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert restored.returncode == 0, restored.stdout + restored.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["prior"]["fingerprint"] == learnt.fingerprint


def test_an_error_that_is_no_number_ends_the_training_before_its_checkpoint(settings: Settings):
    with pytest.raises(UserError, match="lr=1e[+]30 is too large: the error is not finite after"):
        train(replace(settings, lr=1e30, pictures=400, device="cpu"))
    assert not (settings.work / "checkpoint.pt").exists()
