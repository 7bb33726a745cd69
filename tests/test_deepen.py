"""A deeper network computes what the shallower did, and its added blocks learn."""

from __future__ import annotations

import torch

from dipddpm import prior
from scripts.deepen import deepen


def test_a_deeper_network_computes_the_same_and_all_of_it_learns(tiny_prior):
    unet = prior.load(tiny_prior).unet
    x, level = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 900])
    torch.manual_seed(0)
    deeper = deepen(unet)
    assert len(deeper.down_blocks[0].resnets) == len(unet.down_blocks[0].resnets) + 1
    with torch.no_grad():
        assert torch.allclose(deeper(x, level).sample, unet(x, level).sample, atol=1e-5)
    assert deepen(deeper).config["layers_per_block"] == unet.config["layers_per_block"] + 2
    before = {name: p.detach().clone() for name, p in deeper.named_parameters()}
    optimizer = torch.optim.SGD(deeper.parameters(), lr=1.0)
    for _ in range(2):  # what stands before a zero layer learns from the second step on
        optimizer.zero_grad()
        (deeper(x, level).sample - x).square().sum().backward()
        torch.nn.utils.clip_grad_norm_(deeper.parameters(), 1.0)
        optimizer.step()
    same = [name for name, p in deeper.named_parameters() if torch.equal(p, before[name])]
    assert all(name.endswith("to_k.bias") for name in same), "a softmax does not feel it; all others moved"
