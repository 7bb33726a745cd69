"""Held-out values: which they are, that a fit does not see them, and what the curves say of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.dips import OPERATORS, SMALL, clean, gradient_of, module_of

from dipddpm.degradation.masks import Mask
from dipddpm.degradation.noise import Gaussian
from dipddpm.degradation.problem import degrade
from dipddpm.dip import fitting
from dipddpm.dip.curves import COLUMNS, Curves
from dipddpm.dip.holdout import held_out
from dipddpm.dip.keeping import Memory
from dipddpm.dip.settings import DipSettings
from dipddpm.fits.fit import fit_dip
from dipddpm.fits.request import noise_of, request_of

SEEN = replace(SMALL, holdout=0.1, max_epochs=30)


def held_in(problem, seed=0):
    known = problem.operator.known_in(problem.y)
    each = zip(known.split(1), problem.contents, strict=True)
    return torch.cat([held_out(one, 0.1, seed, content) for one, content in each])


def test_a_share_of_the_known_values_is_drawn_from_seed_and_content():
    known = torch.rand(1, 3, 17, 19, generator=torch.Generator().manual_seed(0)) > 0.4
    held = held_out(known, 0.1, 0, "c")
    assert held.sum() == round(0.1 * known.sum().item()) and not (held & ~known).any()
    assert torch.equal(held, held_out(known, 0.1, 0, "c"))
    for other in (held_out(known, 0.1, 1, "c"), held_out(known, 0.1, 0, "d")):
        assert not torch.equal(held, other)
    assert 2 <= held.any(1).sum() < held.sum() * 1.01 and held.sum((2, 3)).min() > 10, "each colour by itself"
    assert held_out(known, 1e-9, 0, "c").sum() == 1, "at least one"
    with pytest.raises(ValueError, match="holdout=0.5: y has 1 values, and none would be left to fit"):
        held_out(torch.ones(1, 1, 1, 1, dtype=torch.bool), 0.5, 0, "c")


@pytest.mark.parametrize("loss", ["mse", "l1"])
@pytest.mark.parametrize("operator", [None, Mask(0.5)], ids=["identity", "mask"])
def test_a_held_out_value_has_no_gradient_and_no_weight_in_the_curve(operator, loss):
    problem = degrade(clean(), Gaussian(25), operator)
    known, held = problem.operator.known_in(problem.y), held_in(problem)
    gradient, output = gradient_of(problem, replace(SEEN, loss=loss))
    assert torch.equal(gradient != 0, known & ~held)
    fit = fit_dip(problem, settings=replace(SEEN, loss=loss, max_epochs=10), stopping="never")
    expected = (output - problem.y)[known & ~held].square().mean().item()
    assert fit.curves.column("loss_noisy")[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("operator", OPERATORS, ids=["identity", "mask", "downscale"])
@pytest.mark.parametrize(("ema", "loss"), [(0, "mse"), (0.8, "mse"), (0.8, "l1")])
def test_the_column_is_the_error_of_the_kept_picture_of_the_epoch_before(operator, ema, loss):
    problem = degrade(clean(), Gaussian(25), operator)
    module, keeper = module_of(problem, replace(SEEN, ema=ema, loss=loss)), Memory()
    fitting.run(module, [keeper], [lambda curves: None], 21)
    assert keeper.trajectory is not None
    column = keeper.trajectory.curves.column("holdout")
    error = problem.operator.measure(keeper.picture(20)) - problem.y
    held = error[held_in(problem)]
    assert column[20] == pytest.approx((held.square() if loss == "mse" else held.abs()).mean().item(), rel=1e-5)
    assert np.isnan(column).tolist() == [ema > 0] + [False] * 20, "before the first epoch there is no average"


def test_the_column_has_its_minimum_near_the_peak():
    problem = degrade(clean(size=(24, 24)), Gaussian(40))
    settings = DipSettings("skip", 2, 8, final_relu=False, lr=1e-2, max_epochs=400, precision="fp32", holdout=0.1)
    curves = fit_dip(problem, settings=settings, stopping="never").curves
    psnr, column = curves.column("psnr"), curves.column("holdout")
    best = int(np.nanargmin(column))
    assert psnr[best] > psnr.max() - 1 and psnr[-1] < psnr.max() - 2, "a long fit is worse, and the column shows it"
    assert column[best] - (40 / 255) ** 2 == pytest.approx(curves.column("loss_clean")[best], abs=0.5 * (40 / 255) ** 2)


def test_each_picture_of_a_stack_has_its_own_values():
    problem = degrade(clean(2), Gaussian(25), Mask(0.5))
    both = module_of(problem, SEEN)
    assert both.held is not None and torch.equal(both.held > 0, held_in(problem))
    fitting.run(both, [Memory(), Memory()], [lambda curves: None] * 2, 10)
    alone = fit_dip(problem, settings=replace(SEEN, max_epochs=10), stopping="never").pictures
    for one, rows in zip(alone, both.rows, strict=True):
        assert rows[-1]["holdout"] == pytest.approx(one.curves.column("holdout")[-1], rel=1e-4)


def test_curves_without_the_column_are_read_and_the_column_is_kept(tmp_path):
    problem = degrade(clean(), Gaussian(25))
    for share in (None, 0.1):
        curves = fit_dip(problem, settings=replace(SEEN, holdout=share), stopping="never").curves
        curves.save(tmp_path / "curves")
        with np.load(tmp_path / "curves") as file:
            assert set(file.files) == set(COLUMNS) - ({"holdout"} if share is None else set())
        read = Curves.load(tmp_path / "curves")
        for name in COLUMNS:
            np.testing.assert_array_equal(read.column(name), curves.column(name))
        assert np.isnan(read.column("holdout")).all() == (share is None)


def test_the_key_of_a_fit_has_the_share_where_there_is_one():
    problem = degrade(clean(), Gaussian(25))
    requests = [request_of(problem, replace(SMALL, holdout=h), 0, noise_of(problem, 0))["dip"] for h in (None, 0, 0.1)]
    assert requests[0] == requests[1] and "holdout" not in requests[0] and requests[2]["holdout"] == 0.1
    with pytest.raises(ValueError, match=r"holdout must be a share from 0 \(none\) to 0.5, or None, got 0.6"):
        DipSettings(holdout=0.6)
