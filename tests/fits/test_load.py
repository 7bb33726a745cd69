"""A kept epoch of a stored fit, loaded."""

import shutil
from typing import Any, cast

import pytest
import torch

from dipddpm.degradation.noise import Gaussian
from dipddpm.degradation.problem import Problem, degrade
from dipddpm.dip.settings import DipSettings
from dipddpm.fits.fit import fit_dip
from dipddpm.fits.load import load_fit


@pytest.fixture(scope="module", params=["cnn", "skip"])
def folder(request, tmp_path_factory):
    """A fit whose kept epochs are 10, 20 and 25; its clean picture lies beside it."""
    clean = torch.rand(1, 3, 17, 19, generator=torch.Generator().manual_seed(0)) / 2 + 0.25
    settings = DipSettings.of(request.param, layers=2, channels=8, max_epochs=25, ema=0)
    store = tmp_path_factory.mktemp("s")
    fit = fit_dip(degrade(clean, Gaussian(25)), settings=settings, stopping="never", store=store, device="cpu")
    folder = fit.pictures[0].folder
    assert folder is not None
    torch.save(clean, folder / "clean.pt")
    return folder


@pytest.mark.parametrize(("epoch", "expected"), [(None, 25), ("last", 25), (10, 10), (20, 20)])
def test_the_network_gives_the_kept_picture_of_its_epoch(folder, epoch, expected):
    loaded = load_fit(str(folder), epoch)
    assert loaded.epoch == expected
    assert torch.equal(loaded.network(loaded.z), loaded.picture)
    assert len(loaded.curves) == 25 and loaded.request["size"] == [17, 19]


def test_the_best_epoch_is_that_of_the_picture_nearest_to_the_clean_one(folder):
    clean = torch.load(folder / "clean.pt")
    error = {e: (load_fit(folder, e).picture.clamp(0, 1) - clean).square().mean().item() for e in (10, 20, 25)}
    assert load_fit(folder, "best").epoch == min(error, key=lambda e: error[e])


def test_a_file_is_its_epoch(folder, tmp_path):
    loaded = load_fit(folder / "epochs/000010.safetensors")
    assert loaded.epoch == 10
    assert torch.equal(loaded.picture, load_fit(folder, 10).picture)
    assert load_fit(folder / "epochs/000010.safetensors", "last").epoch == 25
    for name in ("best", "000020"):  # a link has any name
        (tmp_path / f"{name}.safetensors").symlink_to(folder / "epochs/000010.safetensors")
        assert load_fit(tmp_path / f"{name}.safetensors").epoch == 10


def test_what_cannot_be_loaded_is_refused(folder, tmp_path):
    for epoch, said in ((19, "epoch 19 was not kept: the nearest kept epoch is 20, the last 25"),
                        ("lst", r'epoch="lst" is not allowed \(did you mean last\?\)'),
                        (10.0, 'epoch=10.0 is not allowed: give "best", "last" or a whole number'),
                        (True, "epoch=True is not allowed")):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            load_fit(folder, cast(Any, epoch))
    for path in (tmp_path / "nothing", tmp_path, folder.parent):
        with pytest.raises(FileNotFoundError, match="holds no fit: give the folder of a fit"):
            load_fit(path)
    with pytest.raises(ValueError, match="is no kept epoch of a fit"):
        load_fit(folder / "manifest.json")
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy/epochs/000010.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="the fit is damaged: .*000010"):
        load_fit(tmp_path / "copy", 20)


def test_the_best_epoch_needs_a_clean_picture(tmp_path):
    y = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    fit = fit_dip(Problem(y, 25), settings=DipSettings(layers=1, channels=8, max_epochs=10), store=tmp_path)
    with pytest.raises(ValueError, match='epoch="best" needs a fit that knew its clean picture'):
        load_fit(str(fit.pictures[0].folder), "best")
