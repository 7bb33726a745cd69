"""A larger network computes what the smaller did, and what was added learns."""

from __future__ import annotations

import pytest
import torch

from dipddpm.diffusion import prior
from scripts.grow import attend, deepen


def residual_blocks(unet) -> int:
    return len(unet.down_blocks[0].resnets)


def resolutions_with_attention(unet) -> int:
    return sum(hasattr(block, "attentions") for block in unet.down_blocks)


@pytest.mark.parametrize(("grow", "size"), [(deepen, residual_blocks), (attend, resolutions_with_attention)])
def test_a_larger_network_computes_the_same_and_all_of_it_learns(grow, size, tiny_prior):
    unet = prior.load(tiny_prior).unet
    x, level = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 900])
    torch.manual_seed(0)
    larger = grow(unet)
    assert size(larger) == size(unet) + 1
    with torch.no_grad():
        assert torch.allclose(larger(x, level).sample, unet(x, level).sample, atol=1e-5)
    before = {name: p.detach().clone() for name, p in larger.named_parameters()}
    optimizer = torch.optim.SGD(larger.parameters(), lr=1.0)
    for _ in range(2):  # what stands before a zero layer learns from the second step on
        optimizer.zero_grad()
        (larger(x, level).sample - x).square().sum().backward()
        torch.nn.utils.clip_grad_norm_(larger.parameters(), 1.0)
        optimizer.step()
    same = [name for name, p in larger.named_parameters() if torch.equal(p, before[name])]
    assert all(name.endswith("to_k.bias") for name in same), "a softmax does not feel it; all others moved"


def test_a_network_grows_more_than_once(tiny_prior):
    unet = prior.load(tiny_prior).unet
    assert residual_blocks(deepen(deepen(unet))) == residual_blocks(unet) + 2
    assert resolutions_with_attention(deepen(attend(unet))) == 2
