"""The noise of y: its law and strength for each kind, and how much of it can be read back from y alone."""

import numpy as np
import pytest
import torch
from skimage.restoration import estimate_sigma as by_wavelets

from dipddpm.degradation.noise import (
    NOISES,
    Correlated,
    Gaussian,
    Impulse,
    NoNoise,
    Poisson,
    RandomImpulse,
    estimate_sigma,
)
from dipddpm.names import NOISES as NAMES


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def smooth(height, width):
    v, u = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return 0.25 + 0.5 * torch.stack([u, v, (3 * u).sin() * v])[None]


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_noise_is_white_gaussian_of_the_given_strength_and_not_clipped(level):
    sigma = 51.0  # a fifth of the range
    added = (Gaussian(sigma).add(torch.full((2, 3, 101, 103), level), generator()) - level).double() / 0.2
    assert added.mean().item() == pytest.approx(0, abs=0.015)
    assert added.std().item() == pytest.approx(1, abs=0.01)
    assert added.pow(4).mean().item() == pytest.approx(3, abs=0.1), "the fourth moment of a Gaussian"
    for shifted in (added.roll(1, 3), added.roll(1, 2), added.roll(1, 1), added.roll(1, 0)):
        assert (added * shifted).mean().item() == pytest.approx(0, abs=0.02)
    assert added.min() < -4 and added.max() > 4


def test_noise_follows_the_generator_alone_and_scales_with_sigma():
    x = torch.rand(1, 3, 11, 17)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    y = Gaussian(25).add(x, generator(3))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(Gaussian(25).add(x, generator(3)), y)
    assert not torch.equal(Gaussian(25).add(x, generator(4)), y)
    torch.testing.assert_close(Gaussian(50).add(x, generator(3)) - x, 2 * (y - x))
    assert torch.equal(Gaussian(0).add(x, generator(3)), x)
    assert torch.equal(Gaussian(255).add(0 * x, generator(3)), torch.randn(x.shape, generator=generator(3)))


@pytest.mark.parametrize("sigma", [2, 10, 25, 50])
def test_sigma_is_estimated_within_5_percent_on_a_smooth_picture(sigma):
    y = Gaussian(sigma).add(smooth(127, 131), generator())
    assert estimate_sigma(y) == pytest.approx(sigma, rel=0.05)
    assert estimate_sigma(y.clamp(0, 1)) <= estimate_sigma(y), "clipping can only hide noise"


def test_the_estimate_is_the_mean_over_the_channels_and_zero_without_noise():
    x = smooth(127, 131)
    assert estimate_sigma(x) < 0.01
    y = x.clone()
    y[:, 1:2] = Gaussian(30).add(x, generator())[:, 1:2]
    assert estimate_sigma(y) == pytest.approx(10, rel=0.05)
    scaled = by_wavelets(255 * y[0].double().numpy(), channel_axis=0)  # one for each channel
    assert estimate_sigma(y) == pytest.approx(np.mean(scaled), rel=1e-4)
    y[:, 2] = 0
    assert estimate_sigma(y) == pytest.approx(15, rel=0.05), "a constant channel says nothing of the noise"


def test_the_kinds_are_those_that_can_be_typed():
    assert tuple(NOISES) == NAMES and all(kind.name == name for name, kind in NOISES.items())


@pytest.mark.parametrize("kind", [kind for kind in NOISES.values() if kind is not NoNoise])
@pytest.mark.parametrize("sigma", [5, 25, 60])
def test_every_kind_has_the_rms_that_was_asked_for(kind, sigma):
    x = smooth(211, 223)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    y = kind(sigma).add(x, generator())
    assert torch.equal(torch.get_rng_state(), before)
    draws = torch.cat([kind(sigma).add(x, generator(seed)) for seed in range(6)])  # faint impulses are few in one draw
    assert 255 * (draws - x).square().mean().sqrt().item() == pytest.approx(sigma, rel=0.03)
    assert torch.equal(kind(sigma).add(x, generator()), y)
    assert not torch.equal(kind(sigma).add(x, generator(1)), y)
    assert torch.equal(kind(0).add(x, generator()), x)
    assert (y.dtype, y.shape) == (x.dtype, x.shape)


@pytest.mark.parametrize("width", [0.5, 1.0, 3.0])
def test_correlated_noise_is_that_of_a_gaussian_blur(width):
    """White noise blurred by a Gaussian of s pixels is correlated like one of sqrt(2) s: exp(-d^2 / 4 s^2)."""
    y = Correlated(255, width).add(torch.zeros(4, 3, 256, 254), generator())
    assert y.mean().item() == pytest.approx(0, abs=0.05) and y.std().item() == pytest.approx(1, rel=0.03)
    assert y.pow(4).mean().item() / y.var().item() ** 2 == pytest.approx(3, abs=0.15), "Gaussian still"
    for distance, dims in ((1, 2), (1, 3), (2, 3), (4, 2)):
        found = (y * y.roll(distance, dims)).mean().item()
        aliased = 0.05 if width == 0.5 else 0.02  # a blur of half a pixel is cut off at the highest frequency
        assert found == pytest.approx(torch.tensor(-(distance**2) / (4 * width**2)).exp().item(), abs=aliased)
    assert abs((y[:, 0] * y[:, 1]).mean().item()) < 0.03, "colours by themselves"


def test_poisson_noise_counts_photons_whose_variance_is_their_mean():
    x = torch.cat([torch.full((1, 3, 101, 103), level) for level in (0.1, 0.4, 1.0)], dim=3)
    y = Poisson(25).add(x, generator())
    photons = Poisson(25).photons(x)
    assert photons == pytest.approx(0.5 / (25 / 255) ** 2)
    counts = (photons * y).double()
    torch.testing.assert_close(counts, counts.round(), atol=1e-3, rtol=0)
    for part, level in zip(counts.split(103, dim=3), (0.1, 0.4, 1.0), strict=True):
        assert part.mean().item() == pytest.approx(level * photons, rel=0.02)
        assert part.var().item() == pytest.approx(level * photons, rel=0.03)
    assert y.max() > 1, "not clipped"
    with pytest.raises(ValueError, match="a black picture has no photons"):
        Poisson(25).add(0 * x, generator())


def test_impulses_replace_a_share_of_the_values_by_either_end_and_leave_the_others():
    x = smooth(101, 103)
    y = Impulse(50).add(x, generator())
    hit = y != x
    assert hit.double().mean().item() == pytest.approx(Impulse(50).share(x), rel=0.05)
    assert set(y[hit].tolist()) == {0.0, 1.0} and y[hit].mean().item() == pytest.approx(0.5, abs=0.03)
    assert (hit[:, 0] & hit[:, 1]).double().mean() < 0.05, "each colour by itself"
    for level, most in ((0.5, 127.5), (1.0, 255 / 2**0.5)):  # the middle of the range is the least off
        assert Impulse(most).share(torch.full((1, 3, 31, 37), level)) == pytest.approx(1, rel=1e-5)


def test_random_impulses_replace_a_share_of_the_values_by_any_value_and_leave_the_others():
    x = smooth(101, 103)
    y = RandomImpulse(50).add(x, generator())
    hit = y != x
    assert hit.double().mean().item() == pytest.approx(RandomImpulse(50).share(x), rel=0.05)
    quarters = torch.histc(y[hit], bins=4, min=0, max=1) / hit.sum()
    torch.testing.assert_close(quarters, torch.full((4,), 0.25), atol=0.02, rtol=0)
    assert 255 * (y - x).square().mean().sqrt().item() == pytest.approx(50, rel=0.02)
    for level, most in ((0.5, 255 / 12**0.5), (1.0, 255 / 3**0.5)):
        assert RandomImpulse(most).share(torch.full((1, 3, 31, 37), level)) == pytest.approx(1, rel=1e-5)


def test_what_a_kind_is_in_its_own_terms():
    x = torch.full((1, 3, 8, 8), 0.5)
    assert Gaussian(25.5).words(x) == ""
    assert Correlated(25.5, 1.5).words(x) == "correlated noise: blurred by 1.5 pixels"
    assert Poisson(25.5).words(x) == "photons: 50 where the picture is white"
    assert Impulse(25.5).words(x) == "impulses: 4.0% of the values"
    assert RandomImpulse(25.5).words(x) == "impulses: 12.0% of the values"


def test_noise_that_is_not_white_is_estimated_as_less():
    y = Correlated(25).add(smooth(127, 131), generator())
    assert estimate_sigma(y) < 15


def test_a_black_picture_tells_of_no_noise():
    with pytest.raises(ValueError, match="cannot be estimated"):
        estimate_sigma(torch.zeros(1, 3, 16, 16))


def test_no_noise_leaves_the_picture_and_draws_nothing():
    x, g = smooth(5, 7), generator()
    assert NoNoise().add(x, g) is x and NoNoise().sigma == 0
    assert torch.equal(torch.rand(3, generator=g), torch.rand(3, generator=generator()))
