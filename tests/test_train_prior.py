"""Training the prior: the optimiser's views, the loss, and a real run that resumes."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from copy import deepcopy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline
from hydra import compose, initialize_config_dir
from PIL import Image
from skimage.data import astronaut
from support import ROOT
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from dipddpm.config.compose import plain
from dipddpm.diffusion import prior
from dipddpm.errors import UserError
from scripts import data_parallel
from scripts.faces import read_faces
from scripts.muon import Muon, orthogonalized
from scripts.one_evaluation import errors_by_level
from scripts.optimizer import MuonAdamW
from scripts.train_prior_config import (
    TrainPriorConfig,
    UNetConfig,
    attention_levels,
    build_unet,
    check_arguments,
    typed,
)
from scripts.training import Training
from scripts.training_report import averaged


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_in, self.conv = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 5, (3, 2))
        self.linear, self.conv_out = nn.Linear(5, 7), nn.Conv2d(7, 3, 1)


def stepped(memory_format: torch.memory_format) -> Small:
    """A network after three steps towards fixed gradients, whichever way its kernels lie in memory."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = Small().to(memory_format=memory_format)  # pyright: ignore[reportCallIssue]
    optimizer = MuonAdamW(model, lr=0.01)
    for _ in range(3):
        for p in model.parameters():
            p.grad = torch.randn(p.shape, generator=generator).to(
                memory_format=memory_format if p.dim() == 4 else torch.preserve_format
            )
        optimizer.step()
        optimizer.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    return model


def test_muon_reaches_the_kernels_of_the_network_and_turns_their_update_orthogonal():
    torch.manual_seed(0)
    before, after = Small(), stepped(torch.channels_last)
    for name, p in after.named_parameters():
        assert not torch.equal(p, before.get_parameter(name)), name
    one = Small()
    start = one.linear.weight.detach().clone()
    optimizer = MuonAdamW(one, lr=0.01)
    for p in one.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()
    singular = torch.linalg.svdvals(one.linear.weight.detach() - start)
    assert singular.min() > 0.5 * singular.max(), "all directions alike; those of a random matrix are not"
    scale = 0.01 * 0.2 * 7**0.5  # lr 0.2 sqrt(longer side): arXiv 2502.16982
    assert 0.6 * scale < singular.mean() < 1.3 * scale


@pytest.mark.parametrize("shape", [(6, 40), (40, 6)])
def test_muon_in_bf16_is_torchs_and_takes_over_its_state(shape):
    generator = torch.Generator().manual_seed(0)
    ours, theirs = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(shape))
    torchs = torch.optim.Muon([theirs], lr=0.01, momentum=0.9, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    muon = Muon([ours], lr=0.01, momentum=0.9, dtype=torch.bfloat16)
    for step in range(4):
        if step == 2:
            muon.load_state_dict(deepcopy(torchs.state_dict()))
        ours.grad = torch.randn(shape, generator=generator)
        theirs.grad = ours.grad.clone()
        muon.step()
        torchs.step()
        assert torch.allclose(ours, theirs, atol=1e-7)
    assert theirs.abs().max() > 0.01


@pytest.mark.parametrize("shape", [(6, 40), (40, 6)])
def test_orthogonalizing_iterates_a_polynomial_of_the_singular_values_alone(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, s, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / s.norm()
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    assert 0.6 < s.min() and s.max() < 1.3
    both = torch.stack([torch.zeros(shape), 3 * matrix])
    assert torch.allclose(orthogonalized(both, torch.float32)[1].double(), u * s @ vh, atol=1e-5)
    assert torch.allclose(orthogonalized(both, torch.bfloat16)[1].double(), u * s @ vh, atol=0.15)
    assert orthogonalized(both, torch.float32)[0].abs().max() == 0, "no gradient, no update; nor one of its neighbour's"


def test_the_memory_format_of_a_kernel_does_not_change_its_update():
    plain, last = stepped(torch.contiguous_format), stepped(torch.channels_last)
    for a, b in zip(plain.parameters(), last.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)  # Newton-Schulz may run in bf16


def learn_alone_and_together(found: str) -> None:
    batch = torch.arange(12.0).view(6, 2)
    model = nn.Linear(2, 1, bias=False)
    nn.init.ones_(model.weight)
    mine = data_parallel.share(batch)
    model(mine).square().mean().backward()
    assert data_parallel.agree(data_parallel.rank() == 0), "what the first says"
    data_parallel.average_gradients(model.parameters())
    torch.save(model.weight.grad, f"{found}-{data_parallel.rank()}")


def test_processes_that_share_a_batch_have_its_gradient(tmp_path):
    data_parallel.spawn(2, learn_alone_and_together, str(tmp_path / "g"))
    batch = torch.arange(12.0).view(6, 2)
    whole = (2 * batch.sum(1, keepdim=True) * batch).mean(0, keepdim=True)
    for name in ("g-0", "g-1"):
        assert torch.allclose(torch.load(tmp_path / name), whole)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Two small tars of pictures, in the format of the faces that the prior is trained on."""
    folder = tmp_path_factory.mktemp("faces")
    picture = Image.fromarray(np.asarray(astronaut())).crop((140, 20, 312, 192)).resize((64, 64))
    data = io.BytesIO()
    picture.save(data, "WEBP", lossless=True)
    for name in ("faces64-train.tar", "faces64-val.tar"):
        with tarfile.open(folder / name, "w") as tar:
            for i in range(3):
                member = tarfile.TarInfo(f"face/{i}.webp")
                member.size = data.getbuffer().nbytes
                tar.addfile(member, io.BytesIO(data.getvalue()))
    return folder


SMALL = ["batch_size=2", "unet.channels=[8,16,16]", "unet.norm_num_groups=4", "unet.attention_head_dim=8",
         "unet.layers_per_block=1", "warmup_pictures=2", "ema=0.5", "lr=5e-3"]  # fmt: skip
WITHOUT_GPU = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # several processes are for a CPU


def test_a_run_learns_resumes_and_leaves_a_prior(faces, tmp_path):
    def train(*more):
        script = str(ROOT / "scripts" / "train_prior.py")
        command = [sys.executable, script, f"data={faces}", *SMALL, "batch_size=4", *more]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=WITHOUT_GPU)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    out = tmp_path / "out"
    told = train("out=out", "pictures=20", "precision=fp32", "checkpoint_minutes=1e-9")
    assert [f"{seen} pictures, " in told for seen in (4, 8, 12, 16, 20)] == 5 * [True], "a checkpoint each step"
    assert "20 pictures seen" in train("out=out", "pictures=600", "processes=2")
    assert "600 pictures seen: done" in train("out=out", "pictures=600")
    learnt = prior.load(out)
    torch.manual_seed(0)
    unlearnt = build_unet(UNetConfig([8, 16, 16], 1, 1, 4, 8))
    picture = read_faces(faces / "faces64-val.tar", 1)
    a, b = (errors_by_level(u, learnt.schedule.alphas_cumprod, picture, (100, 300)) for u in (learnt.unet, unlearnt))
    for (level, error, _), (_, before, _) in zip(a, b, strict=True):
        assert error < 0.5 * before, f"level {level}"
    record = json.loads((out / "training.json").read_text())
    assert record["pictures"] == 600 and record["settings"]["ema"] == 0.5
    (before,) = record["before"]
    assert (before["pictures"], before["settings"]["pictures"], before["settings"]["precision"]) == (20, 20, "fp32")
    assert 0 < before["seconds"] < record["seconds"]
    tags = EventAccumulator(str(out)).Reload().Tags()
    assert {"train/epsilon_error", "train_epsilon_error/levels_001-100", "held_out_psnr/level_50"} <= {*tags["scalars"]}
    assert "samples_ddim_25" in tags["images"]
    train("pictures=2", "init_from=out", "out=further")
    told = json.loads((tmp_path / "further" / "unet" / "config.json").read_text())
    assert told["layers_per_block"] == 1 and str(tmp_path) not in json.dumps(told), "no path of this machine"


def composed(*overrides: str) -> TrainPriorConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return typed(compose("train_prior", list(overrides)))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_training_goes_on_from_its_checkpoint_as_if_it_had_never_stopped(optimizer: str, faces, tmp_path):
    cfg = composed(*SMALL, f"data={faces}", f"out={tmp_path}", f"optimizer={optimizer}", "pictures=8", "precision=fp32")
    pictures = read_faces(faces / "faces64-train.tar")
    pictures[1] = 255 - pictures[1]
    whole, first = Training(cfg, "cpu"), Training(cfg, "cpu")
    with whole.clock():
        for _ in range(4):
            whole.step(pictures)
    with first.clock():
        for _ in range(2):
            first.step(pictures)
    first.save(tmp_path / "checkpoint.pt")
    second = Training(cfg, "cpu")
    second.load(tmp_path / "checkpoint.pt")
    with second.clock():
        for _ in range(2):
            second.step(pictures)
    assert second.seen == whole.seen == 8 and second.seconds > first.seconds
    for a, b in zip(second.unet.parameters(), whole.unet.parameters(), strict=True):
        assert a.equal(b)
    for a, b in zip(second.ema.shadow_params, whole.ema.shadow_params, strict=True):
        assert a.equal(b)


def test_a_checkpoint_of_another_device_goes_on_with_other_pictures(faces, tmp_path):
    cfg = composed(*SMALL, f"data={faces}", f"out={tmp_path}", "pictures=8", "precision=fp32")
    pictures = read_faces(faces / "faces64-train.tar")
    first, second = Training(cfg, "cpu"), Training(cfg, "cpu")
    first.step(pictures)
    first.save(tmp_path / "checkpoint.pt")
    state = torch.load(tmp_path / "checkpoint.pt") | {"device": "cuda", "generator": torch.zeros(16, dtype=torch.uint8)}
    torch.save(state, tmp_path / "checkpoint.pt")
    second.load(tmp_path / "checkpoint.pt")
    assert second.seen == 2 and all(
        a.equal(b) for a, b in zip(first.unet.parameters(), second.unet.parameters(), strict=True)
    )
    drawn = [torch.rand(3, generator=t.generator) for t in (first, second, Training(cfg, "cpu"))]
    assert not drawn[1].equal(drawn[0]) and not drawn[1].equal(drawn[2]), "nor those of the beginning again"


def test_several_processes_are_refused_where_there_is_a_gpu(faces, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_arguments([f"data={faces}"])
    with pytest.raises(UserError, match="processes=2 is not allowed: 1 where there is a GPU"):
        check_arguments([f"data={faces}", "processes=2"])


def test_every_convolution_is_given_the_layout_that_it_is_fast_in(faces, tmp_path):
    training = Training(composed(*SMALL, f"data={faces}", f"out={tmp_path}"), "cpu")
    other: dict[str, tuple[int, ...]] = {}

    def look(name: str):
        def hook(_: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
            if not given[0].is_contiguous(memory_format=torch.channels_last):
                other[name] = given[0].stride()

        return hook

    for name, module in training.unet.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(look(name))
    with averaged(training):
        pass  # a report between two steps changes nothing
    training.step(read_faces(faces / "faces64-train.tar"))
    assert not other


def test_a_compiled_network_learns_the_same(faces, tmp_path, monkeypatch):
    ran = []

    def backend(graph, _):  # the default one needs a C++ compiler
        return lambda *given: ran.append(1) or graph(*given)

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend, fullgraph=True))
    pictures = read_faces(faces / "faces64-train.tar")
    cfg = composed(*SMALL, f"data={faces}", f"out={tmp_path}", "precision=fp32", "pictures=8")
    errors = []
    for training in (Training(cfg, "cpu"), Training(replace(cfg, compile=True), "cpu")):
        errors.append([training.step(pictures)[1] for _ in range(3)])
        with averaged(training):
            pass  # weights that come and go are seen, too
        errors[-1].append(training.step(pictures)[1])
        assert len(ran) == (4 if training.cfg.compile else 0)
    plain, compiled = (torch.stack(each) for each in errors)
    assert torch.allclose(plain, compiled, rtol=1e-3) and not torch.allclose(plain[3], plain[0], rtol=0.1)


def test_a_training_may_start_larger_than_the_weights_it_starts_from(faces, tmp_path):
    first = Training(composed(*SMALL, f"data={faces}", f"out={tmp_path}"), "cpu")
    DDPMPipeline(unet=first.unet, scheduler=first.scheduler).save_pretrained(tmp_path / "first")
    onward = [*SMALL, f"data={faces}", f"out={tmp_path}", f"init_from={tmp_path / 'first'}"]
    larger = Training(composed(*onward, "unet.layers_per_block=3", "unet.attention_levels=3"), "cpu")
    assert larger.unet.config["layers_per_block"] == 3 and attention_levels(larger.unet.config) == 3
    x, index_t = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([99])
    with torch.no_grad():
        assert torch.allclose(larger.unet(x, index_t).sample, first.unet(x, index_t).sample, atol=1e-4)
    assert composed(*onward).unet.layers_per_block == 1
    for key, value in (
        ("channels", "[8,8,16]"),
        ("norm_num_groups", "8"),
        ("layers_per_block", "0"),
        ("attention_levels", "0"),
    ):
        with pytest.raises(UserError, match=rf"unet.{key}="):
            composed(*onward, f"unet.{key}={value}")
    with pytest.raises(UserError, match=r"has: type unet.channels=\[8,16,16\]$"):
        composed(*onward, "unet.channels=[8,8,16]")


def test_a_training_goes_on_deeper_with_merged_groups_that_let_the_scale_through(faces, tmp_path):
    first = Training(composed(*SMALL, f"data={faces}", f"out={tmp_path}"), "cpu")
    DDPMPipeline(unet=first.unet, scheduler=first.scheduler).save_pretrained(tmp_path / "first")
    more = ["unet.norm_num_groups=2", "unet.layers_per_block=2", "scale_offset=2.5", "precision=fp32", "pictures=8"]
    cfg = composed(*SMALL, f"data={faces}", f"out={tmp_path}", f"init_from={tmp_path / 'first'}", *more)
    training = Training(cfg, "cpu")
    pictures = read_faces(faces / "faces64-train.tar")
    training.step(pictures)
    training.save(tmp_path / "checkpoint.pt")
    DDPMPipeline(unet=training.unet, scheduler=training.scheduler).save_pretrained(tmp_path / "second")
    again = Training(cfg, "cpu")
    again.load(tmp_path / "checkpoint.pt")
    read = prior.load(tmp_path / "second").unet
    assert (read.config["norm_num_groups"], read.config["layers_per_block"]) == (2, 2)
    x, index_t = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([999, 99])
    with torch.no_grad():
        a, b = (unet(x, index_t).sample for unet in (read, again.unet))
        assert torch.allclose(a, b, atol=1e-4) and a.isfinite().all()
        stronger, before = (unet(1.1 * x, index_t).sample[0].std() / out[0].std()
                            for unet, out in ((read, a), (first.unet, first.unet(x, index_t).sample)))  # fmt: skip
    assert stronger > before + 0.02, "stronger noise is answered with more of it"


def test_other_settings_than_those_of_the_checkpoint_are_refused(faces, tmp_path):
    before = composed(f"data={faces}", f"out={tmp_path}")
    (tmp_path / "training.json").write_text(json.dumps({"settings": plain(before)}))
    check_arguments([f"data={faces}", f"out={tmp_path}", "pictures=9", "lr=1e-4"])
    line = f"ema=0.9 is not what the training in {tmp_path} has: type ema=0.999 or another out=<folder>"
    with pytest.raises(UserError, match=re.escape(line)):
        check_arguments([f"data={faces}", f"out={tmp_path}", "ema=0.9"])
    with pytest.raises(UserError, match="has: type unet.attention_levels=2 or another out=<folder>"):
        check_arguments([f"data={faces}", f"out={tmp_path}", "unet.attention_levels=1"])


def test_a_checkpoint_of_another_network_than_init_from_has_now_is_refused(faces, tmp_path):
    cfg = composed(*SMALL, f"data={faces}", f"out={tmp_path}", "pictures=8", "precision=fp32")
    Training(cfg, "cpu").save(tmp_path / "checkpoint.pt")
    deeper = replace(cfg, unet=replace(cfg.unet, layers_per_block=2))
    with pytest.raises(UserError, match="is not the network of .*checkpoint.pt any more: type another out=<folder>"):
        Training(deeper, "cpu").load(tmp_path / "checkpoint.pt")


def test_attention_elsewhere_than_at_the_coarsest_resolutions_does_not_grow(faces, tmp_path):
    kinds = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
             "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D")}  # fmt: skip
    unet = build_unet(UNetConfig([8, 16, 16], 1, 0, 4, 8))
    type(unet)(**(dict(unet.config) | kinds)).save_pretrained(tmp_path / "unet")
    given = [*SMALL, f"data={faces}", f"out={tmp_path}", f"init_from={tmp_path}"]
    assert composed(*given, "unet.attention_levels=1")
    with pytest.raises(UserError, match="has elsewhere: type unet.attention_levels=1"):
        composed(*given, "unet.attention_levels=2")


def test_a_record_older_than_a_key_had_its_default(faces, tmp_path):
    older = plain(composed(f"data={faces}", f"out={tmp_path}"))
    del older["scale_offset"]
    (tmp_path / "training.json").write_text(json.dumps({"settings": older}))
    check_arguments([f"data={faces}", f"out={tmp_path}"])
    with pytest.raises(UserError, match=r"^scale_offset=2.5 .* type scale_offset=0"):
        check_arguments([f"data={faces}", f"out={tmp_path}", "scale_offset=2.5"])


REFUSED = [
    ("optimizer=sgd", "optimizer=sgd is not allowed: one of muon, adamw"),
    ("pcitures=3", "pcitures is not a key (did you mean pictures?)"),
    ("lognormal_share=2", "lognormal_share=2.0 is not allowed: from 0 to 1"),
    ("scale_offset=-1", "scale_offset=-1.0 is not allowed: 0 or more"),
    (
        "scale_offset=2 unet.norm_num_groups=32",
        "scale_offset=2.0 is not allowed: 0 where unet.norm_num_groups leaves odd",
    ),
    ("data=nowhere", "data=nowhere is not allowed: a folder that holds faces64-train.tar"),
    ("batch_size=9 processes=2", "batch_size=9 is not allowed: a multiple of processes=2"),
    (
        "unet.norm_num_groups=5",
        "unet.norm_num_groups=5 is not allowed: a divisor of all of unet.channels=[32, 64, 128, 128]",
    ),
    ("unet.attention_levels=5", "unet.attention_levels=5 is not allowed: from 0 to 4 resolutions"),
    ("unet.channels=[]", "unet.channels=[] is not allowed: one number a resolution"),
    ("-m lr=1e-3,3e-3", "-m would train many priors in one folder"),
    ("init_from=conf", "init_from=conf is not allowed: a diffusers folder, which holds unet/config.json"),
]


@pytest.mark.parametrize(("override", "line"), REFUSED, ids=[o for o, _ in REFUSED])
def test_a_bad_value_is_refused_in_one_line(override: str, line: str, faces):
    with pytest.raises(UserError, match=re.escape(line)) as refused:
        check_arguments([f"data={faces}", *override.split()])
    assert "\n" not in str(refused.value)


def test_the_script_says_the_line_and_leaves_with_2(tmp_path):
    script = str(ROOT / "scripts" / "train_prior.py")
    done = subprocess.run([sys.executable, script, "data=gone"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == "" and list(tmp_path.iterdir()) == []
    assert done.stderr == "error: data=gone is not allowed: a folder that holds faces64-train.tar\n"
