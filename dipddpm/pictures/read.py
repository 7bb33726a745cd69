"""Read picture files as RGB in [0, 1], cut and resize them. Only the functions that return tensors import torch."""

from __future__ import annotations

import difflib
import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dipddpm.errors import UserError
from dipddpm.names import SMALLEST

if TYPE_CHECKING:
    import torch

BUILT_IN = "astronaut"  # scikit-image's picture of Eileen Collins (NASA, public domain)
FACE = (140, 20, 312, 192)  # box of the face in the built-in picture, framed like the faces of the prior
FORMATS = "PNG, JPEG, WebP, BMP or TIFF file of 8 or 16 bits a value"
Box = Sequence[int]  # left, top, right, bottom in pixels


@dataclass(frozen=True)
class Picture:
    """A loaded picture.

    Attributes:
        pixels: float32, shape (H, W, 3), in [0, 1].
        notes: The changes to the file's pixels, in words, such as ``centre-cropped from 80x64 to 64x64``.
        size: Width and height after rotation and cutting, before the picture was made square and resized.
    """

    pixels: np.ndarray
    notes: tuple[str, ...]
    size: tuple[int, int]

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
    height, width = _cut(path, box, key)[0].shape[:2]
    return width, height


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
        UserError: As for `check`.
    """
    pixels, notes = _cut(path, box, key)
    height, width = pixels.shape[:2]
    if size is not None:
        pixels = _square(pixels, size, notes)
    return Picture(np.ascontiguousarray(_unit(pixels)), tuple(notes), (width, height))


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
        UserError: As for `check`. A UserError is a ValueError.
    """
    return to_tensor(load(str(path), size, box).pixels)


def _built_in() -> Path:
    spec = importlib.util.find_spec("skimage")  # finds the folder without the time of an import
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "data" / "astronaut.png"


def _cut(path: str, box: Box | None, key: str) -> tuple[np.ndarray, list[str]]:
    """Return the pixels inside the box, in the types of `_decode`, and the notes.

    Only the cut pixels become floats later: the floats of a whole photograph fill gigabytes.
    """
    named = f"{key}={path}"
    file = _built_in() if path == BUILT_IN else _find(path, key)
    if path == BUILT_IN and box is None:
        box = FACE
    notes: list[str] = []
    try:
        # Pillow warns of large sizes that are allowed and of EXIF entries that nothing reads.
        with warnings.catch_warnings(action="ignore"), Image.open(file) as image:
            pixels = _decode(image, named, notes)
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"{named} is no picture that can be read: give a {FORMATS}") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{named} has too many pixels ({_line(error)}): give a smaller picture") from error
    except Exception as error:  # Pillow raises many kinds of exception for damaged files
        raise UserError(f"{named} is damaged or cannot be read ({_line(error)}): give a {FORMATS}") from error
    height, width = pixels.shape[:2]
    if box is not None:
        left, top, right, bottom = box
        named = f"image.box=[{','.join(map(str, box))}]"
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise UserError(
                f"{named} is not inside {key}={path}, which is {width}x{height}: "
                f"type image.box=[left,top,right,bottom] within [0,0,{width},{height}]"
            )
        pixels = pixels[top:bottom, left:right]
        height, width = pixels.shape[:2]
    if min(height, width) < SMALLEST:
        raise UserError(f"{named} is {width}x{height}: give at least {SMALLEST} pixels a side")
    return pixels, notes


def _unit(pixels: np.ndarray) -> np.ndarray:
    """Return pixels of `_decode` as float32 values in [0, 1]."""
    return pixels.astype(np.float32) / 255 if pixels.dtype == np.uint8 else pixels


def _find(path: str, key: str) -> Path:
    """Return the path of a regular file that is not empty, or raise the refusal."""
    try:
        file = Path(path).expanduser()
        if not file.exists():
            others = [p.name for p in file.parent.iterdir() if p.name != file.name] if file.parent.is_dir() else []
            near = difflib.get_close_matches(file.name, others, n=1)
            hint = f"did you mean {file.parent / near[0]}?" if near else f"type {key}=<file> or {key}={BUILT_IN}"
            raise UserError(f"{key}={path} does not exist: {hint}")
        if not file.is_file():  # opening a pipe waits for its writer
            kind = "a folder" if file.is_dir() else "a pipe or device"
            raise UserError(f"{key}={path} is {kind}: give a {FORMATS}")
        if file.stat().st_size == 0:
            raise UserError(f"{key}={path} is empty: give a {FORMATS}")
    except (OSError, RuntimeError) as error:  # a folder without permission, a long name, an unknown ~user
        raise UserError(f"{key}={path} cannot be reached ({_line(error)}): type {key}=<file>") from error
    return file


def _line(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__


def _decode(image: Image.Image, named: str, notes: list[str]) -> np.ndarray:
    """Return RGB values, shape (H, W, 3): uint8, or float32 in [0, 1] where there are more than 8 bits."""
    deep = ";16" in str(getattr(image, "tile", ""))  # the layout in the file, which Pillow drops when it loads
    _refuse_misread_tiff(getattr(image, "tag_v2", {}), deep, named)
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"first of {frames} frames")
    if image.getexif().get(0x0112) in range(2, 9):
        notes.append("turned by its EXIF orientation")
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return _grey(image, named, notes)
    if deep:
        notes.append("16 bits a value cut to 8 (Pillow reads colour at 8 bits)")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        if np.asarray(rgba)[..., 3].min() < 255:
            notes.append("composited on white")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    elif image.mode in ("1", "L"):
        notes.append("grey made RGB")
    elif image.mode != "RGB":
        notes.append(f"{'palette' if image.mode == 'P' else image.mode} made RGB")
    return np.asarray(image.convert("RGB"))


def _refuse_misread_tiff(tags: Mapping[int, Any], deep: bool, named: str) -> None:
    """Refuse TIFFs that Pillow decodes, without an error, into another picture: darker, negative, or noise."""
    bits, white_is_zero, planes = max(tags.get(258, (8,))), tags.get(262) == 0, tags.get(284) == 2
    if bits > 8 and (bits not in (16, 32) or white_is_zero or (planes and not deep)):
        how = " with white as zero" if white_is_zero else " with colours in separate planes" if planes else ""
        raise UserError(f"{named} is a TIFF of {bits} bits a value{how}, which would be misread: save it as PNG")


def _grey(image: Image.Image, named: str, notes: list[str]) -> np.ndarray:
    """Return the RGB values of a picture with one channel of more than 8 bits, as `_decode`."""
    values = np.asarray(image, dtype=np.float64)
    if image.mode == "F":
        if not (values.min() >= 0 and values.max() <= 1):  # this form also refuses NaN
            given = f"{values.min():g} to {values.max():g}"
            raise UserError(f"{named} has floating-point values from {given}: keep them within 0..1")
    else:
        if values.max() > 65535 or values.min() < 0:
            given = f"{values.min():g} to {values.max():g}"
            raise UserError(f"{named} has integer values from {given}: give 8 or 16 bits a value (0..65535)")
        if isinstance(clear := image.info.get("transparency"), int):
            values = np.where(values == clear, 65535, values)
            notes.append("composited on white")
        values = values / 65535
        notes.append("16-bit")
    notes.append("grey made RGB")
    return np.repeat(values[..., None], 3, axis=2).astype(np.float32)


def _square(pixels: np.ndarray, size: int, notes: list[str]) -> np.ndarray:
    height, width = pixels.shape[:2]
    side = min(height, width)
    if height != width:
        top, left = (height - side) // 2, (width - side) // 2
        pixels = pixels[top : top + side, left : left + side]
        notes.append(f"centre-cropped from {width}x{height} to {side}x{side}")
    if side != size:
        channels = [Image.fromarray(_unit(np.ascontiguousarray(pixels[..., c]))) for c in range(3)]
        resized = [np.asarray(c.resize((size, size), Image.Resampling.LANCZOS)) for c in channels]
        pixels = np.clip(np.stack(resized, axis=2), 0, 1)
        notes.append(f"resized from {side}x{side} to {size}x{size} (Lanczos)")
    return pixels
