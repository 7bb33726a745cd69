"""Windows as runs use them: one evaluation against the closed form, and what is known of a start's error."""

import pytest
import torch
from support.gaussian import LINEAR, M, S, data, gaussian_prior

from dipddpm.diffusion.restoration import error_of_start, posterior_mean
from dipddpm.errors import UserError


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


def test_what_is_given_comes_before_what_an_oracle_knows():
    given = error_of_start(25.5, 0.3, ["ddpm.init=matched"])
    assert given is not None
    assert (given.rms, given.source, given.sigma) == (pytest.approx(0.2), "given", pytest.approx(25.5))
    nothing_left = error_of_start(0.0, 0.3, [])
    assert nothing_left is not None and (nothing_left.rms, nothing_left.source) == (0.0, "given")
    known = error_of_start(None, 0.3, [])
    assert known is not None
    assert (known.rms, known.source, known.sigma) == (0.3, "oracle", pytest.approx(38.25))


def test_an_error_that_nothing_tells_is_refused_only_where_something_needs_it():
    assert error_of_start(None, None, []) is None
    why = ["ddpm.start_t=auto", "ddpm.init=matched"]
    with pytest.raises(UserError, match="^ddpm.start_t=auto and ddpm.init=matched needs the error.*ddpm.error_sigma="):
        error_of_start(None, None, why)
