"""The window sampler, against closed forms for Gaussian data and against diffusers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DModel, UNet2DOutput
from diffusers.pipelines.ddpm.pipeline_ddpm import DDPMPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor

from dipddpm.diffusion import sampler
from dipddpm.diffusion.denoiser import Denoiser, Faults
from dipddpm.diffusion.sampler import Consistency, Snapshot, sample_window
from dipddpm.diffusion.schedule import Schedule, to_picture
from dipddpm.diffusion.window import Window
from dipddpm.errors import UserError

LINEAR = Schedule(DDPMScheduler().alphas_cumprod)
M, S = 0.3, 0.4  # mean and standard deviation of the Gaussian data


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def window(start_t: int, end_t: int, steps: int | None = None) -> list[int]:
    return Window(start_t, end_t, steps).levels


def last(snapshots: Iterator[Snapshot]) -> Snapshot:
    return list(snapshots)[-1]


def oracle(x: Tensor, t: Tensor) -> UNet2DOutput:
    """The best noise prediction for pictures whose values are N(M, S^2), independently."""
    ab = LINEAR.alphas_cumprod[t]
    return UNet2DOutput(sample=(1 - ab).sqrt() * (x - ab.sqrt() * M) / (ab * S**2 + 1 - ab))


class Counting:
    """A network that knows nothing, and counts how often and for how many pictures it is asked."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.grad: list[bool] = []

    def __call__(self, x: Tensor, t: Tensor) -> UNet2DOutput:
        self.batches.append(len(x))
        self.grad.append(torch.is_grad_enabled())
        return UNet2DOutput(sample=torch.zeros_like(x))


@pytest.fixture(scope="module")
def unet() -> UNet2DModel:
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=(8, 12),
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ).eval()


WINDOWS = [
    (1000, 0, None),
    (57, 0, None),
    (300, 100, None),
    (1000, 0, 20),
    (997, 200, 7),
    (50, 0, 1),
]


@pytest.mark.parametrize(("start", "end", "steps"), WINDOWS)
@pytest.mark.parametrize("scheduler", ["ddpm", "ddim"])
def test_gaussian_data(scheduler: str, start: int, end: int, steps: int | None):
    """Each step is x_s = k x_t + c + std z: a linear recursion for the mean and the variance.

    Written after Song et al., eq. 12, from the posterior mean of Gaussian data, unlike the code.
    """
    levels = window(start, end, steps)
    ab = [1.0, *LINEAR.alphas_cumprod.double().tolist()]
    mean, variance = 0.1, 0.5
    for t, s in zip(levels, levels[1:], strict=False):
        eta = float(scheduler == "ddpm")
        std = eta * math.sqrt((1 - ab[s]) / (1 - ab[t]) * (1 - ab[t] / ab[s]))
        gain = math.sqrt(ab[t]) * S**2 / (ab[t] * S**2 + 1 - ab[t])  # x0 = M + gain (x_t - ..M)
        direction = math.sqrt(max(0, 1 - ab[s] - std**2) / (1 - ab[t]))
        k = math.sqrt(ab[s]) * gain + direction * (1 - math.sqrt(ab[t]) * gain)
        mean = math.sqrt(ab[s]) * M + k * (mean - math.sqrt(ab[t]) * M)
        variance = k**2 * variance + std**2

    noise = torch.randn(2, 3, 199, 211, generator=generators(1)[0])
    denoiser = Denoiser(oracle, LINEAR, clip_sample=False)
    states = 0.1 + math.sqrt(0.5) * noise
    x = last(sample_window(denoiser, states, levels, generators(2, 3), scheduler=scheduler)).x_t
    assert x.mean() == pytest.approx(mean, abs=6 * math.sqrt(variance / x.numel()))
    assert x.var() == pytest.approx(variance, rel=0.015)
    if (scheduler, start, end, steps) == ("ddpm", 1000, 0, None):  # which forgets its start
        assert (mean, variance) == pytest.approx((M, S**2), rel=0.03)


def test_the_whole_chain_is_diffusers_ddpm_pipeline(unet: UNet2DModel):
    pipeline: Any = DDPMPipeline(unet, DDPMScheduler())
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(generator=generators(11)[0], output_type="pt").images
    shared = generators(11)
    x = torch.randn(1, 3, 8, 12, generator=shared[0])
    end = last(sample_window(Denoiser(unet, LINEAR), x, window(1000, 0), generators=shared))
    assert to_picture(end.x_t).clamp(0, 1).equal(expected)
    assert end.nfe == 1000

    # The same chain in two windows, with the same generators.
    shared = generators(11)
    x = torch.randn(1, 3, 8, 12, generator=shared[0])
    middle = last(sample_window(Denoiser(unet, LINEAR), x, window(1000, 50), generators=shared))
    two = last(sample_window(Denoiser(unet, LINEAR), middle.x_t, window(50, 0), generators=shared))
    assert (middle.level, middle.nfe, two.nfe) == (50, 950, 50)
    assert two.x_t.equal(end.x_t) and not middle.x_t.equal(end.x_t)


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("clip", [True, False])
def test_one_step_is_diffusers_ddpm_step(unet: UNet2DModel, variance: Any, kind: Any, clip: bool):
    reference = DDPMScheduler(variance_type=variance, prediction_type=kind, clip_sample=clip)
    schedule = Schedule(reference.alphas_cumprod, variance)
    x = 2 * torch.randn(1, 3, 8, 12, generator=generators(5)[0])
    for level in (1, 2, 400):
        with torch.no_grad():
            output = unet(x, level - 1).sample
        step: Any = reference.step(output, level - 1, x, generator=generators(6)[0])
        end = last(sample_window(Denoiser(unet, schedule, kind, clip), x, [level, level - 1], generators(6)))
        assert end.x_t.equal(step.prev_sample) and end.x0.equal(step.pred_original_sample)


def test_ddim_is_diffusers_ddim(unet: UNet2DModel):
    reference = DDIMScheduler()
    reference.set_timesteps(50)
    x = expected = torch.randn(1, 3, 8, 12, generator=generators(5)[0])
    for t in reference.timesteps:
        with torch.no_grad():
            step: Any = reference.step(unet(expected, t).sample, int(t), expected)
        expected = step.prev_sample
    levels = [int(t) + 1 for t in reference.timesteps] + [0]
    end = last(sample_window(Denoiser(unet, LINEAR), x, levels, scheduler="ddim", generators=generators(1)))
    assert end.x_t.equal(expected)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers, with numpy 2
def test_dpmpp_is_diffusers_multistep_solver(unet: UNet2DModel):
    """With 15 steps or more diffusers takes no further step of first order, but for the first and the last."""
    reference: Any = DPMSolverMultistepScheduler()
    reference.set_timesteps(18)
    x = expected = torch.randn(2, 3, 8, 12, generator=generators(5)[0])
    for t in reference.timesteps:
        with torch.no_grad():
            expected = reference.step(unet(expected, t).sample, t, expected).prev_sample
    levels = [int(t) + 1 for t in reference.timesteps] + [0]
    end = last(sample_window(Denoiser(unet, LINEAR, clip_sample=False), x, levels, generators(1, 2), scheduler="dpmpp"))
    torch.testing.assert_close(end.x_t, expected, atol=2e-3 * float(expected.abs().max()), rtol=0)
    ddim = last(sample_window(Denoiser(unet, LINEAR, clip_sample=False), x, levels, generators(1, 2), scheduler="ddim"))
    assert (end.x_t - expected).abs().max() < (ddim.x_t - expected).abs().max() / 20, "nearer than another solver"


@pytest.mark.parametrize(("start", "end"), [(800, 160), (600, 200), (320, 160)])
def test_the_error_of_dpmpp_falls_with_the_square_of_the_steps(start: int, end: int):
    """For Gaussian data the flow has a closed form: x keeps its distance from the mean, in standard deviations.

    A window ends where it is told to: its last step is of second order too, unless it goes to level 0.
    """
    x = torch.randn(1, 3, 5, 7, generator=generators(1)[0])

    def standard(x: Tensor, level: int) -> Tensor:
        ab = LINEAR.alpha_bar(level).double()
        return (x.double() - ab.sqrt() * M) / (ab * S**2 + 1 - ab).sqrt()

    errors = {}
    for kind in ("ddim", "dpmpp"):
        for steps in (10, 20, 40):
            denoiser, levels = Denoiser(oracle, LINEAR, clip_sample=False), window(start, end, steps)
            reached = last(sample_window(denoiser, x, levels, generators(1), scheduler=kind)).x_t
            errors[kind, steps] = float((standard(reached, end) - standard(x, start)).abs().max())
    for steps in (10, 20):
        assert errors["ddim", steps] / errors["ddim", 2 * steps] == pytest.approx(2, rel=0.25)
        assert errors["dpmpp", steps] / errors["dpmpp", 2 * steps] == pytest.approx(4, rel=0.25)
    assert errors["dpmpp", 10] < errors["ddim", 10] / 3


def test_dpmpp_joins_windows_by_a_step_of_first_order(unet: UNet2DModel):
    denoiser, x = Denoiser(unet, LINEAR), torch.randn(1, 3, 8, 12, generator=generators(5)[0])

    def walk(x: Tensor, *levels: int) -> Tensor:
        return last(sample_window(denoiser, x, levels, generators(1), scheduler="dpmpp")).x_t

    whole, half = walk(x, 400, 300, 200, 0), walk(x, 400, 300)
    assert not walk(half, 300, 200, 0).equal(whole), "the second window has no step before"
    with torch.no_grad():
        x0, eps = denoiser.estimate(x, 400)
    ab = [LINEAR.alpha_bar(t) for t in (400, 300)]
    made_anew = (x - ab[0] ** 0.5 * x0) / (1 - ab[0]) ** 0.5
    torch.testing.assert_close(half, ab[1] ** 0.5 * x0 + (1 - ab[1]) ** 0.5 * made_anew)


@pytest.mark.parametrize("scheduler", ["ddpm", "dpmpp"])
def test_a_batch_is_its_singles(scheduler: str, unet: UNet2DModel):
    x = torch.randn(3, 3, 8, 12, generator=generators(5)[0])
    denoiser, levels = Denoiser(unet, LINEAR), window(57, 0, 19)
    kind: Any = {"scheduler": scheduler}
    batch = last(sample_window(denoiser, x, levels, generators(1, 2, 3), **kind)).x_t
    exact = last(sample_window(denoiser, x, levels, generators(1, 2, 3), exact=True, **kind))
    for i in range(3):
        single = last(sample_window(denoiser, x[[i]], levels, generators(i + 1), **kind)).x_t
        torch.testing.assert_close(batch[[i]], single, atol=1e-4, rtol=0)
        assert exact.x_t[[i]].equal(single)  # bit for bit
    assert exact.nfe == 19


def test_nothing_is_evaluated_before_it_is_asked_for():
    network = Counting()
    x = torch.zeros(2, 3, 5, 7)
    snapshots = sample_window(Denoiser(network, LINEAR), x, window(50, 0), generators=generators(1, 2))
    assert network.batches == []
    first = next(snapshots)
    assert (first.level, first.nfe, network.batches) == (40, 10, [2] * 10)
    rest = list(snapshots)
    assert [s.level for s in rest] == [30, 20, 10, 0] and len(network.batches) == 50
    # Not asked for more than that, one at a time, when exact.
    network = Counting()
    x = torch.zeros(2, 3, 5, 7)
    snapshots = sample_window(Denoiser(network, LINEAR), x, [9, 5, 0], generators=generators(1, 2), exact=True)
    assert last(snapshots).nfe == 2 and network.batches == [1] * 4


@pytest.mark.parametrize(
    ("levels", "every", "expected"),
    [
        (window(25, 0), 10, [(15, 10), (5, 20), (0, 25)]),
        (window(100, 0, 4), 10, [(75, 1), (50, 2), (25, 3), (0, 4)]),
        (window(30, 2, 7), 10, [(18, 3), (6, 6), (2, 7)]),
        (window(3, 0), 1, [(2, 1), (1, 2), (0, 3)]),
        (window(3, 0), 1000, [(0, 3)]),
    ],
)
def test_snapshots_come_when_enough_levels_have_passed(levels: list, every: int, expected: list):
    x = torch.zeros(1, 3, 5, 7)
    got = sample_window(Denoiser(Counting(), LINEAR), x, levels, generators=generators(1), snapshot_every=every)
    assert [(s.level, s.nfe) for s in got] == expected


def test_grad_mode_is_off_inside_and_untouched_outside():
    network = Counting()
    x = torch.zeros(1, 3, 5, 7, requires_grad=True)
    snapshots = sample_window(Denoiser(network, LINEAR), x, window(20, 0), generators=generators(1))
    first = next(snapshots)
    assert torch.is_grad_enabled() and not first.x_t.requires_grad
    with torch.no_grad():
        next(snapshots)
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled() and network.grad == [False] * 20


@pytest.mark.parametrize("scheduler", ["ddpm", "ddim", "dpmpp"])
def test_data_consistency_acts_on_the_clipped_clean_estimate(scheduler: str):
    """Half of the values are known: they come out as known, and the function saw [-1, 1] only."""
    known = torch.zeros(1, 3, 5, 7)
    known[..., ::2] = 1
    asked = []

    def consistent(x0: Tensor, level: int) -> Tensor:
        asked.append((level, float(x0.abs().max())))
        return torch.where(known > 0, 0.25, x0)

    start = 3 * torch.randn(1, 3, 5, 7, generator=generators(1)[0])
    end = last(
        sample_window(
            Denoiser(Counting(), LINEAR),
            start,
            [40, 20, 0],
            generators(1),
            scheduler=scheduler,
            consistency=Consistency(consistent),
        )
    )
    assert asked == [(40, 1.0), (20, 1.0)]
    assert end.x_t[known > 0].eq(0.25).all() and not end.x_t[known == 0].eq(0.25).any()
    assert end.x0.equal(end.x_t)


@pytest.mark.parametrize("renew", [False, True])
@pytest.mark.parametrize("scheduler", ["ddpm", "ddim", "dpmpp"])
def test_after_a_correction_the_noise_estimate_stays_or_the_state_does(scheduler: str, renew: bool):
    """The next state is sqrt(ab) x0 + direction eps + std z for both estimates (Song et al., eq. 12)."""
    x = torch.randn(1, 3, 5, 7, generator=generators(1)[0])
    ab, ab_s = LINEAR.alpha_bar(300), LINEAR.alpha_bar(200)
    eps = oracle(x, torch.tensor(299)).sample
    agreed = Consistency(lambda x0, level: x0 + 0.2, renew)
    denoiser = Denoiser(oracle, LINEAR, clip_sample=False)
    end = last(sample_window(denoiser, x, [300, 200], generators(7), scheduler=scheduler, consistency=agreed))
    x0 = (x - (1 - ab) ** 0.5 * eps) / ab**0.5 + 0.2
    if renew:
        eps = (x - ab**0.5 * x0) / (1 - ab) ** 0.5
    std = (scheduler == "ddpm") * ((1 - ab_s) / (1 - ab) * (1 - ab / ab_s)) ** 0.5
    z = torch.randn(1, 3, 5, 7, generator=generators(7)[0])
    torch.testing.assert_close(end.x_t, ab_s**0.5 * x0 + (1 - ab_s - std**2) ** 0.5 * eps + std * z, atol=1e-5, rtol=0)
    torch.testing.assert_close(end.x0, x0, atol=1e-5, rtol=0)


@pytest.mark.parametrize("scheduler", ["ddpm", "ddim", "dpmpp"])
@pytest.mark.parametrize("consistency", [Consistency(lambda x0, level: x0), Consistency(lambda x0, _: x0, renew=True)])
def test_an_estimate_that_is_returned_as_it_is_changes_no_bit(scheduler: str, consistency: Consistency, unet: Any):
    x = 3 * torch.randn(1, 3, 8, 12, generator=generators(1)[0])
    ends = [
        last(sample_window(Denoiser(unet, LINEAR), x, [40, 20, 0], generators(1), scheduler=scheduler, consistency=one))
        for one in (None, consistency)
    ]
    assert ends[0].x_t.equal(ends[1].x_t)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("scheduler", ["ddpm", "ddim", "dpmpp"])
def test_a_step_moves_along_the_gradient_of_the_distance(scheduler: str, exact: bool):
    """Of Gaussian data x0 = M + gain (x - ...), so the gradient of |x0 - y| is gain (x0 - y) / |x0 - y|."""
    x, y = torch.randn(2, 3, 5, 7, generator=generators(1)[0]), 0.3
    pulled = Consistency(distance=lambda x0: (x0 - y).flatten(1).norm(dim=1))
    plain, moved = (
        last(sample_window(Denoiser(oracle, LINEAR, clip_sample=False), x, [300, 200], generators(7, 8),
                           scheduler=scheduler, exact=exact, consistency=one))
        for one in (None, pulled)
    )  # fmt: skip
    ab = LINEAR.alpha_bar(300)
    gain = ab**0.5 * S**2 / (ab * S**2 + 1 - ab)
    distance = (plain.x0 - y).flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
    assert moved.x0.equal(plain.x0) and not moved.x_t.requires_grad
    torch.testing.assert_close(plain.x_t - moved.x_t, gain * (plain.x0 - y) / distance, atol=1e-5, rtol=0)


def test_states_stay_float32_and_on_their_device():
    def bfloat16(x: Tensor, t: Tensor) -> UNet2DOutput:
        return UNet2DOutput(sample=torch.zeros_like(x, dtype=torch.bfloat16))

    for device, kind in [("cpu", "epsilon"), ("cpu", "sample"), ("meta", "v_prediction")]:
        x = torch.zeros(2, 3, 5, 7, device=device)
        end = last(sample_window(Denoiser(bfloat16, LINEAR, kind), x, [9, 5, 2], generators(1, 2)))
        for state in (end.x_t, end.x0):
            assert (state.dtype, state.device.type) == (torch.float32, device)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scheduler": "euler"}, "scheduler='euler': must be one of ddpm, ddim, dpmpp"),
        ({"snapshot_every": 0}, "snapshot_every=0: must be at least 1"),
        ({"levels": [9]}, "levels: must be two or more"),
        ({"levels": [9, 9, 0]}, "strictly falling"),
        ({"levels": [1001, 0]}, r"in 1000\.\.0"),
        ({"levels": [9, -1]}, r"in 1000\.\.0"),
        ({"generators": generators(1, 2)}, "generators: 2 for 1 pictures"),
    ],
)
def test_what_does_not_fit_is_refused_at_the_call(changed: dict, message: str):
    arguments: dict[str, Any] = {
        "denoiser": Denoiser(Counting(), LINEAR),
        "x_start": torch.zeros(1, 3, 5, 7),
        "levels": [9, 0],
        "generators": generators(1),
    }
    with pytest.raises(ValueError, match=message):
        sample_window(**(arguments | changed))


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 1e7])
@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_a_network_that_gives_no_number_ends_the_window(kind: str, value: float):
    """Clipping would hide it: an infinite estimate becomes a black or white picture."""

    def fails_at_level_3(x: Tensor, t: Tensor) -> UNet2DOutput:
        output = torch.zeros_like(x)
        output[0, 0, 0, 0] = value if int(t) == 2 else 0
        return UNet2DOutput(sample=output)

    passed = sample_window(
        Denoiser(fails_at_level_3, LINEAR, kind), torch.zeros(1, 3, 5, 7), [5, 4, 3, 2], generators(1), snapshot_every=1
    )
    assert [next(passed).level, next(passed).level] == [4, 3]
    with pytest.raises(UserError, match="the prior's output at noise level 3 is not finite, or beyond 1,000,000"):
        next(passed)


@pytest.mark.parametrize("every", [2, 100])
def test_an_output_that_is_looked_at_later_is_named_before_a_snapshot(monkeypatch: pytest.MonkeyPatch, every: int):
    """As on a GPU: the window goes on, and its later outputs are no numbers either."""
    asked = []

    def fails_from_level_6(x: Tensor, t: Tensor) -> UNet2DOutput:
        asked.append(int(t) + 1)
        return UNet2DOutput(sample=torch.full_like(x, float("nan")) if t == 5 else x)

    monkeypatch.setattr(sampler, "Faults", lambda later: Faults(later=True))
    passed = sample_window(
        Denoiser(fails_from_level_6, LINEAR), torch.zeros(1, 3, 5, 7), window(9, 0), generators(1), snapshot_every=every
    )
    if every == 2:
        assert next(passed).level == 7
    with pytest.raises(UserError, match="output at noise level 6 is not finite"):
        next(passed)
    assert asked == list(range(9, 5 if every == 2 else 0, -1))[: 4 if every == 2 else 9]


def test_a_state_that_is_looked_at_later_is_not_blamed_on_the_prior():
    faults, no_number = Faults(later=True), torch.full((1, 3, 5, 7), float("nan"))
    faults.note(8, torch.zeros(1, 3, 5, 7), torch.zeros(1, 3, 5, 7))
    faults.note(7, no_number, no_number)
    with pytest.raises(ValueError, match="the state at noise level 7 is not finite"):
        faults.look()
    faults.look()  # each is named once


def test_a_picture_that_holds_no_number_is_not_blamed_on_the_prior():
    def passes_on(x: Tensor, t: Tensor) -> UNet2DOutput:
        return UNet2DOutput(sample=x)

    window = sample_window(Denoiser(passes_on, LINEAR), torch.full((1, 3, 5, 7), float("nan")), [5, 0], generators(1))
    with pytest.raises(ValueError, match="the state at noise level 5 is not finite: give a finite picture"):
        next(window)


def test_a_network_that_predicts_something_else_is_refused():
    with pytest.raises(ValueError, match="prediction_type='flow'"):
        Denoiser(Counting(), LINEAR, "flow")
