"""What `sample` hands on: each setting reaches the arithmetic, and what can be refused is refused before a fit."""

import json
import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from support.gaussian import LINEAR

from dipddpm import environment, files
from dipddpm.cli import launch
from dipddpm.degradation.problem import Problem
from dipddpm.diffusion.restore import Restoration, restore
from dipddpm.diffusion.window import Window
from dipddpm.dip.module import DeepImagePrior
from dipddpm.errors import UserError
from dipddpm.fits import FitStore
from dipddpm.runs import commands as runs
from dipddpm.runs import outputs
from dipddpm.runs.job import Job
from dipddpm.runs.report import Row


def sample(config, folder):
    runs.sample(config, Job(folder))
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture
def asked(monkeypatch):
    """The windows that a job runs: (picture, window, the rest) of each, without the watch."""
    asked = []

    def spy(prior, start, window, problem=None, **told):
        if problem is not None and window.nfe > 1:  # neither the warm-up nor the single evaluation
            asked.append((start, window, {name: value for name, value in told.items() if name != "watch"}))
        return restore(prior, start, window, problem, **told)

    monkeypatch.setattr("dipddpm.runs.windows.restore", spy)
    return asked


def test_every_setting_reaches_the_window_and_the_baseline_shares_what_it_can(configure, tmp_path, asked):
    typed = {"start_t": 19, "end_t": 3, "steps": 7, "init": "matched", "samples": 2, "seed": 5, "snapshot_every": 4,
             "exact": True, "scheduler": "ddpm"}  # fmt: skip
    more = {"error_sigma": 51}
    sample(configure(*(f"ddpm.{k}={v}" for k, v in (typed | more).items())), tmp_path / "run")
    (dip, of_dip, told), (noisy, of_noisy, told_of_noisy) = asked
    assert of_dip == Window(**typed)
    assert told == {"consistent": False, "error_sigma": [51]}
    assert of_noisy == replace(of_dip, start_t=57, init="scaled", samples=1), "sigma 25 is level 57"
    assert told_of_noisy == {"consistent": False}
    for name, start in (("dip", dip), ("noisy", noisy)):
        shown = np.asarray(Image.open(tmp_path / f"run/{name}.png")) / 255
        assert np.abs(start[0].clamp(0, 1).permute(1, 2, 0).numpy() - shown).max() < 1 / 500, name


@pytest.mark.parametrize(
    ("typed", "windows"), [("", 1), ("ddpm.seed=1", 1), ("ddpm.samples=2", 2), ("ddpm.init=raw", 2)]
)
def test_a_window_from_y_that_is_the_baseline_is_run_once(configure, tmp_path, asked, typed, windows):
    metrics = sample(configure("checkpoint=none", "ddpm.start_t=57", *typed.split()), tmp_path / "run")
    assert len(asked) == windows
    assert (metrics["result"]["psnr"] == metrics["noisy_window"]["psnr"]) == (windows == 1)


def test_a_form_of_data_consistency_reaches_all_windows_and_is_recorded(configure, tmp_path, asked):
    def run(*typed):
        metrics = sample(configure("operator=mask", "noise.sigma=20", *typed), tmp_path / "-".join(typed))
        told, asked[:] = [(w.consistency, w.prior_weight, more["consistent"]) for _, w, more in asked], []
        return metrics, told

    auto, told = run("ddpm.prior_weight=4")
    assert told == 2 * [("diffpir", 4, True)] and auto["window"]["consistency"] == "diffpir"
    dps, told = run("ddpm.consistency=dps", "ddpm.prior_weight=4")
    assert told == 2 * [("dps", 4, True)]
    assert (dps["window"]["consistency"], dps["window"]["prior_weight"]) == ("dps", 4)
    assert dps["posterior_mean"]["psnr"] != auto["posterior_mean"]["psnr"], "the single evaluation, too"


def test_the_seed_of_the_window_is_that_of_the_run_where_none_is_given(configure, tmp_path, asked):
    sample(configure("seed=3", "baselines=false"), tmp_path / "run")
    assert [window.seed for _, window, _ in asked] == [3]


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


def test_a_file_that_changes_while_a_job_runs_is_not_what_the_job_read(configure, tmp_path, monkeypatch):
    picture, real = tmp_path / "mine.png", runs.start_of
    Image.new("RGB", (16, 16), (200, 100, 50)).save(picture)
    read = files.sha256(picture)

    def start_of(*given, **named):
        Image.new("RGB", (16, 16), (10, 100, 50)).save(picture)
        return real(*given, **named)

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


def test_fp32_means_fp32_whatever_was_set_before(configure, tmp_path, monkeypatch):
    seen: list[tuple[object, ...]] = []

    def spy(self, z):
        seen.append((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))
        return real(self, z)

    real = DeepImagePrior.forward
    monkeypatch.setattr(DeepImagePrior, "forward", spy)
    with environment.arithmetic("tf32"):
        runs.fit(configure(), Job(tmp_path / "run"))
        assert set(seen) == {(False, False)}
        assert torch.backends.cuda.matmul.allow_tf32, "the settings of the process return"


def test_auto_is_resolved_in_the_key_of_a_fit_and_in_the_record_but_not_in_the_configuration(
    configure, tmp_path, monkeypatch
):
    """So one command makes two fits on two machines, and a job that is done stays done on the other one."""
    c = configure("dip.precision=auto", "ddpm.precision=auto", "dip.max_epochs=10", "baselines=false")
    keys = []
    for has, precision in ((False, "fp32"), (True, "bf16")):
        monkeypatch.setattr(environment, "has_bf16", lambda _, has=has: has)
        metrics = sample(c, tmp_path / precision)
        assert (metrics["environment"]["precision"], metrics["fit"]["precision"]) == (precision, precision)
        keys.append(metrics["fit"]["key"])
        assert launch.done_before(tmp_path / "fp32", c, "sample")
    assert len(set(keys)) == 2
    monkeypatch.setattr(environment, "has_bf16", lambda _: False)
    explicit = sample(configure("dip.max_epochs=10", "baselines=false"), tmp_path / "explicit")
    assert explicit["fit"]["key"] == keys[0] and not explicit["fit"]["made_by_this_run"]


def test_a_fit_that_goes_on_elsewhere_says_what_differs(configure, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    runs.fit(configure(), Job(tmp_path / "run"))
    runs.fit(configure("dip.max_epochs=40"), Job(tmp_path / "run"))
    assert "will not be bit-equal" not in caplog.text
    real = environment.describe
    monkeypatch.setattr("dipddpm.environment.describe", lambda *given: real(*given) | {"threads": 99})
    runs.fit(configure("dip.max_epochs=50"), Job(tmp_path / "run"))
    assert (
        f"the fit will not be bit-equal to an uninterrupted one: threads {torch.get_num_threads()} -> 99" in caplog.text
    )


def test_what_a_run_did_not_come_to_is_warned_of(configure, tmp_path, caplog):
    sample(configure("stopping=loss_floor", "ddpm.init=noise", "baselines=false"), tmp_path / "run")
    assert "stopping=loss_floor did not fire in 30 epochs, so the start is epoch 30" in caplog.text
    assert "ddpm.init=noise starts at level 20" in caplog.text and "ddpm.start_t=1000" in caplog.text
    assert "hardly any noise" not in caplog.text
    pixels = np.random.default_rng(0).normal(128, 2, (48, 48, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mine.png")
    runs.fit(configure("image=noisy", f"image.path={tmp_path / 'mine.png'}", "image.size=48"), Job(tmp_path / "clean"))
    assert "mine.png has hardly any noise (estimated sigma 2." in caplog.text or "(estimated sigma 1." in caplog.text


def test_the_answer_is_held_against_the_starts_without_a_dip(configure, tmp_path, capsys):
    metrics = sample(configure(), tmp_path / "run")
    window, one = (metrics[row]["psnr"] - metrics["result"]["psnr"] for row in ("noisy_window", "posterior_mean"))
    said = (
        f"without a DIP, from the noisy picture, against the result: {window:+.2f} dB in 57 evaluations, "
        f"{one:+.2f} dB in 1 evaluation"
    )
    assert said in capsys.readouterr().out
    sample(configure("baselines=false"), tmp_path / "alone")
    assert "without a DIP" not in capsys.readouterr().out


def test_a_fit_that_was_killed_is_one_that_its_run_uses(configure, tmp_path, monkeypatch):
    monkeypatch.setattr("dipddpm.fits.fit.Wanted.make_in", lambda *given: 1 / 0)
    (tmp_path / "run").mkdir()
    with pytest.raises(ZeroDivisionError):
        runs.fit(configure(), Job(tmp_path / "run"))
    store = FitStore(tmp_path / "fits")
    assert [store.uses(key) for key in store.keys()] == [[tmp_path / "run"]]


def test_the_panel_says_every_quality_and_what_the_fit_cost():
    clean = torch.full((1, 3, 8, 8), 0.5)
    quality = {"psnr": 25.813, "ssim": 0.8012, "stlpips": 0.1234}
    rows = {
        "noisy": Row("noisy picture", clean, {"psnr": 20.0}),
        "dip": Row("DIP, epoch 40 (loss_floor)", clean, quality),
        "result": Row("DIP, then ddpm 25 to 0", clean, quality, nfe=25),
        "posterior_mean": Row("no DIP: one evaluation at 57", clean, {}, nfe=1),
    }
    titles = [title for title, _ in outputs._titled(Problem(clean, 25), rows, {"fit_evaluations_worth": 508.6})]
    figures = "25.81 dB, SSIM 0.801, ST-LPIPS 0.123"
    assert titles == [
        "noisy picture\n20.00 dB",
        f"DIP, epoch 40 (loss_floor)\n{figures}\nfit 509",
        f"DIP, then ddpm 25 to 0\n{figures}\n25 NFE + fit 509",
        "no DIP: one evaluation at 57\n1 NFE",
    ]
    result = Restoration(clean, clean, [25, 0], 25, 1.0, [(25, clean * 0), (0, clean)])
    assert outputs._labels(Problem(clean, 25, clean), result) == ["start: level 25\n6.02 dB", "level 0\n100.00 dB"]
    assert outputs._labels(Problem(clean, 25), result) == ["start: level 25", "level 0"]
