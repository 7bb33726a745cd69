"""Operators: adjoints and projections, their losses, pictures that agree with y, and what a mask draws."""

import pytest
import torch

from dipddpm import seeds
from dipddpm.degradation.masks import Mask, fill, random_mask
from dipddpm.degradation.operators import Identity, Operator
from dipddpm.degradation.scaling import Downscale
from dipddpm.names import OPERATORS, PICTURES


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0):
    return torch.rand(*shape, generator=generator(seed), dtype=torch.float64)


def known_pixels(mask: Mask) -> torch.Tensor:
    assert mask.known is not None, "the mask is not drawn yet"
    return mask.known


def smooth(height, width):
    v, u = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return 0.25 + 0.5 * torch.stack([u, v, (3 * u).sin() * v])[None]


CASES = [  # sides are primes where the operator takes them
    (Identity(), (13, 17)),
    (Mask(known=draw(1, 1, 13, 17, seed=3) > 0.4), (13, 17)),
    (Mask(known=draw(2, 1, 13, 17, seed=4) > 0.4), (13, 17)),
    (Downscale(2), (26, 34)),
    (Downscale(3), (39, 51)),
]
each = pytest.mark.parametrize(
    ("a", "size"), CASES, ids=lambda c: c.words if isinstance(c, Operator) else "x".join(map(str, c))
)


@each
def test_the_adjoint_and_the_pseudo_inverse_are_those_of_the_operator(a, size):
    x = draw(2, 3, *size)
    y = a.measure(x)
    u = draw(*y.shape, seed=1)
    assert (y * u).sum().item() == pytest.approx((x * a.adjoint(u)).sum().item()), "<A x, u> = <x, A' u>"
    assert torch.allclose(a.measure(a.pseudo_inverse(y)), y), "A A+ A = A"
    assert torch.allclose(a.pseudo_inverse(u), a.spread**2 * a.adjoint(u))
    assert torch.allclose(a.measure(a.adjoint(y)), y / a.spread**2), "A A' = I / spread^2"


def projected(a, x):
    return a.pseudo_inverse(a.measure(x))


@each
def test_it_projects_at_right_angles(a, size):
    x, other = draw(2, 2, 3, *size)
    y = a.measure(other)
    assert torch.allclose(projected(a, projected(a, x)), projected(a, x)), "once is enough"
    assert torch.allclose(a.replace(x, y), x + projected(a, other - x))
    for rho in (2.0, torch.tensor([2.0, 0.1]).double().reshape(2, 1, 1, 1)):
        assert torch.allclose(a.replace(x, y, rho), x + projected(a, other - x) / (1 + rho))
    assert torch.allclose(a.measure(a.replace(x, y)), y) and torch.equal(a.put_back(x, y), a.replace(x, y))
    assert a.partial is not torch.equal(projected(a, x), x)


@each
def test_a_completed_picture_is_one_that_y_could_be_of(a, size):
    y = a.measure(draw(2, 3, *size).float())
    assert torch.allclose(a.measure(a.complete(y)), y, atol=1e-5)


@each
def test_the_loss_is_over_what_y_tells(a, size):
    """The mean square of white noise of variance 1 under A, over the values of y, is 1 / spread^2."""
    rs, y = torch.randn(300, 2, 3, *size, generator=generator()), a.measure(draw(2, 3, *size, seed=5).float())
    nothing = torch.zeros_like(y)
    assert a.spread is not None
    strength = 1 / a.spread**2
    if isinstance(a, Mask):  # the values of y are the known pixels
        known = known_pixels(a).expand(2, 3, *size)
        each = [(r - of)[k].square().mean().item() for r, of, k in zip(rs[0], y, known, strict=True)]
        assert a.losses(rs[0], torch.where(known, y, torch.nan)).tolist() == pytest.approx(each)
    assert sum(a.losses(r, nothing).mean().item() for r in rs) / len(rs) == pytest.approx(strength, rel=0.03)
    assert a.losses(rs[0] - projected(a, rs[0]), nothing).tolist() == pytest.approx([0, 0], abs=1e-9)


def test_the_loss_of_the_identity_is_the_mean_squared_error_and_so_is_its_gradient():
    output, y = draw(2, 1, 3, 61, 67).float().requires_grad_()
    losses = Identity().losses(output, y).sum(), torch.nn.functional.mse_loss(output, y)
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)
    assert torch.equal(*(torch.autograd.grad(loss, output)[0] for loss in losses))


def test_a_smaller_picture_is_made_of_means():
    x = draw(1, 3, 12, 18)
    assert torch.allclose(Downscale(3).measure(x), x.reshape(1, 3, 4, 3, 6, 3).mean(dim=(3, 5)))


def test_bicubic_interpolation_is_nearer_to_a_smooth_picture_than_squares():
    rows, columns = torch.meshgrid(torch.linspace(0, 3, 48), torch.linspace(0, 3, 48), indexing="ij")
    x = torch.stack([rows.sin(), columns.cos(), (rows * columns).sin()])[None].double()
    a = Downscale(4)
    small = a.measure(x)
    assert (a.complete(small) - x).square().mean() < 0.1 * (a.pseudo_inverse(small) - x).square().mean()


@each
def test_the_picture_that_it_leaves_is_one_that_the_next_run_there_removes(a, size):
    assert a.name in OPERATORS and (not a.partial or a.shown_as in PICTURES)


def test_a_mask_is_drawn_for_a_picture_and_from_its_content():
    share = Mask(0.3)
    one, again, other = (share.bind((13, 17), seed, "ab") for seed in (0, 0, 1))
    known = known_pixels(one)
    assert torch.equal(known, random_mask((13, 17), 0.3, seeds.generator(0, "mask", "ab")))
    assert torch.equal(known, known_pixels(again)) and not torch.equal(known, known_pixels(other))
    assert one.bind((13, 17), 5, "cd") is one, "a mask that is there is the one"
    assert one.request() == {"mask": seeds.content_hash(known)} != other.request()
    with pytest.raises(ValueError, match="the missing pixels are not drawn yet"):
        share.measure(torch.zeros(1, 3, 13, 17))


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Mask(0), "missing=0: must be a share of the pixels above 0 and below 1"),
    (lambda: Mask(known=torch.ones(1, 1, 3, 5)), "known is torch.float32 of shape"),
    (lambda: Mask(known=torch.ones(3, 5, dtype=torch.bool)),
     "known is torch.bool of shape .3, 5.: must be bool of shape .1 or N, 1, H, W."),
    (lambda: Downscale(1), "factor=1: must be 2 or more"),
])  # fmt: skip
def test_an_operator_that_cannot_be_is_refused_by_argument(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("missing", "gone"), [(0.5, 77 * 101 // 2), (0.001, 8), (1e-9, 1), (1 - 1e-9, 77 * 101 - 1)])
def test_a_mask_takes_the_share_that_was_asked_for_and_follows_its_generator(missing, gone):
    known = random_mask((77, 101), missing, generator(1))
    assert known.shape == (1, 1, 77, 101) and (~known).sum() == pytest.approx(gone, abs=1)
    assert torch.equal(known, random_mask((77, 101), missing, generator(1)))
    assert not torch.equal(known, random_mask((77, 101), missing, generator(2)))


def test_missing_pixels_are_anywhere_alike():
    known = random_mask((77, 101), 0.5, generator()).double()[0, 0]
    for half in (known[:38], known[39:], known[:, :50], known[:, 51:], known[::2], known[:, ::2]):
        assert half.mean().item() == pytest.approx(0.5, abs=0.03)
    assert (known[:, 1:] * known[:, :-1]).mean().item() == pytest.approx(0.25, abs=0.03)


def test_filled_pixels_follow_from_the_known_ones_alone_and_continue_a_slope():
    x = smooth(41, 43)
    known = torch.ones(1, 1, 41, 43, dtype=torch.bool)
    known[..., 11:20, 13:25] = False
    filled = fill(torch.where(known, x, torch.nan), known)
    assert torch.equal(filled, fill(torch.where(known, x, 7.0), known))
    assert torch.equal(filled[known.expand_as(x)], x[known.expand_as(x)])
    torch.testing.assert_close(filled[:, :2], x[:, :2], atol=1e-4, rtol=0)  # two channels are linear
    assert (filled - x)[:, 2].abs().max() < 0.02, "the third is nearly so"
    scattered = random_mask((41, 43), 0.5, generator())
    assert (fill(x * scattered, scattered) - x).abs().max() < 0.1
