"""Sensing, JPEG, over-exposure, bicubic interpolation and chains: what each of them does to a picture."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.fft import dctn
from scipy.linalg import hadamard
from support.gaussian import LINEAR

import dipddpm as dd
from dipddpm.degradation.jpeg import standard_tables
from dipddpm.degradation.transforms import dct_matrix, hadamard_matrix
from dipddpm.diffusion.consistency import conjugate_gradients, data_consistency


def draw(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def columns(*values):
    return torch.tensor(values).double().reshape(-1, 1, 1, 1)


CASES = [
    (dd.BicubicDownscale(2), (26, 34)),
    (dd.BicubicDownscale(3), (39, 51)),
    (dd.Chain(dd.Blur.gaussian(1.0), dd.Downscale(2)), (26, 34)),
    (dd.BlurDownscale(dd.Blur.motion(5, 30, "circular"), 3), (39, 51)),
    (dd.Sensing(0.3, size=(13, 17)), (13, 17)),
    (dd.Sensing(0.3, "hadamard", size=(8, 16)), (8, 16)),
    (dd.Callable(lambda x: x[..., 1:].flip(1) - x[..., :-1], linear=True), (13, 17)),
]
linear = pytest.mark.parametrize(("a", "size"), CASES, ids=lambda c: getattr(c, "words", str(c)))


@linear
def test_what_pulls_back_is_the_adjoint(a, size):
    x = draw(2, 3, *size)
    y = a.measure(x)
    u, back = draw(*y.shape, seed=1), a.pull(torch.zeros_like(x))
    assert (y * u).sum().item() == pytest.approx((x * back(u)).sum().item()), "<A x, u> = <x, A' u>"
    if a.spread is not None:
        assert torch.allclose(a.adjoint(u), back(u))


@pytest.mark.parametrize(("a", "size"), [case for case in CASES if case[0].closed])
def test_a_closed_form_is_that_of_conjugate_gradients_and_reaches_y(a, size):
    x, rho = draw(2, 3, *size), columns(0.3, 0.01)
    y = a.measure(draw(2, 3, *size, seed=1))
    exact = a.replace(x, y, rho)
    slope = a.pull(x)(a.measure(exact) - y) + rho * (exact - x)
    assert slope.abs().max() < 1e-6
    assert (conjugate_gradients(a, x, y, rho, tolerance=1e-6) - exact).abs().max() < 1e-4
    agreed = a.put_back(x, y)
    assert torch.allclose(a.measure(agreed), y), "A A+ A = A"
    assert torch.allclose(a.replace(agreed, y), agreed)


def test_the_transforms_are_those_of_scipy_and_keep_the_mean():
    assert np.allclose(dct_matrix(7) @ dct_matrix(7).T, np.eye(7))
    x = draw(5, 7)
    assert np.allclose(dct_matrix(5) @ x @ dct_matrix(7).T, np.asarray(dctn(x.numpy(), norm="ortho")))
    assert np.allclose(hadamard_matrix(8) * 8**0.5, hadamard(8))
    for share, transform, (height, width) in ((1e-9, "dct", (13, 17)), (0.2, "hadamard", (8, 8))):
        x, a = draw(1, 3, height, width), dd.Sensing(share, transform, size=(height, width))
        assert torch.allclose(a.measure(x)[..., 0, 0], x.mean((2, 3)) * (height * width) ** 0.5)


def test_coefficients_are_drawn_once_for_all_pictures_of_a_seed():
    a, again, other = (
        dd.Sensing(0.25).bind((12, 20), seed, content) for seed, content in ((0, "a"), (0, "b"), (1, "a"))
    )
    assert a.request() == again.request() != other.request() and a.bind((12, 20), 5, "c") is a
    x = draw(1, 3, 12, 20)
    assert a.measure(x).shape == (1, 3, 1, 60) and not torch.equal(a.measure(x), other.measure(x))
    everything = dd.Sensing(1.0, size=(12, 20))
    assert torch.allclose(everything.adjoint(everything.measure(x)), x)


@pytest.mark.parametrize("sigma", [0, 10])
def test_sensing_is_reconstructed_better_than_by_its_adjoint(sigma):
    clean = dd.read_picture("astronaut", 64)
    problem = dd.degrade(clean, dd.Gaussian(sigma), dd.Sensing(0.3))
    assert 255 * (problem.operator.measure(clean) - problem.y).std() == pytest.approx(sigma, rel=0.05, abs=1e-3)
    assert dd.psnr(problem.noisy, clean) > dd.psnr(problem.shown, clean) + 5


def test_a_bicubic_picture_is_that_of_pillow():
    x = dd.read_picture("astronaut", 64)
    y = dd.BicubicDownscale(4).measure(x)
    for c in range(3):
        by_pillow = Image.fromarray(x[0, c].numpy()).resize((16, 16), Image.Resampling.BICUBIC)
        assert np.allclose(y[0, c], np.asarray(by_pillow), atol=1e-3)


def test_a_chain_applies_its_operators_in_turn():
    x, blur, small = draw(1, 3, 26, 34), dd.Blur.gaussian(1.0), dd.Downscale(2)
    a = dd.Chain(blur, small)
    assert torch.equal(a.measure(x), small.measure(blur.measure(x))) and a.linear
    assert torch.equal(dd.BlurDownscale(blur, 2).measure(x), a.measure(x))
    assert not dd.Chain(blur, dd.Clip()).linear and a.request() != dd.Chain(small, blur).request()
    clean = dd.read_picture("astronaut", 64)
    problem = dd.degrade(clean, dd.Gaussian(2), dd.BlurDownscale(blur, 2))
    assert dd.psnr(problem.noisy, clean) > dd.psnr(small.complete(problem.y), clean) + 1


def test_a_fit_does_not_see_what_a_mask_at_the_end_of_a_chain_removed():
    known = draw(1, 1, 13, 17, seed=2) > 0.5
    blur = dd.Blur.gaussian(1.0)
    a, x = dd.Chain(blur, dd.Mask(known=known)), draw(1, 3, 13, 17)
    y = a.measure(draw(1, 3, 13, 17, seed=1)).masked_fill(~known, torch.nan)
    assert a.known_in(y).equal(known.expand_as(y))
    squares = (blur.measure(x) - y).square()[known.expand_as(y)]
    assert a.losses(x, y).item() == pytest.approx(squares.mean().item())
    assert a.residuals(x, y).equal(a.residuals(x, y.nan_to_num()))


def by_pillow(x, quality, subsampling):
    file = io.BytesIO()
    pixels = (255 * x[0].permute(1, 2, 0)).round().byte().numpy()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=subsampling)
    with Image.open(file) as image:
        tables = torch.tensor([vars(image)["quantization"][i] for i in (0, 1)]).reshape(2, 8, 8)
        return torch.from_numpy(np.asarray(image).astype(np.float32) / 255).permute(2, 0, 1)[None], tables


@pytest.mark.parametrize(("chroma", "subsampling"), [("half", 2), ("full", 0)])
@pytest.mark.parametrize(("quality", "size"), [(10, 64), (50, 61), (90, 64)])
def test_a_jpeg_is_that_of_pillow(quality, size, chroma, subsampling):
    x, a = dd.read_picture("astronaut", size), dd.Jpeg(quality, chroma)
    y, tables = by_pillow(x, quality, subsampling)
    assert torch.equal(tables.float(), a.tables) and torch.equal(tables.float(), standard_tables(quality))
    assert 255 * (a.measure(x) - y).abs().mean() < 2, "levels: Pillow rounds in every step"
    with_other = dd.Jpeg(50 if quality != 50 else 95, chroma).measure(x)
    assert 255 * (with_other - y).abs().mean() > 2


@pytest.mark.parametrize("chroma", ["half", "full"])
def test_a_picture_agrees_with_a_jpeg_where_its_coefficients_are_in_the_bins(chroma):
    clean, a = dd.read_picture("astronaut", 64), dd.Jpeg(10, chroma)
    y = a.measure(clean)
    guess = clean.flip(3)
    agreed = a.replace(guess, y)
    assert 255 * (a.measure(agreed) - y).abs().mean() < 0.01 < 255 * (a.measure(guess) - y).abs().mean()
    assert 255 * (a.replace(clean, y) - clean).abs().mean() < 0.01, "the clean picture is in the bins"
    assert 255 * (a.replace(agreed, y) - agreed).abs().mean() < 0.01, "once is enough"
    half = a.replace(guess, y, 1)
    assert torch.allclose(half, (guess + agreed) / 2, atol=1e-6)
    file, _ = by_pillow(clean, 10, 2 if chroma == "half" else 0)
    assert 255 * (a.replace(clean, file) - clean).abs().mean() < 0.05, "those of a file too"


def test_the_derivative_of_a_jpeg_is_that_without_rounding():
    x, a, u = draw(1, 3, 16, 32), dd.Jpeg(10, "full"), draw(1, 3, 16, 32, seed=1)
    assert torch.allclose(a.pull(x)(u), u, atol=1e-6), "all that is left of A is the identity"
    back = dd.Jpeg(10).pull(x)(u)
    assert torch.isfinite(back).all() and (back * u).sum() > 0.3 * (u * u).sum()
    clean = dd.read_picture("astronaut", 64)
    x, y = clean.flip(3), a.measure(clean)
    v = (data_consistency(y, a, [0], LINEAR, gradient=True)(2 * x - 1, 300) + 1) / 2
    assert (a.measure(v) - y).square().mean() < 0.4 * (a.measure(x) - y).square().mean()


@pytest.mark.parametrize("sigma", [0.0, 20.0])
def test_over_exposure_agrees_value_by_value_with_the_least_cost(sigma):
    a, x = dd.Clip(0.6), draw(2, 3, 13, 17)
    y = a.measure(draw(2, 3, 13, 17, seed=1)) + sigma / 255 * torch.randn(2, 3, 13, 17).double()
    r = 0.1
    s = sigma / 255
    v = a.replace(x, y, s**2 / r**2)

    def cost(v):
        return (a.measure(v) - y).square() / max(s, 1e-6) ** 2 + (v - x).square() / r**2

    grid = torch.linspace(-1, 2, 3001).double().reshape(-1, 1, 1, 1, 1)
    assert (cost(v) <= cost(grid).amin(0) + 1e-6 * cost(v).abs() + 1e-9).all()
    if not sigma:
        assert torch.allclose(a.measure(v), y) and torch.equal(a.put_back(x, y), v)
        assert torch.equal(v[y >= 1], x[y >= 1].clamp(min=0.6)), "where y is white, only darker values move"


def test_lost_values_are_filled_beyond_the_threshold_from_those_around():
    rows, across = torch.meshgrid(torch.linspace(0, 1, 40), torch.linspace(0, 1, 44), indexing="ij")
    hill = torch.exp(-((rows - 0.5) ** 2 + (across - 0.5) ** 2) / 0.08)
    clean = torch.stack([0.9 * hill, 0.5 * hill, 0.1 + 0 * hill])[None]
    problem = dd.degrade(clean, dd.NoNoise(), dd.Clip(0.6))
    filled, lost = problem.noisy, clean > 0.6
    assert lost[0, 0].any() and not lost[0, 1:].any() and problem.y.max() == 1
    assert torch.allclose(filled[~lost], clean[~lost], atol=1e-6) and (filled[lost] >= 0.6).all()
    assert (filled - clean)[lost].abs().mean() < 0.5 * (0.6 - clean)[lost].abs().mean()
    white = dd.Problem(torch.ones(1, 3, 8, 8), 0, operator=dd.Clip(0.6)).noisy
    assert torch.allclose(white, torch.full_like(white, 0.8), atol=1e-6), "the middle of what can be"
