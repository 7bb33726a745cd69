"""A DIP that goes on learning in a window: its objective, its independence of other pictures, and its runs."""

import copy
import shutil
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.gaussian import LINEAR, data, gaussian_prior
from support.runs import run

from dipddpm.cli.check import check_arguments
from dipddpm.degradation.blur import Blur
from dipddpm.degradation.masks import Mask
from dipddpm.degradation.noise import Gaussian
from dipddpm.degradation.operators import Identity
from dipddpm.degradation.problem import Problem, degrade, joined
from dipddpm.diffusion import warm
from dipddpm.diffusion.consistency import data_consistency
from dipddpm.diffusion.restore import restore
from dipddpm.diffusion.warm import learning
from dipddpm.diffusion.window import Window
from dipddpm.dip import networks
from dipddpm.dip.settings import DipSettings
from dipddpm.errors import UserError
from dipddpm.fits import load, manifest

SIZE = (16, 24)


def dip(seed: int) -> Any:
    """A small DIP as it is before a fit, but for its z."""
    generator = torch.Generator().manual_seed(seed)
    network = networks.build(DipSettings.of("skip", layers=1, channels=4), generator)
    return SimpleNamespace(network=network, z=torch.rand(1, 3, *SIZE, generator=generator))


def output(of):
    with torch.no_grad():
        return of.network(of.z)


def picture(seed: int) -> torch.Tensor:
    """A smooth picture of SIZE."""
    coarse = torch.rand(1, 3, 3, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, SIZE, mode="bilinear")


def unchanged(x0: torch.Tensor, level: int) -> torch.Tensor:
    return x0


def test_a_picture_near_its_minimum_stays_there_while_another_one_learns(monkeypatch):
    """The first step of Adam is as long as the rate, however small the gradient."""
    monkeypatch.setattr(warm, "LEARNING_RATE", 0.03)
    dips = [dip(1), dip(2)]
    before = torch.cat([output(one) for one in dips])
    x0 = torch.cat([before[:1] + 1e-3, picture(2)])
    found = (learning(unchanged, dips, half=False)(2 * x0 - 1, 200) + 1) / 2
    torch.testing.assert_close(found[:1], x0[:1], atol=2e-3, rtol=0)
    assert (found[1] - x0[1]).abs().mean() < 0.9 * (before[1] - x0[1]).abs().mean()


def test_a_dip_learns_in_a_callers_autocast_as_outside():
    """Autocast would keep the weights that it cast in the first step."""
    plain = learning(unchanged, [dip(1)], half=True)(picture(2), 200)
    with torch.autocast("cpu", torch.bfloat16):
        assert learning(unchanged, [dip(1)], half=True)(picture(2), 200).equal(plain)


@pytest.mark.parametrize("operator", [Mask(0.5), Blur.motion(5)])
def test_the_dip_learns_the_corrected_estimate_from_level_to_level(operator, monkeypatch):
    monkeypatch.setattr(warm, "LEARNING_RATE", 0.01)
    problem, x0 = degrade(picture(1), Gaussian(5), operator), picture(2)
    correct = data_consistency(problem.y, problem.operator, [5], LINEAR)
    wanted = (correct(2 * x0 - 1, 300) + 1) / 2
    agree = learning(data_consistency(problem.y, problem.operator, [5], LINEAR), [dip(1)], half=False)
    off = [((agree(2 * x0 - 1, 300) + 1) / 2 - wanted).square().mean().item() for _ in range(6)]
    assert off == sorted(off, reverse=True) and off[-1] < 0.5 * off[0], "it is nearer after each level"


def test_a_picture_does_not_depend_on_the_others_and_the_fits_stay():
    prior, _ = gaussian_prior()
    problems = [degrade(picture(i), Gaussian(10), Mask(0.5)) for i in (1, 2)]
    dips = [dip(1), dip(2)]
    before = copy.deepcopy([one.network.state_dict() for one in dips])
    window = Window(300, steps=3, scheduler="ddim", consistency="dip")
    starts = [output(one) for one in dips]
    both = restore(prior, torch.cat(starts), window, joined(problems), dips=dips)
    for i, (start, problem, one) in enumerate(zip(starts, problems, dips, strict=True)):
        alone = restore(prior, start, window, problem, dips=[one])
        torch.testing.assert_close(both.picture[i : i + 1], alone.picture, atol=1e-5, rtol=0)
    for one, weights in zip(dips, before, strict=True):
        for name, value in one.network.state_dict().items():
            assert value.equal(weights[name]), name


def test_each_sample_has_a_dip_of_its_own():
    prior, _ = gaussian_prior()
    problem, one = degrade(picture(1), Gaussian(10), Mask(0.5)), dip(1)
    windows = [Window(300, steps=2, init="diffused", samples=n, consistency="dip") for n in (1, 2)]
    alone, both = (restore(prior, output(one), window, problem, dips=[one]).picture for window in windows)
    torch.testing.assert_close(both[:1], alone, atol=1e-5, rtol=0)
    assert not both[0].equal(both[1])


@pytest.mark.parametrize("form", ["ddnm", "diffpir", "gradient", "dps", "dip"])
@pytest.mark.parametrize("missing", [0.0, float("nan"), 9.0])
def test_the_values_of_missing_pixels_are_not_read(missing, form):
    problem = degrade(picture(1), Gaussian(10), Mask(0.5))
    assert isinstance(problem.operator, Mask) and problem.operator.known is not None
    y = torch.where(problem.operator.known, problem.y, missing)
    prior, window = gaussian_prior()[0], Window(300, steps=2, scheduler="ddim", consistency=form)
    spoilt = Problem(y, 10, operator=problem.operator, contents=problem.contents)
    one = dip(1)
    expected, found = (restore(prior, output(one), window, p, dips=[one]).picture for p in (problem, spoilt))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_without_a_dip_for_each_picture_it_is_refused():
    prior, _ = gaussian_prior()
    clean, noisy = data(25, SIZE)
    window = Window(57, steps=1, consistency="dip")
    for dips in (None, [dip(1), dip(2)]):
        with pytest.raises(ValueError, match="dips must hold the DIP of each picture"):
            restore(prior, noisy, window, Problem(noisy, 25, clean, Identity()), dips=dips)


def test_dips_that_cannot_learn_the_pictures_are_refused():
    prior, _ = gaussian_prior()
    noisy, frozen = data(25, SIZE)[1], dip(1)
    frozen.network.requires_grad_(False)
    smaller = SimpleNamespace(network=dip(1).network, z=torch.rand(1, 3, 8, 8))
    refused = [(dip(1), "must hold the DIP of each"), ([frozen], "no weights of a DIP can learn"), ([smaller], "8, 8")]
    for dips, said in refused:
        with pytest.raises(ValueError, match=said):
            restore(
                prior, noisy, Window(57, steps=1, consistency="dip"), Problem(noisy, 25), consistent=True, dips=dips
            )


SMALL = ("ddpm.consistency=dip", "operator=mask", "ddpm.steps=2", "ddpm.scheduler=ddim")


def test_a_run_counts_the_steps_of_the_dip(configure, tmp_path, capsys):
    _, by_fit = run(configure(*SMALL), tmp_path / "fit")
    assert by_fit["window"]["consistency"] == "dip" and by_fit["result"]["nfe"] == 2
    _, auto = run(configure(*SMALL, "ddpm.consistency=auto"), tmp_path / "auto")
    for name in ("dip", "posterior_mean", "noisy_window"):
        assert by_fit[name]["psnr"] == auto[name]["psnr"], "starts without a DIP agree with y by auto"
    assert by_fit["result"]["psnr"] != auto["result"]["psnr"]
    # Two convolutions of 3x3 before the one to RGB: 3 to 8, 8 to 8, 8 to 3 channels of 16x16 pixels. A step computes
    # outputs, the gradients of the weights, and those of all inputs but z.
    forward = 2 * 9 * 16**2 * (3 * 8 + 8 * 8 + 8 * 3) / 1e9
    step = 3 * forward - 2 * 9 * 16**2 * 3 * 8 / 1e9
    cost = by_fit["cost"]
    assert cost["learning_gflop"] == pytest.approx(2 * (warm.STEPS * step + forward))
    worth = cost["learning_gflop"] / cost["evaluation_gflop"]
    assert cost["total_evaluations_worth"] == pytest.approx(auto["cost"]["total_evaluations_worth"] + worth)
    assert "for the DIP in the window" in capsys.readouterr().out

    fit = by_fit["fit"]
    kept = f"{fit['folder']}/epochs/{fit['epoch']:06d}.safetensors"
    assert manifest.read(load.load_fit(kept).folder), "all files are as they were written"
    _, by_file = run(configure(*SMALL, f"checkpoint={kept}", "baselines=false"), tmp_path / "file")
    assert by_file["result"]["psnr"] == by_fit["result"]["psnr"]
    assert by_file["cost"]["learning_gflop"] == cost["learning_gflop"]
    _, noise = run(configure(*SMALL, "ddpm.init=noise", "baselines=false"), tmp_path / "noise")
    assert noise["cost"]["fit_gflop"] == cost["fit_gflop"] > 0, "it needs the fit"

    shutil.copy(kept, tmp_path / "copy.safetensors")
    with pytest.raises(UserError, match="is no file of a stored fit"):
        run(configure(*SMALL, f"checkpoint={tmp_path}/copy.safetensors"), tmp_path / "no")
    next((tmp_path / "fits").glob("*/curves-*.npz")).write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot be used: the fit is damaged.*; type checkpoint=stop"):
        run(configure(*SMALL, f"checkpoint={kept}"), tmp_path / "damaged")


def test_a_start_without_a_dip_is_refused_on_the_command_line(capsys):
    with pytest.raises(SystemExit) as left:
        check_arguments("sample", ["ddpm.consistency=dip", "checkpoint=none"])
    (line,) = capsys.readouterr().err.splitlines()
    assert left.value.code == 2
    assert line.endswith("type checkpoint=stop, or ddpm.consistency=auto")
