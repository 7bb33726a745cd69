"""The clean estimate after it was made to agree with y: what the objective says, and its two ends."""

import pytest
import torch
from support.gaussian import LINEAR

from dipddpm.degradation.masks import Mask
from dipddpm.degradation.operators import Identity, Operator
from dipddpm.degradation.scaling import Downscale
from dipddpm.diffusion.consistency import ROUNDING, conjugate_gradients, data_consistency
from dipddpm.diffusion.gradient import descend


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
    x = data_consistency(small, a, [sigma], LINEAR)(x0, level).double().requires_grad_()
    r, s = LINEAR.sigma(level) / 127.5, sigma / 127.5
    squares = (a.measure(x) - (2 * small - 1)).square().sum() / s**2 + (x - x0).square().sum() / r**2
    (slope,) = torch.autograd.grad(squares, x)
    assert slope.abs().max() < 1e-5 * (1 / s**2 + 1 / r**2)
    without = data_consistency(small, a, [0], LINEAR)(x0, level)
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


class Smear(Operator):
    """A linear operator without a closed form: it has `measure` alone, and makes the picture a column narrower."""

    name = "smear"

    def measure(self, x):
        return 0.7 * x[..., :-1] + 0.3 * x[..., 1:].flip(1)


class Bent(Smear):
    """An operator that is not linear."""

    linear = False

    def measure(self, x):
        return super().measure(x) ** 2


def dense(size):
    """The matrix of `Smear` on the values of one picture."""
    pixels = 3 * size[0] * size[1]
    return Smear().measure(torch.eye(pixels, dtype=torch.float64).reshape(pixels, 3, *size)).flatten(1).T


@pytest.mark.parametrize("start", [None, "far", "near"])
def test_conjugate_gradients_solve_what_a_dense_solver_solves_for_each_picture(start):
    size, rho = (5, 7), torch.tensor([0.5, 0.001]).double().reshape(2, 1, 1, 1)
    x, y = torch.rand(2, 3, *size).double(), torch.rand(1, 3, 5, 6).double()
    a = dense(size)
    rights = y.flatten() @ a + rho.flatten(1) * x.flatten(1)
    eye = torch.eye(a.shape[1])
    exact = torch.stack(
        [torch.linalg.solve(a.T @ a + r * eye, right) for r, right in zip(rho.flatten(), rights, strict=True)]
    )
    exact = exact.reshape(x.shape)
    begin = None if start is None else torch.full_like(x, 9.0) if start == "far" else exact + 1e-3
    v = conjugate_gradients(Smear(), x, y, rho, begin, 1e-6)
    assert (v - exact).abs().max() < 2e-3
    rough = conjugate_gradients(Smear(), x, y, rho, begin)
    assert 1e-6 < (rough - exact).square().mean().sqrt() < 2e-2 or start == "near"
    alone = conjugate_gradients(Smear(), x[1:], y, 0.001, None if begin is None else begin[1:], 1e-6)
    assert torch.allclose(v[1:], alone, atol=1e-9), "a picture does not depend on the others of its batch"
    v = descend(Smear(), x, y, rho, steps=300)
    assert (v - exact).square().mean().sqrt() < 2e-3


@pytest.mark.parametrize("sigma", [0.0, 5.0])
def test_an_operator_without_a_closed_form_agrees_too_in_the_units_of_states(sigma):
    x0 = 2 * torch.rand(2, 3, 5, 7) - 1
    y = Smear().measure(torch.rand(1, 3, 5, 7))
    agree = data_consistency(y, Smear(), [sigma], LINEAR)
    r, s = LINEAR.sigma(300) / 255, max(sigma, ROUNDING) / 255

    def objective(v):
        p = (v + 1) / 2
        return (Smear().measure(p) - y).square().sum() / s**2 + (p - (x0 + 1) / 2).square().sum() / r**2

    x = agree(x0, 300).requires_grad_()
    (slope,) = torch.autograd.grad(objective(x), x)
    (before,) = torch.autograd.grad(objective(x0.requires_grad_()), x0)
    assert slope.norm() < 2e-3 * before.norm()
    again = agree(x.detach(), 299)
    assert torch.isfinite(again).all() and (Smear().measure((again + 1) / 2) - y).abs().max() < 0.1


@pytest.mark.parametrize("kind", [Smear, Bent])
def test_no_operator_computes_in_tf32(kind, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    a, seen, real = kind(), set(), kind.measure

    def measure(self, x):
        seen.add((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
        return real(self, x)

    monkeypatch.setattr(kind, "measure", measure)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        data_consistency(torch.rand(1, 3, 5, 6), a, [5], LINEAR)(torch.rand(1, 3, 5, 7), 300)
        assert seen == {("highest", False)} and torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_gradient_steps_bring_a_bent_operator_nearer_and_never_farther():
    y = Bent().measure(torch.rand(2, 3, 5, 7))
    x0 = 2 * torch.rand(2, 3, 5, 7) - 1

    def missed(x0):
        return (Bent().measure((x0 + 1) / 2) - y).square().mean((1, 2, 3))

    agreed = data_consistency(y, Bent(), [0.0], LINEAR)(x0, 300)
    assert (missed(agreed) < 0.1 * missed(x0)).all()
    steep = descend(Bent(), 30 * torch.rand(1, 3, 5, 7), y[:1], 1e-3, steps=1)
    assert torch.isfinite(steep).all()


def test_gradient_steps_can_be_taken_where_there_is_another_way():
    y, x0, known = pictures()
    for a, of_picture in ((Mask(known=known), y), (Smear(), y[..., 1:])):
        other, steps = (data_consistency(of_picture, a, [1], LINEAR, gradient=g)(x0, 300) for g in (False, True))
        assert torch.allclose(other, steps, atol=1e-4), "the steps are conjugate"
