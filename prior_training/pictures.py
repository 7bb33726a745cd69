"""Read the pictures of a folder or a tar, cut and resize all to one square size, and hold some of them out.

``dipddpm.pictures.read`` reads each file, with its EXIF orientation, transparency and 16-bit values. Importing this
module imports no torch.
"""

from __future__ import annotations

import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dipddpm.errors import UserError
from dipddpm.files import read_json, replacing, write_json
from dipddpm.pictures import decode
from dipddpm.pictures.read import load

if TYPE_CHECKING:
    import torch

SUFFIXES = tuple(suffix for suffixes in decode.SUFFIXES.values() for suffix in suffixes)
WAY_OUT = "type data=<folder of pictures, or a tar of pictures>"


@dataclass(frozen=True)
class Pictures:
    """Pictures of one size, in the order of their names.

    Attributes:
        pixels: uint8, shape (N, 3, size, size).
        names: N paths inside the folder or tar.
        left_out: The reason for each picture that could not be read, by name.
        enlarged: The number of pictures smaller than ``size`` pixels.
    """

    pixels: np.ndarray
    names: list[str]
    left_out: dict[str, str]
    enlarged: int


def check(source: str) -> None:
    """Refuse a folder or tar that has fewer than two files with the names of pictures. Reads no picture.

    Raises:
        UserError: One line: the value given, and the override to type.
    """
    if not source:
        raise UserError(f"data is missing: {WAY_OUT}")
    found = len(_names(Path(source).expanduser()))
    if found < 2:
        kinds = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise UserError(f"data={source} holds {found or 'no'} picture{'s' * (not found)} ({kinds}): give 2 or more")


def read(
    source: Path, size: int, *, count: int | None = None, watch: Callable[[int, int], None] | None = None
) -> Pictures:
    """Read pictures, cut each to a square at its centre, and resize it.

    Args:
        source: A folder with its subfolders, or a tar, which may be compressed. Names that begin with a dot, and files
            of other kinds, are skipped.
        size: Pixels a side.
        count: Number of pictures to read, evenly spread over the sorted names; None: all.
        watch: Called with the number of files read so far, and the number of all files to read.

    Raises:
        UserError: When ``source`` is neither folder nor tar, or holds no picture that can be read.
    """
    names = _names(source)
    names = [names[i] for i in evenly(len(names), count)]
    place = {name: i for i, name in enumerate(names)}
    pixels = np.empty((len(names), 3, size, size), np.uint8)
    left_out: dict[str, str] = {}
    enlarged = 0
    with _files(source, set(names)) as files:
        for done, (name, file) in enumerate(files, 1):
            try:
                picture = load(str(file), size)
                pixels[place[name]] = np.rint(picture.pixels * 255).transpose(2, 0, 1)
                enlarged += min(picture.size) < size
            except UserError as error:
                left_out[name] = str(error).replace(f"image.path={file}", name)
            if watch:
                watch(done, len(names))
    kept = [name for name in names if name not in left_out]
    if not kept:
        why = f": {next(iter(left_out.values()))}" if left_out else ""
        raise UserError(f"data={source} holds no picture that can be read{why}; {WAY_OUT}")
    return Pictures(pixels[[place[name] for name in kept]] if left_out else pixels, kept, left_out, enlarged)


def read_once(source: Path, size: int, folder: Path, watch: Callable[[int, int], None] | None = None) -> Pictures:
    """Read pictures as `read` does, and keep the result in ``folder``. The next call loads it from there."""
    told, array = folder / "pictures.json", folder / "pictures.npy"
    wanted = {"data": str(source), "size": size}
    with suppress(FileNotFoundError, ValueError, KeyError, EOFError):  # not read before, or damaged
        kept = read_json(told)
        if wanted == {key: kept.pop(key) for key in wanted}:
            return Pictures(np.load(array), **kept)
    found = read(source, size, watch=watch)
    told.unlink(missing_ok=True)  # first, so that a kill never leaves two files that disagree
    with replacing(array) as temporary, temporary.open("wb") as file:
        np.save(file, found.pixels)
    write_json(told, wanted | {"names": found.names, "left_out": found.left_out, "enlarged": found.enlarged})
    return found


def hold_out(n: int, share: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw the pictures that training does not see.

    Args:
        n: Number of all pictures, 2 or more.
        share: Share of pictures to hold out, above 0 and below 1. Both parts get at least one picture.
        seed: Seed of the draw.

    Returns:
        The rising indices of the pictures to train on, and those of the held-out pictures.
    """
    import torch

    from dipddpm import seeds

    order = torch.randperm(n, generator=seeds.generator(seed, "held-out pictures"))
    held = min(n - 1, max(1, round(share * n)))
    return order[held:].sort().values, order[:held].sort().values


def evenly(n: int, count: int | None) -> list[int]:
    """Return ``count`` of the indices below ``n``, evenly spread from the first to the last; None: all."""
    if count is None or count >= n:
        return list(range(n))
    return np.linspace(0, n - 1, count).round().astype(int).tolist()


def _wanted(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not any(part.startswith(".") for part in Path(name).parts)


def _names(source: Path) -> list[str]:
    """Return the names of the pictures in a folder or tar, sorted."""
    if source.is_dir():
        found = (path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file())
        return sorted(filter(_wanted, found))
    with _tar(source) as tar:
        return sorted({member.name for member in tar if member.isfile() and _wanted(member.name.removeprefix("./"))})


@contextmanager
def _files(source: Path, names: set[str]) -> Iterator[Iterator[tuple[str, Path]]]:
    """Yield the names in the fastest order to read, each with a file that holds its picture."""
    if source.is_dir():
        yield ((name, source / name) for name in sorted(names))
        return
    with tempfile.TemporaryDirectory() as folder, _tar(source) as tar:

        def extracted() -> Iterator[tuple[str, Path]]:
            for member in tar:  # in the order of the tar, because a compressed tar cannot go back
                if member.name in names and (data := tar.extractfile(member)):
                    file = Path(folder, f"picture{Path(member.name).suffix}")
                    file.write_bytes(data.read())
                    yield member.name, file

        yield extracted()


@contextmanager
def _tar(source: Path) -> Iterator[tarfile.TarFile]:
    if not source.exists():
        raise UserError(f"data={source} does not exist: {WAY_OUT}")
    try:
        with tarfile.open(source) as tar:
            yield tar
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        why = str(error).splitlines()[0].rstrip(":")
        raise UserError(f"data={source} is neither a folder nor a tar that can be read ({why}): {WAY_OUT}") from error
