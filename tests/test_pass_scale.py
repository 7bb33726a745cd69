"""With constants before the last normalisation a network passes the strength of the noise on."""

from __future__ import annotations

from copy import deepcopy

import torch
from diffusers import DDPMScheduler

from dipddpm.diffusion import prior
from scripts.noise_response import response
from scripts.pass_scale import LEVELS, around, pass_scale
from scripts.train_prior_config import UNetConfig, build_unet


def around_the_last_norm(unet, x, level):
    """Return what comes before and after the last GroupNorm."""
    with around(unet.conv_norm_out) as seen, torch.no_grad():
        unet(x, level)
    return seen[0]


def test_the_last_norm_gives_what_it_gave_and_follows_the_scale_of_its_input(tiny_prior):
    old, scheduler = prior.load(tiny_prior).unet, DDPMScheduler()
    with torch.no_grad():
        old.conv_norm_out.weight.uniform_(0.5, 2, generator=torch.Generator().manual_seed(0))
        old.conv_norm_out.bias.normal_(generator=torch.Generator().manual_seed(1))
    new = deepcopy(old)
    pass_scale(new, scheduler, 20.0)
    noise = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    level = LEVELS[-1]
    h, y = around_the_last_norm(old, noise, level - 1)
    shifted, same = around_the_last_norm(new, noise, level - 1)
    constant = (shifted - h).mean((0, 2, 3))
    assert torch.allclose(shifted - h, constant.view(1, -1, 1, 1).expand_as(h), atol=1e-4)
    assert torch.allclose(constant[::2], -constant[1::2], atol=1e-4), "a group's mean stays"
    moved = constant.abs() > 1e-3
    assert moved.sum() == 6, "of 4 groups of 2, one is left to tell the mean"
    assert torch.allclose(same[:, ~moved], y[:, ~moved], atol=1e-4)
    centred, was = ((out - old.conv_norm_out.bias.view(1, -1, 1, 1))[:, moved] for out in (same, y))
    slope = (centred * was).sum() / was.square().sum()
    assert 0.7 < slope < 1.4, "of typical size; the deviation of this level is not quite that of all"
    with torch.no_grad():
        twice = new.conv_norm_out(2 * h + constant.view(1, -1, 1, 1)) - old.conv_norm_out.bias.view(1, -1, 1, 1)
        twice = twice[:, moved]
    assert (twice - 2 * centred).square().mean().sqrt() < 0.15 * centred.square().mean().sqrt()


class Estimator(torch.nn.Module):
    """Takes all that it is given for noise: of its very strength, or always of norm 1."""

    def __init__(self, blind: bool):
        super().__init__()
        self.blind, self.weight = blind, torch.nn.Parameter(torch.ones(()))

    def forward(self, x, t):
        rms = x.square().mean((1, 2, 3), keepdim=True).sqrt() if self.blind else 1
        return type("Output", (), {"sample": x / rms * self.weight})


def test_the_response_is_1_for_a_linear_estimate_and_0_for_one_of_fixed_norm():
    pictures = torch.full((3, 3, 16, 16), 127, dtype=torch.uint8)
    ab = DDPMScheduler().alphas_cumprod
    assert abs(response(Estimator(blind=False), ab, pictures, 1000) - 1) < 1e-4
    assert abs(response(Estimator(blind=True), ab, pictures, 1000)) < 0.01


def test_the_group_that_tells_the_mean_is_left_alone(tiny_prior):
    unet = prior.load(tiny_prior).unet
    with torch.no_grad():  # the estimate is what the third group gives
        unet.conv_out.weight.zero_()
        unet.conv_out.weight[:, 4:6, 1, 1] = torch.tensor([1.0, -1.0])
        if _mean_of(unet) < 0:
            unet.conv_out.weight.neg_()
    before = unet.conv_norm_out.weight.clone()
    pass_scale(unet, DDPMScheduler(), 2.0)
    same = unet.conv_norm_out.weight == before
    assert same.tolist() == [False] * 4 + [True] * 2 + [False] * 2


def _mean_of(unet):
    """How far the estimate's mean follows that of its input."""
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    up, down = (unet(x + shift, 999).sample.mean() for shift in (0.05, -0.05))
    return up - down


def test_groups_of_four_channels_all_get_constants():
    torch.manual_seed(0)
    unet = build_unet(UNetConfig([16, 16], 1, 0, 4, 8))
    before = unet.conv_norm_out.weight.clone()
    pass_scale(unet, DDPMScheduler(), 2.0)
    assert torch.allclose(unet.conv_norm_out.weight, before * 5**0.5)
