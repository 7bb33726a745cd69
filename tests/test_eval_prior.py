"""Judging a prior: against closed forms, with networks whose answers are known."""

from __future__ import annotations

import importlib.util
import io
import json
import math
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from PIL import Image

from dipddpm.diffusion import prior
from scripts import against_denoisers, denoisers, eval_prior, sample_prior
from scripts.compare_priors import extract, restore, summarise
from scripts.one_evaluation import errors_by_level, noisy_states
from scripts.paired import Difference, paired_difference
from scripts.sample_prior import draw_samples, grid

AB: torch.Tensor = DDPMScheduler().alphas_cumprod
STD = 0.3  # of the Gaussian data, [-1, 1]


class Network(torch.nn.Module):
    """A network that answers by ``answer(x_t, alpha_bar)`` and records its indices."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer, self.indices = answer, []
        self.parameter = torch.nn.Parameter(torch.zeros(()))  # tells the device

    def forward(self, x: torch.Tensor, index: int) -> SimpleNamespace:
        self.indices.append(index)
        return SimpleNamespace(sample=self.answer(x, AB[index]))


def posterior_mean_of_eps(x: torch.Tensor, ab: torch.Tensor) -> torch.Tensor:
    """E[eps | x_t] for x0 ~ N(0, STD^2)."""
    return (1 - ab).sqrt() * x / (ab * STD**2 + 1 - ab)


@pytest.fixture(scope="module")
def gaussian() -> torch.Tensor:
    """uint8 pictures of white Gaussian noise, far from clipping."""
    x = torch.randn(24, 3, 37, 41, generator=torch.Generator().manual_seed(0)) * STD
    return ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def test_the_oracle_of_gaussian_data_has_the_error_of_the_closed_form(gaussian: torch.Tensor):
    network = Network(posterior_mean_of_eps)
    rows = errors_by_level(network, AB, gaussian, (20, 100, 500), batch_size=24)
    assert network.indices == [19, 99, 499]
    for level, mse, psnr in rows:
        ab = float(AB[level - 1])
        expected = ab * STD**2 / (ab * STD**2 + 1 - ab)  # Var[eps | x_t]
        assert mse == pytest.approx(expected, rel=0.02)
        # x0_hat - x0 = -sqrt((1 - ab) / ab) (eps_hat - eps), and [0, 1] is half of [-1, 1]; clipping helps by little
        assert psnr == pytest.approx(-10 * math.log10(expected * (1 - ab) / ab / 4), abs=0.1)


def test_a_network_that_sees_no_noise_has_the_error_one(gaussian: torch.Tensor):
    ((_, mse, psnr),) = errors_by_level(Network(lambda x, ab: torch.zeros_like(x)), AB, gaussian, (50,))
    assert mse == pytest.approx(1, rel=0.01)
    assert psnr == pytest.approx(-20 * math.log10(22.028 / 255), abs=0.1)


def test_the_noise_is_the_same_in_every_call_and_batch_size(gaussian: torch.Tensor):
    first = errors_by_level(Network(posterior_mean_of_eps), AB, gaussian, (50, 100))
    torch.manual_seed(1)
    again = errors_by_level(Network(posterior_mean_of_eps), AB, gaussian, (100, 50), batch_size=7)
    assert np.allclose(again[::-1], first, rtol=1e-6)
    eps = [noisy_states(gaussian, AB[t - 1], t)[1] for t in (50, 100)]
    assert not eps[0].equal(eps[1])


def test_the_bar_counts_every_picture_at_every_level(gaussian: torch.Tensor):
    counts: list[int] = []
    errors_by_level(Network(posterior_mean_of_eps), AB, gaussian, (50, 100), batch_size=10, watch=counts.append)
    assert counts == [10, 10, 4, 10, 10, 4]


def test_the_paired_interval_is_students():
    a, b = [3.0, 5.0, 4.0, 8.0], [1.0, 4.0, 4.0, 5.0]  # differences 2 1 0 3: mean 1.5, s = sqrt(5 / 3)
    found = paired_difference(a, b)
    half = 3.182446 * math.sqrt(5 / 3) / 2  # t of 3 degrees at 97.5%
    assert (found.mean, found.count) == (1.5, 4)
    assert (found.low, found.high) == pytest.approx((1.5 - half, 1.5 + half), abs=1e-5)
    assert str(found) == "+1.50 [-0.55, +3.55]"
    assert paired_difference(b, a).mean == -1.5
    for wrong in ([1.0], [1.0, 2.0, 3.0]):
        with pytest.raises(ValueError, match="must be as many of both, at least 2"):
            paired_difference([1.0], wrong)


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    from dipddpm.pictures import read

    return read.load("astronaut", 64).pixels.astype(np.float64)


@pytest.mark.parametrize("name", [*denoisers.METHODS, "BM3D"])
def test_the_classical_denoisers_improve_the_psnr(name: str, astronaut: np.ndarray):
    if name == "BM3D" and importlib.util.find_spec("bm3d") is None:
        pytest.skip("needs bm3d, which is in the extra `eval` only")
    sigma = 22 / 255
    noisy = astronaut + sigma * np.random.default_rng(1).standard_normal(astronaut.shape)
    method = denoisers.BM3D if name == "BM3D" else denoisers.tune(name, [astronaut], sigma)
    output = method(noisy, sigma)
    assert output.shape == noisy.shape and output.min() >= 0 and output.max() <= 1
    gain = denoisers.psnr(output, astronaut) - denoisers.psnr(noisy, astronaut)
    assert gain > (6 if name == "BM3D" else 4)


def test_the_best_settings_are_taken(astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(denoisers.GRIDS, "total variation", {"weight": (20.0, 1.0, 0.001)})
    assert denoisers.tune("total variation", [astronaut], 0.1).settings == {"weight": 1.0}


def test_all_methods_clean_the_same_noisy_pictures(gaussian: torch.Tensor, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(denoisers, "GRIDS", {"total variation": {"weight": (1.0,)}})
    monkeypatch.setattr(denoisers, "METHODS", {"total variation": denoisers.total_variation})
    nothing = denoisers.Denoiser("nothing", lambda noisy, sigma: noisy)
    counts: list[int] = []
    network = Network(lambda x, ab: torch.zeros_like(x))  # x0_hat is then the noisy picture itself
    found = against_denoisers.against_denoisers(
        network, AB, gaussian[:5], gaussian[5:7], (50, 100), (nothing,), watch=counts.append
    )
    assert [at["sigma"] for at in found] == pytest.approx([22.03, 43.20], abs=0.01)
    assert sum(counts) == 2 * 5 * 3
    for at in found:
        tv, none = at["methods"]
        assert none["prior_above"]["mean"] == pytest.approx(0, abs=1e-4), "the same picture, the same noise"
        assert none["psnr"] == pytest.approx(at["psnr"]["noisy"], abs=1e-4)
        assert tv["prior_above"]["mean"] == pytest.approx(at["psnr"]["prior"] - tv["psnr"], abs=1e-6)
        assert tv["prior_above"]["count"] == 5
    text = against_denoisers.table(found)
    assert f"| total variation | weight 1 | {found[0]['methods'][0]['psnr']:.2f} | " in text


def write_tar(path: Path, pictures: torch.Tensor) -> Path:
    with tarfile.open(path, "w") as tar:
        for i, picture in enumerate(pictures):
            file = io.BytesIO()
            Image.fromarray(picture.permute(1, 2, 0).numpy()).save(file, format="WEBP", lossless=True)
            info = tarfile.TarInfo(f"{i:03d}.webp")
            info.size = file.tell()
            tar.addfile(info, io.BytesIO(file.getvalue()))
    return path


@pytest.fixture(scope="module")
def tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine 16x16 pictures, picture i of the one grey 25 i."""
    pictures = torch.arange(9, dtype=torch.uint8).mul(25).view(-1, 1, 1, 1).expand(-1, 3, 16, 16)
    return write_tar(tmp_path_factory.mktemp("tar") / "faces.tar", pictures)


def test_the_command_measures_and_writes_json(
    tiny_prior: Path, tar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    typed = ["eval_prior.py", str(tiny_prior), str(tar), "--limit", "3", "--denoisers-limit", "0"]
    monkeypatch.setattr("sys.argv", [*typed, "--json", str(tmp_path / "e.json")])
    eval_prior.main()
    result = json.loads((tmp_path / "e.json").read_text())
    assert result["pictures"] == 3 and len(result["levels"]) == 9 and "denoisers" not in result
    network = prior.load(tiny_prior)
    assert result["sha256"].startswith(network.fingerprint)
    rows = errors_by_level(network.unet, AB, eval_prior.read(tar, None)[[0, 4, 8]])
    measured = [[r["level"], r["epsilon_error"], r["psnr"]] for r in result["levels"]]
    assert np.allclose(measured, rows, rtol=1e-5)
    assert capsys.readouterr().out == eval_prior.tables(result), "nothing but the tables, so that they can be piped"


def test_a_missing_bm3d_is_said_before_any_work(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("sys.argv", ["eval_prior.py", "absent", "absent"])
    with pytest.raises(SystemExit) as caught:
        eval_prior.main()
    assert caught.value.code == 2
    assert 'pip install -e ".[eval]", or type --denoisers-limit 0' in capsys.readouterr().err


def test_samples_do_not_depend_on_the_batch_and_the_grid_on_their_number(tiny_prior: Path):
    network = prior.load(tiny_prior)
    counts: list[int] = []
    drawn = list(draw_samples(network, range(5), "ddim", 4, batch_size=2, watch=counts.append))
    samples = torch.stack([sample for _, sample in drawn])
    assert samples.shape == (5, 3, 16, 16) and sum(counts) == 5 * 4
    chosen = dict(draw_samples(network, [4, 1], "ddim", 4, batch_size=5))
    assert all(torch.allclose(sample, samples[i], atol=1e-3) for i, sample in chosen.items()) and len(chosen) == 2
    assert not torch.allclose(samples[0], samples[1], atol=0.1)
    whole = grid(samples)
    assert whole.shape == (3, 32, 48)
    assert whole[:, :16, 32:].equal(samples[2]) and whole[:, 16:, :16].equal(samples[3])
    assert not whole[:, 16:, 32:].any()


def test_samples_that_are_kept_are_not_drawn_again(tiny_prior: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "sys.argv", f"sample_prior.py {tiny_prior} --out {tmp_path} --count 4 --only ddim --batch-size 1".split()
    )
    sample_prior.main()
    whole = np.asarray(Image.open(tmp_path / "ddim_50.png"))
    kept = sorted(tmp_path.rglob("00?.png"))
    assert len(kept) == 4 and whole.shape == (32, 32, 3)
    Image.new("RGB", (16, 16)).save(kept[0])
    kept[3].unlink()
    sample_prior.main()
    again = np.asarray(Image.open(tmp_path / "ddim_50.png"))
    assert not again[:16, :16].any(), "taken as it lies there"
    assert np.array_equal(again[16:], whole[16:]), "what was missing is drawn, the same"


def test_two_priors_are_compared_on_one_fit_a_face(tiny_prior: Path, tar: Path, tmp_path: Path):
    from dipddpm.config import compose as config

    config.register()
    faces = extract(tar, 2, tmp_path / "faces")
    assert [np.asarray(Image.open(p))[0, 0, 0] for p in faces] == [0, 200]
    small = ["dip.layers=1", "dip.channels=8", "dip.max_epochs=10", "ddpm.start_t=5", "stopping=never"]

    def runs(name: str, init: str) -> list[dict[str, Any]]:
        overrides = [*small, f"ddpm.init={init}"]
        return [restore(f, tiny_prior, tmp_path / name / f.stem, tmp_path / "fits", overrides) for f in faces]

    old, new = runs("old", "raw"), runs("new", "scaled")
    file = tmp_path / "old" / faces[0].stem / "metrics.json"
    stamp = file.stat().st_mtime_ns
    assert runs("old", "raw") == old
    assert file.stat().st_mtime_ns == stamp, "it was read, not made again"
    assert [m["fit"]["made_by_this_run"] for m in old + new] == [True, True, False, False]
    found = summarise(old, new)
    assert found["count"] == 2
    gains = [n["result"]["psnr"] - o["result"]["psnr"] for o, n in zip(old, new, strict=True)]
    assert Difference(**found["psnr"]["new_minus_old"]).mean == pytest.approx(sum(gains) / 2)
    assert found["psnr"]["new"] == pytest.approx(sum(n["result"]["psnr"] for n in new) / 2)
    assert set(found) == {"count", "psnr", "ssim"}, "these are too small for ST-LPIPS"
    other = restore(faces[0], tiny_prior, file.parent, tmp_path / "fits", [*small, "ddpm.init=scaled"])
    assert other["result"]["psnr"] == new[0]["result"]["psnr"], "other settings are run again"
    assert file.stat().st_mtime_ns != stamp
