"""What a mask takes away, and what fills it again."""

import pytest
import torch

from dipddpm.degradation import filling as degrade


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def smooth(height, width):
    v, u = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return 0.25 + 0.5 * torch.stack([u, v, (3 * u).sin() * v])[None]


@pytest.mark.parametrize(("missing", "gone"), [(0.5, 77 * 101 // 2), (0.001, 8), (1e-9, 1), (1 - 1e-9, 77 * 101 - 1)])
def test_a_mask_takes_the_share_that_was_asked_for_anywhere_and_follows_its_generator(missing, gone):
    known = degrade.random_mask((77, 101), missing, generator(1))
    assert known.shape == (1, 1, 77, 101) and (~known).sum() == pytest.approx(gone, abs=1)
    assert torch.equal(known, degrade.random_mask((77, 101), missing, generator(1)))
    assert not torch.equal(known, degrade.random_mask((77, 101), missing, generator(2)))


def test_missing_pixels_are_anywhere_alike():
    known = degrade.random_mask((77, 101), 0.5, generator()).double()[0, 0]
    for half in (known[:38], known[39:], known[:, :50], known[:, 51:], known[::2], known[:, ::2]):
        assert half.mean().item() == pytest.approx(0.5, abs=0.03)
    assert (known[:, 1:] * known[:, :-1]).mean().item() == pytest.approx(0.25, abs=0.03)


def test_what_is_filled_in_follows_from_the_known_pixels_alone_and_continues_a_slope():
    x = smooth(41, 43)
    known = torch.ones(1, 1, 41, 43, dtype=torch.bool)
    known[..., 11:20, 13:25] = False
    filled = degrade.fill(torch.where(known, x, torch.nan), known)
    assert torch.equal(filled, degrade.fill(torch.where(known, x, 7.0), known))
    assert torch.equal(filled[known.expand_as(x)], x[known.expand_as(x)])
    torch.testing.assert_close(filled[:, :2], x[:, :2], atol=1e-4, rtol=0)  # two channels are linear
    assert (filled - x)[:, 2].abs().max() < 0.02, "the third is nearly so"
    scattered = degrade.random_mask((41, 43), 0.5, generator())
    assert (degrade.fill(x * scattered, scattered) - x).abs().max() < 0.1
