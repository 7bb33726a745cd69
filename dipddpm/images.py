"""Read pictures as they come, cut and resize them, write them. Imports no torch: the command line checks with it."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dipddpm.errors import UserError
from dipddpm.files import replacing

SMALLEST = 8  # pixels on a side
BUILT_IN = "astronaut"  # scikit-image's picture of Eileen Collins (NASA, public domain)
FACE = (140, 20, 312, 192)  # of the built-in picture, framed as the faces of the prior are
FORMATS = "PNG, JPEG, WebP, BMP or TIFF"
Box = Sequence[int]  # left, top, right, bottom in pixels


@dataclass(frozen=True)
class Picture:
    """A picture as loaded.

    Attributes:
        pixels: float32, shape (H, W, 3), in [0, 1].
        notes: What was done to it, for people.
    """

    pixels: np.ndarray
    notes: tuple[str, ...]


def check(path: str, box: Box | None = None) -> tuple[int, int]:
    """Decode a picture and throw it away.

    Args:
        path: A file, or ``astronaut``.
        box: (left, top, right, bottom) in pixels.

    Returns:
        Width and height after rotation and cutting.

    Raises:
        UserError: When it is missing, no picture, or too small, or the box is not inside it.
    """
    height, width = load(path, box=box).pixels.shape[:2]
    return width, height


def load(path: str, size: int | None = None, box: Box | None = None) -> Picture:
    """Read a picture as RGB.

    Args:
        path: A file, or ``astronaut``, the built-in one (cut to its face where no box is given).
        size: Centre-crop to a square and resize to so many pixels (Lanczos); None leaves it as it is.
        box: (left, top, right, bottom) in pixels, cut out first.

    Raises:
        UserError: As for `check`.
    """
    file = _built_in() if path == BUILT_IN else Path(path).expanduser()
    if path == BUILT_IN and box is None:
        box = FACE
    if not file.exists():
        near = difflib.get_close_matches(file.name, _names(file.parent), n=1)
        hint = f"did you mean {file.parent / near[0]}?" if near else f"type image.path=<file> or {BUILT_IN}"
        raise UserError(f"image.path={path} does not exist: {hint}")
    notes: list[str] = []
    try:
        with Image.open(file) as image:
            pixels = _decode(image, notes)
    except UserError:
        raise
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "a folder" if file.is_dir() else f"not readable ({str(error).splitlines()[0]})"
        raise UserError(f"image.path={path} is {reason}: give a {FORMATS} file") from error
    height, width = pixels.shape[:2]
    if box is not None:
        left, top, right, bottom = box
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            given = ",".join(map(str, box))
            raise UserError(f"image.box=[{given}] is not inside the picture, which is {width}x{height}")
        pixels = pixels[top:bottom, left:right]
        height, width = pixels.shape[:2]
    if min(height, width) < SMALLEST:
        raise UserError(
            f"image.path={path} is {width}x{height} (after image.box): needs at least {SMALLEST} pixels a side"
        )
    if size is not None:
        pixels = _square(pixels, size, notes)
    return Picture(np.ascontiguousarray(pixels, dtype=np.float32), tuple(notes))


def save(path: Path, pixels: Any) -> None:
    """Write an 8-bit PNG, atomically.

    Args:
        path: Of the file.
        pixels: In [0, 1], clipped here: a tensor of shape (3, H, W) or (1, 3, H, W), or an array (H, W, 3).
    """
    if not isinstance(pixels, np.ndarray):
        pixels = pixels.detach().cpu().reshape(pixels.shape[-3:]).permute(1, 2, 0).numpy()
    rounded = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    with replacing(Path(path)) as temporary:
        Image.fromarray(rounded).save(temporary, format="PNG")


def to_tensor(pixels: np.ndarray) -> Any:
    """Return an (H, W, 3) array as a float32 tensor of shape (1, 3, H, W)."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32))[None]


def _built_in() -> Path:
    spec = importlib.util.find_spec("skimage")  # its folder, without its import time
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "data" / "astronaut.png"


def _names(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir()] if folder.is_dir() else []


def _decode(image: Image.Image, notes: list[str]) -> np.ndarray:
    """Return RGB values in [0, 1], float32, shape (H, W, 3)."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"first of {frames} frames")
    if image.getexif().get(0x0112, 1) != 1:
        notes.append("rotated as its EXIF orientation says")
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return _grey(image, notes)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        notes.append("composited on white")
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    elif image.mode in ("1", "L"):
        notes.append("grey made RGB")
    elif image.mode != "RGB":
        notes.append(f"{'palette' if image.mode == 'P' else image.mode} made RGB")
    return np.asarray(image.convert("RGB"), dtype=np.float32) / 255


def _grey(image: Image.Image, notes: list[str]) -> np.ndarray:
    values = np.asarray(image, dtype=np.float64)
    if image.mode == "F":
        if values.min() < 0 or values.max() > 1:
            raise UserError("image.path: a picture of floating-point values must keep within [0, 1]")
    else:
        if values.max() > 65535 or values.min() < 0:
            raise UserError("image.path: a picture of integers must have 8 or 16 bits a value")
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
        channels = [Image.fromarray(np.ascontiguousarray(pixels[..., c])) for c in range(3)]
        resized = [np.asarray(c.resize((size, size), Image.Resampling.LANCZOS)) for c in channels]
        pixels = np.clip(np.stack(resized, axis=2), 0, 1)
        notes.append(f"resized from {side}x{side} to {size}x{size} (Lanczos)")
    return pixels
