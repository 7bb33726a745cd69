"""ST-LPIPS against the package that its authors publish, and as a distance."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest
import torch

from dipddpm.metrics import perceptual, weights
from dipddpm.metrics import quality as metrics
from dipddpm.pictures import read


def face():
    return read.to_tensor(read.load("astronaut", 64, (140, 20, 312, 192)).pixels)


def distance(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    found = perceptual.stlpips(x, y)
    assert found is not None, "the pictures are too small for it"
    return found


@pytest.fixture(scope="module")
def authors():
    """Return the authors' own network; what it imports and does not use is stood in for."""
    wanted = {"torchvision": "models", "IPython": "embed", "torchsummary": "summary"}
    stand_ins = {name: ModuleType(name) for name in wanted}
    for name, attribute in wanted.items():
        setattr(stand_ins[name], attribute, None)
    with pytest.MonkeyPatch.context() as patch:
        for name, module in stand_ins.items():
            patch.setitem(sys.modules, name, module)
        return importlib.import_module("stlpips_pytorch.stlpips").LPIPS(
            net="alex", variant="shift_tolerant", verbose=False
        )


@pytest.mark.parametrize("size", [(64, 64), (21, 37), (101, 64)])
def test_it_is_the_authors_own(authors, size):
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 3, 3, *size, generator=generator)
    b[0] = a[0] + 0.1 * b[0].sub(0.5)
    with torch.no_grad():
        expected = authors(a, b.clamp(0, 1), normalize=True).flatten()
    assert torch.allclose(distance(b, a), expected, rtol=1e-4, atol=1e-6)


def test_a_picture_is_at_no_distance_from_itself_and_further_off_the_more_noise_it_has():
    x = face()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    far = [distance(x + s * noise, x) for s in (0, 0.05, 0.1, 0.2)]
    assert far[0].eq(0).all()
    assert all((more > less).all() for less, more in zip(far, far[1:], strict=False))


def test_a_shift_by_a_pixel_looks_less_different_than_noise_of_a_smaller_error():
    x = face()
    shifted = x.roll(1, dims=-1)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    noisy = x + 0.8 * metrics.rms(shifted, x).view(-1, 1, 1, 1) * noise
    assert (metrics.psnr(shifted, x) < metrics.psnr(noisy, x)).all()
    assert (distance(shifted, x) < distance(noisy, x)).all()


def test_a_picture_too_small_for_it_has_none():
    assert perceptual.stlpips(torch.rand(1, 3, 20, 64), torch.rand(1, 3, 20, 64)) is None
    assert "stlpips" not in metrics.evaluate(torch.rand(1, 3, 20, 64), torch.rand(1, 3, 20, 64))


def test_a_package_without_the_file_is_none(monkeypatch, tmp_path):
    file = weights.stlpips_weights()
    assert file is not None and file.is_file()
    (tmp_path / "stlpips_pytorch").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "stlpips_pytorch", raising=False)
    (tmp_path / "stlpips_pytorch" / "__init__.py").touch()
    importlib.invalidate_caches()
    assert weights.stlpips_weights() is None


def test_without_its_weights_the_others_are_measured_all_the_same(monkeypatch):
    x = face()
    assert set(metrics.evaluate(x, x)) == {"psnr", "ssim", "stlpips"}
    monkeypatch.setattr(perceptual, "_weights", lambda: None)
    assert set(metrics.evaluate(x, x)) == {"psnr", "ssim"}
