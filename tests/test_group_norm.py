"""The fast backward pass of GroupNorm gives what torch's own gives."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from scripts.group_norm import _GroupNorm, use_fast_backward

SHAPES = [(2, 6, 5, 7), (3, 8, 1, 1), (1, 12, 4, 3), (2, 6, 11), (5, 4, 2, 3, 2)]


def both(shape: tuple[int, ...], groups: int, *, channels_last: bool = False, dtype: torch.dtype = torch.float32):
    """Return (output, gradients of input, weight, bias) by torch and by the fast formula."""
    generator = torch.Generator().manual_seed(0)
    x, dy = (torch.randn(shape, generator=generator, dtype=dtype) * 3 + 1 for _ in range(2))
    w, b = (torch.randn(shape[1], generator=generator, dtype=dtype) for _ in range(2))
    if channels_last:
        x, dy = (t.contiguous(memory_format=torch.channels_last) for t in (x, dy))
    results = []
    for fast in (False, True):
        norm = nn.Sequential(nn.GroupNorm(groups, shape[1], eps=1e-3, dtype=dtype))
        norm[0].weight.data, norm[0].bias.data = w.clone(), b.clone()
        if fast:
            use_fast_backward(norm)
        leaf = x.clone().requires_grad_()
        out = norm(leaf)
        out.backward(dy)
        results.append((out.detach(), leaf.grad, norm[0].weight.grad, norm[0].bias.grad))
    return results


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_outputs_and_gradients_are_torchs(shape: tuple[int, ...], groups: int):
    own, fast = both(shape, groups)
    assert fast[0].equal(own[0])
    for a, b in zip(fast[1:], own[1:], strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4)


def test_every_channel_may_be_its_own_group():
    own, fast = both((2, 6, 5, 7), 6)
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(fast, own, strict=True))


def test_channels_last_stays_channels_last():
    own, fast = both((2, 8, 5, 7), 4, channels_last=True)
    plain = both((2, 8, 5, 7), 4)[0]
    assert fast[0].is_contiguous(memory_format=torch.channels_last)
    for a, b, c in zip(fast, own, plain, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4) and torch.allclose(a, c, rtol=1e-4, atol=1e-4)


def test_an_input_that_is_not_contiguous():
    x = torch.randn(2, 5, 7, 6, generator=torch.Generator().manual_seed(0)).permute(0, 3, 2, 1)[:, :, ::2]
    norm = nn.GroupNorm(3, 6)
    expected = torch.autograd.grad(norm(x.requires_grad_()).square().sum(), x)[0]
    out = _GroupNorm.apply(x, norm.weight, norm.bias, 3, norm.eps)
    assert torch.allclose(torch.autograd.grad(out.square().sum(), x)[0], expected, rtol=1e-4, atol=1e-4)


def test_the_gradient_is_that_of_finite_differences():
    """The sums are float32, as training needs, so the numbers agree to that and not to float64."""
    generator = torch.Generator().manual_seed(0)
    x, w, b = (torch.randn(s, generator=generator, dtype=torch.float64) for s in ((2, 4, 3, 2), (4,), (4,)))
    arguments = [t.requires_grad_() for t in (x, w, b)]
    assert torch.autograd.gradcheck(
        lambda *a: _GroupNorm.apply(*a, 2, 1e-3), arguments, eps=1e-5, atol=1e-4, rtol=1e-3, check_grad_dtypes=False
    )


def test_under_autocast_the_gradients_have_the_types_of_their_parameters():
    norm = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4))
    use_fast_backward(norm)
    x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        norm(x).float().square().sum().backward()
    assert {p.grad.dtype for p in norm.parameters() if p.grad is not None} == {torch.float32}
    assert all(p.grad is not None and p.grad.isfinite().all() for p in norm.parameters())
