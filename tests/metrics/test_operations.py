"""Counted operations are those worked out by hand, and those of a real evaluation."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dipddpm.diffusion import prior
from dipddpm.diffusion.flops import evaluation_gflop
from dipddpm.dip.flops import epoch_gflop


@pytest.mark.parametrize(("layers", "channels", "kernel_size", "steps"), [(0, 5, 3, 1), (2, 7, 5, 1), (1, 3, 1, 4)])
def test_an_epoch_is_its_convolutions_forward_and_twice_backward(layers, channels, kernel_size, steps):
    widths = [3, *[channels] * (layers + 1), 3]
    forward = [2 * kernel_size**2 * a * b * 13 * 11 for a, b in zip(widths, widths[1:], strict=False)]
    by_hand = 3 * sum(forward) - forward[0]  # z needs no gradient
    dip = {
        "network": "cnn", "layers": layers, "channels": channels, "kernel_size": kernel_size, "final_relu": True,
        "steps_per_epoch": steps,
    }  # fmt: skip
    assert epoch_gflop(dip, (13, 11)) == pytest.approx(steps * by_hand / 1e9)


def test_an_epoch_of_a_skip_network_is_that_of_its_scales():
    def conv(a, b, kernel_size, side):
        return 2 * kernel_size**2 * a * b * side**2

    down = conv(3, 5, 3, 8) + conv(5, 5, 3, 8), conv(5, 5, 3, 4) + conv(5, 5, 3, 4)
    skips = conv(3, 4, 1, 16), conv(5, 4, 1, 8)
    up = conv(9, 5, 3, 16) + conv(5, 5, 1, 16), conv(9, 5, 3, 8) + conv(5, 5, 1, 8)
    forward = sum(down) + sum(skips) + sum(up) + conv(5, 3, 1, 16)
    of_z = conv(3, 5, 3, 8) + skips[0]  # z needs no gradient
    dip = {"network": "skip", "layers": 2, "channels": 5, "kernel_size": 3, "final_relu": False, "steps_per_epoch": 1}
    assert epoch_gflop(dip, (16, 16)) == pytest.approx((3 * forward - of_z) / 1e9)


def test_an_evaluation_is_that_of_the_real_network(tiny_prior):
    network = prior.load(tiny_prior)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.evaluate(torch.zeros(1, 3, 16, 16), torch.tensor(0))
    attention = 4 * 2 * 2 * 64**2 * 16  # 4 layers of 2 products over 8x8 places; a processor's fused one is not counted
    assert evaluation_gflop(network, (16, 16)) == pytest.approx((counter.get_total_flops() + attention) / 1e9)


def test_the_gradient_of_an_evaluation_takes_as_much_again(tiny_prior):
    """The weights are frozen: each convolution is done once forward and once backward. Attention takes more."""
    network = prior.load(tiny_prior)
    both, one = (evaluation_gflop(network, (16, 16), gradient=gradient) for gradient in (True, False))
    x = torch.zeros(1, 3, 16, 16, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        network.unet(x, torch.tensor(0)).sample.sum().backward()
    assert counter.get_total_flops() / 1e9 < both and 1.9 < both / one < 2.2


def test_an_evaluation_of_a_larger_picture_takes_more(tiny_prior):
    network = prior.load(tiny_prior)
    four_times = evaluation_gflop(network, (32, 32)) / evaluation_gflop(network, (16, 16))
    assert 3.9 < four_times < 6, (
        "convolutions go with the pixels, attention with their square, time embeddings with none"
    )
