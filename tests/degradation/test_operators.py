"""What a degradation keeps of a picture: projections, their losses, and pictures that agree with y."""

import pytest
import torch

from dipddpm.degradation.operators import Downscaling, MissingPixels
from dipddpm.names import PICTURES


def draw(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


OPERATORS = [MissingPixels(draw(1, 1, 12, 18, seed=3) > 0.4), Downscaling(2), Downscaling(3)]
each = pytest.mark.parametrize("a", OPERATORS, ids=lambda a: a.words)


@each
def test_it_projects_at_right_angles(a):
    x, y = draw(2, 2, 3, 12, 18)
    assert torch.allclose(a.project(a.project(x)), a.project(x)), "once is enough"
    assert (a.project(x) * y).sum() == pytest.approx((x * a.project(y)).sum().item()), "symmetric"
    assert torch.allclose(a.replace(x, y), x + a.project(y - x))
    assert torch.allclose(a.project(a.replace(x, y)), a.project(y))


@each
def test_the_loss_is_over_what_y_tells(a):
    """The mean square of white noise of variance 1 under A, over the values of y, is 1 / spread^2."""
    rs = torch.randn(400, 1, 3, 12, 18, generator=torch.Generator().manual_seed(0))
    assert sum(a.loss(r).item() for r in rs) / len(rs) == pytest.approx(1 / a.spread**2, rel=0.03)
    assert a.loss(rs[0] - a.project(rs[0])).item() == pytest.approx(0, abs=1e-9)


def test_a_smaller_picture_is_made_of_means_and_completed_to_one_that_has_them():
    x = draw(1, 3, 12, 18)
    a = Downscaling(3)
    by_hand = x.reshape(1, 3, 4, 3, 6, 3).mean(dim=(3, 5))
    assert torch.allclose(a.smaller(x), by_hand)
    assert torch.allclose(a.smaller(a.complete(by_hand)), by_hand)
    assert torch.allclose(a.smaller(a.larger(by_hand)), by_hand)


def test_bicubic_interpolation_is_nearer_to_a_smooth_picture_than_squares():
    rows, columns = torch.meshgrid(torch.linspace(0, 3, 48), torch.linspace(0, 3, 48), indexing="ij")
    x = torch.stack([rows.sin(), columns.cos(), (rows * columns).sin()])[None].double()
    a = Downscaling(4)
    small = a.smaller(x)
    assert (a.complete(small) - x).square().mean() < 0.1 * (a.larger(small) - x).square().mean()


@each
def test_the_picture_that_it_leaves_is_one_that_the_next_run_there_removes(a):
    assert a.shown_as in PICTURES
