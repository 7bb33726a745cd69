"""Read picture files as RGB in [0, 1], cut and resize them. Only the functions that return tensors import torch."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from dipddpm.errors import UserError, need
from dipddpm.files import expanded
from dipddpm.names import LARGEST, SMALLEST
from dipddpm.pictures import decode
from dipddpm.pictures.decode import FORMATS

if TYPE_CHECKING:
    import torch

BUILT_IN = "astronaut"  # scikit-image's picture of Eileen Collins (NASA, public domain)
FACE = (140, 20, 312, 192)  # box of the face in the built-in picture, framed like the faces of the prior
PICTURES = ("image.path", "image.reference")  # keys that take the built-in picture: it is no mask
TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # first bytes of a TIFF
Box = Sequence[int]  # left, top, right, bottom in pixels


@dataclass(frozen=True)
class Picture:
    """A loaded picture.

    Attributes:
        pixels: float32, shape (H, W, 3), in [0, 1].
        notes: The changes to the file's pixels, in words, such as ``centre-cropped from 80x64 to 64x64``.
        box: The part of the file's picture that was taken, after rotation: (left, top, right, bottom) in pixels.
    """

    pixels: np.ndarray
    notes: tuple[str, ...]
    box: decode.Box

    @property
    def size(self) -> tuple[int, int]:
        """Width and height after rotation and cutting, before the picture was made square and resized."""
        left, top, right, bottom = self.box
        return right - left, bottom - top

    @property
    def resized(self) -> bool:
        """Whether the pixels are averages of the file's pixels."""
        return min(self.size) != min(self.pixels.shape[:2])


def check(path: str, box: Box | None = None, key: str = "image.path") -> tuple[int, int]:
    """Check that a picture can be read, and return its size.

    Args:
        path: A file, or ``astronaut``.
        box: (left, top, right, bottom) in pixels.
        key: The configuration key of the path; refusals name it.

    Returns:
        Width and height after rotation and cutting.

    Raises:
        UserError: When the file is missing, damaged, too small or no picture, or the box is not inside the picture.
    """
    with opened(path, box, key) as (picture, (left, top, right, bottom)):
        if picture.may_be_out_of_range:
            for _ in picture.rows((left, top, right, bottom)):
                pass
    return right - left, bottom - top


def check_same(other: tuple[int, int], of: tuple[int, int], key: str = "image.reference", times: int = 1) -> None:
    """Refuse a clean picture or a mask whose width and height are not ``times`` those of the picture.

    Args:
        other: Width and height of the clean picture or mask.
        of: Width and height of the picture.
        key: The configuration key of the clean picture or mask; the refusal names it.
        times: The wanted ratio.

    Raises:
        UserError: When the sizes differ from the wanted ratio.
    """
    if other != (wanted := (times * of[0], times * of[1])):
        is_, path, at = (f"{width}x{height}" for width, height in (other, of, wanted))
        raise UserError(f"{key} is {is_}, but image.path is {path}: give {key} at {at}")


def load(path: str, size: int | None = None, box: Box | None = None, key: str = "image.path") -> Picture:
    """Read a picture as RGB.

    Args:
        path: A file, or ``astronaut``, the built-in picture, which is cut to its face where no box is given.
        size: Side in pixels of the centre-cropped, resized square (Lanczos); None keeps the picture's size.
        box: (left, top, right, bottom) in pixels, cut out first.
        key: The configuration key of the path; refusals name it.

    Raises:
        UserError: As for `check`, and for a size that is no whole number from 8 to 8192.
    """
    need(size is None or (_whole(size) and SMALLEST <= size <= LARGEST), "size", str(size),
         f"{SMALLEST} to {LARGEST} pixels, or None")  # fmt: skip
    with opened(path, box, key) as (picture, taken):
        if size is None:
            pixels, notes = _put_together(picture, taken), []
        else:
            pixels, notes = _square(picture, taken, size)
    return Picture(pixels, (*picture.notes, *notes), taken)


@contextmanager
def opened(path: str, box: Box | None, key: str, least: int = SMALLEST) -> Iterator[tuple[decode.Decoded, decode.Box]]:
    """Decode a picture: ``with opened(...) as (picture, box)``. The box is the part that is taken, or the whole.

    Args:
        path: As for `check`.
        box: As for `check`.
        key: As for `check`.
        least: The fewest pixels a side.

    Raises:
        UserError: As for `check`, also for errors inside the block.
    """
    named = f"{key}={path}"
    try:
        yield _decoded(path, box, key, least)
    except UserError:
        raise
    except UnidentifiedImageError as error:
        with expanded(path).open("rb") as file:
            tiff = file.read(4) in TIFFS
        if tiff:
            raise UserError(f"{named} is a TIFF of a kind that cannot be read: save it as PNG") from error
        raise UserError(f"{named} is no picture that can be read: give a {FORMATS}") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{named} has too many pixels ({_line(error)}): give a smaller picture") from error
    except Exception as error:  # Pillow raises many kinds of exception for damaged files
        raise UserError(f"{named} is damaged or cannot be read ({_line(error)}): give a {FORMATS}") from error


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """Return an (H, W, 3) array as a float32 tensor of shape (1, 3, H, W)."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32))[None]


def read_picture(path: str | Path, size: int | None = None, box: Box | None = None) -> torch.Tensor:
    """Read a picture as a float32 tensor of shape (1, 3, H, W), RGB in [0, 1].

    Args:
        path: A file, or ``astronaut``, the built-in picture.
        size: Side in pixels of the centre-cropped, resized square (Lanczos); None keeps the picture's size.
        box: (left, top, right, bottom) in pixels, cut out first.

    Raises:
        UserError: As for `load`. A UserError is a ValueError.
    """
    return to_tensor(load(str(path), size, box).pixels)


def _built_in() -> Path:
    spec = importlib.util.find_spec("skimage")  # finds the folder without the time of an import
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "data" / "astronaut.png"


def _decoded(path: str, box: Box | None, key: str, least: int) -> tuple[decode.Decoded, decode.Box]:
    """Return the decoded picture, and its part that is taken: the box, or the whole."""
    built_in = path == BUILT_IN and key in PICTURES
    picture = decode.decode(_built_in() if built_in else _find(path, key), f"{key}={path}")
    if built_in and box is None:
        box = FACE
    width, height = picture.size
    named = f"{key}={path}"
    taken = (0, 0, width, height)
    if box is not None:
        need(len(box) == 4 and all(_whole(v) for v in box), "image.box", list(box), "[left,top,right,bottom]")
        left, top, right, bottom = box
        named = f"image.box=[{','.join(map(str, box))}]"
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise UserError(
                f"{named} is not inside {key}={path}, which is {width}x{height}: "
                f"type image.box=[left,top,right,bottom] within [0,0,{width},{height}]"
            )
        taken = (left, top, right, bottom)
        width, height = right - left, bottom - top
    if min(height, width) < least:
        raise UserError(f"{named} is {width}x{height}: give at least {least} pixels a side")
    return picture, taken


def _whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _find(path: str, key: str) -> Path:
    """Return the path of a regular file that is not empty, or raise the refusal."""
    try:
        file = expanded(path)
        if file.is_symlink() and not file.exists():
            raise UserError(f"{key}={path} is a link to {file.readlink()}, which does not exist: type {key}=<file>")
        if not file.exists():
            built_in = f" or {key}={BUILT_IN}" * (key in PICTURES)
            near = nearest(file)
            hint = f"did you mean {near}?" if near else f"type {key}=<file>{built_in}"
            raise UserError(f"{key}={path} does not exist: {hint}")
        if not file.is_file():  # opening a pipe waits for its writer
            kind = "a folder" if file.is_dir() else "a pipe or device"
            many = f", or type image=folder {key}={path}" * (key == "image.path" and file.is_dir())
            raise UserError(f"{key}={path} is {kind}: give a {FORMATS}{many}")
        if file.stat().st_size == 0:
            raise UserError(f"{key}={path} is empty: give a {FORMATS}")
    except (OSError, RuntimeError) as error:  # a folder without permission, a long name, an unknown ~user
        raise UserError(f"{key}={path} cannot be reached ({_line(error)}): type {key}=<file>") from error
    return file


def nearest(missing: Path, *, folder: bool = False) -> Path | None:
    """Return the neighbour whose name resembles that of a missing file, or ``folder``; None where there is none.

    Names are compared without their suffixes: ``a.png`` does not resemble ``b.png``.
    """
    around = sorted(missing.parent.iterdir()) if missing.parent.is_dir() else []
    others = [path for path in around if path.is_dir() or not folder]
    near = difflib.get_close_matches(missing.stem, {other.stem for other in others}, n=1)
    return next((other for other in others if [other.stem] == near), None)


def _line(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__


def _put_together(picture: decode.Decoded, box: decode.Box) -> np.ndarray:
    left, top, right, bottom = box
    pixels, row = np.empty((bottom - top, right - left, 3), np.float32), 0
    for part in picture.rows(box):
        pixels[row : row + len(part)] = part
        row += len(part)
    return pixels


def _square(picture: decode.Decoded, box: decode.Box, size: int) -> tuple[np.ndarray, list[str]]:
    """Return the resized square at the middle of a box, and notes.

    Lanczos is separable. Pillow resizes rows first, then columns, with float32 between them, and so does this.
    """
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    side = min(height, width)
    notes = []
    if height != width:
        left, top = left + (width - side) // 2, top + (height - side) // 2
        notes.append(f"centre-cropped from {width}x{height} to {side}x{side}")
    box = (left, top, left + side, top + side)
    if side == size:
        return _put_together(picture, box), notes
    narrow = np.concatenate([_resized(part, (size, len(part))) for part in picture.rows(box)])
    notes.append(f"resized from {side}x{side} to {size}x{size} (Lanczos)")
    pixels = np.clip(_resized(narrow, (size, size)), 0, 1)
    return np.repeat(pixels, 3 // pixels.shape[2], axis=2), notes


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    channels = [Image.fromarray(np.ascontiguousarray(pixels[..., c])) for c in range(pixels.shape[2])]
    return np.stack([np.asarray(channel.resize(size, Image.Resampling.LANCZOS)) for channel in channels], axis=2)
