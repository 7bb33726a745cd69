"""What holds of every operator: a run through it, its keys, and its refusals."""

import numpy as np
import pytest
import torch
from PIL import Image
from support.runs import run

import dipddpm as dd
from dipddpm.cli import check as cli
from dipddpm.errors import UserError
from dipddpm.names import OPERATORS, PICTURES
from dipddpm.runs import commands as runs
from dipddpm.runs.job import Job
from dipddpm.runs.posing import problem_of

TYPED = {  # by the overrides that choose an operator: an operator of Python, and the word for its start without a DIP
    "operator=blur_downscale operator.factor=2 operator.width=0.8": (
        dd.BlurDownscale(dd.Blur.gaussian(0.8), 2), "upscaled"),
    "operator=downscale operator.factor=2 operator.method=bicubic": (dd.BicubicDownscale(2), "upscaled"),
    "operator=sensing operator.share=0.3": (dd.Sensing(0.3), "reconstructed"),
    "operator=sensing operator.transform=hadamard": (dd.Sensing(0.1, "hadamard"), "reconstructed"),
    "operator=jpeg": (dd.Jpeg(10), "decoded"),
    "operator=jpeg operator.quality=30 operator.chroma=full": (dd.Jpeg(30, "full"), "decoded"),
    "operator=clip": (dd.Clip(0.6), "filled"),
}  # fmt: skip


@pytest.mark.parametrize("typed", TYPED)
def test_a_run_and_a_call_from_python_damage_a_picture_alike(typed, configure):
    c = configure(*typed.split(), "noise.sigma=5", "image.size=16", "seed=3")
    operator, completion = TYPED[typed]
    clean = dd.read_picture("astronaut", 16)
    ran, called = problem_of(c, None), dd.degrade(clean, dd.Gaussian(5), operator, seed=3)
    assert torch.equal(ran.y, called.y) and torch.equal(ran.noisy, called.noisy)
    assert ran.operator.request() == called.operator.request() and ran.operator.alike == called.operator.alike
    assert ran.words == f"{ran.operator.words}, {completion}" and ran.operator.shown_as in PICTURES
    assert ran.shown.shape == ran.noisy.shape and ran.shown.isfinite().all()
    assert ran.operator.name in OPERATORS and ran.operator.record()["kind"] == c.operator.kind.name
    pair = torch.cat([clean, clean.flip(3)])
    both = dd.degrade(pair, dd.Gaussian(5), operator, seed=3)
    assert torch.equal(both.y[:1], called.y) and torch.allclose(both.noisy[:1], called.noisy, atol=1e-5)
    assert both.operator.losses(pair, both.y).sqrt().tolist() == pytest.approx([5 / 255] * 2, rel=0.25)


@pytest.mark.parametrize("typed", [
    "operator=blur_downscale operator.factor=2 operator.width=0.8 noise.sigma=5",
    "operator=downscale operator.factor=2 operator.method=bicubic noise=none",
    "operator=sensing operator.share=0.3 noise=none",
    "operator=jpeg noise=none",
    "operator=clip noise=poisson noise.sigma=10",
])  # fmt: skip
def test_a_run_goes_through_it(typed, configure, tmp_path, capsys):
    c = configure(*typed.split(), "ddpm.steps=2", "dip.max_epochs=20")
    _, metrics = run(c, tmp_path / "run")
    assert metrics["window"]["data_consistency"] is True and metrics["noisy_window"]["nfe"] == 2
    shown = next(name for name in PICTURES[1:] if (tmp_path / f"run/{name}.png").is_file())
    assert shown in ("downscaled", "sensed", "compressed", "clipped")
    assert metrics["fit"]["epochs"] == 20 and "no DIP: ddpm 20 to 0" in capsys.readouterr().out


def test_pictures_of_a_folder_share_what_is_drawn_and_have_their_own_tables(configure, tmp_path):
    (tmp_path / "faces").mkdir()
    clean = dd.read_picture("astronaut", 16)
    for i, quality in enumerate((20, 60)):
        pixels = (255 * clean.roll(i, 3)[0].permute(1, 2, 0)).round().byte().numpy()
        Image.fromarray(pixels).save(tmp_path / f"faces/{i}.jpg", quality=quality)
    of_all = [f"image.path={tmp_path / 'faces'}", "image=folder", "ddpm.steps=2", "checkpoint=none"]
    _, metrics = run(configure(*of_all, "operator=sensing", "noise=none"), tmp_path / "sensed")
    assert metrics["operator"]["share"] == 0.1
    _, metrics = run(configure(*of_all, "operator=jpeg", "noise=own"), tmp_path / "compressed")
    assert metrics["noise"]["sigma"] == 0


def test_a_jpeg_of_ones_own_is_restored_with_its_tables(configure, tmp_path):
    clean = dd.read_picture("astronaut", 16)
    pixels = (255 * clean[0].permute(1, 2, 0)).round().byte().numpy()
    for name, number in (("half", 2), ("full", 0), ("one", 1)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.jpg", quality=15, subsampling=number)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.jpg", quality=15)
    turned = Image.Exif()
    turned[0x0112] = 6  # as telephones store an upright photograph
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", quality=15, exif=turned)
    Image.fromarray(pixels).save(tmp_path / "whole.png")
    own = ["image=noisy", "operator=jpeg", "checkpoint=none", "ddpm.steps=2"]
    for name in ("half", "full", "grey"):
        problem = problem_of(configure(*own, f"image.path={tmp_path / name}.jpg", "image.size=16"), None)
        assert isinstance(problem.operator, dd.Jpeg) and problem.sigma == 0
        assert problem.operator.halved is (name == "half")
        assert torch.equal(problem.operator.tables, dd.Jpeg(15).tables) or name == "grey"
    _, metrics = run(configure(*own, f"image.path={tmp_path}/half.jpg"), tmp_path / "run")
    assert metrics["operator"]["quality"] is None and metrics["operator"]["chroma"] == "half"
    for name, line in (("turned.jpg", "turned.jpg is turned by its EXIF orientation, and its blocks are not; turn"),
                       ("whole.png", "whole.png is no JPEG: type operator.quality=<1 to 100>"),
                       ("one.jpg", "colours halved in one direction; type operator=identity noise=own")):  # fmt: skip
        with pytest.raises(UserError, match=line):
            runs.sample(configure(*own, f"image.path={tmp_path / name}"), Job(tmp_path / "refused"))


OWN = "image=noisy image.path=astronaut"
REFUSED = [
    ("operator=sensing operator.share=0", "operator.share=0.0 is not allowed: a share of the coefficients above 0"),
    ("operator=sensing operator.transform=hadamard image.size=48", "dct at image.size=48, which is no power of 2"),
    (f"operator=sensing {OWN}", "operator=sensing with image=noisy is not allowed, because its y is no picture: type"),
    ("operator=jpeg operator.quality=101", "operator.quality=101 is not allowed: from 1 to 100, or null"),
    (f"operator=jpeg operator.quality=9 {OWN} image.box=[8,16,72,80]",
     "image.path=astronaut would be cut through its blocks: type image.box=[0,16,64,80] image.size=64, or"),
    (f"operator=jpeg operator.quality=9 {OWN} image.box=[0,16,72,88] image.size=72",
     "image.path=astronaut would be cut through its blocks: type image.box=[0,16,64,80] image.size=64, or"),
    (f"operator=jpeg operator.quality=9 {OWN}", "would be resized from 172x172 to 64x64, which changes its blocks"),
    (f"operator=clip {OWN}", "would be resized from 172x172 to 64x64, which changes its white parts; cut it with"),
    ("operator=clip operator.threshold=1", "operator.threshold=1.0 is not allowed: a value of the picture above 0 and"),
    ("operator=blur_downscale operator.factor=5", "operator.factor=5 is not allowed: 2, 4, 8 at image.size=64"),
    ("operator=blur_downscale operator.width=9", "operator.width=9.0 is not allowed: at most 7.75 pixels"),
    (f"operator=blur_downscale {OWN}", "operator=blur_downscale with image=noisy needs noise.sigma"),
    ("operator=downscale operator.method=nearest", "operator.method=nearest is not allowed"),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "line"), REFUSED, ids=[typed for typed, _ in REFUSED])
def test_what_cannot_be_is_refused_before_any_work(typed, line, capsys):
    with pytest.raises(SystemExit) as left:
        cli.check_arguments("fit", ["image.size=64", *typed.split()])
    assert left.value.code == 2 and line in capsys.readouterr().err


@pytest.mark.parametrize(("make", "message"), [
    (lambda: dd.Sensing(0), "share=0: must be above 0, and up to 1"),
    (lambda: dd.Sensing(0.1, "fourier"), "transform='fourier': must be one of dct, hadamard"),
    (lambda: dd.Sensing(0.1, "hadamard", size=(8, 12)), "transform=hadamard takes sides that are powers of 2, not 12"),
    (lambda: dd.Sensing().measure(torch.ones(1, 3, 8, 8)), "the coefficients are not drawn yet: use Sensing"),
    (lambda: dd.Sensing(size=(8, 8)).measure(torch.ones(1, 3, 8, 9)), "size=.8, 8.: must be that of the pictures"),
    (lambda: dd.Jpeg(0), "quality=0: must be a whole number from 1 to 100"),
    (lambda: dd.Jpeg(chroma="none"), "chroma='none': must be half or full"),
    (lambda: dd.Jpeg(tables=torch.zeros(2, 8, 8)), "tables has the shape .2, 8, 8.: must be .2, 8, 8., 1 or more"),
    (lambda: dd.Clip(1), "threshold=1: must be above 0 and below 1"),
    (lambda: dd.BicubicDownscale(1), "factor=1: must be 2 or more"),
    (lambda: dd.BicubicDownscale(2).measure(torch.ones(1, 3, 8, 9)), "factor=2: must divide both sides"),
    (lambda: dd.Chain(), "Chain.. has no operators"),
    (lambda: dd.Problem(torch.ones(1, 3, 4, 4), 0, operator=dd.Callable(lambda x: x[..., ::2, ::2])),
     "A of the completed picture has the shape .1, 3, 2, 2., and y .1, 3, 4, 4.: the operator .damaged. must complete"),
])  # fmt: skip
def test_an_operator_that_cannot_be_is_refused_by_argument(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_function_of_ones_own_is_an_operator(tiny_prior, tmp_path):
    clean = dd.read_picture("astronaut", 16)
    bent = dd.Callable(lambda x: x.clamp(min=0) ** 2.2, complete=lambda y: y.clamp(min=0) ** (1 / 2.2), words="darker")
    problem = dd.degrade(clean, dd.Gaussian(2), bent)
    assert dd.psnr(problem.noisy, clean) > dd.psnr(problem.y, clean) and problem.words == "darker, completed"
    small = dd.DipSettings.of("skip", layers=1, max_epochs=20)
    fit = dd.fit_dip(problem, settings=small)
    losses = fit.curves.column("loss_noisy")
    assert losses[-1] < 0.5 * losses[0]
    assert losses[0] > np.square((clean - clean.mean()).numpy()).mean() / 100
    with pytest.raises(ValueError, match="Callable has no request"):
        dd.fit_dip(problem, settings=small, store=tmp_path)
    prior = dd.load_prior(tiny_prior, device="cpu")
    result = dd.restore(prior, fit.picture, dd.Window(20, steps=2), problem)
    missed = [(bent.measure(x) - problem.y).square().mean() for x in (result.picture, fit.picture)]
    assert missed[0] < missed[1]
    halved = dd.Callable(lambda x: x[..., ::2, ::2], size=(16, 16), linear=True)
    other = dd.degrade(clean, dd.NoNoise(), halved)
    assert other.noisy.shape == clean.shape and other.shown.shape == clean.shape
    agreed = dd.restore(prior, other.noisy, dd.Window(20, steps=1), other).picture
    assert (agreed - clean)[..., ::2, ::2].abs().max() < 0.01, "by conjugate gradients"
