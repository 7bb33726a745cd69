"""The estimates of a kept picture's error, for a linear f in place of a DIP: then the true error is known."""

import math

import pytest
import torch
import torch.nn.functional as F

import dipddpm as dd
from bench.error_tables import standing
from bench.recorded import EVERY
from bench.start_error import Errors, FitsPart, HeldOut, Recorrupted, fitted_values
from dipddpm.degradation.problem import Problem


def blurred(x: torch.Tensor) -> torch.Tensor:
    """Return the mean of the eight neighbours of each value."""
    return (9 * F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), 3, 1) - x) / 8


@pytest.fixture
def problem() -> Problem:
    return dd.degrade(F.avg_pool2d(torch.rand(1, 3, 384, 512, generator=torch.Generator().manual_seed(2)), 9, 1, 4))


def seen(errors: Errors, f: torch.Tensor) -> dict:
    """Return the estimates of a fit whose average is f at every epoch."""
    for _ in range(EVERY):
        errors(f, f)
    return {name: values[-1] for name, values in errors.said.items() if len(values) == 1}


@pytest.mark.parametrize("kind", ["values", "pixels"])
def test_held_out_values_tell_the_error_of_a_picture_that_did_not_see_them(problem, kind):
    values = fitted_values(problem.y, kind, 0, problem.content)
    assert (~values).float().mean().item() == pytest.approx(0.05, abs=1e-4)
    assert (values.all(1) | (~values).all(1)).all().item() == (kind == "pixels")
    said = seen(HeldOut(problem, values, 0), blurred(problem.y * values) / blurred(values.float()))
    assert said["held"] == pytest.approx(said["mse"], rel=0.2)


def test_a_loss_over_a_part_does_not_see_the_held_out_values(problem):
    values = fitted_values(problem.y, "values", 0, problem.content)
    other = torch.where(values, problem.y, 7.0)
    part = FitsPart(values)
    assert torch.equal(part.losses(problem.noisy * 0, problem.y), part.losses(problem.noisy * 0, other))
    assert part.losses(problem.noisy * 0, problem.y).item() == pytest.approx(problem.y[values].square().mean().item())


def test_recorruption_tells_the_error_of_a_fit_of_the_noisier_picture(problem):
    tau, n = 0.5, torch.randn(problem.y.shape, generator=torch.Generator().manual_seed(5)) * problem.sigma / 255
    plain = Errors(problem)
    true = seen(plain, blurred(problem.y))["mse"]
    said = seen(Recorrupted(problem, tau, n, plain), blurred(problem.y + tau * n))
    for name, tolerance in (("recorrupted", 0.35), ("direct", 0.15), ("smoothed", 0.1)):
        assert said[name] == pytest.approx(said["mse"], rel=tolerance), name
    assert said["paired"] == pytest.approx(true, rel=0.1), "of the plain fit"
    excess = (n.square().mean().item() - (problem.sigma / 255) ** 2) / tau**2
    assert said["recorrupted"] - said["direct"] == pytest.approx(excess, abs=1e-6), "the only difference"


def test_a_minimum_stands_when_it_has_the_patience():
    values = [3.0, 1.0, 2.0, 2.0, 0.5, 1.0, math.inf, 2.0]
    assert (standing(values, 2), standing(values, 3), standing(values, 4)) == (2, 5, None)
