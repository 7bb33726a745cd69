"""PSNR and SSIM against closed forms and scikit-image."""

import math
from typing import cast

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from dipddpm.metrics import perceptual
from dipddpm.metrics import quality as metrics


def pictures(n=2, height=11, width=17, seed=0):
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(seed))


def test_psnr_of_an_offset_is_the_closed_form_for_each_picture():
    x = 0.2 + 0.5 * pictures(3)
    offsets = torch.tensor([0.1, -0.02, 0.25]).reshape(3, 1, 1, 1)
    expected = [-20 * math.log10(abs(d)) for d in offsets.ravel().tolist()]  # 20, 33.98, 12.04
    assert metrics.psnr(x + offsets, x).tolist() == pytest.approx(expected, abs=1e-3)
    assert metrics.evaluate(x + offsets, x)["psnr"] == pytest.approx(sum(expected) / 3, abs=1e-3)


def test_the_output_is_clipped_for_quality_but_not_for_rms():
    x = pictures().round()  # zeros and ones
    beyond = x + 0.5 * (2 * x - 1)  # only outside the range
    assert metrics.psnr(beyond, x).tolist() == [100, 100]
    assert metrics.ssim(beyond, x).tolist() == pytest.approx([1, 1])
    assert metrics.rms(beyond, x).tolist() == pytest.approx([0.5, 0.5])


def test_psnr_ends_at_100_which_is_an_rms_of_a_hundred_thousandth():
    x = torch.zeros(1, 3, 11, 17)
    assert metrics.psnr(x, x).tolist() == [100]
    assert metrics.psnr(x + 1e-6, x).tolist() == [100]
    assert metrics.psnr(x + 2e-5, x).item() == pytest.approx(93.979, abs=0.01)


def test_rms_is_that_of_each_picture_whatever_the_sign():
    x = pictures()
    step = torch.tensor([3.0, 4.0]).repeat(1, 3, 11, 9)[..., :17] * (1 - 2 * x.round())
    nines, sixteens = 9 / 17, 8 / 17  # nine columns of 3, eight of 4
    assert metrics.rms(x + step, x).tolist() == pytest.approx([math.sqrt(9 * nines + 16 * sixteens)] * 2, rel=1e-6)
    assert metrics.rms(x * 0, x * 0 + torch.tensor([0.5, 2.0]).reshape(2, 1, 1, 1)).tolist() == [0.5, 2]


def test_ssim_is_scikit_images_with_a_gaussian_window_and_mirrored_borders():
    x = pictures(3, 29, 37)
    y = (x + 0.2 * (pictures(3, 29, 37, seed=1) - 0.5) * torch.tensor([1.0, 2, 3]).reshape(3, 1, 1, 1)).clamp(0, 1)

    def reference(a, b):
        # scikit-image leaves out a border of 5 pixels: mirrored outwards before, that is the mean over the picture
        a, b = (np.pad(p.permute(1, 2, 0).numpy(), ((5, 5), (5, 5), (0, 0)), mode="reflect") for p in (a, b))
        found = structural_similarity(
            a, b, data_range=1, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        return cast(float, found)  # a tuple only where a gradient or a map is asked for

    expected = [reference(a, b) for a, b in zip(y, x, strict=True)]
    assert max(expected) - min(expected) > 0.05
    assert metrics.ssim(y, x).tolist() == pytest.approx(expected, abs=1e-5)
    assert metrics.evaluate(y, x)["ssim"] == pytest.approx(np.mean(expected), abs=1e-5)


def test_ssim_of_constants_is_the_luminance_term_and_of_equals_one():
    a, b = torch.full((1, 3, 13, 11), 0.3), torch.full((1, 3, 13, 11), 0.6)
    assert metrics.ssim(a, b).item() == pytest.approx((2 * 0.18 + 1e-4) / (0.09 + 0.36 + 1e-4), abs=5e-4)
    x = pictures(3, 8, 8)  # the smallest pictures there are
    assert metrics.ssim(x, x).tolist() == pytest.approx([1, 1, 1], abs=1e-6)
    assert metrics.ssim(1 - x, x).max() < 0


def test_without_a_reference_there_is_no_quality():
    assert metrics.evaluate(pictures(), None) == {}


@pytest.mark.parametrize("measure", [metrics.psnr, metrics.ssim, metrics.rms, perceptual.stlpips])
def test_pictures_of_two_shapes_and_what_is_no_picture_are_not_compared(measure):
    x = pictures(2, 24, 24)
    for output, reference, message in [
        (x, x[:1], "output has the shape .2, 3, 24, 24., and reference .1, 3, 24, 24."),
        (x[..., :1], x, "output has the shape .2, 3, 24, 1., and reference"),
        (x, (255 * x).to(torch.uint8), "reference is uint8: give floating-point values"),
        (x[0], x[0], "output has the shape .3, 24, 24.: must be .N, 3, H, W."),
        (x[:0], x[:0], "output has the shape .0, 3, 24, 24.: must be"),
        (x.numpy(), x, "output is of type ndarray: give a torch.Tensor"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            measure(output, reference)
