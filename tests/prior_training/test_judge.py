"""Judging a prior: against closed forms, with networks whose answers are known."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from PIL import Image

from dipddpm.diffusion import prior
from dipddpm.diffusion.schedule import Schedule
from dipddpm.errors import UserError
from dipddpm.metrics.paired import Difference, paired_difference
from prior_training import compare, denoisers, judge, pictures
from prior_training.evaluation import errors_by_level, noisy_states
from prior_training.samples import draw, grid
from scripts import eval_prior, sample_prior

SCHEDULE = Schedule(DDPMScheduler().alphas_cumprod)
AB = SCHEDULE.alphas_cumprod
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
    rows = errors_by_level(network, SCHEDULE, gaussian, (20, 100, 500))
    assert network.indices == [19, 99, 499]
    for row in rows:
        ab = float(SCHEDULE.alpha_bar(row["level"]))
        expected = ab * STD**2 / (ab * STD**2 + 1 - ab)  # Var[eps | x_t]
        assert row["epsilon_error"] == pytest.approx(expected, rel=0.02)
        # x0_hat - x0 = -sqrt((1 - ab) / ab) (eps_hat - eps), and [0, 1] is half of [-1, 1]; clipping helps by little
        assert row["psnr"] == pytest.approx(-10 * math.log10(expected * (1 - ab) / ab / 4), abs=0.1)


def test_a_network_that_sees_no_noise_has_the_error_one(gaussian: torch.Tensor):
    (row,) = errors_by_level(Network(lambda x, ab: torch.zeros_like(x)), SCHEDULE, gaussian, (50,))
    assert row["epsilon_error"] == pytest.approx(1, rel=0.01)
    assert row["sigma"] == pytest.approx(22.028, abs=1e-3)
    assert row["psnr"] == pytest.approx(-20 * math.log10(row["sigma"] / 255), abs=0.1)


def test_the_noise_is_the_same_in_every_call(gaussian: torch.Tensor):
    first = errors_by_level(Network(posterior_mean_of_eps), SCHEDULE, gaussian, (50, 100))
    torch.manual_seed(1)
    assert errors_by_level(Network(posterior_mean_of_eps), SCHEDULE, gaussian, (100, 50))[::-1] == first
    eps = [noisy_states(gaussian, AB[t - 1], t)[1] for t in (50, 100)]
    assert not eps[0].equal(eps[1])


def test_the_paired_interval_is_students():
    a, b = [3.0, 5.0, 4.0, 8.0], [1.0, 4.0, 4.0, 5.0]  # differences 2 1 0 3: mean 1.5, s = sqrt(5 / 3)
    found = paired_difference(a, b)
    half = 3.182446 * math.sqrt(5 / 3) / 2  # t of 3 degrees at 97.5%
    assert (found.mean, found.count) == (1.5, 4)
    assert (found.low, found.high) == pytest.approx((1.5 - half, 1.5 + half), abs=1e-5)
    assert str(found) == "+1.50 [-0.55, +3.55]"
    assert paired_difference(b, a).mean == -1.5
    for wrong in ([1.0], [1.0, 2.0, 3.0]):
        with pytest.raises(ValueError, match="both must have the same length, 2 or more"):
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


def test_all_methods_clean_the_same_noisy_pictures(
    gaussian: torch.Tensor, tiny_prior: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(denoisers, "GRIDS", {"total variation": {"weight": (1.0,)}})
    monkeypatch.setattr(denoisers, "METHODS", {"total variation": denoisers.total_variation})
    nothing = denoisers.Denoiser("nothing", lambda noisy, sigma: noisy)
    counts: list[int] = []
    network: Any = SimpleNamespace(unet=Network(lambda x, ab: torch.zeros_like(x)), schedule=SCHEDULE)
    found = judge.against_denoisers(network, gaussian[:5], gaussian[5:7], (nothing,), watch=counts.append)
    assert [at["sigma"] for at in found] == pytest.approx([22.03, 43.20], abs=0.01)
    assert sum(counts) == judge.evaluations(5, 5) - judge.evaluations(5, 0), "as many as the bar is told"
    for at in found:
        tv, none = at["methods"]
        assert none["prior_above"]["mean"] == pytest.approx(0, abs=1e-4), "x0_hat is then the noisy picture itself"
        assert none["psnr"] == pytest.approx(at["psnr"]["noisy"], abs=1e-4)
        assert tv["prior_above"]["mean"] == pytest.approx(at["psnr"]["prior"] - tv["psnr"], abs=1e-6)
        assert tv["prior_above"]["count"] == 5
    text = judge.tables({"pictures": 5, "levels": [], "denoisers": {"pictures": 5, "levels": found}})
    assert f"| total variation | weight 1 | {found[0]['methods'][0]['psnr']:.2f} | " in text


@pytest.fixture(scope="module")
def greys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine 16x16 pictures, picture i of the one grey 25 i."""
    folder = tmp_path_factory.mktemp("greys")
    for i in range(9):
        Image.new("RGB", (16, 16), (25 * i,) * 3).save(folder / f"{i}.png")
    return folder


def test_the_command_measures_and_writes_json(
    tiny_prior: Path, greys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    typed = ["eval_prior.py", str(tiny_prior), str(greys), "--limit", "3"]
    monkeypatch.setattr("sys.argv", [*typed, "--json", str(tmp_path / "e.json")])
    eval_prior.main()
    result = json.loads((tmp_path / "e.json").read_text())
    assert result["pictures"] == 3 and len(result["levels"]) == 9 and "denoisers" not in result
    network = prior.load(tiny_prior)
    assert result["sha256"].startswith(network.fingerprint)
    chosen = torch.from_numpy(pictures.read(greys, 16).pixels[[0, 4, 8]])
    assert result["levels"] == errors_by_level(network.unet, network.schedule, chosen)
    assert capsys.readouterr().out == judge.tables(result), "nothing but the tables, so that they can be piped"


def test_a_missing_bm3d_is_said_before_any_work(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("sys.argv", ["eval_prior.py", "absent", "absent", "--denoisers", "50"])
    with pytest.raises(SystemExit) as caught:
        eval_prior.main()
    assert caught.value.code == 2
    assert '--denoisers needs bm3d: type pip install -e ".[eval]", or leave --denoisers out' in capsys.readouterr().err


@pytest.mark.parametrize("steps", [4, None])
def test_a_sample_depends_on_its_index_and_not_on_the_batch(tiny_prior: Path, steps: int | None):
    unet = prior.load(tiny_prior).unet
    scheduler = DDPMScheduler(num_train_timesteps=1000 if steps else 20)
    samples = draw(unet, scheduler, range(3), steps)
    assert samples.shape == (3, 3, 16, 16) and samples.min() >= 0 and samples.max() <= 1
    chosen = draw(unet, scheduler, [2, 1], steps)
    assert torch.allclose(chosen, samples[[2, 1]], atol=1e-3)
    assert not torch.allclose(samples[0], samples[1], atol=0.1)


def test_ddim_begins_at_the_noisiest_level():
    seen: list[int] = []

    class Unet(UNet2DModel):
        def forward(self, sample: torch.Tensor, timestep: Any, *_: Any, **__: Any) -> Any:
            seen.append(int(timestep))
            return SimpleNamespace(sample=torch.zeros_like(sample))

    unet = Unet(8, 3, 3, block_out_channels=(8,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
                norm_num_groups=4)  # fmt: skip
    draw(unet, DDPMScheduler(), [0], 4)
    assert seen == [999, 749, 499, 249]


def test_the_grid_is_as_square_as_its_number_allows():
    samples = torch.arange(1.0, 6).view(5, 1, 1, 1).expand(-1, 3, 16, 16)
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


def test_two_priors_are_compared_on_one_fit_a_picture(tiny_prior: Path, greys: Path, tmp_path: Path):
    files = compare.write_pictures(pictures.read(greys, 16, count=2), tmp_path / "pictures")
    assert [np.asarray(Image.open(file))[0, 0, 0] for file in files] == [0, 200]
    other = Path(shutil.copytree(tiny_prior, tmp_path / "other"))
    small = ["dip.layers=1", "dip.channels=8", "dip.max_epochs=10", "ddpm.start_t=5", "stopping=never", "threads=1"]
    old, new = compare.restore(files, (tiny_prior, other), tmp_path / "out", small)
    assert old["fit_key"].nunique() == 2 and old["fit_key"].tolist() == new["fit_key"].tolist()
    found = compare.summarise(old, new)
    assert found["count"] == 2
    assert Difference(**found["psnr"]["new_minus_old"]).mean == pytest.approx(0, abs=1e-3), "the same weights"
    assert found["psnr"]["old"] == pytest.approx(old["result_psnr"].sum() / 2)
    assert set(found) == {"count", "psnr", "ssim"}, "these are too small for ST-LPIPS"
    with pytest.raises(UserError, match="the two priors have no common fits"):
        compare.summarise(old, new[::-1])
