"""Levels, windows, initial states and single steps."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from dipddpm.diffusion import schedule as diffusion
from dipddpm.diffusion import steps
from dipddpm.diffusion.inits import INITS, initial_state
from dipddpm.diffusion.schedule import Schedule
from dipddpm.diffusion.window import Window

LINEAR = Schedule(DDPMScheduler().alphas_cumprod)


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def window(*values) -> list[int]:
    return Window(*values).levels


def test_pictures_and_states_convert_both_ways_without_clipping():
    picture = torch.tensor([-0.5, 0.0, 0.5, 1.0, 1.25])
    state = diffusion.to_state(picture)
    assert state.tolist() == [-2.0, -1.0, 0.0, 1.0, 1.5]
    assert diffusion.to_picture(state).equal(picture)


@pytest.mark.parametrize(("level", "sigma"), [(0, 0), (10, 5.6), (25, 11.8), (50, 22.0), (100, 43.2), (200, 92)])
def test_sigma_of_a_level_of_the_linear_schedule(level: int, sigma: float):
    assert LINEAR.sigma(level) == pytest.approx(sigma, abs=0.4 if level == 200 else 0.05)


def test_level_of_sigma():
    assert LINEAR.level_of_sigma(25) == 57
    assert LINEAR.level_of_sigma(50) == 115
    assert LINEAR.level_of_sigma(0) == 1
    assert LINEAR.level_of_sigma(1e9) == LINEAR.T == 1000
    assert [LINEAR.level_of_sigma(LINEAR.sigma(t)) for t in range(1, 1001)] == list(range(1, 1001))
    with pytest.raises(ValueError, match="sigma=nan"):
        LINEAR.level_of_sigma(float("nan"))


def test_alpha_bar_of_a_level():
    assert LINEAR.alpha_bar(0) == 1
    assert LINEAR.alpha_bar(1) == LINEAR.alphas_cumprod[0]
    assert LINEAR.alpha_bar(1000) == LINEAR.alphas_cumprod[-1]
    for level in (-1, 1001):
        with pytest.raises(ValueError, match=f"level={level}: must be in 0..1000"):
            LINEAR.alpha_bar(level)


@pytest.mark.parametrize("bad", [[], [[0.5]], [0.5, 0.5], [0.5, 0.0], [1.0, 0.5]])
def test_a_schedule_falls_strictly_inside_0_and_1(bad: list):
    with pytest.raises(ValueError, match="strictly falling"):
        Schedule(torch.tensor(bad))


def test_a_learned_variance_is_refused():
    with pytest.raises(ValueError, match="variance_type='learned_range'.*fixed_small"):
        Schedule(LINEAR.alphas_cumprod, "learned_range")


def test_a_window_passes_every_level_by_default():
    assert window(5, 2) == [5, 4, 3, 2]
    assert window(1000, 50) + window(50, 0)[1:] == window(1000, 0)


def test_a_strided_window_is_even_and_keeps_its_ends():
    assert window(100, 0, 4) == [100, 75, 50, 25, 0]
    assert window(10, 0, 3) == [10, 7, 3, 0]  # to the nearest level
    for start, end, count in [(50, 0, 7), (997, 13, 10), (11, 0, 10), (31, 8, 22), (1000, 0, 999)]:
        levels = window(start, end, count)
        strides = {a - b for a, b in zip(levels, levels[1:], strict=False)}
        assert (levels[0], levels[-1], len(levels)) == (start, end, count + 1)
        assert min(strides) >= 1 and max(strides) - min(strides) <= 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((0, 0), r"start_t=0: must be 'auto' or a noise level of 1 or more"),
        ((50, 50), r"end_t=50: must be in 0..49, below start_t=50"),
        ((50, -1), r"end_t=-1: must be a noise level of 0 or more"),
        ((50, 20, 31), r"steps=31: must be in 1..30"),
        ((50, 20, 0), r"steps=0"),
    ],
)
def test_a_window_outside_the_chain_is_refused(args: tuple, message: str):
    with pytest.raises(ValueError, match=message):
        window(*args)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "steps=0: must be a whole number of 1 or more"),
        ({"steps": 2.0}, "steps=2.0: must be a whole number of 1 or more"),
        ({"end_t": -1}, "end_t=-1: must be a noise level of 0 or more"),
        ({"end_t": False}, "end_t=False: must be a noise level"),
        ({"samples": True}, "samples=True: must be a whole number of 1 or more"),
        ({"samples": 0}, "samples=0: must be"),
        ({"snapshot_every": 2.5}, "snapshot_every=2.5: must be"),
        ({"seed": "0"}, "seed='0': must be a whole number"),
        ({"exact": 1}, "exact=1: must be True or False"),
        ({"scheduler": "euler"}, "scheduler='euler': must be one of ddpm, ddim"),
        ({"init": "blurred"}, "there is no init blurred; there are: raw, scaled"),
        ({"init": None}, "init=None: must be a name or a function; there are: raw, scaled"),
    ],
    ids=str,
)
@pytest.mark.parametrize("start_t", [50, "auto"])
def test_a_window_is_checked_where_it_is_made(start_t: int | str, values: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Window(start_t, **values)


@pytest.mark.parametrize("start_t", [True, 50.0, "50", None, "Auto"])
def test_a_first_level_is_a_whole_number_or_auto(start_t: Any):
    with pytest.raises(ValueError, match=f"start_t={start_t!r}: must be 'auto' or a noise level of 1 or more"):
        Window(start_t)


def test_numpys_whole_numbers_are_whole_numbers():
    window = Window(start_t=np.int64(5), steps=np.int32(2))  # pyright: ignore[reportArgumentType]
    assert window == Window(5, steps=2) and json.dumps(window.levels) == "[5, 2, 0]"


def test_initial_states_without_noise():
    p, ab = torch.rand(2, 3, 11, 13) * 2 - 1, LINEAR.alpha_bar(57)
    make = {"error_rms": None, "generators": generators(1, 2)}
    assert initial_state("raw", p, ab, **make).equal(p)
    assert initial_state("scaled", p, ab, **make).equal(ab.sqrt() * p)


@pytest.mark.parametrize("level", [57, 300])
def test_noise_that_initial_states_add(level: int):
    """The share of p is sqrt(ab); the variance of the rest is what the rule says."""
    ab, r = LINEAR.alpha_bar(level), 2 * 12 / 255
    p = torch.linspace(-1, 1, 3 * 199 * 211).reshape(1, 3, 199, 211)
    share = float(ab.sqrt())
    expected = {
        "diffused": (share, 1 - ab),
        "matched": (share, 1 - ab - ab * r**2),
        "noise": (0, 1),
    }
    for init, (signal, variance) in expected.items():
        x = initial_state(init, p, ab, generators(5), r)
        assert x.std() > 0
        assert (x - signal * p).var() == pytest.approx(float(variance), rel=0.02)
        assert (x * p).mean() / p.square().mean() == pytest.approx(signal, abs=0.02)


def test_matched_ends_with_the_noise_of_its_level_and_adds_none_beyond_it():
    """Picture error and added noise together have the variance 1 - ab that the network expects."""
    ab, r = LINEAR.alpha_bar(57), 2 * 20 / 255
    clean = torch.rand(1, 3, 199, 211) * 2 - 1
    p = clean + r * torch.randn(clean.shape, generator=generators(3)[0])
    x = initial_state("matched", p, ab, generators(4), r)
    assert (x - ab.sqrt() * clean).var() == pytest.approx(1 - float(ab), rel=0.02)
    too_noisy = initial_state("matched", p, ab, generators(4), 2.0)
    assert too_noisy.equal(ab.sqrt() * p)


def test_matched_needs_the_error():
    with pytest.raises(ValueError, match="error_rms: init 'matched' needs the rms error"):
        initial_state("matched", torch.zeros(1, 3, 2, 2), 0.5, generators(1), None)


@pytest.mark.parametrize("init", INITS.names)
def test_a_batch_starts_as_its_singles_do(init: str):
    p = torch.rand(1, 3, 11, 13)
    batch = initial_state(init, p, 0.3, generators(7, 8, 9), 0.1)
    assert batch.shape == (3, 3, 11, 13)
    for row, seed in zip(batch, (7, 8, 9), strict=True):
        single = initial_state(init, p, 0.3, generators(seed), 0.1)
        assert row.equal(single[0])


def test_initial_states_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="there is no init blurred; there are: raw, scaled"):
        initial_state("blurred", torch.zeros(1, 3, 2, 2), 0.5, [])
    with pytest.raises(ValueError, match="p: 2 pictures for 3 generators"):
        p = torch.zeros(2, 3, 2, 2)
        initial_state("raw", p, 0.5, generators(1, 2, 3), None)


def test_states_stay_on_the_device_of_the_picture():
    p = torch.zeros(1, 3, 11, 13, device="meta")
    for init in INITS.names:
        x = initial_state(init, p, 0.5, generators(1, 2), 0.1)
        assert x.device.type == "meta" and x.shape == (2, 3, 11, 13)


@pytest.mark.parametrize("kind", steps.PREDICTION_TYPES)
def test_estimates_recover_what_made_the_state(kind: str):
    x0, eps = torch.rand(2, 3, 11, 13), torch.randn(2, 3, 11, 13)
    ab = LINEAR.alpha_bar(300)
    a, b = ab.sqrt(), (1 - ab).sqrt()
    output = {"epsilon": eps, "sample": x0, "v_prediction": a * eps - b * x0}[kind]
    got_x0, got_eps = steps.estimates(a * x0 + b * eps, output, ab, kind)
    torch.testing.assert_close(got_x0, x0, atol=1e-5, rtol=0)
    torch.testing.assert_close(got_eps, eps, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("t", "s"), [(57, 56), (1000, 50), (300, 0)])
def test_a_ddpm_step_keeps_the_marginals(t: int, s: int):
    """From x_t = sqrt(ab_t) x0 + noise, x_s must be sqrt(ab_s) x0 + noise of variance 1 - ab_s."""
    ab_t, ab_s, x0 = LINEAR.alpha_bar(t), LINEAR.alpha_bar(s), torch.tensor(0.7)
    at_mean, std = steps.ddpm_step(ab_t.sqrt() * x0, x0, ab_t, ab_s)
    slope = steps.ddpm_step(torch.tensor(1.0), torch.tensor(0.0), ab_t, ab_s)[0]
    assert at_mean == pytest.approx(float(ab_s.sqrt() * x0), rel=1e-4)
    assert slope**2 * (1 - ab_t) + std**2 == pytest.approx(float(1 - ab_s), rel=1e-3, abs=1e-12)


def test_ddim_moves_along_the_estimates():
    x0, eps, ab = torch.rand(2, 3, 5, 7), torch.randn(2, 3, 5, 7), LINEAR.alpha_bar(300)
    x_s = steps.ddim_step(x0, eps, ab)
    torch.testing.assert_close(steps.x0_from_eps(x_s, eps, ab), x0, atol=1e-5, rtol=0)
    assert steps.ddim_step(x0, eps, LINEAR.alpha_bar(0)).equal(x0)
