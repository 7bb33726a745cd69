"""The loss of a fit: over which values of y it runs, and what the network minimises."""

from dataclasses import replace

import pytest
import torch
from support.dips import OPERATORS, SMALL, clean, gradient_of, module_of

from dipddpm.degradation.masks import Mask
from dipddpm.degradation.noise import Gaussian, Impulse
from dipddpm.degradation.problem import degrade
from dipddpm.dip import fitting
from dipddpm.dip.keeping import Memory
from dipddpm.dip.settings import DipSettings
from dipddpm.fits.fit import fit_dip
from dipddpm.fits.request import noise_of, request_of

L1 = replace(SMALL, loss="l1")


@pytest.mark.parametrize("operator", [None, Mask(0.5)], ids=["identity", "mask"])
def test_the_gradient_of_l1_is_a_sign_over_the_known_values(operator):
    problem = degrade(clean(), Gaussian(25), operator)
    gradient, output = gradient_of(problem, L1)
    known = problem.operator.known_in(problem.y)
    assert torch.equal(gradient.sign(), torch.where(known, output - problem.y, 0).sign())
    assert torch.allclose(gradient.abs(), known / known.sum()), "each known value has the same weight"


@pytest.mark.parametrize("operator", OPERATORS, ids=["identity", "mask", "downscale"])
def test_the_curve_is_the_mean_squared_error_with_both_losses(operator):
    problem = degrade(clean(), Gaussian(25), operator)
    rows = [fit_dip(problem, settings=replace(s, max_epochs=10), stopping="never").curves for s in (SMALL, L1)]
    squares, absolute = (curves.column("loss_noisy") for curves in rows)
    assert absolute[0] == pytest.approx(squares[0], rel=1e-6), "the first rows are of the same output"
    assert absolute[9] != pytest.approx(squares[9], rel=1e-4)


def test_l1_ignores_impulses():
    problem = degrade(clean(size=(24, 24)), Impulse(60))
    quality = {}
    for loss in ("mse", "l1"):
        settings = DipSettings("skip", 2, 8, final_relu=False, lr=1e-2, max_epochs=200, precision="fp32", loss=loss)
        quality[loss] = fit_dip(problem, settings=settings, stopping="never").curves.column("psnr").max()
    assert quality["l1"] > quality["mse"] + 2, quality


def test_a_stack_has_the_loss_of_each_picture():
    problem = degrade(clean(2), Gaussian(25), Mask(0.5))
    both = module_of(problem, L1)
    fitting.run(both, [Memory(), Memory()], [lambda curves: None] * 2, 10)
    for alone, rows in zip(fit_dip(problem, settings=replace(L1, max_epochs=10), stopping="never").pictures, both.rows,
                           strict=True):  # fmt: skip
        assert rows[-1]["loss_noisy"] == pytest.approx(alone.curves.column("loss_noisy")[-1], rel=1e-4)


def test_the_key_of_a_fit_names_another_loss_alone():
    problem = degrade(clean(), Gaussian(25))
    requests = [request_of(problem, s, 0, noise_of(problem, 0)) for s in (SMALL, L1)]
    assert [request["dip"].get("loss") for request in requests] == [None, "l1"]
    with pytest.raises(ValueError, match="loss must be mse, l1, got l2"):
        DipSettings(loss="l2")
