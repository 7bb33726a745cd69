"""What `sample` hands on: each setting reaches the arithmetic, and what can be refused is refused before a fit."""

import json
import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from support.gaussian import LINEAR, data, gaussian_prior

from dipddpm import environment, files
from dipddpm.diffusion import restoration
from dipddpm.diffusion.restoration import run_window
from dipddpm.errors import UserError
from dipddpm.fits import FitStore
from dipddpm.runs import commands as runs
from dipddpm.runs.job import Job


def sample(config, folder):
    runs.sample(config, Job(folder))
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture
def windows(monkeypatch):
    """The windows that a job runs: (initial picture, settings) of each, without what only shows them."""
    asked = []

    def spy(network, start, **settings):
        asked.append((start, {k: v for k, v in settings.items() if k != "watch"}))
        return run_window(network, start, **settings)

    monkeypatch.setattr("dipddpm.runs.commands.run_window", spy)
    return asked


def test_every_setting_reaches_the_window_and_the_baseline_shares_what_it_can(configure, tmp_path, windows):
    typed = {"start_t": 19, "end_t": 3, "steps": 7, "init": "matched", "samples": 2, "seed": 5, "snapshot_every": 4,
             "exact": "true", "error_sigma": 51, "scheduler": "ddpm"}  # fmt: skip
    metrics = sample(configure(*(f"ddpm.{k}={v}" for k, v in typed.items())), tmp_path / "run")
    (dip, of_dip), (noisy, of_noisy) = windows
    shared = {"end_t": 3, "steps": 7, "scheduler": "ddpm", "seed": 5, "snapshot_every": 4, "exact": True,
              "content": metrics["picture"]["content"], "data_consistency": None}  # fmt: skip
    own = {"start_t": 19, "init": "matched", "samples": 2, "error_rms": pytest.approx(51 / 127.5)}
    assert of_dip == {**shared, **own}
    assert of_noisy == {**shared, "start_t": 57, "init": "scaled", "error_rms": None}, "sigma 25 is level 57"
    for name, start in (("dip", dip), ("noisy", noisy)):
        shown = np.asarray(Image.open(tmp_path / f"run/{name}.png")) / 255
        assert np.abs(start[0].clamp(0, 1).permute(1, 2, 0).numpy() - shown).max() < 1 / 500, name


def test_the_seed_of_the_window_is_that_of_the_run_where_none_is_given(configure, tmp_path, windows):
    sample(configure("seed=3", "baselines=false"), tmp_path / "run")
    assert [settings["seed"] for _, settings in windows] == [3]


def test_the_oracle_level_is_that_of_the_true_error_and_is_said_to_be(configure, tmp_path, capsys):
    metrics = sample(configure("ddpm.start_t=auto", "ddpm.steps=1", "baselines=false"), tmp_path / "run")
    clean, dip = (np.asarray(Image.open(tmp_path / f"run/{name}.png")) / 255 for name in ("clean", "dip"))
    level = LINEAR.level_of_sigma(255 * np.sqrt(np.mean((clean - dip) ** 2)))
    assert abs(metrics["window"]["start_t"] - level) <= 1, "the pictures are rounded to 8 bits"
    out = capsys.readouterr().out
    assert "(oracle error)" in out
    assert "oracle error: ddpm.start_t=auto took the error of the DIP output from the clean picture" in out
    sample(configure("ddpm.start_t=auto", "ddpm.error_sigma=20", "ddpm.steps=1", "baselines=false"), tmp_path / "given")
    assert "oracle error" not in capsys.readouterr().out


def test_what_a_prior_was_trained_for_reaches_the_sampler(monkeypatch):
    asked = {}

    def spy(*given, **settings):
        asked.update(settings)
        yield from real(*given, **settings)

    real = restoration.sample_window
    monkeypatch.setattr("dipddpm.diffusion.restoration.sample_window", spy)
    prior = replace(gaussian_prior()[0], prediction_type="v_prediction", clip_sample=True)
    run_window(prior, data(25, (7, 5))[1], start_t=9, end_t=2, steps=3, init="raw", scheduler="ddim", error_rms=None,
               seed=0, content="", snapshot_every=2, exact=True)  # fmt: skip
    del asked["generators"], asked["data_consistency"]
    assert asked == {"scheduler": "ddim", "snapshot_every": 2, "prediction_type": "v_prediction", "clip_sample": True,
                     "exact": True}  # fmt: skip


def test_a_file_that_changes_while_a_job_runs_is_not_what_the_job_read(configure, tmp_path, monkeypatch):
    picture, real = tmp_path / "mine.png", runs.start_of
    Image.new("RGB", (16, 16), (200, 100, 50)).save(picture)
    read = files.sha256(picture)

    def start_of(*given):
        Image.new("RGB", (16, 16), (10, 100, 50)).save(picture)
        return real(*given)

    monkeypatch.setattr("dipddpm.runs.commands.start_of", start_of)
    metrics = sample(configure(f"image.path={picture}", "baselines=false"), tmp_path / "run")
    assert metrics["inputs"]["image.path"] == read != files.sha256(picture)


def test_a_prior_or_a_level_that_cannot_be_is_refused_before_anything_is_fitted(configure, tiny_prior, tmp_path):
    other = tmp_path / "prior"
    shutil.copytree(tiny_prior, other)
    scheduler = other / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps(json.loads(scheduler.read_text()) | {"variance_type": "learned_range"}))
    with pytest.raises(UserError, match="learned_range"):
        sample(configure(f"prior.path={other}"), tmp_path / "run")
    with pytest.raises(UserError, match="at most 3 with dip=skip at 16x16"):
        sample(configure("dip=skip", "dip.layers=4"), tmp_path / "run")
    with pytest.raises(UserError, match="ddpm.end_t=500"):
        sample(configure("ddpm.start_t=auto", "ddpm.error_sigma=10", "ddpm.end_t=500"), tmp_path / "run")
    assert not (tmp_path / "fits").exists()


def test_a_job_run_again_leaves_no_picture_of_the_one_before(configure, tmp_path):
    sample(configure("ddpm.samples=3"), tmp_path / "run")
    (tmp_path / "run/mine.png").touch()
    sample(configure("baselines=false"), tmp_path / "run")
    left = {path.stem for path in (tmp_path / "run").glob("*.png")}
    assert left == {"noisy", "clean", "dip", "result", "panel", "fit", "strip", "mine"}


def test_fp32_means_fp32_whatever_was_set_before(configure, tmp_path):
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags]
    try:
        for flag in flags:
            flag.allow_tf32 = True
        runs.fit(configure(), Job(tmp_path / "run"))
        assert [flag.allow_tf32 for flag in flags] == [False, False]
        assert torch.backends.cudnn.deterministic
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.allow_tf32 = value


def test_a_fit_that_goes_on_elsewhere_says_what_differs(configure, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    runs.fit(configure(), Job(tmp_path / "run"))
    runs.fit(configure("dip.max_epochs=40"), Job(tmp_path / "run"))
    assert "not bit-equal" not in caplog.text
    real = environment.describe
    monkeypatch.setattr("dipddpm.environment.describe", lambda *given: real(*given) | {"threads": 99})
    runs.fit(configure("dip.max_epochs=50"), Job(tmp_path / "run"))
    assert f"not bit-equal to an uninterrupted fit: threads {torch.get_num_threads()} -> 99" in caplog.text


def test_what_a_run_did_not_come_to_is_warned_of(configure, tmp_path, caplog):
    sample(configure("stopping=loss_floor", "ddpm.init=noise", "baselines=false"), tmp_path / "run")
    assert "stopping=loss_floor did not fire in 30 epochs, so the start is epoch 30" in caplog.text
    assert "ddpm.init=noise at level 20" in caplog.text and "ddpm.start_t=1000" in caplog.text
    assert "hardly any noise" not in caplog.text
    pixels = np.random.default_rng(0).normal(128, 2, (48, 48, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mine.png")
    runs.fit(configure("degrade=none", f"image.path={tmp_path / 'mine.png'}", "image.size=48"), Job(tmp_path / "clean"))
    assert "mine.png has hardly any noise (sigma 2." in caplog.text or "(sigma 1." in caplog.text


def test_the_answer_is_held_against_the_starts_without_a_dip(configure, tmp_path, capsys):
    metrics = sample(configure(), tmp_path / "run")
    window, one = (metrics[row]["psnr"] - metrics["result"]["psnr"] for row in ("noisy_window", "posterior_mean"))
    said = (
        f"without a DIP, from the noisy picture: 57 evaluations {window:+.2f} dB, 1 evaluation {one:+.2f} dB "
        "against the result"
    )
    assert said in capsys.readouterr().out
    sample(configure("baselines=false"), tmp_path / "alone")
    assert "without a DIP" not in capsys.readouterr().out


def test_a_fit_that_was_killed_is_one_that_its_run_uses(configure, tmp_path, monkeypatch):
    monkeypatch.setattr("dipddpm.runs.starting._work", lambda *given: 1 / 0)
    (tmp_path / "run").mkdir()
    with pytest.raises(ZeroDivisionError):
        runs.fit(configure(), Job(tmp_path / "run"))
    store = FitStore(tmp_path / "fits")
    assert [store.uses(key) for key in store.keys()] == [[tmp_path / "run"]]
