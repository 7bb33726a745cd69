"""Pictures with missing pixels, from the command's configuration to what a run leaves."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from support.runs import events, read, run

from dipddpm.cli import check as cli
from dipddpm.diffusion.restore import restore
from dipddpm.errors import UserError
from dipddpm.fits import manifest
from dipddpm.pictures.read import load, to_tensor
from dipddpm.runs import commands as runs
from dipddpm.runs.job import Job

HOLES = ["operator=mask", "noise=none", "ddpm.steps=4"]


@pytest.fixture
def mask(tmp_path):
    """A mask of 16x16 with a hole of 6x5 at (4, 7)."""
    image = Image.new("L", (16, 16), 255)
    ImageDraw.Draw(image).rectangle((4, 7, 9, 11), fill=0)
    image.save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


@pytest.fixture
def photo(tmp_path):
    """A picture of 16x16 whose hole holds black."""
    rows, columns = np.mgrid[0:16, 0:16]
    pixels = np.stack([16 * rows, 16 * columns, 200 + 0 * rows], axis=2).astype(np.uint8)
    pixels[7:12, 4:10] = 0
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_run_puts_the_known_pixels_back_and_restores_the_others(configure, tmp_path, capsys):
    _, metrics = run(configure(*HOLES), tmp_path / "run")
    names = ("clean", "masked", "dip", "result", "noisy", "posterior_mean", "noisy_window")
    clean, masked, dip, result, *others = (read(tmp_path / f"run/{n}.png").astype(int) for n in names)
    known = (masked > 0).any(axis=2)
    assert known.mean() == pytest.approx(0.5, abs=0.02) and metrics["operator"]["missing"] == 0.5
    assert (masked[known] == clean[known]).all()
    for restored in (dip, result, *others):
        assert (restored[known] == clean[known]).all() and (restored[~known] != clean[~known]).any()
    assert (dip[~known] != result[~known]).any()
    for row, nfe in (("result", 4), ("posterior_mean", 1), ("noisy_window", 4)):
        assert metrics[row]["nfe"] == nfe
    assert metrics["window"]["data_consistency"] is True
    assert metrics["fit"]["summary"]["crossing"] is None, "there is no noise to learn half of"
    out = capsys.readouterr().out
    assert "50% missing, filled" in out and "no DIP: ddpm 20 to 0" in out
    assert "without a DIP, from the filled picture, against the result: " in out and " dB in 4 evaluations" in out


def test_the_start_without_a_dip_differs_from_the_dips_in_the_picture_alone(configure, tmp_path, monkeypatch):
    asked = []

    def spy(prior, start, window, problem=None, **told):
        if problem is not None and window.nfe > 1:  # neither the warm-up nor the single evaluation
            asked.append((start, window, told["consistent"]))
        return restore(prior, start, window, problem, **told)

    monkeypatch.setattr("dipddpm.runs.windows.restore", spy)
    run(configure(*HOLES), tmp_path / "run")
    (dip, *of_dip), (filled, *of_filled) = asked
    assert of_dip == of_filled and of_dip[-1] is True and not torch.equal(dip, filled)
    asked.clear()
    run(configure(*HOLES, "ddpm.data_consistency=false"), tmp_path / "without")
    assert [consistent for *_, consistent in asked] == [False, False]
    result, clean = (read(tmp_path / f"without/{n}.png").astype(int) for n in ("result", "clean"))
    known = (read(tmp_path / "without/masked.png") > 0).any(axis=2)
    assert (result[known] != clean[known]).any()


def test_the_dip_learns_from_the_known_pixels(configure, tmp_path):
    _, metrics = run(configure(*HOLES, "dip.ema=0"), tmp_path / "run", runs.fit)
    fit = manifest.read(Path(metrics["fit"]["folder"]))
    assert fit is not None
    masked = to_tensor(load(str(tmp_path / "run/masked.png")).pixels)
    known = (masked > 0).any(dim=1, keepdim=True).expand_as(masked)  # but for a black one or two of the picture's own
    loss = (fit.picture(20) - masked)[known].square().mean().item()
    assert loss == pytest.approx(fit.curves.column("loss_noisy")[20], rel=0.02), "of the weights of epoch 20"
    with Image.open(tmp_path / "run/fit.png") as panel:
        dark = (np.asarray(panel.crop((panel.width // 3, 40, 2 * panel.width // 3, panel.height // 2))) < 8).all(axis=2)
    assert dark.mean() > 0.2, "y is shown with its holes"
    with Image.open(io.BytesIO(events(fit.folder).Images("dip/noisy")[0].encoded_image_string)) as shown:
        assert np.abs(np.asarray(shown).astype(int) - read(tmp_path / "run/masked.png")).max() <= 1


def test_a_rule_that_waits_for_noise_says_that_there_is_none(configure, tmp_path, caplog):
    caplog.set_level("INFO")
    run(configure(*HOLES, "stopping=loss_floor"), tmp_path / "run", runs.fit)
    assert "stopping=loss_floor cannot fire without noise: the start is epoch 30 (dip.max_epochs)" in caplog.text
    assert not [r for r in caplog.records if r.levelname == "WARNING" and r.name.startswith("dipddpm")]


def test_from_noise_there_is_no_start_to_compare_with(configure, tmp_path):
    metrics = run(configure(*HOLES, "ddpm.init=noise", "ddpm.start_t=1000"), tmp_path / "run")[1]
    assert "noisy_window" not in metrics and "posterior_mean" not in metrics


def test_a_noisy_picture_can_be_agreed_with_too_and_the_start_from_it_cannot(configure, tmp_path):
    without = run(configure(), tmp_path / "without")[1]
    agreed = run(configure("ddpm.data_consistency=true"), tmp_path / "with")[1]
    assert agreed["result"]["psnr"] != without["result"]["psnr"]
    for row in ("noisy", "dip", "posterior_mean", "noisy_window"):
        assert agreed[row]["psnr"] == without[row]["psnr"], row


def test_fits_of_other_holes_are_others_and_the_same_holes_share_one(configure, tmp_path, mask):
    runs_of = {
        "half": HOLES, "again": [*HOLES, "ddpm.start_t=10"], "other seed": [*HOLES, "seed=1"],
        "more": [*HOLES, "operator.missing=0.6"], "drawn": [*HOLES, f"operator.file={mask}", "image.box=[0,0,16,16]"],
        "noisy": [*HOLES, "noise=gaussian", "noise.sigma=9"], "whole": [],
    }  # fmt: skip
    keys = {name: run(configure(*o), tmp_path / name, runs.fit)[1]["fit"]["key"] for name, o in runs_of.items()}
    assert keys["half"] == keys["again"]
    assert len(set(keys.values())) == len(keys) - 1


def test_a_drawn_mask_takes_the_place_of_a_share_and_says_so(configure, mask):
    c = configure(*HOLES, f"operator.file={mask}")
    assert c.operator.missing is None, "so config.yaml tells of no half that is not missing"


def test_a_damaged_photograph_with_its_mask_keeps_what_it_has(configure, tmp_path, mask, photo):
    own = ["image=noisy", f"image.path={photo}", "noise=none", "operator=mask", f"operator.file={mask}"]
    value, metrics = run(configure(*own, "ddpm.steps=4"), tmp_path / "run")
    assert value is None
    assert metrics["noise"] == {"kind": "none", "sigma": 0.0, "source": "given", "correlation": None}
    assert metrics["operator"] == {"kind": "mask", "missing": pytest.approx(30 / 256), "factor": None}
    given, result, filled = read(photo), read(tmp_path / "run/result.png"), read(tmp_path / "run/noisy.png")
    hole = np.zeros((16, 16), bool)
    hole[7:12, 4:10] = True
    assert (result[~hole] == given[~hole]).all() and (result[hole] > 0).any()
    assert filled[hole][:, 2].min() > 190, "continued from around it"
    assert metrics["inputs"]["operator.file"]


def test_a_photograph_that_would_be_resized_with_its_holes_is_refused(configure, tmp_path, mask, photo):
    for path in (mask, photo):
        with Image.open(path) as image:
            image.resize((32, 32)).save(path)
    own = [f"image.path={photo}", "operator=mask", f"operator.file={mask}", "noise=none"]
    with pytest.raises(UserError, match="would be resized to 16x16, which mixes missing pixels with known ones; cut"):
        runs.sample(configure("image=noisy", *own), Job(tmp_path / "run"))
    assert not (tmp_path / "fits").exists()
    assert run(configure(*own), tmp_path / "clean")[1]["operator"]["missing"] > 0, "a clean one is resized first"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("mask.png", None),
        ("black.png", "operator.file: every pixel is missing"),
        ("tall.png", "operator.file is 16x17, but image.path is 16x16"),
        ("maks.png", "operator.file=maks.png does not exist: did you mean mask.png?"),
    ],
)
def test_a_mask_is_looked_at_before_any_work(name, line, tmp_path, mask, photo, tiny_prior, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (16, 16), 0).save("black.png")
    Image.new("L", (16, 17), 0).save("tall.png")
    arguments = [f"prior.path={tiny_prior}", "image.path=photo.png", "operator=mask", f"operator.file={name}"]
    if line is None:
        cli.check_arguments("sample", arguments)
        return
    with pytest.raises(SystemExit) as left:
        cli.check_arguments("sample", arguments)
    assert left.value.code == 2 and line in capsys.readouterr().err
