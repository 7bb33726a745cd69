"""The forms of data consistency, against the posterior mean of Gaussian data, and for a camera's response."""

import math

import pytest
import torch
from support.gaussian import LINEAR, M, S, data, gaussian_prior

from dipddpm.degradation.masks import Mask
from dipddpm.degradation.noise import Gaussian
from dipddpm.degradation.operators import Identity, Operator
from dipddpm.degradation.problem import Problem, degrade
from dipddpm.degradation.scaling import Downscale
from dipddpm.diffusion.agreement import agreement, form_of
from dipddpm.diffusion.consistency import data_consistency
from dipddpm.diffusion.gradient import descend
from dipddpm.diffusion.restore import restore
from dipddpm.diffusion.window import Window


class Response(Operator):
    """A x = x^0.45, as a camera's response: dark values are spread."""

    name = "response"
    linear = False

    def measure(self, x):
        return x.clamp(min=1e-3) ** 0.45

    def complete(self, y, sigma=0.0):
        return y ** (1 / 0.45)


def test_auto_makes_the_noise_anew_where_the_measured_part_of_y_has_noise():
    for operator, most in ((Mask(0.5), 7), (Identity(), 7), (Downscale(4), 7 / 4), (Downscale(2), 7 / 2)):
        found = [form_of("auto", operator, sigma) for sigma in (0, most - 0.1, most + 0.1)]
        assert found == ["ddnm", "ddnm", "diffpir"]
    assert form_of("auto", Response(), 0) == "diffpir", "it has no inverse"
    assert [form_of(form, Mask(0.5), 0) for form in ("diffpir", "dps")] == ["diffpir", "dps"]


@pytest.mark.parametrize("form", ["ddnm", "diffpir", "gradient"])
@pytest.mark.parametrize("operator", [Identity(), Mask(0.4), Downscale(4)])
@pytest.mark.parametrize(("sigma", "level"), [(25, 57), (5, 300), (60, 20)])
def test_the_right_weight_gives_the_posterior_mean_of_gaussian_data(form, operator, sigma, level):
    """Given x_t the picture is N(x0, v I) with v = S^2 r^2 / (S^2 + r^2). So lambda = r^2 / v is right for y as well.

    E[x | x_t, y] = x0 + v A' (v A A' + sigma^2)^-1 (y - A x0), with A A' = I / spread^2.
    """
    prior, _ = gaussian_prior()
    problem = degrade(data(25, (12, 8))[0], Gaussian(sigma), operator)
    a = problem.operator
    assert a.spread is not None
    r, s = LINEAR.sigma(level) / 127.5, sigma / 127.5
    v = S**2 * r**2 / (S**2 + r**2)
    window = Window(level, steps=1, scheduler="ddim", consistency=form, prior_weight=r**2 / v)
    result = restore(prior, problem.noisy, window, problem)
    x0 = M + S**2 / (S**2 + r**2) * (2 * problem.noisy - 1 - M)
    measured = a.measure(2 * problem.noisy - 1)
    expected = x0 + v / (v / a.spread**2 + s**2) * a.adjoint(measured - a.measure(x0))
    torch.testing.assert_close(result.estimate, ((expected + 1) / 2).clamp(0, 1), atol=2e-6, rtol=0)


def test_without_noise_the_weight_of_the_prior_changes_nothing():
    prior, _ = gaussian_prior()
    problem = degrade(data(25, (12, 8))[0], Gaussian(0), Mask(0.4))
    for form in ("ddnm", "diffpir"):
        windows = [Window(57, steps=3, scheduler="ddim", consistency=form, prior_weight=w) for w in (0.1, 10)]
        assert restore(prior, problem.noisy, windows[0], problem).picture.equal(
            restore(prior, problem.noisy, windows[1], problem).picture
        )


def test_dps_moves_each_picture_by_the_length_of_a_step():
    """The gradient of |y - A x0| in x_t is gain A' (A x0 - y) / |A x0 - y| for Gaussian data."""
    prior, _ = gaussian_prior()
    clean = torch.cat([data(25, (12, 8))[0], data(25, (12, 8))[0].flip(-1)])
    problem = degrade(clean, Gaussian(25), Mask(0.4))
    window = Window(300, 200, steps=1, scheduler="ddim")
    plain = restore(prior, clean, window, problem, consistent=False)
    assert isinstance(problem.operator, Mask) and problem.operator.known is not None
    x0, known = 2 * plain.estimate - 1, problem.operator.known
    ab = LINEAR.alpha_bar(300)
    gain = ab**0.5 * S**2 / (ab * S**2 + 1 - ab)
    residual = known * (x0 - (2 * problem.noisy - 1))
    slope = gain * residual / residual.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
    for weight in (1, 4):
        moved = restore(prior, clean, Window(300, 200, steps=1, scheduler="ddim", consistency="dps",
                                             prior_weight=weight), problem)  # fmt: skip
        torch.testing.assert_close(plain.picture - moved.picture, slope / weight / 2, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("level", "sigma", "off"), [(57, 25.0, 0.05), (300, 5.0, 0.15), (20, 0.0, 0.15)])
def test_gradients_come_near_the_minimum_for_an_operator_that_is_not_linear(level, sigma, off):
    """Each value is a problem of its own, whose minimum a fine grid shows. A picture does not depend on the others."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(2, 3, 5, 7, generator=generator)
    x0 = (clean + 0.1 * torch.randn(clean.shape, generator=generator)).clamp(0.01, 1)
    a = Response()
    y = a.measure(clean)
    agree = data_consistency(y, a, [sigma, sigma], LINEAR)
    found = (agree(2 * x0 - 1, level) + 1) / 2
    r, s = LINEAR.sigma(level) / 255, max(sigma, 0.29) / 255

    def objective(x):
        return (a.measure(x) - y.flatten()).square() / s**2 + (x - x0.flatten()).square() / r**2

    least = objective(torch.linspace(0, 1.5, 15_001).reshape(-1, 1)).min(0).values.sum()
    start, reached = (objective(x.reshape(1, -1)).sum() for x in (x0, found))
    assert least - 1e-3 * start <= reached <= least + off * (start - least)
    alone = data_consistency(y[1:], a, [sigma], LINEAR)(2 * x0[1:] - 1, level)
    torch.testing.assert_close(alone, 2 * found[1:] - 1, atol=1e-5, rtol=0)


def test_the_steps_are_conjugate():
    """Four different gains need four or five steps, where the steepest descent needs hundreds."""
    gains = torch.tensor([1, 0.6, 0.3, 0.15]).repeat(2)
    x, y = torch.rand(2, 1, 3, 5, 8, generator=torch.Generator().manual_seed(0))
    a = Response()
    a.measure = lambda x: gains * x
    expected = x + gains * (y - gains * x) / (gains**2 + 1e-3)
    torch.testing.assert_close(descend(a, x, y, 1e-3, steps=6), expected, atol=2e-3, rtol=0)


def test_a_step_that_is_too_long_is_made_shorter():
    """The fourth power is flat at 0.1, so its derivative there asks for a step of several hundred."""
    a = Response()
    a.measure = lambda x: x**4
    x = torch.full((1, 3, 5, 7), 0.1)
    found = descend(a, x, torch.full_like(x, 0.6), 1e-9)
    assert (a.measure(found) - 0.6).abs().max() < 0.3


@pytest.mark.parametrize("form", ["gradient", "dps"])
def test_an_operator_needs_no_more_than_its_measure(form):
    prior, _ = gaussian_prior()
    clean = data(25, (12, 8))[0].clamp(0.01, 1)
    a = Response()
    problem = Problem(a.measure(clean), 2, clean, a)
    window = Window(57, steps=10, scheduler="ddim", consistency=form)
    blind = restore(prior, problem.noisy, window, problem, consistent=False)
    agreed = restore(prior, problem.noisy, window, problem)
    off = [float((a.measure(one.picture) - problem.y).square().mean()) for one in (blind, agreed)]
    assert off[1] < off[0] / 2


def test_a_form_that_is_named_is_used_where_y_holds_the_whole_picture():
    prior, _ = gaussian_prior()
    clean, noisy = data(25, (12, 8))
    problem = Problem(noisy, 25, clean)
    plain, named = (restore(prior, noisy, Window(57, steps=5, consistency=form), problem) for form in ("auto", "dps"))
    assert not plain.picture.equal(named.picture)
    for form in ("ddnm", "diffpir", "gradient"):
        assert agreement(form, 1.0, problem, prior).renew is (form != "ddnm")


@pytest.mark.parametrize(("given", "message"), [
    ({"consistency": "pigdm"}, "consistency='pigdm': must be one of auto, ddnm, diffpir, gradient, dip, dps"),
    ({"prior_weight": 0}, "prior_weight=0: must be above 0"),
    ({"prior_weight": math.nan}, "prior_weight=nan: must be above 0"),
])  # fmt: skip
def test_a_window_refuses_other_forms_and_weights(given, message):
    with pytest.raises(ValueError, match=message):
        Window(57, **given)
