"""Pictures that are smaller than the one wanted, from the command's configuration to what a run leaves."""

import numpy as np
import pytest
from PIL import Image
from support.runs import read, run

from dipddpm.cli import check as cli
from dipddpm.errors import UserError
from dipddpm.runs import commands as runs
from dipddpm.runs.job import Job

OWN = ["image=noisy", "image.path=astronaut"]
SMALL = ["operator=downscale", "operator.factor=2", "noise=none", "ddpm.steps=4"]


def halved(pixels):
    return pixels.reshape(8, 2, 8, 2, 3).mean(axis=(1, 3))


def test_what_is_restored_has_the_means_of_the_smaller_picture(configure, tmp_path, capsys):
    _, metrics = run(configure(*SMALL), tmp_path / "run")
    names = ("clean", "downscaled", "dip", "result", "noisy", "posterior_mean", "noisy_window")
    clean, small, dip, result, *others = (read(tmp_path / f"run/{n}.png").astype(float) for n in names)
    assert np.abs(halved(clean) - small[::2, ::2]).max() <= 1
    assert (small[::2] == small[1::2]).all() and (small[:, ::2] == small[:, 1::2]).all(), "shown in squares"
    for restored in (dip, result, *others):
        assert np.abs(halved(restored) - small[::2, ::2]).mean() < 0.6, (
            "but for rounding, and clipping of single pixels"
        )
        assert np.abs(restored - small).max() > 5
    assert metrics["noise"] == {"kind": "none", "sigma": 0, "source": "given", "correlation": None}
    assert metrics["operator"] == {"kind": "downscale", "missing": 0.0, "factor": 2}
    assert metrics["window"]["data_consistency"] is True and metrics["noisy_window"]["nfe"] == 4
    out = capsys.readouterr().out
    assert "2 times smaller, upscaled" in out
    assert "without a DIP, from the upscaled picture, against the result: " in out and " dB in 4 evaluations" in out


def test_a_small_picture_of_ones_own_is_made_larger(configure, tmp_path):
    rows, columns = np.mgrid[0:16, 0:16]
    large = np.stack([16 * rows, 16 * columns, 200 + 0 * rows], axis=2).astype(np.uint8)
    Image.fromarray(large).save(tmp_path / "large.png")
    Image.fromarray(halved(large.astype(float)).astype(np.uint8)).save(tmp_path / "small.png")
    own = [
        "image=noisy",
        f"image.path={tmp_path / 'small.png'}",
        "operator=downscale",
        "operator.factor=2",
        "noise=none",
    ]
    value, metrics = run(configure(*own, "ddpm.steps=4"), tmp_path / "run")
    assert value is None and metrics["picture"]["size"] == [16, 16] and metrics["picture"]["notes"] == []
    assert np.abs(halved(read(tmp_path / "run/noisy.png").astype(float)) - read(tmp_path / "small.png")).max() < 1
    against = [*own, f"image.reference={tmp_path / 'large.png'}", "ddpm.steps=4"]
    assert run(configure(*against), tmp_path / "measured")[1]["noisy"]["psnr"] > 30
    with pytest.raises(UserError, match="image.reference is 8x8, but image.path is 8x8: give image.reference at 16x16"):
        runs.fit(configure(*own, f"image.reference={tmp_path / 'small.png'}"), Job(tmp_path / "wrong"))


def test_a_part_of_it_is_measured_against_the_same_part(configure, tiny_prior, tmp_path, capsys):
    """Of a wider picture, whose middle is half a pixel off the middle of the larger one."""
    pixels = np.random.default_rng(0).integers(0, 255, (8, 11, 3))
    large = np.kron(pixels, np.ones((2, 2, 1)))
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "small.png")
    Image.fromarray(large.astype(np.uint8)).save(tmp_path / "large.png")
    own = [
        "image=noisy",
        f"image.path={tmp_path / 'small.png'}",
        "operator=downscale",
        "operator.factor=2",
        "noise=none",
    ]
    own_pair = [*own, f"image.reference={tmp_path / 'large.png'}", "image.box=[3,0,11,8]"]
    cli.check_arguments("sample", [f"prior.path={tiny_prior}", *own_pair])
    run(configure(*own_pair), tmp_path / "run", runs.fit)
    assert (read(tmp_path / "run/clean.png") == large[:, 6:]).all()
    assert (read(tmp_path / "run/downscaled.png") == large[:, 6:]).all()
    for box, line in (
        ("null", "is 11x8, but operator.factor=2 with image.size=16 needs 8x8: cut a square"),
        ("[0,0,9,8]", "is 9x8"),
    ):
        with pytest.raises(UserError, match=line) as refusal:
            runs.fit(configure(*own, f"image.box={box}"), Job(tmp_path / "refused"))
        with pytest.raises(SystemExit):
            cli.check_arguments("sample", [f"prior.path={tiny_prior}", *own, f"image.box={box}"])
        assert str(refusal.value) in capsys.readouterr().err


def test_fits_of_other_factors_are_others(configure, tmp_path):
    asked = {"2": SMALL, "again": [*SMALL, "ddpm.start_t=10"], "4": [*SMALL, "operator.factor=4"],
             "whole": ["operator=mask", "noise=none", "operator.missing=0.01"]}  # fmt: skip
    keys = {
        name: run(configure(*o, "image.size=32"), tmp_path / name, runs.fit)[1]["fit"]["key"]
        for name, o in asked.items()
    }
    assert keys["2"] == keys["again"] and len(set(keys.values())) == 3


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["operator.factor=1"], "operator.factor=1 is not allowed: 2 or more (times smaller)"),
        (["operator.factor=5"], "operator.factor=5 is not allowed: 2, 4, 8 at image.size=64"),
        ([*OWN, "operator.factor=5"], "operator.factor=5 is not allowed: 2, 4, 8 at image.size=64"),
        (["operator.factor=16"], "operator.factor=16 is not allowed: 2, 4, 8 at image.size=64"),
        (
            ["operator.missing=0.5"],
            "operator.missing is a key of operator=mask only: type operator=mask operator.missing=0.5",
        ),
        ([*OWN, "noise=own"], "operator=downscale with image=noisy needs noise.sigma, which is estimated only"),
        (
            [*OWN, "noise.sigma=5"],
            "noise.sigma is a key of noise=gaussian, poisson, impulse, random_impulse, correlated",
        ),
        ([*OWN, "noise.sigma=5"], "type noise=own noise.sigma=5"),
        (
            [*OWN, "image.box=[0,0,20,20]"],
            "image.path=astronaut is 20x20, but operator.factor=4 with image.size=64 needs 16x16: cut it with "
            "image.box=[left,top,right,bottom], or type image=file if it is the clean picture",
        ),
        ([*OWN, "image.box=[0,0,32,32]"], "with image.size=64 needs 16x16: type operator.factor=2"),
        ([*OWN, "image.box=[0,0,12,12]"], "with image.size=64 needs 16x16: type image.size=48"),
        (
            ["image.box=[0,0,16,16]"],
            "is 16x16, too small for image.size=64: to make a small picture larger, type image=noisy noise=none",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(typed, line, capsys):
    with pytest.raises(SystemExit) as left:
        cli.check_arguments("sample", ["experiment=superres", *typed])
    assert left.value.code == 2 and line in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.check_arguments("fit", ["experiment=superres", "image.size=64", *typed])
    assert line in capsys.readouterr().err
