"""The error of a DIP output without a clean picture: what held-out values tell, and the window that takes it."""

import shlex
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from support.dips import SMALL, clean
from support.runs import run

import dipddpm as dd
from dipddpm.config.start_error import held_out_of
from dipddpm.degradation.problem import Problem
from dipddpm.dip.holdout import FACTOR, error_sigma
from dipddpm.errors import UserError
from dipddpm.runs.starts import settings_of
from dipddpm.runs.windows import StartError, error_of


def estimated(sigma, error, operator=None):
    """Return the estimate for a large picture with an error, and its true rms after y is put back; 0-255 scale."""
    x = 0.25 + 0.5 * torch.rand(1, 3, 199, 211, generator=torch.Generator().manual_seed(0))
    problem = dd.degrade(x, dd.Gaussian(sigma) if sigma else dd.NoNoise(), operator)
    picture = x + error / 255 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    true = (problem.put_back(picture) - x).square().mean().sqrt().item() * 255
    return error_sigma(picture, problem, 0.1, 0), FACTOR * true


@pytest.mark.parametrize("operator", [None, dd.Mask(0.3)], ids=["identity", "mask"])
@pytest.mark.parametrize(("sigma", "error"), [(25, 15), (10, 20), (0, 8)])
def test_held_out_values_tell_the_error_of_a_picture(sigma, error, operator):
    told, true = estimated(sigma, error, operator)
    assert told == pytest.approx(true, rel=0.06)


def test_an_error_that_does_not_show_is_small_and_not_zero():
    told, _ = estimated(25, 0.1)
    assert told is not None and 0 < told <= 25 * (2 / (0.1 * 3 * 199 * 211)) ** 0.25 * 1.5


def test_what_held_out_values_do_not_tell_is_none():
    for operator in (dd.Blur.gaussian(1.0), dd.Downscale(2)):
        problem = dd.degrade(clean(), dd.Gaussian(5), operator)
        assert error_sigma(problem.noisy, problem, 0.1, 0) is None
    problem = dd.degrade(clean(), dd.Gaussian(5))
    assert error_sigma(problem.noisy, problem, 0, 0) is None


@pytest.fixture
def mine(tmp_path):
    """The arguments of a picture of one's own: y itself."""
    noisy = 255 * clean(size=(16, 16))[0].permute(1, 2, 0).numpy() + np.random.default_rng(0).normal(0, 20, (16, 16, 3))
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(tmp_path / "me.png")
    return ["image=noisy", f"image.path={tmp_path}/me.png", "noise.sigma=20", "baselines=false"]


def test_a_window_takes_the_error_of_ones_own_picture_from_held_out_values(configure, mine, tmp_path, capsys, caplog):
    caplog.set_level("INFO")
    metrics = run(configure(*mine, "ddpm.start_t=auto", "ddpm.init=matched", "stopping=holdout"), tmp_path / "run")[1]
    window, told = metrics["window"], metrics["fit"]["error_sigma"]
    assert (window["error_source"], window["error_sigma"]) == ("held-out values", told) and 1 < told < 100
    assert metrics["fit"]["holdout"] == 0.05 and "holdout_100" in metrics["fit"]["summary"]
    out = capsys.readouterr().out
    assert "(held-out error)" in out
    assert "held-out error: ddpm.start_t=auto and ddpm.init=matched took the error of the DIP output, " in out
    assert f"of sigma {told:.1f} (held-out values)" in caplog.text
    again = run(configure(*mine, "ddpm.start_t=auto", "stopping=holdout"), tmp_path / "again")[1]
    assert again["window"]["error_sigma"] == told and not again["fit"]["made_by_this_run"]
    given = run(configure(*mine, "ddpm.start_t=auto", "ddpm.error_sigma=9", "dip.holdout=0.05"), tmp_path / "given")[1]
    assert given["fit"]["key"] == metrics["fit"]["key"] and given["window"]["error_source"] == "given"


def test_each_picture_of_a_folder_has_its_own_error(configure, mine, tmp_path):
    (tmp_path / "photos").mkdir()
    for name, image in (("a", Image.open(tmp_path / "me.png")), ("b", Image.open(tmp_path / "me.png").rotate(90))):
        image.save(tmp_path / f"photos/{name}.png")
    many = ["image=folder", f"image.path={tmp_path}/photos", "noise=own", "noise.sigma=20", "baselines=false"]
    metrics = run(configure(*many, "ddpm.start_t=auto"), tmp_path / "run")[1]
    alone = run(configure(*mine, "ddpm.start_t=auto"), tmp_path / "alone")[1]
    assert metrics["window"]["error_source"] == "held-out values" and len(metrics["fit"]["keys"]) == 2
    assert alone["fit"]["key"] in metrics["fit"]["keys"] and not alone["fit"]["made_by_this_run"]


def test_python_has_the_error_of_the_command_line(configure, mine, tmp_path, tiny_prior):
    metrics = run(configure(*mine, "ddpm.start_t=auto"), tmp_path / "run")[1]
    problem = Problem(dd.read_picture(str(tmp_path / "me.png"), size=16), sigma=20)
    settings = dd.DipSettings(layers=1, channels=8, max_epochs=30, precision="fp32", holdout=0.05)
    for store in (None, tmp_path / "fits"):
        fit = dd.fit_dip(problem, settings=settings, stopping="never", store=store)
        assert fit.error_sigma == fit.pictures[0].error_sigma == pytest.approx(metrics["fit"]["error_sigma"], rel=1e-6)
    prior = dd.load_prior(str(tiny_prior))
    result = dd.restore(prior, fit.picture, dd.Window("auto"), problem, error_sigma=fit.error_sigma)
    assert result.levels[0] == metrics["window"]["start_t"]


def test_many_pictures_have_an_error_each():
    problem = dd.degrade(clean(2), dd.Gaussian(25))
    fit = dd.fit_dip(problem, settings=replace(SMALL, max_epochs=10, holdout=0.1), stopping="never")
    each = [one.error_sigma for one in fit.pictures]
    assert fit.error_sigma == each and None not in each and each[0] != each[1]
    assert dd.fit_dip(problem, settings=replace(SMALL, max_epochs=10), stopping="never").error_sigma is None


def test_a_given_error_and_a_clean_picture_come_first(configure, mine):
    problem = dd.degrade(clean(), dd.Gaussian(25))
    assert error_of(3.0, problem, None) == StartError(3.0, "given")  # pyright: ignore[reportArgumentType]
    shares = {
        "ddpm.start_t=auto": 0.05, "ddpm.init=matched": 0.05, "stopping=holdout": 0.05, "stopping=never": 0.0,
        "ddpm.start_t=auto ddpm.error_sigma=9": 0.0, "ddpm.start_t=auto checkpoint=none": 0.0,
        "ddpm.start_t=auto dip.holdout=0.2": 0.2, "ddpm.start_t=auto image.reference=x.png": 0.0,
    }  # fmt: skip
    for typed, share in shares.items():
        assert held_out_of(configure(*mine, *typed.split())) == share, typed
    c = configure("ddpm.start_t=auto")
    assert held_out_of(c) == 0 and settings_of(c).holdout == 0, "there is a clean picture"


def test_the_rule_holds_values_out_from_python_too():
    problem = dd.degrade(clean(), dd.Gaussian(25))
    fit = dd.fit_dip(problem, settings=replace(SMALL, max_epochs=10), stopping="holdout")
    assert fit.error_sigma and not np.isnan(fit.curves.column("holdout")[1:]).any()
    with pytest.raises(
        ValueError, match="stopping=holdout and settings.holdout=0: give holdout=0.05, or leave it None"
    ):
        dd.fit_dip(problem, settings=replace(SMALL, holdout=0), stopping="holdout")
    problem = dd.degrade(clean(), dd.Correlated(25, correlation=1))
    with pytest.raises(ValueError, match="the neighbours of a held-out value tell its noise"):
        dd.fit_dip(problem, settings=SMALL, stopping="holdout")


REFUSED = [
    ("stopping=holdout dip.holdout=0", "stopping=holdout needs held-out values, and dip.holdout=0 holds none out"),
    ("stopping=holdout noise=correlated", "stopping=holdout is not allowed with noise=correlated, because the "),
    ("dip.holdout=0.1 noise=correlated", "dip.holdout=0.1 is not allowed with noise=correlated"),
    ("dip.holdout=0.6", "dip.holdout=0.6 is not allowed: a share of the values of y from 0 (none) to 0.5, or null"),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "said"), REFUSED, ids=[typed for typed, _ in REFUSED])
def test_held_out_values_that_tell_nothing_are_refused(typed, said, configure):
    with pytest.raises(UserError) as caught:
        configure(*typed.split())
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


def test_what_the_refusal_of_an_unknown_error_advises_is_accepted(configure, mine, tmp_path):
    from dipddpm.runs.inspect import inspect

    for advised in ("dip.holdout=0.05", "ddpm.error_sigma=9", "ddpm.start_t=20 ddpm.init=scaled"):
        inspect(configure(*mine, "ddpm.start_t=auto", "dip.holdout=0", *shlex.split(advised)), "sample")
