"""The window as a diffusers pipeline: the whole chain is diffusers' own, and its folders are diffusers' folders."""

import numpy as np
import pytest
import torch
from diffusers.pipelines.ddpm.pipeline_ddpm import DDPMPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from PIL import Image

from dipddpm.degradation.noise import Gaussian
from dipddpm.degradation.problem import degrade
from dipddpm.diffusion import pipeline as pipelines
from dipddpm.diffusion.denoiser import settings_of
from dipddpm.diffusion.pipeline import WindowPipeline
from dipddpm.diffusion.prior import load_prior
from dipddpm.diffusion.restore import posterior_mean, restore
from dipddpm.diffusion.window import Window


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def pipeline(tiny_prior) -> WindowPipeline:
    pipeline = WindowPipeline.from_pretrained(tiny_prior)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def picture() -> torch.Tensor:
    return torch.rand(1, 3, 16, 16, generator=seeded(3))


def test_from_noise_at_the_last_level_it_is_diffusers_ddpm(pipeline, tiny_prior, picture):
    theirs = DDPMPipeline.from_pretrained(tiny_prior)
    theirs.set_progress_bar_config(disable=True)
    expected = theirs(generator=seeded(5), output_type="np", return_dict=False)[0]
    ours = pipeline(image=picture, start_t=1000, init="noise", generator=seeded(5), output_type="np").images
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("scheduler", ["ddpm", "ddim"])
@pytest.mark.usefixtures("on_cpu")
def test_it_is_the_window_of_this_package(pipeline, tiny_prior, picture, scheduler):
    if scheduler == "ddim":
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    window = Window(40, steps=8, scheduler=scheduler, init="raw")
    calls = []
    result = pipeline(
        image=picture, start_t=40, num_inference_steps=8, init="raw", generator=seeded(), output_type="pt",
        callback_on_step_end=lambda *call: calls.append((call[1], call[2], tuple(call[3]))),
    ).images  # fmt: skip
    assert [timestep for _, timestep, _ in calls] == [level - 1 for level in window.levels[:-1]]
    assert calls[0] == (0, 39, ("latents",))
    if scheduler == "ddim":  # which draws nothing, so that generators do not matter
        ours = restore(load_prior(tiny_prior, device="cpu"), picture, window).picture
        torch.testing.assert_close(result, ours, atol=1e-5, rtol=0)


def test_a_callback_can_change_the_state(pipeline, picture):
    kept = pipeline(image=picture, start_t=3, output_type="pt", callback_on_step_end=lambda *call: None).images
    grey = pipeline(
        image=picture, start_t=3, output_type="pt",
        callback_on_step_end=lambda pipe, step, t, tensors: {"latents": torch.zeros_like(tensors["latents"])},
    ).images  # fmt: skip
    assert torch.equal(grey, torch.full_like(grey, 0.5)) and not torch.equal(kept, grey)


def test_pictures_come_on_the_way(pipeline, picture):
    passed = list(pipeline.iterate(picture, Window(25, snapshot_every=10), generator=seeded(1), output_type="pt"))
    assert [level for level, _ in passed] == [15, 5, 0]
    whole = pipeline(image=picture, start_t=25, generator=seeded(1), output_type="pt").images
    assert torch.equal(passed[-1][1], whole)


def test_it_takes_and_gives_pictures_as_diffusers_users_have_them(pipeline, picture):
    eight_bit = Image.fromarray((picture[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
    both = pipeline(image=[eight_bit, eight_bit], start_t=5, generator=[seeded(1), seeded(1)]).images
    assert [image.size for image in both] == [(16, 16)] * 2 and isinstance(both[0], Image.Image)
    np.testing.assert_array_equal(np.asarray(both[0]), np.asarray(both[1]))


def test_it_is_saved_and_loaded_with_its_scheduler(pipeline, picture, tmp_path):
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.save_pretrained(tmp_path)
    again = WindowPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert isinstance(again.scheduler, DDIMScheduler)
    first, second = (p(image=picture, start_t=9, output_type="pt").images for p in (pipeline, again))
    assert isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor)
    assert torch.equal(first, second)


def test_the_prior_inside_the_package_has_a_name():
    assert WindowPipeline.from_pretrained("faces64").unet.config["sample_size"] == 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start_t": 1001}, "start_t=1001: must be at most 1000"),
        ({"start_t": 0}, "start_t=0"),
        ({"start_t": 10, "num_inference_steps": 11}, "steps=11: must be in 1..10"),
        ({"init": "blurred"}, "there is no init blurred"),
        ({"init": "matched"}, "needs the rms error"),
        ({"generator": [torch.Generator()] * 2}, "generator: 2 for 1 pictures"),
        ({"output_type": "png"}, "output_type='png': must be one of pil, np, pt, latent"),
    ],
)
def test_a_call_that_cannot_be_is_refused(pipeline, picture, arguments, message):
    with pytest.raises(ValueError, match=message):
        pipeline(image=picture, **arguments)


@pytest.mark.usefixtures("on_cpu")
def test_a_noisy_picture_beyond_the_range_is_taken_as_it_is(pipeline, tiny_prior, picture):
    noisy = degrade(picture, Gaussian(50)).noisy
    assert noisy.min() < 0 and noisy.max() > 1
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    ours = posterior_mean(load_prior(tiny_prior, device="cpu"), noisy, 57).picture
    theirs = pipeline(image=noisy, start_t=57, num_inference_steps=1, output_type="pt").images
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=0)
    listed = pipeline(image=[noisy[0], noisy[0]], start_t=57, num_inference_steps=1, output_type="pt").images
    torch.testing.assert_close(listed, ours.expand(2, -1, -1, -1), atol=1e-5, rtol=0)


def test_grey_pictures_are_made_rgb_and_integers_refused(pipeline, picture):
    grey = Image.fromarray((picture[0, 0].numpy() * 255).astype(np.uint8))
    assert pipeline(image=grey, start_t=2).images[0].mode == "RGB"
    with pytest.raises(ValueError, match="image is uint8: give floating-point values"):
        pipeline(image=np.asarray(grey.convert("RGB"))[None], start_t=2)


def test_what_a_list_or_the_network_cannot_take_is_refused(pipeline, picture):
    wide = Image.new("RGB", (24, 16))
    for pictures in ([Image.new("RGB", (16, 16)), wide], [picture, picture[..., :8]]):
        with pytest.raises(ValueError, match="image has .* and .*: give pictures of one size"):
            pipeline(image=pictures, start_t=2)
    assert pipeline(image=[wide, wide], start_t=2).images[0].size == (24, 16)
    for odd in (Image.new("RGB", (15, 16)), picture[..., :15]):
        with pytest.raises(ValueError, match="image has 15x16 pixels: the network takes multiples of 2 pixels a side"):
            pipeline(image=odd, start_t=2)
    for other in (picture[:, :1], "face.png", None, []):
        with pytest.raises(ValueError, match="image"):
            pipeline(image=other, start_t=2)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_a_pil_picture_whose_values_would_be_clipped_is_refused(pipeline, mode):
    deep = Image.fromarray(np.full((16, 16), 30000, {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]))
    with pytest.raises(ValueError, match=f"image has the mode {mode}, not 0 to 255: give dd.read_picture"):
        pipeline(image=deep, start_t=2)


@pytest.mark.parametrize("generator", [0, (seeded(),), [seeded(), 1]])
def test_a_seed_in_place_of_a_generator_is_refused(pipeline, picture, generator):
    with pytest.raises(TypeError, match="generator: give a torch.Generator, such as"):
        pipeline(image=picture, start_t=2, generator=generator)


@pytest.mark.parametrize("other", [{"out_channels": 6}, {"num_class_embeds": 10}, {"in_channels": 1}])
def test_a_network_of_another_kind_is_refused(pipeline, picture, other):
    kind = type(pipeline.unet)
    pipeline.unet = kind.from_config({**pipeline.unet.config, **other})
    with pytest.raises(ValueError, match="the network has .*: must be an unconditional network over RGB pixels"):
        pipeline(image=picture, start_t=2)


def test_a_noisy_array_is_taken_as_the_same_tensor_is(pipeline, picture):
    noisy = degrade(picture, Gaussian(50)).noisy
    arrays = noisy.permute(0, 2, 3, 1).numpy()
    results = [pipeline(image=image, start_t=3, generator=seeded(), output_type="pt").images
               for image in (noisy, arrays, list(arrays))]  # fmt: skip
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_steps_of_another_scheduler_are_refused_and_the_advice_works(pipeline, picture):
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    with pytest.raises(
        ValueError, match="the scheduler is EulerDiscreteScheduler, and must be DDPMScheduler or DDIM"
    ) as no:
        pipeline(image=picture, start_t=2)
    exec(str(no.value).partition(": set ")[2], {"pipeline": pipeline, "DDPMScheduler": DDPMScheduler})
    assert pipeline(image=picture, start_t=2).images


def test_a_tuple_is_returned_where_a_user_asks_for_it(pipeline, picture):
    images = pipeline(image=picture, start_t=3, generator=seeded(), output_type="np").images
    (again,) = pipeline(image=picture, start_t=3, generator=seeded(), output_type="np", return_dict=False)
    np.testing.assert_array_equal(again, images)
    with pytest.raises(TypeError, match="eta cannot be given; the options are: output_type, return_dict, callback"):
        pipeline(image=picture, eta=1.0)


def test_the_schedule_is_read_once_a_call(pipeline, picture, monkeypatch):
    made = []
    monkeypatch.setattr(pipelines, "settings_of", lambda scheduler: made.append(1) or settings_of(scheduler))
    pipeline(image=picture, start_t=5)
    assert made == [1]
