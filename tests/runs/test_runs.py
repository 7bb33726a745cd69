"""Whole runs on a tiny prior: what is computed, what is left behind, what TensorBoard can read."""

import io
import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from support.runs import events, read, run

from dipddpm.errors import UserError
from dipddpm.files import link
from dipddpm.fits import FitStore
from dipddpm.pictures.read import load
from dipddpm.runs import commands as runs
from dipddpm.runs.job import Job
from dipddpm.study import read_frame


def test_a_run_leaves_what_there_is_to_see(configure, tmp_path):
    value, metrics = run(configure(), tmp_path / "run")
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert {"noisy.png", "clean.png", "dip.png", "result.png", "posterior_mean.png", "noisy_window.png",
            "panel.png", "fit.png", "strip.png", "config.yaml", "metrics.json"} <= names  # fmt: skip
    assert read(tmp_path / "run/result.png").shape == (16, 16, 3)
    assert value == metrics["result"]["psnr"]
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["ddpm"]["init"] == "scaled"
    assert metrics["result"]["nfe"] == 20
    assert metrics["posterior_mean"]["nfe"] == 1
    assert metrics["noisy_window"]["nfe"] == 57, "sigma 25 is level 57"
    assert metrics["fit"]["why"] == "max_epochs"
    assert metrics["cost"]["total_evaluations_worth"] == pytest.approx(metrics["cost"]["fit_evaluations_worth"] + 20)
    assert {"torch", "threads", "precision", "memory_format", "device"} <= set(metrics["environment"])
    beside_the_fit = json.loads((tmp_path / "fits" / metrics["fit"]["key"] / "summary.json").read_text())
    assert beside_the_fit == metrics["fit"]["summary"]
    assert beside_the_fit["epochs"] == 30


def test_a_skip_network_starts_a_window_for_a_thirtieth_of_the_arithmetic(configure, tmp_path):
    settings = "image.size=64", "dip.layers=4", "dip.channels=64", "ddpm.start_t=1", "baselines=false"
    _, plain = run(configure(*settings), tmp_path / "plain")
    _, skip = run(configure("dip=skip", *settings[:2], "dip.channels=16", *settings[3:]), tmp_path / "skip")
    assert skip["fit"]["summary"]["epochs"] == plain["fit"]["summary"]["epochs"] == 30
    assert 28 < plain["cost"]["fit_gflop"] / skip["cost"]["fit_gflop"] < 29
    assert skip["dip"]["psnr"] > plain["dip"]["psnr"] + 5
    assert skip["fit"]["key"] != plain["fit"]["key"]


def test_the_memory_format_of_the_fit_is_recorded(configure, tmp_path):
    for network, expected in (("cnn", "channels_last"), ("skip", "contiguous_format")):
        c = configure(f"dip={network}", "dip.max_epochs=10")
        _, of_fit = run(c, tmp_path / network / "fit", job=runs.fit)
        assert of_fit["environment"]["memory_format"] == expected
        assert of_fit["fit"]["environments"][0]["memory_format"] == expected
        _, of_window = run(c, tmp_path / network / "window")
        assert of_window["environment"]["memory_format"] == "channels_last", "the prior's"


def test_metrics_are_those_of_the_pictures(configure, tmp_path):
    run(configure(), tmp_path / "run")
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    clean, dip = (read(tmp_path / f"run/{n}.png") / 255 for n in ("clean", "dip"))
    psnr = -10 * np.log10(np.mean((clean - dip) ** 2))
    assert metrics["dip"]["psnr"] == pytest.approx(psnr, abs=0.05)  # the files are rounded to 8 bits


def test_the_same_request_gives_the_same_result_and_samples_begin_with_it(configure, tmp_path):
    one = run(configure(), tmp_path / "one")[1]
    again = run(configure(), tmp_path / "again")[1]
    assert again["result"]["psnr"] == one["result"]["psnr"]
    assert (one["fit"]["made_by_this_run"], again["fit"]["made_by_this_run"]) == (True, False)
    run(configure("ddpm.samples=3", "ddpm.exact=true"), tmp_path / "three")
    pictures = [read(tmp_path / "three" / f"result{i}.png") for i in ("", "-1", "-2")]
    assert np.array_equal(pictures[0], read(tmp_path / "one/result.png"))
    assert not np.array_equal(pictures[0], pictures[1]) and not np.array_equal(pictures[1], pictures[2])


def test_a_window_that_ends_early_says_that_the_result_is_noisy(configure, tmp_path, capsys):
    metrics = run(configure("ddpm.end_t=5"), tmp_path / "run")[1]
    assert metrics["window"]["still_noisy"] is True
    assert metrics["result"]["nfe"] == 15
    assert "psnr" in metrics["result"]["estimate"]
    assert "still noisy" in capsys.readouterr().out


def test_start_t_auto_is_the_level_of_the_error_and_is_labelled_oracle(configure, tmp_path):
    metrics = run(configure("ddpm.start_t=auto"), tmp_path / "oracle")[1]
    assert metrics["window"]["error_source"] == "oracle"
    given = run(configure("ddpm.start_t=auto", "ddpm.error_sigma=25", "ddpm.init=matched"), tmp_path / "given")[1]
    assert (given["window"]["start_t"], given["window"]["error_source"]) == (57, "given")
    known = ["ddpm.start_t=auto", "ddpm.error_sigma=25", "ddpm.scheduler=ddim"]
    few, more = (run(configure(*known, f"ddpm.steps={n}"), tmp_path / str(n))[1] for n in (10, 70))
    assert (few["result"]["nfe"], more["result"]["nfe"]) == (10, 57), "each level once"
    with pytest.raises(
        UserError,
        match=r"ddpm\.end_t=60 is not below ddpm\.start_t=auto, which is noise level 57 here: "
        r"type ddpm\.end_t=56 or less",
    ):
        run(configure(*known, "ddpm.end_t=60"), tmp_path / "above")


def test_a_noisy_picture_of_ones_own_has_no_quality_and_an_estimated_sigma(configure, tmp_path, capsys):
    rng = np.random.default_rng(0)
    pixels = np.full((48, 60, 3), 128) + rng.normal(0, 20, (48, 60, 3))
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "mine.png")
    config = configure("image=noisy", f"image.path={tmp_path / 'mine.png'}", "stopping=loss_floor", "image.size=48")
    value, metrics = run(config, tmp_path / "run")
    assert value is None
    table = capsys.readouterr().out
    assert "NFE" in table and "PSNR" not in table, "nothing to compare with, so no columns of dashes"
    assert not any("psnr" in metrics[r] or "ssim" in metrics[r] for r in ("noisy", "dip", "result"))
    assert metrics["noise"]["source"] == "estimated"
    assert metrics["noise"]["sigma"] == pytest.approx(20, rel=0.15)
    assert not (tmp_path / "run/clean.png").exists()
    assert any("crop" in n for n in metrics["picture"]["notes"])


def test_a_window_from_noise_is_shown_and_charged_without_the_dip(configure, tmp_path, capsys):
    metrics = run(configure("ddpm.init=noise"), tmp_path / "noise")[1]
    said = capsys.readouterr().out
    assert "noise, then ddpm 20 to 0" in said and "of them for the fit" not in said
    assert (metrics["cost"]["fit_gflop"], metrics["cost"]["total_evaluations_worth"]) == (0, 20)
    assert metrics["fit"]["gflop"] > 0, "the DIP is there to compare with"
    (first, *_) = events(tmp_path / "noise").Images("window/state")
    shown = np.asarray(Image.open(io.BytesIO(first.encoded_image_string)))
    spread = np.abs(np.diff(shown.astype(float), axis=0)).mean()
    assert first.step == 0 and spread > 60, "of pure noise"


def test_a_start_without_a_dip_fits_nothing_and_is_the_baseline_at_the_level_of_the_noise(configure, tmp_path, capsys):
    cfg = configure("checkpoint=none", "ddpm.start_t=auto", f"store={tmp_path / 'unused'}")
    metrics = run(cfg, tmp_path / "alone")[1]
    said = capsys.readouterr().out
    level = metrics["window"]["start_t"]
    assert f"no DIP, then ddpm {level} to 0" in said and f"the arithmetic of {level} evaluations;" in said
    assert (metrics["window"]["error_sigma"], metrics["window"]["error_source"]) == (25, "noise, given")
    assert metrics["result"]["psnr"] == metrics["noisy_window"]["psnr"] and metrics["result"]["nfe"] == level
    assert not {"dip", "fit"} & metrics.keys() and not (tmp_path / "unused").exists()
    assert (metrics["cost"]["fit_seconds"], metrics["cost"]["total_evaluations_worth"]) == (0, level)
    first, again = (load(str(tmp_path / "alone" / f"{row}.png"), 16).pixels for row in ("result", "noisy_window"))
    assert np.array_equal(first, again)


def test_the_gradients_of_dps_are_charged(configure, tmp_path):
    typed = "checkpoint=none operator=mask ddpm.steps=2".split()
    auto, dps = (
        run(configure(*typed, f"ddpm.consistency={form}"), tmp_path / form)[1] for form in ("auto", "dps")
    )  # fmt: skip
    each = dps["cost"]["total_evaluations_worth"] / dps["result"]["nfe"]
    assert auto["cost"]["total_evaluations_worth"] == auto["result"]["nfe"] == 2 and 1.9 < each < 2.2
    for row in ("posterior_mean", "noisy_window"):
        assert dps[row]["evaluations_worth"] == pytest.approx(each * dps[row]["nfe"])
        assert "evaluations_worth" not in auto[row]
    frame = read_frame(tmp_path).set_index("job")
    assert frame["noisy_window_nfe"].to_dict() == {"auto": 2, "dps": 4}, "the cost of a start in a study"


def test_pure_noise_needs_no_fit_and_gives_the_same_without_one(configure, tmp_path):
    fitted = run(configure("ddpm.init=noise"), tmp_path / "fitted")[1]
    alone = run(configure("ddpm.init=noise", "checkpoint=none"), tmp_path / "alone")[1]
    assert alone["result"]["psnr"] == fitted["result"]["psnr"] and "fit" not in alone
    assert alone["cost"]["total_evaluations_worth"] == fitted["cost"]["total_evaluations_worth"] == 20


def test_the_noise_that_matched_adds_to_y_is_what_its_own_noise_lacks(configure, tmp_path):
    """Below the level of its noise nothing is lacking, so that `matched` is `scaled`; above it is not."""

    def psnr(start_t, init):
        window = [f"ddpm.start_t={start_t}", f"ddpm.init={init}", "ddpm.scheduler=ddim", "ddpm.steps=5"]
        return run(configure("checkpoint=none", *window), tmp_path / f"{start_t}{init}")[1]["result"]["psnr"]

    assert psnr(50, "matched") == psnr(50, "scaled")  # sigma 22, that of y is 25
    assert psnr(100, "matched") != psnr(100, "scaled")


def test_the_error_of_a_completed_picture_is_not_its_noise(configure, tmp_path, capsys):
    holes = ["operator=mask", "operator.missing=0.25", "checkpoint=none", "ddpm.init=matched"]
    metrics = run(configure(*holes), tmp_path / "oracle")[1]
    assert "ddpm.init=matched took the error of the start from the clean picture" in capsys.readouterr().out
    assert metrics["window"]["error_source"] == "oracle" and metrics["window"]["error_sigma"] != 25


def test_the_sigma_of_a_picture_that_is_resized_is_warned_of(configure, tmp_path, caplog):
    Image.new("RGB", (32, 32), (200, 100, 50)).save(tmp_path / "mine.png")
    mine = ["image=noisy", f"image.path={tmp_path / 'mine.png'}", "noise.sigma=25", "dip.max_epochs=10"]
    run(configure(*mine, "image.size=32"), tmp_path / "as_it_is")
    assert "the noise of the resized picture" not in caplog.text
    run(configure(*mine), tmp_path / "resized")
    assert "noise.sigma=25 is taken as the noise of the resized picture" in caplog.text


def test_a_kept_epoch_of_another_picture_is_warned_of(configure, tmp_path, caplog):
    Image.new("RGB", (16, 16), (200, 100, 50)).save(tmp_path / "other.png")
    made = run(configure(), tmp_path / "made")[1]["fit"]
    kept = f"checkpoint={made['folder']}/epochs/{made['epoch']:06d}.safetensors"
    run(configure(kept), tmp_path / "same")
    assert "another picture" not in caplog.text
    run(configure(kept, f"image.path={tmp_path / 'other.png'}"), tmp_path / "another")
    assert f"was fitted to another picture than image.path={tmp_path / 'other.png'}" in caplog.text


def test_checkpoints_by_number_and_by_path_agree(configure, tmp_path):
    by_number = run(configure("checkpoint=20"), tmp_path / "number")[1]
    path = f"{by_number['fit']['folder']}/epochs/000020.safetensors"
    by_path = run(configure(f"checkpoint={path}"), tmp_path / "path")[1]
    assert "total_evaluations_worth" not in by_path["cost"], "nobody counted what the file cost"
    from_noise = run(configure(f"checkpoint={path}", "ddpm.init=noise"), tmp_path / "noise")[1]
    assert from_noise["cost"]["total_evaluations_worth"] == 20, "which needs no file"
    assert by_path["result"]["psnr"] == by_number["result"]["psnr"]
    assert "fit" not in by_path
    key = by_number["fit"]["key"]
    link(tmp_path / "linked", tmp_path / "fits" / key)  # as a job of a sweep has it
    run(configure("baselines=false", f"checkpoint={tmp_path}/linked/epochs/000020.safetensors"), tmp_path / "by-link")
    shutil.rmtree(tmp_path / "number")
    assert FitStore(tmp_path / "fits").uses(key) == [tmp_path / name for name in ("path", "noise", "by-link")]
    beyond = run(configure("checkpoint=50"), tmp_path / "beyond")[1]
    assert beyond["fit"]["epoch"] == 50
    assert beyond["fit"]["key"] == by_number["fit"]["key"], "the fit was extended, not made again"


def test_noise_of_each_kind_is_another_fit_and_is_said_in_its_own_terms(configure, tmp_path, caplog):
    caplog.set_level("INFO", logger="dipddpm")
    keys = {}
    for typed in (
        "noise=gaussian",
        "noise=poisson",
        "noise=impulse",
        "noise=correlated",
        "noise=correlated noise.correlation=0.5",
    ):
        metrics = run(configure(*typed.split(), "baselines=false", "dip.max_epochs=10"), tmp_path / typed)[1]
        keys[typed] = metrics["fit"]["key"]
    assert len(set(keys.values())) == 5
    plain = run(configure("baselines=false", "dip.max_epochs=10"), tmp_path / "plain")[1]
    assert plain["fit"]["key"] == keys["noise=gaussian"]
    for said in ("where the picture is white", "of the values", "blurred by 1 pixels", "blurred by 0.5 pixels"):
        assert said in caplog.text


def test_what_only_chooses_from_a_trajectory_is_not_in_its_key(configure, tmp_path):
    run(configure(), tmp_path / "a")
    for i, override in enumerate(
        ["ddpm.init=raw", "checkpoint=10", "ddpm.samples=2", "stopping=emv", "dip.max_epochs=20"]
    ):
        metrics = run(configure(override, "baselines=false"), tmp_path / str(i))[1]
        assert metrics["fit"]["made_by_this_run"] is False, override
        assert "posterior_mean" not in metrics
    other = run(configure("seed=1", "baselines=false"), tmp_path / "other")[1]
    assert other["fit"]["made_by_this_run"] is True


def test_tensorboard_has_curves_one_chart_grids_and_hparams(configure, tmp_path):
    metrics = run(configure("dip.max_epochs=130"), tmp_path / "run")[1]
    fit = events(metrics["fit"]["folder"])
    assert {
        "loss/noisy",
        "loss/clean",
        "psnr",
        "lr",
        "step_seconds",
        "variance/window",
        "variance/moving",
    } <= set(fit.Tags()["scalars"])
    assert [e.step for e in fit.Scalars("loss/noisy")] == list(range(1, 131))
    assert [e.step for e in fit.Images("dip/output")] == [100, 130]
    layout = fit.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    assert b"loss/noisy" in layout and b"loss/clean" in layout
    window = events(tmp_path / "run")
    assert {"panel", "strip", "fit", "window/state"} <= set(window.Tags()["images"])
    assert [e.step for e in window.Images("window/state")] == [0, 10, 20]
    for name, rows in {"noisy": ["noisy"], "dip": ["dip"], "result": ["result"],
                       "no_dip": ["posterior_mean", "noisy_window"]}.items():  # fmt: skip
        points = [(e.step, e.value) for e in window.Scalars(f"PSNR/{name}")]
        assert points == [(metrics[row]["nfe"], pytest.approx(metrics[row]["psnr"])) for row in rows]
    estimates = window.Scalars("window/psnr")
    assert [e.step for e in estimates] == list(range(20)), "one an evaluation"
    assert abs(estimates[-1].value - metrics["result"]["psnr"]) < 0.5, "the last estimate is the result"
    for board in (fit, window):
        described = board.summary_metadata
        assert all(described[tag].summary_description for tag in board.Tags()["scalars"])
    layout = window.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    assert all(f"PSNR/{name}".encode() in layout for name in ("noisy", "dip", "result", "no_dip"))
    (cost,) = window.Scalars("Cost/total_evaluations_worth")
    assert cost.value == pytest.approx(metrics["cost"]["total_evaluations_worth"])
    plugins = {m for m in window.summary_metadata if m.startswith("_hparams_")}
    assert plugins == {"_hparams_/session_start_info", "_hparams_/session_end_info"}
    assert not [m for m in fit.summary_metadata if m.startswith("_hparams_")]
    run(configure("dip.max_epochs=130", "ddpm.start_t=10", "baselines=false"), tmp_path / "run")
    (again,) = (e.step for e in events(tmp_path / "run").Scalars("PSNR/result"))
    assert again == 10, "a job run again leaves nothing of the one before"


def test_a_resumed_fit_does_not_draw_its_epochs_twice(configure, tmp_path):
    first = run(configure("ddpm.precision=bf16"), tmp_path / "a", runs.fit)[1]
    assert first["environment"]["precision"] == "fp32", "the fit's; no window is run"
    metrics = run(configure("dip.max_epochs=60"), tmp_path / "b", runs.fit)[1]
    steps = [e.step for e in events(metrics["fit"]["folder"]).Scalars("loss/noisy")]
    assert steps == list(range(1, 61))


def test_the_jobs_of_a_sweep_link_to_a_fit_once(configure, tmp_path):
    sweep = tmp_path / "sweep"
    runs.sample(configure("baselines=false"), Job(sweep / "job", sweep=True))
    (key,) = (path.name for path in (tmp_path / "fits").iterdir() if not path.name.startswith("."))
    link(sweep / "other/fit", tmp_path / "fits" / key)  # as older versions left it
    runs.sample(configure("baselines=false", "ddpm.start_t=5"), Job(sweep / "other", sweep=True))
    assert [path.name for path in (sweep / "fits").iterdir()] == [key]
    assert (sweep / "fits" / key / "fit.json").is_file()
    assert not (sweep / "job/fit").exists() and not (sweep / "other/fit").exists()
    inside = configure("baselines=false", f"store={sweep}/fits", "seed=1")
    runs.fit(inside, Job(sweep / "third", sweep=True))
    assert not any(path.is_symlink() for path in (sweep / "fits").iterdir() if path.name != key), "the fit itself"


def test_the_fit_picture_that_the_window_starts_from_is_the_kept_one(configure, tmp_path):
    metrics = run(configure(), tmp_path / "run")[1]
    fit = FitStore(tmp_path / "fits").find(metrics["fit"]["key"])
    assert fit is not None
    shown = read(tmp_path / "run/dip.png")
    kept = fit.picture(metrics["fit"]["epoch"])[0].permute(1, 2, 0).clamp(0, 1) * 255
    assert np.array_equal(shown, torch.round(kept).numpy().astype(np.uint8))


def test_a_reference_is_measured_against_and_never_learnt_from(configure, tmp_path):
    rng = np.random.default_rng(0)
    clean = np.tile(np.linspace(40, 200, 24, dtype=np.uint8)[:, None, None], (1, 24, 3))
    noisy = (clean + rng.normal(0, 20, clean.shape)).clip(0, 255).astype(np.uint8)
    for name, pixels in (("clean", clean), ("noisy", noisy)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    mine = ["image=noisy", f"image.path={tmp_path / 'noisy.png'}", "image.size=24", "baselines=false"]
    reference = f"image.reference={tmp_path / 'clean.png'}"
    _, alone = run(configure(*mine), tmp_path / "alone", runs.fit)
    _, compared = run(configure(*mine, reference), tmp_path / "compared", runs.fit)
    error = (noisy.astype(float) - clean) / 255
    assert compared["noisy"]["psnr"] == pytest.approx(-10 * np.log10((error**2).mean()), abs=1e-3)
    assert compared["fit"]["summary"]["peak"] is not None
    assert alone["fit"]["key"] != compared["fit"]["key"], "the stored curves differ"
    assert np.array_equal(read(tmp_path / "alone/dip.png"), read(tmp_path / "compared/dip.png"))


def test_noise_that_cannot_be_is_refused_with_the_key(configure, tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "black.png")
    with pytest.raises(UserError, match="noise=poisson: a black picture has no photons.*; type noise=gaussian$"):
        run(configure("noise=poisson", f"image.path={tmp_path}/black.png"), tmp_path / "run")
    with pytest.raises(UserError, match="noise=own: the noise .* cannot be estimated; type noise.sigma=<0-255 scale>$"):
        run(configure("image=noisy", f"image.path={tmp_path}/black.png"), tmp_path / "run")


def test_a_store_in_the_home_folder_is_there(configure, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    key = run(configure('store="~/fits"'), tmp_path / "run", job=runs.fit)[1]["fit"]["key"]
    assert (tmp_path / "home/fits" / key).is_dir()
    assert not (tmp_path / "~").exists()
