"""Windows as runs use them: one evaluation against the closed form, and what is known of a start's error."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.gaussian import LINEAR, M, S, data, gaussian_prior

from dipddpm.degradation.masks import Mask
from dipddpm.degradation.noise import Gaussian, NoNoise
from dipddpm.degradation.operators import Identity
from dipddpm.degradation.problem import Problem, degrade, joined
from dipddpm.diffusion import restore as restoring
from dipddpm.diffusion.restore import iterate, posterior_mean, restore
from dipddpm.diffusion.window import Window
from dipddpm.metrics.quality import psnr


@pytest.mark.parametrize(("sigma", "level"), [(10, 21), (25, 57), (50, 115)])
def test_the_posterior_mean_of_gaussian_data_is_wieners(sigma: float, level: int):
    """E[clean | y] = M + g (y - M), g = S^2 / (S^2 + s^2), s the noise of the level in [-1, 1] units."""
    prior, oracle = gaussian_prior()
    clean, noisy = data(sigma)
    result = posterior_mean(prior, noisy, prior.schedule.level_of_sigma(sigma))
    s = LINEAR.sigma(level) / 127.5
    g = S**2 / (S**2 + s**2)
    expected = (M + g * (2 * noisy - 1 - M) + 1) / 2
    torch.testing.assert_close(result.picture, expected.clamp(0, 1), atol=2e-6, rtol=0)
    error = (2 * (result.picture - clean)).square().mean()
    assert error == pytest.approx((1 - g) ** 2 * S**2 + g**2 * (sigma / 127.5) ** 2, rel=0.01)
    assert oracle.asked == [(1, level - 1)], "one evaluation; the network receives level - 1"
    assert (result.nfe, result.levels) == (1, [level, 0])


def test_the_posterior_mean_is_clipped_to_the_range_of_a_picture():
    prior, _ = gaussian_prior()
    noisy = torch.full((1, 3, 5, 7), 4.0)
    noisy[..., 3:] = -4.0
    assert posterior_mean(prior, noisy, prior.schedule.level_of_sigma(5.0)).picture.unique().tolist() == [0.0, 1.0]


def test_a_window_and_the_trained_prior_reach_the_sampler(monkeypatch):
    asked = {}

    def spy(denoiser, x, levels, generators, **settings):
        asked.update(settings, levels=levels, predicts=denoiser.prediction_type, clips=denoiser.clip_sample)
        yield from real(denoiser, x, levels, generators, **settings)

    real = restoring.sample_window
    monkeypatch.setattr(restoring, "sample_window", spy)
    prior = replace(gaussian_prior()[0], prediction_type="v_prediction", clip_sample=True)
    window = Window(9, 2, 3, init="raw", scheduler="ddim", snapshot_every=2, exact=True)
    restore(prior, data(25, (7, 5))[1], window)
    assert asked == {"scheduler": "ddim", "snapshot_every": 2, "exact": True, "consistency": None,
                     "levels": [9, 7, 4, 2], "predicts": "v_prediction", "clips": True}  # fmt: skip


def test_pictures_come_on_the_way_and_end_with_the_restored_one():
    prior, oracle = gaussian_prior()
    _, noisy = data(25, (7, 5))
    window = Window(57, scheduler="ddim", snapshot_every=20)
    pictures = iterate(prior, noisy, window)
    first = next(pictures)
    assert (first.level, first.nfe, len(oracle.asked)) == (37, 20, 20), "nothing is evaluated before it is asked for"
    assert first.picture.shape == (1, 3, 7, 5) and 0 <= first.picture.min() and first.picture.max() <= 1
    *_, last = pictures
    whole = restore(prior, noisy, window)
    assert last.picture.equal(whole.picture)
    assert [level for level, _ in whole.snapshots] == [57, 37, 17, 0]
    assert whole.psnrs == [], "no clean picture"


def test_the_psnr_of_each_clean_estimate_is_that_of_its_level():
    prior, _ = gaussian_prior()
    clean, noisy = data(25, (7, 5))
    window = Window(57, steps=3, samples=2, init="diffused", snapshot_every=30)
    whole = restore(prior, noisy, window, Problem(noisy, 25, clean=clean))
    assert [level for level, _ in whole.psnrs] == window.levels[:-1]
    estimates = [s.estimate for s in iterate(prior, noisy, replace(window, snapshot_every=1))]
    assert [p for _, p in whole.psnrs] == [psnr(e, clean.expand_as(e)).mean().item() for e in estimates]
    assert [level for level, _ in whole.snapshots] == [57, 19, 0]


def test_many_pictures_are_restored_as_each_alone():
    prior, _ = gaussian_prior()
    pictures = torch.cat([data(25, (7, 5))[1], 1 - data(25, (7, 5))[1]])
    window = Window(57, init="diffused", samples=2, seed=3)
    both = restore(prior, pictures, window).picture
    assert both.shape == (4, 3, 7, 5)
    for i in range(2):
        alone = restore(prior, pictures[[i]], window).picture
        torch.testing.assert_close(both[2 * i : 2 * i + 2], alone, atol=1e-5, rtol=0)
    assert not both[0].equal(both[1]), "each sample has noise of its own"


def test_the_level_of_an_error_is_found_or_asked_for():
    prior, _ = gaussian_prior()
    _, noisy = data(25, (7, 5))
    assert restore(prior, noisy, Window("auto", steps=5), error_sigma=25).levels[0] == 57
    assert restore(prior, noisy, Window("auto", steps=5), error_sigma=1).levels == [1, 0], "no more steps than levels"
    with pytest.raises(ValueError, match="start_t='auto' needs error_sigma"):
        restore(prior, noisy, Window("auto"))
    with pytest.raises(ValueError, match="start_t=1001: must be at most 1000"):
        restore(prior, noisy, Window(1001))
    with pytest.raises(ValueError, match="init 'matched' needs the rms error"):
        restore(prior, noisy, Window(57, init="matched"))


def test_the_error_of_y_itself_is_its_noise():
    prior, _ = gaussian_prior()
    clean, noisy = data(25, (7, 5))
    auto, window = Window("auto", steps=5), Window(57, init="matched", steps=5)
    for problem in (Problem(noisy, 20), Problem(noisy)):
        for asked in (auto, window):
            told = restore(prior, noisy, asked, problem, error_sigma=problem.sigma)
            assert restore(prior, noisy.double(), asked, problem).picture.equal(told.picture)
            with pytest.raises(ValueError, match="needs"):
                restore(prior, clean, asked, problem)
    both = Problem(noisy.repeat(2, 1, 1, 1), 25)
    assert restore(prior, both.y, auto, both).levels[0] == 57
    masked = Problem(noisy, 25, operator=Mask(known=noisy[:, :1] > 0.5))
    with pytest.raises(ValueError, match="start_t='auto' needs error_sigma"):
        restore(prior, masked.noisy, auto, masked)
    flat = Problem(torch.full((1, 3, 7, 5), 0.5))
    assert restore(prior, flat.y, Window(9, steps=1), flat).nfe == 1, "its noise cannot be estimated, and is not asked"


def test_an_error_may_be_an_array_or_a_tensor():
    prior, _ = gaussian_prior()
    noisy = data(25, (7, 5))[1].repeat(2, 1, 1, 1)
    given: list[Any] = [25, [25, 25], np.array([25.0, 25.0]), torch.tensor([25.0, 25.0]), torch.tensor(25.0)]
    for errors in given:
        assert restore(prior, noisy, Window("auto", steps=1), error_sigma=errors).levels == [57, 0]


def test_what_cannot_be_restored_is_refused_by_its_argument():
    prior, _ = gaussian_prior()
    noisy = data(25, (7, 5))[1]
    cases: list[tuple[Any, type[Exception], str]] = [
        ((prior, noisy, Window(5, consistency="dps")), ValueError, "consistency='dps': .* give problem"),
        ((replace(prior, unit=2), noisy, Window(5)), ValueError, "picture has 5x7 pixels: .* multiples of 2 a side"),
        (("faces64", noisy, Window(5)), TypeError, "prior is of type str: give dd.load_prior"),
        ((prior, noisy, 50), TypeError, "window is of type int: give dd.Window"),
        ((prior, noisy, Window(5), noisy), TypeError, "problem is of type Tensor: give dd.Problem"),
        ((prior, Problem(noisy, 25), Window(5)), TypeError, "picture is of type Problem: give a torch.Tensor"),
    ]
    for given, error, said in cases:
        with pytest.raises(error, match=said):
            restore(*given)
        with pytest.raises(error, match=said):
            iterate(*given)


def test_many_pictures_with_missing_pixels_keep_those_that_are_known():
    prior, _ = gaussian_prior()
    clean = torch.cat([data(25, (7, 5))[0], data(25, (7, 5))[0].flip(-1)]).clamp(0, 1)
    problem = degrade(clean, NoNoise(), Mask(0.5))
    restored = restore(prior, problem.noisy, Window(57, steps=5, scheduler="ddim"), problem).picture
    assert isinstance(problem.operator, Mask) and problem.operator.known is not None
    known = problem.operator.known.expand_as(clean)
    assert known.shape == clean.shape and not known[0].equal(known[1]), "each picture has a mask of its own"
    torch.testing.assert_close(restored[known], clean[known], atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="samples=2 of 2 pictures cannot agree with y"):
        restore(prior, problem.noisy, Window(57, samples=2), problem)


@pytest.mark.parametrize("operator", [None, Mask(0.5)])
def test_many_pictures_are_restored_exactly_as_each_alone(operator):
    """Each has its own noise stream, error and estimated sigma."""
    prior, _ = gaussian_prior()
    clean = torch.cat([data(25, (8, 6))[0], data(25, (8, 6))[0].flip(-1)]).clamp(0, 1)
    if operator:
        alone = [degrade(one, Gaussian(20), operator, seed=2) for one in clean.split(1)]
    else:  # the sigmas are estimated, and differ
        a = Identity()
        alone = [Problem(one + s * torch.randn(one.shape), None, one, a) for s, one in enumerate(clean.split(1), 1)]
    both, errors = joined(alone), [30.0, 60.0]
    assert both.sigmas == tuple(problem.sigma for problem in alone) and both.noisy.shape == clean.shape
    window = Window(40, 3, steps=6, init="matched", seed=3, exact=True)
    together = restore(prior, both.noisy, window, both, consistent=True, error_sigma=errors)
    for one, problem, error in zip(together.split(), alone, errors, strict=True):
        single = restore(prior, problem.noisy, window, problem, consistent=True, error_sigma=error)
        assert one.picture.equal(single.picture) and one.estimate.equal(single.estimate)
        assert (one.levels, one.nfe) == (single.levels, single.nfe)


def test_pictures_that_start_at_other_levels_are_not_restored_together():
    prior, _ = gaussian_prior()
    _, noisy = data(25, (7, 5))
    pictures = noisy.repeat(2, 1, 1, 1)
    assert restore(prior, pictures, Window("auto", steps=2), error_sigma=[25, 25.0]).levels[0] == 57
    with pytest.raises(ValueError, match="start_t='auto' has the noise levels 21 to 57 for these pictures"):
        restore(prior, pictures, Window("auto"), error_sigma=[25, 10])
    with pytest.raises(ValueError, match="error_sigma: 3 numbers for 2 pictures; must be one for each"):
        restore(prior, pictures, Window(9), error_sigma=[1, 2, 3])
