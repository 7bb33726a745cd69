"""Training the prior: the optimiser's views, the loss, and a real run that resumes."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from skimage.data import astronaut
from torch import nn

from dipddpm import prior
from dipddpm.errors import UserError
from scripts import data_parallel
from scripts.optimizer import MuonAdamW
from scripts.train_prior_config import check_arguments


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


def test_the_memory_format_of_a_kernel_does_not_change_its_update():
    plain, last = stepped(torch.contiguous_format), stepped(torch.channels_last)
    for a, b in zip(plain.parameters(), last.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)  # Newton-Schulz runs in bf16


def test_its_state_can_be_stored():
    model = stepped(torch.channels_last)
    first = MuonAdamW(model, lr=0.01)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    first.step()
    second = MuonAdamW(model, lr=0.01)
    second.load_state_dict(first.state_dict())
    kept, read = ([s for o in opt.optimizers for s in o.state_dict()["state"].values()] for opt in (first, second))
    assert len(kept) == len(read) == len(list(model.parameters()))


def learn_alone_and_together(found: str) -> None:
    batch = torch.arange(10.0).view(5, 2)
    model = nn.Linear(2, 1, bias=False)
    nn.init.ones_(model.weight)
    mine = data_parallel.share(batch)
    (model(mine).square().sum() * 2 / len(batch)).backward()  # of two processes: so the mean is that of the batch
    data_parallel.average_gradients(model.parameters())
    torch.save(model.weight.grad, f"{found}-{data_parallel.rank()}")


def test_processes_that_share_a_batch_have_its_gradient(tmp_path):
    data_parallel.spawn(2, learn_alone_and_together, str(tmp_path / "g"))
    batch = torch.arange(10.0).view(5, 2)
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


def test_a_run_learns_resumes_and_leaves_a_prior(faces, tmp_path):
    small = [
        sys.executable, str(ROOT / "scripts" / "train_prior.py"), f"data={faces}", f"out={tmp_path}", "batch_size=2",
        "unet.channels=[8,16]", "unet.norm_num_groups=4", "unet.attention_head_dim=8", "warmup_pictures=2", "ema=0.5",
        "lr=5e-3",
    ]  # fmt: skip

    def train(*more):
        done = subprocess.run([*small, *more], capture_output=True, text=True, cwd=tmp_path)
        return done.returncode, done.stdout + done.stderr

    code, text = train("pictures=20", "precision=fp32")
    assert code == 0, text
    code, text = train("pictures=120", "processes=2")
    assert code == 0, text
    assert "20 pictures seen" in text and "120 pictures," in text
    assert prior.load(tmp_path).sample_size == 64
    lines = [line for line in text.splitlines() if "pictures," in line]
    assert float(lines[-1].split("50:")[1].split()[0]) > 8, "random weights estimate nothing"
    code, text = train("pictures=2", f"init_from={tmp_path}", f"out={tmp_path / 'further'}")
    assert code == 0, text
    told = json.loads((tmp_path / "further" / "unet" / "config.json").read_text())
    assert told["layers_per_block"] == 1 and str(tmp_path) not in json.dumps(told), "no path of this machine"


REFUSED = [
    ("optimizer=sgd", "optimizer: Invalid value 'sgd', expected one of [muon, adamw]"),
    ("pcitures=3", "pcitures is not a key (did you mean pictures?)"),
    ("lognormal_share=2", "lognormal_share=2.0 is not allowed: from 0 to 1"),
    ("data=nowhere", "data=nowhere is not allowed: a folder that holds faces64-train.tar"),
    ("init_from=conf", "init_from=conf is not allowed: a diffusers folder, which holds unet/"),
]


@pytest.mark.parametrize(("override", "line"), REFUSED, ids=[o for o, _ in REFUSED])
def test_a_bad_value_is_refused_in_one_line(override: str, line: str, faces):
    with pytest.raises(UserError, match=re.escape(line)) as refused:
        check_arguments([f"data={faces}", override])
    assert "\n" not in str(refused.value)


def test_the_script_says_the_line_and_leaves_with_2(tmp_path):
    script = str(ROOT / "scripts" / "train_prior.py")
    done = subprocess.run([sys.executable, script, "data=gone"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == "" and list(tmp_path.iterdir()) == []
    assert done.stderr == "error: data=gone is not allowed: a folder that holds faces64-train.tar\n"
