"""A picture of a batch is damaged, completed and restored as if it were alone."""

import pytest
import torch

import dipddpm as dd
from dipddpm.diffusion.consistency import data_consistency
from dipddpm.diffusion.schedule import Schedule


def smooth(seed: int, size: int = 24) -> torch.Tensor:
    coarse = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)


def test_each_picture_is_completed_by_its_own_estimated_noise():
    blur = dd.Blur.gaussian(1.0)
    ys = torch.cat([dd.degrade(smooth(i), dd.Gaussian(sigma), blur).y for i, sigma in enumerate((1, 25))])
    both = dd.Problem(ys, operator=blur)
    alone = [dd.Problem(y, operator=blur) for y in ys.split(1)]
    torch.testing.assert_close(both.noisy, torch.cat([one.noisy for one in alone]), atol=1e-6, rtol=0)


def test_auto_is_refused_for_pictures_whose_noises_have_other_forms(tiny_prior):
    x = torch.cat([smooth(0, 16), smooth(1, 16)])
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    problem = dd.Problem(x + torch.tensor([1.0, 25.0])[:, None, None, None] / 255 * noise)
    prior = dd.load_prior(tiny_prior, device="cpu")
    with pytest.raises(ValueError, match="has different forms for the pictures' noises .*give consistency='ddnm' or"):
        dd.restore(prior, problem.noisy, dd.Window(5), problem, consistent=True)
    dd.restore(prior, problem.noisy, dd.Window(5, consistency="diffpir"), problem)


def test_a_chain_draws_its_random_parts_for_each_picture():
    x = torch.cat([smooth(0), smooth(1)])
    chain = dd.Chain(dd.Blur.gaussian(1.0), dd.Mask(0.5))
    both = dd.degrade(x, dd.Gaussian(5), chain)
    for i in range(2):
        alone = dd.degrade(x[i : i + 1], dd.Gaussian(5), chain)
        torch.testing.assert_close(both.y[i : i + 1], alone.y)
        torch.testing.assert_close(both.operator.of(i).measure(x[i : i + 1]), alone.operator.measure(x[i : i + 1]))
    white = torch.ones_like(x[:1])
    assert not torch.equal(*(both.operator.of(i).measure(white) for i in range(2))), "each picture has its own mask"
    fits = dd.fit_dip(both, settings=dd.DipSettings(layers=1, channels=8, max_epochs=10))
    assert fits.picture.shape == x.shape


@pytest.mark.parametrize("operator", [dd.Blur.gaussian(1.6), dd.BicubicDownscale(4)], ids=["blur", "bicubic"])
def test_ringing_below_black_does_not_refuse_photons(operator):
    x = torch.zeros(1, 3, 32, 32)
    x[..., 8:24, 8:24] = 1
    assert operator.measure(x).min() < 0
    y = dd.degrade(x, dd.Poisson(25), operator).y
    assert (y >= 0).all() and 255 * (y - operator.measure(x)).square().mean().sqrt() == pytest.approx(25, rel=0.2)


@pytest.mark.parametrize("operator", [dd.Jpeg(10), dd.BicubicDownscale(4), dd.Blur.motion(5)], ids=lambda a: a.name)
def test_a_look_in_inference_mode_spoils_no_later_gradient(operator):
    size = 40  # of no other test: the matrices of a size are made once
    with torch.inference_mode():
        operator.measure(torch.rand(1, 3, size, size))
    pull = operator.pull(smooth(0, size))
    assert pull(torch.ones_like(operator.measure(smooth(0, size)))).isfinite().all()


def test_a_circular_blur_without_noise_is_not_inverted_naively():
    clean, blur = smooth(0, 32), dd.Blur.gaussian(1.6, "circular")
    problem = dd.degrade(clean, dd.NoNoise(), blur)
    assert torch.equal(problem.put_back(problem.noisy), problem.noisy)
    schedule = Schedule(torch.linspace(0.999, 0.01, 1000))
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    agree = data_consistency(problem.y, blur, problem.sigmas, schedule)
    x0 = 2 * (clean + 0.02 * noise) - 1
    off = (agree(x0, 300) - (2 * clean - 1)).square().mean().sqrt()
    assert off < (x0 - (2 * clean - 1)).square().mean().sqrt()
