"""The error of a DIP output without a clean picture: a second fit, and the window that takes it. Held-out values."""

import pickle
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning.callbacks import EarlyStopping
from support.dips import SMALL, clean
from support.runs import run

import dipddpm as dd
from dipddpm.config.start_error import is_estimated
from dipddpm.degradation.problem import Problem
from dipddpm.dip.stopping import Stop, Stopping
from dipddpm.errors import UserError
from dipddpm.fits.store import FitStore, fit_key
from dipddpm.fits.wanted import Wanted
from dipddpm.runs import commands
from dipddpm.runs.starts import settings_of
from dipddpm.runs.windows import StartError, error_of


def wanted_of(problem):
    return Wanted(problem, SMALL, Stopping("never"), 0)


@pytest.mark.parametrize(("keep", "sigma"), [(0.9, 25), (0.5, 10), (0.98, 50)])
def test_the_estimate_is_the_error_of_a_linear_fit(keep, sigma):
    """f(y) = a y has the divergence a N, and its error is known."""
    x = 0.25 + 0.5 * torch.rand(1, 3, 199, 211, generator=torch.Generator().manual_seed(0))
    wanted = wanted_of(Problem(dd.degrade(x, dd.Gaussian(sigma)).y, sigma))
    second = wanted.second(20)
    told = wanted.error_sigma(keep * wanted.problem.y, keep * second.problem.y)
    true = 255 * (keep * wanted.problem.y - x).square().mean().sqrt().item()
    assert told == pytest.approx(true, rel=0.02)


def test_the_second_fit_is_of_a_noisier_y_and_else_the_same():
    wanted = wanted_of(dd.degrade(clean(), dd.Gaussian(25)))
    second = wanted.second(20)
    assert second.problem.sigma == pytest.approx(25 * 1.25**0.5) and second.checkpoint == second.ends_at == 20
    assert second.problem.contents == wanted.problem.contents, "z and the first weights are the same"
    assert fit_key(second.request) != fit_key(wanted.request)
    off = 255 * (second.problem.y - wanted.problem.y).std().item()
    assert off == pytest.approx(12.5, rel=0.1)


def test_an_error_that_does_not_show_is_small_and_not_zero():
    wanted = wanted_of(Problem(torch.full((1, 3, 32, 32), 0.5), 25))
    told = wanted.error_sigma(wanted.problem.y, wanted.problem.y)
    assert told == pytest.approx(25 * (2 / 3072) ** 0.25)


def test_an_error_is_no_larger_than_the_way_over_y():
    """|f - x| <= |f - y| + |y - x|, however much the second fit follows its noise."""
    wanted = wanted_of(Problem(torch.full((1, 3, 32, 32), 0.5), 25))
    y, noisier = wanted.problem.y, wanted.second(10).problem.y
    assert wanted.error_sigma(y - 0.1, y + 9 * (noisier - y)) == pytest.approx(25.5 + 25)


def test_a_y_that_lacks_a_part_is_refused():
    for operator in (dd.Mask(0.5), dd.Downscale(2)):
        with pytest.raises(ValueError, match=f"where y holds the whole picture .*, and not with {operator.name}"):
            wanted_of(dd.degrade(clean(), dd.Gaussian(5), operator)).second(10)


@pytest.fixture
def mine(tmp_path):
    """The arguments of a picture of one's own: y itself."""
    noisy = 255 * clean(size=(16, 16))[0].permute(1, 2, 0).numpy() + np.random.default_rng(0).normal(0, 20, (16, 16, 3))
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(tmp_path / "me.png")
    return ["image=noisy", f"image.path={tmp_path}/me.png", "noise.sigma=20", "baselines=false"]


def test_a_window_takes_the_error_of_ones_own_picture_from_a_second_fit(configure, mine, tmp_path, capsys, caplog):
    caplog.set_level("INFO")
    metrics = run(configure(*mine, "ddpm.start_t=auto", "ddpm.init=matched"), tmp_path / "run")[1]
    window, told = metrics["window"], metrics["fit"]["error_sigma"]
    assert (window["error_source"], window["error_sigma"]) == ("second fit", told) and 1 < told < 100
    out = capsys.readouterr().out
    assert "(estimated error)" in out
    assert "estimated error: ddpm.start_t=auto and ddpm.init=matched took the error of the DIP output, " in out
    assert f"of sigma {told:.1f} (second fit)" in caplog.text
    stored = sorted(path.name for path in (tmp_path / "fits").iterdir() if path.is_dir())
    assert stored == sorted([metrics["fit"]["key"], metrics["fit"]["second_fit"]])
    again = run(configure(*mine, "ddpm.start_t=auto", "fit=never"), tmp_path / "again")[1]
    assert again["window"]["error_sigma"] == told and not again["fit"]["made_by_this_run"]
    given = run(configure(*mine, "ddpm.start_t=auto", "ddpm.error_sigma=9"), tmp_path / "given")[1]
    assert given["fit"]["key"] == metrics["fit"]["key"] and given["window"]["error_source"] == "given"
    assert metrics["cost"]["fit_gflop"] == pytest.approx(2 * given["cost"]["fit_gflop"]), "both fits are paid"
    for missing in ("second_fit", "key"):
        shutil.rmtree(tmp_path / "fits" / metrics["fit"][missing])
        with pytest.raises(UserError, match=r"fit=never, but .* to make it, type python sample.py"):
            run(configure(*mine, "ddpm.start_t=auto", "fit=never"), tmp_path / "never")


@pytest.mark.parametrize("many", [False, True], ids=["picture", "folder"])
def test_a_run_uses_each_fit_that_it_made(many, configure, mine, tmp_path):
    """A removal of unused fits takes none of them."""
    (tmp_path / "photos").mkdir()
    shutil.copy(tmp_path / "me.png", tmp_path / "photos")
    given = ["image=folder", f"image.path={tmp_path}/photos", "noise=own", "noise.sigma=20"] if many else mine
    run(configure(*given, "ddpm.init=matched", "baselines=false"), tmp_path / "run")
    store = FitStore(tmp_path / "fits")
    assert [store.uses(key) for key in store.keys()] == 2 * [[tmp_path / "run"]]


@pytest.mark.parametrize("operator", ["identity", "blur"])
def test_a_fit_without_a_window_makes_no_second_fit(operator, configure, mine, tmp_path):
    metrics = run(configure(*mine, "ddpm.start_t=auto", f"operator={operator}"), tmp_path / "run", commands.fit)[1]
    assert FitStore(tmp_path / "fits").keys() == [metrics["fit"]["key"]] and metrics["fit"]["error_sigma"] is None


def test_each_picture_of_a_folder_has_its_own_error(configure, mine, tmp_path):
    (tmp_path / "photos").mkdir()
    for name, image in (("a", Image.open(tmp_path / "me.png")), ("b", Image.open(tmp_path / "me.png").rotate(90))):
        image.save(tmp_path / f"photos/{name}.png")
    many = ["image=folder", f"image.path={tmp_path}/photos", "noise=own", "noise.sigma=20", "baselines=false"]
    metrics = run(configure(*many, "ddpm.start_t=auto"), tmp_path / "run")[1]
    alone = run(configure(*mine, "ddpm.start_t=auto"), tmp_path / "alone")[1]
    assert metrics["window"]["error_source"] == "second fit" and len(metrics["fit"]["keys"]) == 2
    assert alone["fit"]["key"] in metrics["fit"]["keys"] and not alone["fit"]["made_by_this_run"]


def test_python_has_the_error_of_the_command_line(configure, mine, tmp_path, tiny_prior):
    metrics = run(configure(*mine, "ddpm.start_t=auto"), tmp_path / "run")[1]
    problem = Problem(dd.read_picture(str(tmp_path / "me.png"), size=16), sigma=20)
    settings = dd.DipSettings(layers=1, channels=8, max_epochs=30, precision="fp32")
    for store in (None, tmp_path / "fits"):
        fit = dd.fit_dip(problem, settings=settings, stopping="never", store=store)
        assert fit.estimate_error() == [pytest.approx(metrics["fit"]["error_sigma"], rel=1e-6)]
    prior = dd.load_prior(str(tiny_prior))
    result = dd.restore(prior, fit.picture, dd.Window("auto"), problem, error_sigma=fit.estimate_error())
    assert result.levels[0] == metrics["window"]["start_t"]


def test_many_pictures_have_an_error_each():
    fit = dd.fit_dip(dd.degrade(clean(2), dd.Gaussian(25)), settings=replace(SMALL, max_epochs=10), stopping="never")
    each = fit.estimate_error()
    assert each == [one.estimate_error() for one in fit.pictures] and each[0] != each[1]


def test_what_ended_the_first_fit_takes_no_part_in_the_second():
    """Callbacks keep counts, and the second fit has no clean picture, whose columns they and a rule may read."""
    problem, settings = dd.degrade(clean(), dd.Gaussian(25)), replace(SMALL, max_epochs=30)
    plain = dd.fit_dip(problem, settings=replace(settings, max_epochs=20), stopping="never").estimate_error()

    def by_peak(curves):
        return Stop(min(20, int(np.nanargmax(curves.column("psnr"))) + 20), 20) if len(curves) >= 20 else None

    stop = EarlyStopping("psnr", mode="max", patience=1, min_delta=99)
    clipped = dd.fit_dip(problem, settings=settings, stopping="never", callbacks=[stop], gradient_clip_val=1e-3)
    assert (clipped.why, clipped.epoch) == ("trainer", 20) and clipped.estimate_error() != plain, "it is clipped, too"
    for more in ({"callbacks": [EarlyStopping("psnr", mode="max", patience=1, min_delta=99)]}, {"stopping": by_peak}):
        fit = dd.fit_dip(problem, settings=settings, **{"stopping": "never", **more})
        assert fit.epoch == 20 and fit.estimate_error() == plain, more


def test_a_fit_can_be_pickled():
    problem = dd.degrade(clean(), dd.Gaussian(25))
    fit = dd.fit_dip(problem, settings=replace(SMALL, max_epochs=10), stopping=lambda curves: None)
    assert pickle.loads(pickle.dumps(fit)).estimate_error() == fit.estimate_error()


def test_correlated_noise_is_refused():
    with pytest.raises(ValueError, match="only where the noise is white, and not correlated"):
        wanted_of(dd.degrade(clean(), dd.Correlated(25, correlation=1))).second(10)


def test_a_given_error_and_a_clean_picture_come_first(configure, mine):
    problem = dd.degrade(clean(), dd.Gaussian(25))
    assert error_of(3.0, problem, None) == StartError(3.0, "given")  # pyright: ignore[reportArgumentType]
    start = SimpleNamespace(picture=problem.clean)
    assert error_of(None, problem, start) == StartError(0.0, "oracle")  # pyright: ignore[reportArgumentType]
    assert is_estimated(configure(*mine, "ddpm.start_t=auto")) and is_estimated(configure(*mine, "ddpm.init=matched"))
    for typed in ("ddpm.error_sigma=9", "checkpoint=none", "image.reference=x.png"):
        assert not is_estimated(configure(*mine, "ddpm.start_t=auto", typed)), typed
    assert not is_estimated(configure("ddpm.start_t=auto")), "there is a clean picture"


def test_the_rule_holds_values_out(configure):
    shares = {"stopping=holdout": 0.05, "stopping=never": 0.0, "stopping=holdout dip.holdout=0.2": 0.2}
    for typed, share in shares.items():
        assert settings_of(configure(*typed.split())).holdout == share, typed


def test_the_rule_holds_values_out_from_python_too():
    problem = dd.degrade(clean(), dd.Gaussian(25))
    fit = dd.fit_dip(problem, settings=replace(SMALL, max_epochs=10), stopping="holdout")
    assert not np.isnan(fit.curves.column("holdout")[1:]).any()
    with pytest.raises(
        ValueError, match="stopping=holdout needs held-out values, and settings.holdout is 0: give holdout=0.05 or None"
    ):
        dd.fit_dip(problem, settings=replace(SMALL, holdout=0), stopping="holdout")
    problem = dd.degrade(clean(), dd.Correlated(25, correlation=1))
    with pytest.raises(ValueError, match="the neighbours of a held-out value tell its noise"):
        dd.fit_dip(problem, settings=SMALL, stopping="holdout")


REFUSED = [
    ("stopping=holdout dip.holdout=0", "stopping=holdout needs held-out values, and dip.holdout=0 holds none out"),
    ("stopping=holdout noise=correlated", "stopping=holdout is not allowed with noise=correlated, because the "),
    ("stopping=holdout noise=correlated dip.holdout=0", "stopping=holdout is not allowed with noise=correlated"),
    ("stopping=holdout noise=correlated dip.holdout=0.1", "stopping=holdout is not allowed with noise=correlated"),
    ("dip.holdout=0.1 noise=correlated", "dip.holdout=0.1 is not allowed with noise=correlated"),
    ("dip.holdout=0.6", "dip.holdout=0.6 is not allowed: a share of the values of y from 0 (none) to 0.5, or null"),
]


@pytest.mark.parametrize(("typed", "said"), REFUSED, ids=[typed for typed, _ in REFUSED])
def test_held_out_values_that_tell_nothing_are_refused(typed, said, configure):
    with pytest.raises(UserError) as caught:
        configure(*typed.split())
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)
