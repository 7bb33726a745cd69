"""The pruned prior is the prior without its attention at the bottom, and nothing else."""

from __future__ import annotations

import subprocess
import sys

import torch
from support import ROOT

from dipddpm.diffusion import prior
from dipddpm.diffusion.arithmetic import evaluation_gflop
from scripts.grow import attend
from scripts.prune import prune
from scripts.train_prior_config import attention_levels

SCRIPT = str(ROOT / "scripts" / "prune.py")


def estimate(unet):
    x, level = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 900])
    with torch.no_grad():
        return unet(x, level).sample


def test_a_pruned_prior_is_the_prior_with_that_attention_silent(tiny_prior, tmp_path):
    out = tmp_path / "pruned"
    subprocess.run([sys.executable, SCRIPT, tiny_prior, out], check=True, capture_output=True)
    pruned, whole = prior.load(out), prior.load(tiny_prior)
    assert evaluation_gflop(pruned, (16, 16)) < evaluation_gflop(whole, (16, 16))
    heard = estimate(whole.unet)
    silent: torch.nn.Module = whole.unet
    with torch.no_grad():
        for name, p in silent.named_parameters():
            if ".attentions." in name and ".to_out." in name and not name.startswith("up_blocks"):
                p.zero_()
    assert torch.allclose(estimate(pruned.unet), estimate(silent), atol=1e-6)
    assert not torch.allclose(heard, estimate(silent), atol=1e-4)


def test_a_pruned_network_may_grow(tiny_prior):
    pruned = prune(prior.load(tiny_prior).unet)
    larger = attend(pruned)
    assert attention_levels(larger.config) == attention_levels(pruned.config) + 1 == 2
    assert torch.allclose(estimate(larger), estimate(pruned), atol=1e-5)


def test_what_is_no_prior_is_refused_before_any_work(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, tmp_path, tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 2 and "holds no model_index.json" in done.stderr and not (tmp_path / "out").exists()
