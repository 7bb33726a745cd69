"""The clean estimate after it was made to agree with y: what the objective says, and its two ends."""

import pytest
import torch
from support.gaussian import LINEAR

from dipddpm.degradation.operators import Downscale, Identity, Mask
from dipddpm.diffusion.consistency import data_consistency


def pictures(size=(5, 7)):
    generator = torch.Generator().manual_seed(0)
    y, x0 = torch.rand(1, 3, *size, generator=generator), 2 * torch.rand(2, 3, *size, generator=generator) - 1
    return y, x0, torch.rand(1, 1, *size, generator=generator) > 0.4


def test_without_noise_the_known_pixels_are_put_back_and_the_others_left():
    y, x0, known = pictures()
    agreed = data_consistency(y, Mask(known=known), [0], LINEAR)(x0, 200)
    assert agreed.shape == x0.shape
    for row, before in zip(agreed, x0, strict=True):
        assert torch.equal(torch.where(known[0], row, 0.0), torch.where(known[0], 2 * y[0] - 1, 0.0))
        assert torch.equal(torch.where(known[0], 0.0, row), torch.where(known[0], 0.0, before))


@pytest.mark.parametrize(("level", "sigma"), [(1, 25.0), (57, 25.0), (400, 5.0)])
def test_with_noise_it_is_the_minimum_of_both_squares(level, sigma):
    """|A x - y|^2 / s^2 + |x - x0|^2 / r^2 has no slope there, in [-1, 1] units with r the noise of the level."""
    y, x0, known = pictures()
    x = data_consistency(y, Mask(known=known), [sigma], LINEAR)(x0, level).double().requires_grad_()
    r, s = LINEAR.sigma(level) / 127.5, sigma / 127.5
    squares = ((known * (x - (2 * y - 1))).square() / s**2 + (x - x0).square() / r**2).sum()
    (slope,) = torch.autograd.grad(squares, x)
    assert slope.abs().max() < 1e-5 * (1 / s**2 + 1 / r**2)


@pytest.mark.parametrize(("level", "sigma"), [(57, 25.0), (400, 5.0)])
def test_of_a_smaller_picture_it_is_that_minimum_too(level, sigma):
    _, x0, _ = pictures((8, 12))
    a = Downscale(4)
    small = torch.rand(1, 3, 2, 3, generator=torch.Generator().manual_seed(2))
    x = data_consistency(a.complete(small), a, [sigma], LINEAR)(x0, level).double().requires_grad_()
    r, s = LINEAR.sigma(level) / 127.5, sigma / 127.5
    squares = (a.measure(x) - (2 * small - 1)).square().sum() / s**2 + (x - x0).square().sum() / r**2
    (slope,) = torch.autograd.grad(squares, x)
    assert slope.abs().max() < 1e-5 * (1 / s**2 + 1 / r**2)
    without = data_consistency(a.complete(small), a, [0], LINEAR)(x0, level)
    assert torch.allclose(a.measure(without), (2 * small - 1).expand(2, -1, -1, -1), atol=1e-6)


def test_y_counts_for_more_the_noisier_the_level_and_the_less_noisy_it_is():
    y, x0, _ = pictures()
    target = 2 * y - 1
    for level in (1, 1000):
        moved = [
            (data_consistency(y, Identity(), [sigma], LINEAR)(x0, level) - x0) / (target - x0) for sigma in (1, 25, 200)
        ]
        assert moved[0].mean() > moved[1].mean() > moved[2].mean()
    nearly_all = (data_consistency(y, Identity(), [25], LINEAR)(x0, 1000) - x0) / (target - x0)
    assert nearly_all.min() > 0.999
