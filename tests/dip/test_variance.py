"""The streaming variances, against the formulas over all the outputs that they do not keep."""

import io
import math

import numpy as np
import pytest
import torch

from dipddpm.dip.variance import MovingVariance, WindowedVariance

SHAPE = (1, 3, 5, 11)  # of the outputs of one picture


def next_of(stream, x):
    """Return the next variance of the one picture."""
    return stream.update(x[:, None]).item()


def outputs(n, seed=0):
    """Outputs that wander off from where they began, as a DIP's do."""
    steps = torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(seed))
    return 0.5 + 0.05 * steps.cumsum(0) + 0.02 * steps


@pytest.mark.parametrize("window", [1, 2, 7, 13])
def test_the_window_has_the_variance_of_its_outputs_at_every_step(window):
    x = outputs(3 * window + 5)
    stream = WindowedVariance(window)
    values = [next_of(stream, each) for each in x]
    assert all(math.isnan(v) for v in values[: window - 1])
    for i in range(window - 1, len(x)):
        direct = x[i + 1 - window : i + 1].double().var(dim=0, correction=0).mean()
        assert values[i] == pytest.approx(float(direct), rel=1e-10, abs=1e-16), i


def test_a_variance_of_1e_8_is_not_lost_in_a_picture_of_energy_1():
    """20,000 updates far from the first output; float32 sums would be wrong in the first digit."""
    generator = torch.Generator().manual_seed(0)
    picture = torch.randn(SHAPE, generator=generator)
    picture /= picture.square().mean().sqrt()
    stream = WindowedVariance(100)
    next_of(stream, torch.zeros(SHAPE))
    worst = 0.0
    for _ in range(20):
        chunk = picture + 1e-4 * torch.randn(1000, *SHAPE, generator=generator)
        value = [next_of(stream, x) for x in chunk][-1]
        direct = float(chunk[-100:].double().var(dim=0, correction=0).mean())
        assert direct == pytest.approx(0.99e-8, rel=0.05)
        worst = max(worst, abs(value / direct - 1))
    assert worst < 1e-5


def test_outputs_that_stand_still_have_no_variance_and_never_a_negative_one():
    x = outputs(1)[0]
    stream, moving = WindowedVariance(5), MovingVariance()
    for each in outputs(20):
        next_of(stream, each)
    assert [next_of(stream, x) for _ in range(30)][-1] < 1e-15
    assert min(next_of(stream, x) for _ in range(100)) >= 0
    assert [next_of(moving, x) for _ in range(5)] == [0.0] * 5


@pytest.mark.parametrize("make", [lambda: WindowedVariance(7), MovingVariance])
def test_what_is_handed_in_may_be_written_over_afterwards(make):
    x = outputs(40)
    fresh, reused, buffer = make(), make(), torch.empty(SHAPE)
    expected = [next_of(fresh, each.clone()) for each in x]
    assert [next_of(reused, buffer.copy_(each)) for each in x] == pytest.approx(expected, rel=0, abs=0, nan_ok=True)


def test_there_is_one_ring_of_the_windows_length_whatever_passes_through():
    stream, rings = WindowedVariance(7), set()
    for each in outputs(40):
        next_of(stream, each)
        rings.add((stream.ring.data_ptr(), tuple(stream.ring.shape)))
    assert [shape for _, shape in rings] == [(1, 7, 3 * 5 * 11)]


@pytest.mark.parametrize("at", [3, 7, 20])
@pytest.mark.parametrize("kind", [lambda: WindowedVariance(7), lambda: MovingVariance(0.2)])
@pytest.mark.parametrize("through_a_file", [False, True])
def test_a_restored_state_goes_on_to_the_bit_and_on_its_own(kind, at, through_a_file):
    x = outputs(40)
    whole, first = kind(), kind()
    expected = [next_of(whole, each) for each in x][at:]
    for each in x[:at]:
        next_of(first, each)
    state = first.state_dict()
    if through_a_file:
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        state = torch.load(file, weights_only=True)
    second = kind()
    second.load_state_dicts([state])
    next_of(first, 9 * x[0])  # must not reach the restored one
    assert [next_of(second, each) for each in x[at:]] == pytest.approx(expected, rel=0, abs=0, nan_ok=True)


@pytest.mark.parametrize("shape", [(2, 3, 5, 11), (1, 3, 128, 129)])  # torch parts a sum of 49,536 values among threads
@pytest.mark.parametrize("kind", [lambda: WindowedVariance(12), MovingVariance])
def test_the_values_are_the_same_to_the_bit_however_the_epochs_are_parted(kind, shape):
    x = torch.rand(24, *shape, generator=torch.Generator().manual_seed(0)).transpose(0, 1)
    at_once, parted, threads = kind(), kind(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = torch.cat([at_once.update(part) for part in x.split(12, dim=1)], 1)
        values = torch.cat([parted.update(part) for part in x.split([11, 1, 1, 1, 1, 2, 7], dim=1)], 1)
    finally:
        torch.set_num_threads(threads)
    assert expected.shape == (shape[0], 24)
    assert torch.equal(values.nan_to_num(-1), expected.nan_to_num(-1))


@pytest.mark.parametrize("a", [0.1, 0.3])
def test_the_moving_variance_is_that_of_exponentially_weighted_outputs(a):
    """Weights w_i = a (1-a)^(n-i), the first output's (1-a)^n: then the recursion is sum w x^2 - (sum w x)^2."""
    x = outputs(60)
    stream = MovingVariance(a)
    for n, each in enumerate(x):
        value = next_of(stream, each)
        w = a * (1 - a) ** np.arange(n, -1, -1.0)
        w[0] = (1 - a) ** n
        weights = torch.from_numpy(w)[:, None]
        flat = x[: n + 1].flatten(1).double()
        direct = (weights * flat**2).sum(0) - (weights * flat).sum(0) ** 2
        assert value == pytest.approx(float(direct.mean()), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("a", [0.1, 0.4])
def test_the_moving_variance_of_independent_noise(a):
    """The mean has variance s^2 a/(2-a), so |x - mean|^2 is 2 s^2/(2-a) and v = (1-a) 2 s^2/(2-a)."""
    generator, s = torch.Generator().manual_seed(0), 0.03
    stream = MovingVariance(a)
    values = [next_of(stream, 0.7 + s * torch.randn(1, 3, 29, 31, generator=generator)) for _ in range(400)]
    assert values[0] == 0
    assert np.mean(values[200:]) == pytest.approx(2 * (1 - a) / (2 - a) * s**2, rel=0.01)
