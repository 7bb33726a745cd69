"""Pictures of a folder or a tar become squares of one size; damaged ones are named; some are held out."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dipddpm.errors import UserError
from prior_training import pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures in two subfolders, out of order, beside files that are none."""
    rng = np.random.default_rng(0)
    source = tmp_path / "source"
    for name, size in (("b/2.png", (16, 16)), ("a/10.PNG", (40, 20)), ("b/1.png", (9, 12)), ("top.webp", (16, 16))):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(90, 166, (*size, 3), dtype=np.uint8)  # nothing is clipped
        Image.fromarray(pixels).save(source / name, lossless=True)
    (source / "readme.txt").write_text("no picture")
    (source / "b" / "._2.png").write_bytes(b"what another system keeps beside a picture")
    (source / "b" / "half.png").write_bytes((source / "b" / "2.png").read_bytes()[:100])
    return source


@pytest.fixture(params=["folder", "tar", "tar.gz"])
def source(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Path:
    if request.param == "folder":
        return folder
    path = tmp_path / f"pictures.{request.param}"
    with tarfile.open(path, "w:gz" if request.param == "tar.gz" else "w") as tar:
        tar.add(folder, arcname="")
    return path


def test_pictures_are_cut_and_sorted_and_a_damaged_one_is_named(source: Path, folder: Path):
    looked_at: list[tuple[int, int]] = []
    found = pictures.read(source, 16, watch=lambda *done: looked_at.append(done))
    assert found.names == ["a/10.PNG", "b/1.png", "b/2.png", "top.webp"]
    assert found.pixels.shape == (4, 3, 16, 16) and found.pixels.dtype == np.uint8
    for i in (2, 3):  # of the wanted size: bit for bit
        assert np.array_equal(found.pixels[i].transpose(1, 2, 0), np.asarray(Image.open(folder / found.names[i])))
    square = Image.open(folder / "a/10.PNG").crop((0, 10, 20, 30)).resize((16, 16), Image.Resampling.LANCZOS)
    assert np.abs(found.pixels[0].transpose(1, 2, 0).astype(int) - np.asarray(square)).max() <= 1
    assert list(found.left_out) == ["b/half.png"] and found.left_out["b/half.png"].startswith("b/half.png is damaged")
    assert found.enlarged == 1, "one is 12 pixels wide and 9 high"
    assert looked_at == [(i, 5) for i in range(1, 6)]


def test_a_count_takes_names_from_the_first_to_the_last(source: Path):
    assert pictures.read(source, 16, count=2).names == ["a/10.PNG", "top.webp"]
    assert pictures.evenly(300, 4) == [0, 100, 199, 299] and pictures.evenly(3, 9) == pictures.evenly(3, None)


def test_they_are_read_once_until_another_size_is_wanted(folder: Path, tmp_path: Path):
    first = pictures.read_once(folder, 16, tmp_path / "work")
    (folder / "top.webp").unlink()
    again = pictures.read_once(folder, 16, tmp_path / "work")
    assert np.array_equal(again.pixels, first.pixels)
    assert (again.names, again.left_out, again.enlarged) == (first.names, first.left_out, first.enlarged)
    assert pictures.read_once(folder, 8, tmp_path / "work").pixels.shape == (3, 3, 8, 8)
    for name, damaged in (("json", "[" * 100_000), ("npy", "half")):
        (tmp_path / "work" / f"pictures.{name}").write_text(damaged)
        assert pictures.read_once(folder, 8, tmp_path / "work").pixels.shape == (3, 3, 8, 8)


@pytest.mark.parametrize(("n", "share", "held"), [(100, 0.05, 5), (2, 0.01, 1), (3, 0.99, 2)])
def test_each_picture_is_learnt_from_or_held_out(n: int, share: float, held: int):
    learnt, held_out = pictures.hold_out(n, share, 0)
    assert len(held_out) == held and sorted([*learnt.tolist(), *held_out.tolist()]) == list(range(n))
    assert pictures.hold_out(n, share, 0)[1].equal(held_out)
    assert n < 100 or not pictures.hold_out(n, share, 1)[1].equal(held_out), "the seed draws them"


def test_what_holds_no_pictures_is_refused_in_one_line(tmp_path: Path):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "readme.txt").write_text("no picture")
    (tmp_path / "one").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "one" / "a.png")
    for source, why in (
        ("", "data is missing: type data=<folder"),
        (tmp_path / "absent", "does not exist: type data=<folder"),
        (tmp_path / "text" / "readme.txt", "is neither a folder nor a tar"),
        (tmp_path / "text", r"holds no pictures \(png, "),
        (tmp_path / "one", r"holds 1 picture \(png, .*: give 2 or more"),
    ):
        with pytest.raises(UserError, match=why) as refused:
            pictures.check(str(source))
        assert "\n" not in str(refused.value)
    (tmp_path / "one" / "a.png").write_bytes(b"damaged")
    with pytest.raises(UserError, match="holds no picture that can be read: a.png is no picture"):
        pictures.read(tmp_path / "one", 16)


def test_a_tar_that_ends_too_early_is_refused(source: Path, tmp_path: Path):
    if source.is_file():
        whole = source.read_bytes()
        cut = tmp_path / f"cut{source.suffix}"
        cut.write_bytes(whole[: len(whole) // 3])
        with pytest.raises(UserError, match="tar that can be read"):
            pictures.read(cut, 16)
