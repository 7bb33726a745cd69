"""y = A x + noise: the law of the noise, what a mask takes away, and what can be read back from y alone."""

import pytest
import torch
from skimage.restoration import estimate_sigma

from dipddpm import degrade


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def smooth(height, width):
    v, u = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return 0.25 + 0.5 * torch.stack([u, v, (3 * u).sin() * v])[None]


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_noise_is_white_gaussian_of_the_given_strength_and_not_clipped(level):
    sigma = 51.0  # a fifth of the range
    noise = (degrade.gaussian(torch.full((2, 3, 101, 103), level), sigma, generator()) - level).double() / 0.2
    assert noise.mean().item() == pytest.approx(0, abs=0.015)
    assert noise.std().item() == pytest.approx(1, abs=0.01)
    assert noise.pow(4).mean().item() == pytest.approx(3, abs=0.1), "the fourth moment of a Gaussian"
    for shifted in (noise.roll(1, 3), noise.roll(1, 2), noise.roll(1, 1), noise.roll(1, 0)):
        assert (noise * shifted).mean().item() == pytest.approx(0, abs=0.02)
    assert noise.min() < -4 and noise.max() > 4


def test_noise_follows_the_generator_alone_and_scales_with_sigma():
    x = torch.rand(1, 3, 11, 17)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    y = degrade.gaussian(x, 25, generator(3))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(degrade.gaussian(x, 25, generator(3)), y)
    assert not torch.equal(degrade.gaussian(x, 25, generator(4)), y)
    torch.testing.assert_close(degrade.gaussian(x, 50, generator(3)) - x, 2 * (y - x))
    assert torch.equal(degrade.gaussian(x, 0, generator(3)), x)
    assert torch.equal(degrade.gaussian(0 * x, 255, generator(3)), torch.randn(x.shape, generator=generator(3)))


@pytest.mark.parametrize("sigma", [2, 10, 25, 50])
def test_sigma_is_estimated_within_5_percent_on_a_smooth_picture(sigma):
    y = degrade.gaussian(smooth(127, 131), sigma, generator())
    assert degrade.estimate_sigma(y) == pytest.approx(sigma, rel=0.05)
    assert degrade.estimate_sigma(y.clamp(0, 1)) <= degrade.estimate_sigma(y), "clipping can only hide noise"


def test_the_estimate_is_the_mean_over_the_channels_and_zero_without_noise():
    x = smooth(127, 131)
    assert degrade.estimate_sigma(x) < 0.01
    y = x.clone()
    y[:, 1:2] = degrade.gaussian(x, 30, generator())[:, 1:2]
    assert degrade.estimate_sigma(y) == pytest.approx(10, rel=0.05)
    scaled = estimate_sigma(255 * y[0].double().numpy(), channel_axis=0)  # one for each channel
    assert degrade.estimate_sigma(y) == pytest.approx(sum(scaled) / 3, rel=1e-4)
    y[:, 2] = 0
    assert degrade.estimate_sigma(y) == pytest.approx(15, rel=0.05), "a constant channel says nothing of the noise"


@pytest.mark.parametrize(("missing", "gone"), [(0.5, 77 * 101 // 2), (0.001, 8), (1e-9, 1), (1 - 1e-9, 77 * 101 - 1)])
def test_a_mask_takes_the_share_that_was_asked_for_anywhere_and_follows_its_generator(missing, gone):
    known = degrade.random_mask((77, 101), missing, generator(1))
    assert known.shape == (1, 1, 77, 101) and (~known).sum() == pytest.approx(gone, abs=1)
    assert torch.equal(known, degrade.random_mask((77, 101), missing, generator(1)))
    assert not torch.equal(known, degrade.random_mask((77, 101), missing, generator(2)))


def test_missing_pixels_are_anywhere_alike():
    known = degrade.random_mask((77, 101), 0.5, generator()).double()[0, 0]
    for half in (known[:38], known[39:], known[:, :50], known[:, 51:], known[::2], known[:, ::2]):
        assert half.mean().item() == pytest.approx(0.5, abs=0.03)
    assert (known[:, 1:] * known[:, :-1]).mean().item() == pytest.approx(0.25, abs=0.03)


def test_what_is_filled_in_follows_from_the_known_pixels_alone_and_continues_a_slope():
    x = smooth(41, 43)
    known = torch.ones(1, 1, 41, 43, dtype=torch.bool)
    known[..., 11:20, 13:25] = False
    filled = degrade.fill(torch.where(known, x, torch.nan), known)
    assert torch.equal(filled, degrade.fill(torch.where(known, x, 7.0), known))
    assert torch.equal(filled[known.expand_as(x)], x[known.expand_as(x)])
    torch.testing.assert_close(filled[:, :2], x[:, :2], atol=1e-4, rtol=0)  # two channels are linear
    assert (filled - x)[:, 2].abs().max() < 0.02, "the third is nearly so"
    scattered = degrade.random_mask((41, 43), 0.5, generator())
    assert (degrade.fill(x * scattered, scattered) - x).abs().max() < 0.1
