"""Reading faces from a tar."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dipddpm.errors import UserError
from scripts.faces import evenly, read_faces


@pytest.fixture
def faces(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A tar whose members are out of order and not all pictures, and what is in it."""
    rng = np.random.default_rng(0)
    pixels = {name: rng.integers(0, 256, (5, 7, 3), dtype=np.uint8) for name in ("b/2.webp", "a/10.webp", "b/1.webp")}
    path = tmp_path / "faces.tar"
    with tarfile.open(path, "w") as tar:
        members = {"readme.txt": b"no picture"}
        for name, values in pixels.items():
            file = io.BytesIO()
            Image.fromarray(values).save(file, format="WEBP", lossless=True)
            members[name] = file.getvalue()
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path, pixels


def test_pictures_come_in_the_order_of_their_names_and_lossless(faces: tuple[Path, dict[str, np.ndarray]]):
    path, pixels = faces
    read = read_faces(path)
    assert read.dtype == torch.uint8 and read.shape == (3, 3, 5, 7) and read.is_contiguous()
    for i, name in enumerate(("a/10.webp", "b/1.webp", "b/2.webp")):
        assert np.array_equal(read[i].permute(1, 2, 0).numpy(), pixels[name])


def test_a_count_takes_names_from_the_first_to_the_last(faces: tuple[Path, dict[str, np.ndarray]]):
    assert read_faces(faces[0], 2).equal(read_faces(faces[0])[[0, 2]])
    assert evenly(300, 4) == [0, 100, 199, 299] and evenly(3, 9) == evenly(3, None) == [0, 1, 2]


def test_a_missing_file_says_so(tmp_path: Path):
    with pytest.raises(UserError, match="no tar of faces"):
        read_faces(tmp_path / "absent.tar")


def test_the_held_out_faces(shared_data: Path):
    read = read_faces(shared_data / "faces64-val.tar", 3)
    assert read.shape == (3, 3, 64, 64) and read.float().std() > 20
