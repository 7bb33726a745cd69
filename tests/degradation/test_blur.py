"""Blurred pictures: the operator, its kernels, its start without a DIP, and runs through it."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import convolve, gaussian_filter
from support.gaussian import LINEAR
from support.runs import read, run

import dipddpm as dd
from dipddpm.cli import check as cli
from dipddpm.degradation.blur import Blur
from dipddpm.diffusion.consistency import conjugate_gradients, data_consistency
from dipddpm.errors import UserError
from dipddpm.metrics.quality import psnr
from dipddpm.runs import commands as runs
from dipddpm.runs.job import Job


def draw(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


EVEN = draw(4, 6, seed=9)
BORDERS = {"reflect": "mirror", "circular": "wrap"}  # scipy's words


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("kernel", [EVEN, draw(5, 3, seed=8), draw(1, 1)], ids=["even", "odd", "one"])
def test_it_is_the_convolution_of_scipy_with_its_adjoint(kernel, border):
    a, x = Blur(kernel.float(), border), draw(2, 3, 13, 17)
    weights = a.kernel.double().numpy()
    y = a.measure(x)
    for i in range(3):
        assert np.allclose(y[1, i], convolve(x[1, i].numpy(), weights, mode=BORDERS[border]), atol=1e-6)
    u = draw(2, 3, 13, 17, seed=1)
    back = a.pull(torch.zeros_like(x))
    assert (y * u).sum().item() == pytest.approx((x * back(u)).sum().item()), "<A x, u> = <x, A' u>"


def test_kernels_are_what_they_are_called():
    x = draw(1, 3, 31, 37)
    expected = gaussian_filter(x[0, 0].numpy(), 1.6, mode="mirror", radius=7)
    assert np.allclose(Blur.gaussian(1.6).measure(x)[0, 0], expected, atol=1e-5)
    line = Blur.motion(5, 0).kernel
    assert line.shape == (1, 7) and torch.allclose(line[0, 2:5], torch.full((3,), 0.2), atol=1e-3)
    assert torch.equal(Blur.motion(5, 90).kernel, line.T) and torch.equal(Blur.motion(5, 180).kernel, line)
    up = Blur.motion(9, 45).kernel
    assert up.shape[0] == up.shape[1] and up[0, -1] > 0 and up[-1, 0] > 0 and up[0, 0] == 0, "up to the right"
    assert up.sum().item() == pytest.approx(1) and torch.allclose(up, up.flip(0).flip(1), atol=1e-6)


def test_with_a_circular_border_the_step_is_exact_and_that_of_conjugate_gradients():
    a, x, y = Blur.motion(5, 30, "circular"), *draw(2, 2, 3, 13, 17)
    rho = torch.tensor([0.3, 0.01]).double().reshape(2, 1, 1, 1)
    exact = a.replace(x, y, rho)
    slope = a.pull(x)(a.measure(exact) - y) + rho * (exact - x)
    assert slope.abs().max() < 1e-6
    assert (conjugate_gradients(a, x, y, rho, tolerance=1e-6) - exact).abs().max() < 1e-4
    assert a.put_back(x, y) is x, "nothing is put back: the inverse of a blur is not stable"


def test_at_a_high_level_a_picture_of_a_batch_is_deblurred_as_alone():
    """There sigma^2 / r^2 is 1e-10, while float32 has no number between 1 - 6e-8 and 1."""
    a, (x, clean) = Blur.gaussian(1.7, "circular"), draw(2, 2, 3, 16, 16).float()
    y = a.measure(clean)
    both = data_consistency(y, a, [0, 5], LINEAR)(2 * x - 1, 1000)
    for i, sigma in enumerate((0, 5)):
        alone = data_consistency(y[[i]], a, [sigma], LINEAR)(2 * x[[i]] - 1, 1000)
        torch.testing.assert_close(both[[i]], alone, atol=2e-3, rtol=0)


def test_a_reflecting_border_goes_by_conjugate_gradients_also_where_no_gradients_are_kept():
    a, clean = Blur.gaussian(1.2), dd.read_picture("astronaut", 32)
    x0 = 2 * (clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))) - 1
    with torch.no_grad():
        v = data_consistency(a.measure(clean), a, [0], LINEAR)(x0, 100)
    error = [(a.measure((x + 1) / 2 - clean)).square().mean().sqrt() * 255 for x in (x0, v)]
    assert error[1] < 0.4 < 4 < error[0]
    assert psnr((v + 1) / 2, clean) > psnr((x0 + 1) / 2, clean) + 2


@pytest.mark.parametrize("a", [Blur.gaussian(1.6), Blur.motion(9, 30, "circular")], ids=lambda a: a.border)
@pytest.mark.parametrize("sigma", [0, 5])
def test_the_completed_picture_is_nearer_to_the_clean_one(a, sigma):
    clean = dd.read_picture("astronaut", 64)
    problem = dd.degrade(clean, dd.Gaussian(sigma), a)
    assert psnr(problem.noisy, clean) > psnr(problem.y, clean) + 1.5
    assert problem.shown is problem.y and problem.words == f"{a.words}, deblurred"


def test_noise_is_estimated_in_the_blurred_picture():
    y = dd.degrade(dd.read_picture("astronaut", 64), dd.Gaussian(8), Blur.gaussian(1.6)).y
    assert dd.Problem(y, operator=Blur.gaussian(1.6)).sigma == pytest.approx(8, rel=0.1)


def test_a_fit_depends_on_the_shape_of_the_blur():
    made = [Blur.gaussian(1.6), Blur.gaussian(1.7), Blur.gaussian(1.6, "circular"), Blur.motion(9), Blur.motion(9, 1),
            Blur(EVEN), Blur(EVEN.flip(0))]  # fmt: skip
    requests = [str(a.request()) for a in made]
    assert len(set(requests)) == len(made) and requests[5] == str(Blur(3 * EVEN).request())
    assert made[0].record() == {"kind": "blur", "missing": 0.0, "factor": None, "kernel": "gaussian", "width": 1.6,
                                "border": "reflect"}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Blur(torch.zeros(3, 3)), "kernel has the shape .3, 3.: must be .rows, columns., 0 or more, with a value"),
    (lambda: Blur(-torch.ones(3, 3)), "kernel has the shape"),
    (lambda: Blur(torch.ones(3)), "kernel has the shape .3,."),
    (lambda: Blur(torch.full((3, 3), math.nan)), "kernel has the shape"),
    (lambda: Blur(torch.ones(3, 3), "zero"), "border='zero': must be one of reflect, circular"),
    (lambda: Blur.gaussian(0), "width=0: must be above 0 pixels"),
    (lambda: Blur.motion(math.inf), "length=inf, angle=0: the length must be above 0 pixels"),
    (lambda: Blur(torch.ones(3, 25)).measure(torch.ones(1, 3, 9, 11)), "kernel has 3x25 values: must have at most"),
])  # fmt: skip
def test_a_blur_that_cannot_be_is_refused_by_argument(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("typed", ["", "operator.kernel=motion operator.length=5 operator.border=circular noise=none"])
def test_a_run_restores_a_blurred_picture(configure, typed, tmp_path, capsys):
    _, metrics = run(configure("operator=blur", "ddpm.steps=2", *typed.split()), tmp_path / "run")
    assert metrics["operator"]["kernel"] == ("motion" if typed else "gaussian")
    assert metrics["window"]["data_consistency"] is True and metrics["noisy_window"]["nfe"] == 2
    out = capsys.readouterr().out
    assert "deblurred" in out and (tmp_path / "run/blurred.png").is_file()
    loss = metrics["fit"]["summary"]
    assert loss["crossing"] is None
    clean, y = (read(tmp_path / f"run/{n}.png").astype(float) for n in ("clean", "blurred"))
    assert np.abs(clean - y).mean() > 3


def test_a_blurred_picture_of_ones_own_is_restored_with_the_kernel_of_a_file(configure, tmp_path):
    kernel = np.zeros((3, 5), np.uint8)
    kernel[1], kernel[0, 4] = 200, 100
    Image.fromarray(kernel).save(tmp_path / "psf.png")
    clean = dd.read_picture("astronaut", 16)
    y = Blur(torch.from_numpy(kernel).float()).measure(clean)
    dd.save_picture(tmp_path / "mine.png", y)
    dd.save_picture(tmp_path / "clean.png", clean)
    own = ["image=noisy", f"image.path={tmp_path / 'mine.png'}", f"image.reference={tmp_path / 'clean.png'}",
           "operator=blur", f"operator.kernel={tmp_path / 'psf.png'}", "checkpoint=none"]  # fmt: skip
    c = configure(*own, "ddpm.steps=2", "noise.sigma=0.5")
    _, metrics = run(c, tmp_path / "run")
    assert metrics["noisy"]["psnr"] > psnr(y, clean).item() + 3
    assert len(metrics["operator"]["kernel"]) > 12, "a hash"
    assert run(configure(*own, "ddpm.steps=2"), tmp_path / "estimated")[1]["noise"]["source"] == "estimated"
    with pytest.raises(UserError, match="would be resized from 16x16 to 8x8, which changes its blur; cut it"):
        runs.fit(configure(*own[:2], *own[3:5], "image.size=8", "operator.border=circular"), Job(tmp_path / "other"))


REFUSED = [
    ("operator.width=0", "operator.width=0.0 is not allowed: above 0 pixels"),
    ("operator.width=8", "operator.width=8.0 is not allowed: at most 7.75 pixels at image.size=64"),
    ("operator.width=null", "operator.width=null is not allowed: above 0 pixels"),
    ("operator.kernel=motion operator.length=61", "operator.length=61.0 is not allowed: at most 60 pixels at"),
    ("operator.kernel=motion operator.angle=null", "operator.angle=null is not allowed: a number of degrees"),
    ("operator.border=zero", "operator.border=zero is not allowed"),
    ("operator.kernel=", "operator.kernel= is not allowed: gaussian, motion, or the file of a picture"),
    ("operator.kernel=gausian", "operator.kernel=gausian does not exist: type operator.kernel=<file>"),
    ("operator.kernel=BLACK", "BLACK is black everywhere: give a kernel that is bright where light goes"),
    ("operator.kernel=LARGE", "a kernel of at most 64x64 pixels at image.size=64; it has 3x65"),
    ("operator.kernel=CLEAR", "is transparent in places: give a kernel without transparency"),
    ("operator.factor=2", "operator.factor is a key of operator=downscale, blur_downscale only"),
]


@pytest.mark.parametrize(("typed", "line"), REFUSED, ids=[typed for typed, _ in REFUSED])
def test_what_cannot_be_is_refused_before_any_work(typed, line, tmp_path, capsys):
    Image.new("L", (9, 9)).save(tmp_path / "BLACK.png")
    Image.new("L", (3, 65), 9).save(tmp_path / "LARGE.png")
    Image.new("RGBA", (9, 9), (9, 9, 9, 9)).save(tmp_path / "CLEAR.png")
    for name in ("BLACK", "LARGE", "CLEAR"):
        typed, line = typed.replace(name, f"{tmp_path}/{name}.png"), line.replace(name, f"{name}.png")
    with pytest.raises(SystemExit) as left:
        cli.check_arguments("fit", ["operator=blur", "image.size=64", *typed.split()])
    assert left.value.code == 2 and line in capsys.readouterr().err
