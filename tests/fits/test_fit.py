"""Fits from Python: the picture that a run keeps, in memory and in a store, with a network and a rule of one's own."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from support import dips
from support.curves import from_columns

from dipddpm.config.compose import plain
from dipddpm.degradation.function import Callable
from dipddpm.degradation.masks import Mask
from dipddpm.degradation.noise import NOISES, Gaussian
from dipddpm.degradation.problem import Problem, degrade
from dipddpm.degradation.scaling import Downscale
from dipddpm.dip.keeping import Memory, Trajectory
from dipddpm.dip.networks import NETWORKS
from dipddpm.dip.settings import DipSettings
from dipddpm.dip.stopping import Stop, Stopping
from dipddpm.fits import FitStore
from dipddpm.fits.choice import choose
from dipddpm.fits.fit import _rows, fit_dip
from dipddpm.fits.load import load_fit
from dipddpm.fits.request import noise_of, request_of
from dipddpm.runs import commands
from dipddpm.runs.job import Job
from dipddpm.runs.posing import problem_of
from dipddpm.runs.starts import settings_of, wanted_fit

SMALL = DipSettings(layers=1, channels=8, lr=5e-3, max_epochs=30)


def pictures(n=1, size=(16, 18)):
    return dips.clean(n, size)


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.Tanh(), torch.nn.Conv2d(6, 3, 1))


def same(a, b):
    return torch.equal(a.picture, b.picture) and all(
        torch.equal(p, q) for p, q in zip(a.network.parameters(), b.network.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    "overrides",
    [
        ["dip.max_epochs=40", "stopping=wmv", "stopping.patience=3"],
        ["dip=skip", "dip.layers=2", "dip.channels=8", "dip.ema=0.8", "dip.input_noise=0.05", "stopping=loss_floor",
         "dip.max_epochs=100"],
        ["operator=mask", "noise=none"],
    ],
)  # fmt: skip
@pytest.mark.usefixtures("on_cpu")
def test_a_fit_from_python_is_bit_equal_to_that_of_a_run(configure, tiny_prior, tmp_path, overrides):
    c = configure(*overrides)
    commands.fit(c, Job(tmp_path / "run"))
    (key,) = (store := FitStore(tmp_path / "fits")).keys()
    kept, problem = store.find(key), problem_of(c, Path(tiny_prior))
    assert kept is not None
    stopping = Stopping(c.stopping.rule.name, c.stopping.threshold, c.stopping.patience)
    fit = fit_dip(problem, settings=settings_of(c), stopping=stopping, seed=c.seed)
    assert fit.epoch in kept.kept
    assert torch.equal(fit.picture, problem.put_back(kept.picture(fit.epoch).clamp(0, 1)))
    for name in ("loss_noisy", "loss_clean", "psnr", "window_variance", "moving_variance"):
        assert fit.curves.column(name).tobytes() == kept.curves.column(name).tobytes(), name


def test_a_fit_in_a_store_is_the_one_in_memory_and_is_found_again(tmp_path, monkeypatch):
    problem = degrade(pictures(), Gaussian(25))
    alone, kept = (fit_dip(problem, settings=SMALL, store=store) for store in (None, str(tmp_path / "fits")))
    assert same(alone, kept) and alone.epoch == kept.epoch == 30
    monkeypatch.setattr("dipddpm.dip.fitting.run", lambda *given: 1 / 0)
    assert same(fit_dip(problem, settings=SMALL, store=tmp_path / "fits"), kept)
    (one,) = kept.pictures
    assert one.folder is not None
    loaded = load_fit(one.folder)
    assert torch.equal(loaded.picture.clamp(0, 1), kept.picture)


def test_a_stored_fit_of_ones_own_noisy_picture_is_the_one_that_a_run_finds(configure, tiny_prior, tmp_path):
    from dipddpm.pictures.write import save_picture

    save_picture(tmp_path / "me.png", degrade(pictures(1, (16, 16)), Gaussian(25)).y)
    c = configure("image=noisy", f"image.path={tmp_path / 'me.png'}", "noise.sigma=25")
    commands.fit(c, Job(tmp_path / "run"))
    problem = problem_of(c, Path(tiny_prior))
    problem = Problem(problem.y, 25)
    fit_dip(problem, settings=settings_of(c), stopping="never", store=tmp_path / "fits")
    assert len(FitStore(tmp_path / "fits").keys()) == 1


def test_problems_with_other_noise_are_other_fits(tmp_path):
    for sigma in (10, 25):
        fit_dip(degrade(pictures(), Gaussian(sigma)), settings=SMALL, store=tmp_path)
    assert len(FitStore(tmp_path).keys()) == 2


def test_several_pictures_are_fitted_each_as_if_alone():
    clean = pictures(2)
    for operator in (None, Mask(0.3)):
        both = fit_dip(degrade(clean, Gaussian(25), operator), settings=SMALL)
        alone = [fit_dip(degrade(one, Gaussian(25), operator), settings=SMALL) for one in clean.split(1)]
        assert torch.equal(both.picture, torch.cat([one.picture for one in alone]))
        assert [one.epoch for one in both.pictures] == [one.epoch for one in alone]
    with pytest.raises(ValueError, match=r"the fit has 2 pictures: take one of them, such as fit.pictures\[0\]"):
        both.epoch  # noqa: B018


@pytest.mark.usefixtures("on_cpu")
def test_the_network_is_the_one_that_made_the_picture():
    settings = DipSettings.of("skip", layers=2, channels=8, max_epochs=20, ema=0)
    fit = fit_dip(Problem(pictures(), 25), "skip", settings)
    assert torch.equal(fit.network(fit.pictures[0].z).clamp(0, 1), fit.picture)


def test_a_module_of_ones_own_is_copied_and_fitted():
    mine = network()
    before = [p.clone() for p in mine.parameters()]
    fit = fit_dip(Problem(pictures(), 0), mine, replace(SMALL, max_epochs=60), stopping="never")
    assert all(torch.equal(p, q) for p, q in zip(mine.parameters(), before, strict=True))
    loss = fit.curves.column("loss_noisy")
    assert loss[-1] < 0.5 * loss[0]
    assert same(fit, fit_dip(Problem(pictures(), 0), network(), replace(SMALL, max_epochs=60), stopping="never"))
    with pytest.raises(ValueError, match="a store keeps only fits of registered networks"):
        fit_dip(Problem(pictures(), 0), mine, store="fits")


def test_a_network_that_was_registered_is_built_by_its_name(monkeypatch, tmp_path):
    monkeypatch.setitem(NETWORKS, "mine", lambda **given: network())
    problem = Problem(pictures(), 0)
    kept = fit_dip(problem, "mine", replace(SMALL, network="mine"), stopping="never", store=tmp_path)
    assert same(kept, fit_dip(problem, network(), SMALL, stopping="never"))


def test_a_rule_of_ones_own_stops_the_fit():
    fit = fit_dip(
        Problem(pictures(), 25), settings=SMALL, stopping=lambda curves: Stop(20, 25) if len(curves) > 24 else None
    )
    assert (fit.epoch, len(fit.curves)) == (20, 30), "rules are asked every ten epochs"


def test_a_rule_of_ones_own_may_have_the_name_of_another():
    def holdout(curves):
        return None

    fits = [fit_dip(Problem(pictures(), 25), settings=SMALL, stopping=rule) for rule in (holdout, "never")]
    assert same(*fits) and np.isnan(fits[0].curves.column("holdout")).all(), "no value is held out"


def test_a_picture_in_double_precision_is_fitted_like_the_same_in_single_precision():
    y = pictures()
    curves = [fit_dip(Problem(each, sigma=25), settings=SMALL, stopping="never").curves for each in (y, y.double())]
    assert curves[0].column("loss_noisy") == pytest.approx(curves[1].column("loss_noisy"), rel=1e-6)


def test_a_fit_says_and_leaves_nothing_unless_asked(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    fit_dip(Problem(pictures(), 25), settings=SMALL)
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())
    fit_dip(Problem(pictures(), 25), settings=SMALL, progress=True)
    assert "fitting the DIP" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"network": "cmn"}, r"no network cmn \(did you mean cnn\?\)"),
        (
            {"network": "skip", "settings": DipSettings()},
            r"network=skip and settings for cnn.*DipSettings.of\('skip'\)",
        ),
        ({"settings": DipSettings(max_epochs=5)}, "max_epochs must be 10 or more"),
        ({"stopping": "loss"}, "no stopping rule loss"),
        ({"device": "gpu"}, "device=gpu is not allowed: auto, cpu, cuda or cuda:<number>"),
        ({"device": "meta"}, "device=meta is not allowed"),
        ({"device": "cuda:99"}, "device=cuda:99 cannot be used"),
        ({"network": torch.nn.Conv2d}, r"network=<class .*must be a name or a torch.nn.Module, such as MyNetwork\(\)"),
        ({"network": torch.nn.Identity()}, "network Identity has no parameters to fit"),
        ({"network": network().double()}, r"Sequential has parameters of torch.float64: give network.float\(\)"),
        ({"network": torch.nn.Conv2d(3, 1, 3, padding=1)}, r"gives the shape \(1, 1, 16, 18\): must be that of z"),
        ({"network": torch.nn.Conv2d(3, 3, 1, stride=2)}, r"gives the shape \(1, 3, 8, 9\): must be that of z"),
        ({"network": "skip", "settings": DipSettings.of("skip", layers=4)},
         "layers must be at most 3 for a picture of 16x18, got 4"),
        ({"stopping": lambda curves: 20}, r"rule <lambda> returned 20: must be dd.Stop\(epoch, fired_at\)"),
        ({"stopping": 3}, "stopping=3: must be a rule's name, a function of curves, or a Stopping"),
    ],
)  # fmt: skip
def test_arguments_that_cannot_be_met_are_refused(arguments, said):
    small = {"settings": SMALL}
    with pytest.raises((ValueError, TypeError), match=said):
        fit_dip(Problem(pictures(), 25), **({} if isinstance(arguments.get("network"), str) else small) | arguments)


@pytest.mark.parametrize(
    "rule",
    [
        Stopping("wmv", patience=40),
        Stopping("emv", patience=40),
        Stopping("holdout", patience=40),
        Stopping("loss_floor", threshold=0.2),
        Stopping("never"),
    ],
)
@pytest.mark.parametrize("every", [1, 2, 7])
@pytest.mark.parametrize("seed", range(3))
def test_a_fit_in_memory_holds_few_epochs_and_the_one_that_is_chosen(rule, every, seed):
    rng = np.random.default_rng(seed)
    variance, loss = rng.random(300).cumsum() % 1, 1 / np.linspace(1, 5 + seed, 300) + 0.02 * rng.random(300)
    curves = from_columns(loss_noisy=loss, window_variance=variance, moving_variance=variance, holdout=variance)
    keepers, kept = [Memory(rule.pending), Memory()], {}
    for epoch in range(1, 301):
        so_far = curves.head(epoch)
        last = epoch == 300 or (epoch >= every and rule(so_far) is not None)
        if epoch % every == 0 or last:
            kept[epoch] = None
            for keeper in keepers:
                keeper.keep(epoch, {}, torch.zeros(1))
                keeper.commit(Trajectory(so_far, dict(kept), 1.0, 0, []))
        if last:
            break
    assert len(keepers[0]._kept) <= 6 < len(keepers[1]._kept) == len(kept), "nothing is known of a rule of one's own"
    assert keepers[0].trajectory is not None
    found = choose(keepers[0].trajectory, "stop", rule=rule, rule_name=rule.name, max_epochs=300, every=every)
    assert found is not None and found.epoch in keepers[0]._kept
    assert Stopping(lambda curves: None).pending(curves) is None


@pytest.mark.parametrize("typed", [
    ["noise.sigma=10"], ["noise=poisson"], ["noise=impulse"], ["noise=correlated", "noise.correlation=0.5"],
    ["noise=none", "operator=mask"], ["operator=mask", "operator.missing=0.3"],
    ["noise=none", "operator=downscale", "operator.factor=2"],
])  # fmt: skip
def test_a_damaged_picture_has_the_key_of_the_run_that_damages_it(configure, tiny_prior, typed):
    c = configure(*typed, "seed=3")
    of_run = problem_of(c, Path(tiny_prior))
    values = plain(c.noise)
    noise = NOISES[values.pop("kind")](**{name: int(v) if v == int(v) else v for name, v in values.items()})
    operator = {"mask": Mask(c.operator.missing) if "operator=mask" in typed else None, "downscale": Downscale(2)}
    assert of_run.clean is not None
    mine = degrade(of_run.clean, noise, operator.get(c.operator.kind.name), seed=3)
    settings = settings_of(c)
    with pytest.raises(ValueError, match="precision=auto: a stored fit has the precision of its device"):
        request_of(mine, replace(settings, precision="auto"), 3, noise_of(mine, 3))
    wanted = wanted_fit(c, of_run).request
    assert request_of(mine, settings, 3, noise_of(mine, 3)) == wanted
    assert request_of(mine, settings, 4, noise_of(mine, 4))["degrade"] != wanted["degrade"], "a seed"
    assert [row.added for row in _rows(degrade(torch.cat([of_run.clean] * 2), noise, seed=3))] == [mine.added] * 2


class Seen(Callback):
    """Remembers what a callback of a user finds."""

    def __init__(self):
        self.metrics = []

    def on_train_epoch_end(self, trainer, pl_module):
        self.metrics.append(dict(trainer.callback_metrics))


@pytest.mark.usefixtures("on_cpu")
def test_callbacks_and_options_of_the_trainer_can_be_given(tmp_path):
    """A user's EarlyStopping, ModelCheckpoint and logger find the columns of the curves, and change no number."""
    problem = degrade(pictures(), Gaussian(25))
    tiny = replace(SMALL, max_epochs=40)
    alone = fit_dip(problem, settings=tiny, stopping="never")
    seen, kept = Seen(), ModelCheckpoint(tmp_path / "best", monitor="psnr", mode="max", filename="{epoch}-{psnr:.1f}")
    stop = EarlyStopping("lr", patience=2, mode="min")  # the learning rate never falls
    logger = CSVLogger(tmp_path, "", "")
    fit = fit_dip(problem, settings=tiny, stopping="never", callbacks=[seen, kept, stop], logger=logger)
    assert (fit.why, fit.epoch, len(fit.curves)) == ("trainer", 30, 30)
    assert np.array_equal(fit.curves.column("psnr"), alone.curves.column("psnr")[:30])
    tens = fit.curves.column("psnr")[9::10]
    assert [metrics["psnr"].item() for metrics in seen.metrics] == pytest.approx(tens)
    assert kept.best_model_score == pytest.approx(tens.max())
    assert len(list((tmp_path / "best").iterdir())) == 1
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == [10, 20, 30]
    assert [float(row["loss_noisy"]) for row in rows] == pytest.approx(fit.curves.column("loss_noisy")[9::10])
    assert "window_variance" not in rows[0], "unknown before epoch 100"
    few = fit_dip(problem, settings=tiny, stopping="never", max_steps=7)
    assert (few.why, few.epoch) == ("trainer", 10) and torch.isfinite(few.picture).all()
    clipped = fit_dip(problem, settings=tiny, stopping="never", gradient_clip_val=1e-9)
    assert clipped.curves.column("loss_noisy")[-1] > fit.curves.column("loss_noisy")[-1]


@pytest.mark.parametrize(("given", "error", "said"), [
    ({"stoping": "wmv"}, TypeError, "stoping is neither an argument of the fit .*did you mean stopping"),
    ({"callback": []}, TypeError, "did you mean callbacks"),
    ({"max_epochs": 3}, TypeError, "max_epochs cannot be given: give settings.max_epochs"),
    ({"layers": 3}, TypeError, "layers cannot be given: give settings.layers"),
    ({"settings": {"layers": 3}}, TypeError, "settings is of type dict: give dd.DipSettings"),
    ({"seed": 1.5}, ValueError, "seed=1.5: must be a whole number"),
    ({"min_epochs": 3}, TypeError, "min_epochs cannot be given: give stopping"),
    ({"max_steps": 0}, ValueError, "an option of the Trainer ended the fit before its first epoch"),
    ({"callbacks": [], "store": "x"}, ValueError, "a store keeps no fits with options of the Trainer"),
])  # fmt: skip
def test_options_that_cannot_be_met_are_refused(given: dict[str, Any], error, said):
    with pytest.raises(error, match=said):
        fit_dip(degrade(pictures(), Gaussian(25)), **given)


def test_what_is_no_problem_is_refused():
    with pytest.raises(TypeError, match="problem is of type Tensor: give dd.Problem"):
        fit_dip(pictures())  # pyright: ignore[reportArgumentType]


def test_numbers_of_numpy_and_a_device_of_torch_are_those_of_python(tmp_path):
    problem = degrade(pictures(), Gaussian(25))
    of_numpy = replace(SMALL, layers=np.int64(1), max_epochs=np.int32(30))
    one = fit_dip(problem, settings=SMALL, device="cpu", store=tmp_path)
    odd: dict[str, Any] = {"seed": np.int64(0), "device": torch.device("cpu")}
    same = fit_dip(problem, settings=of_numpy, **odd, store=tmp_path)
    assert one.pictures[0].folder == same.pictures[0].folder


class Cut(torch.nn.Conv2d):
    """A network whose output has no gradient."""

    def forward(self, input):
        return super().forward(input).detach()


def test_a_network_or_an_operator_without_a_gradient_is_refused():
    with pytest.raises(ValueError, match="network Cut gives an output without a gradient"):
        fit_dip(Problem(pictures(), 25), Cut(3, 3, 3, padding=1))
    hard = degrade(pictures(), operator=Callable(lambda x: (x > 0.5).float(), words="two values"))
    with pytest.raises(ValueError, match=r"the gradient of the operator \(two values\)"):
        fit_dip(hard, settings=SMALL)


def test_noise_on_z_that_overflows_is_named_and_not_the_learning_rate():
    with pytest.raises(RuntimeError, match="not finite before the first step: try a dip.input_noise below 1e"):
        fit_dip(Problem(pictures(), 25), settings=replace(SMALL, input_noise=1e30))
