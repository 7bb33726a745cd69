"""Decode picture files, and convert their pixels to RGB in [0, 1] a strip of rows at a time. Imports no torch.

A decoded picture keeps its type: a scan of 12000x12000 pixels fills 0.3 GB at 16 bits, and 1.7 GB as RGB of float32.
So a box is cut first, and strips of about a million pixels are converted.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageCms, TiffImagePlugin, features

from dipddpm.errors import UserError

SUFFIXES = {  # the formats that are read, with the ends of their files' names; Pillow has more, and some run programs
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm"),
}
FORMATS = "PNG, JPEG, WebP, AVIF, GIF, BMP, TIFF or PPM file of 8 or 16 bits a value"
COMPOSITED = "composited on white"  # the note of a picture that is transparent in places
STRIP = 2**20  # pixels that are converted at a time
TURNS = dict(zip(range(2, 9), (
    Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90,
), strict=True))  # by the EXIF orientation  # fmt: skip
SRGB = {"gamma": 0.45455, "chromaticity": (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)}  # as a PNG says it
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels


@dataclass
class Decoded:
    """A decoded picture.

    Attributes:
        image: The picture as stored, loaded.
        orientation: EXIF orientation, 1 to 8, which is still to be applied.
        cut_to_8: Whether Pillow has cut 16 bits a value to 8.
        named: The key and path of the picture, for refusals.
        notes: The changes to the file's pixels, in words. Converting adds notes.
    """

    image: Image.Image
    orientation: int
    cut_to_8: bool
    named: str
    notes: list[str]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height after turning."""
        width, height = self.image.size
        return (height, width) if self.orientation >= 5 else (width, height)

    @property
    def may_be_out_of_range(self) -> bool:
        """Whether the type of the values allows some that `rows` refuses."""
        return self.image.mode.startswith("I") or self.image.mode == "F"

    def rows(self, box: Box) -> Iterator[np.ndarray]:
        """Yield the part of the turned picture inside a box, from top to bottom.

        Args:
            box: (left, top, right, bottom) in pixels, inside the turned picture.

        Yields:
            float32, shape (h, right - left, 3), in [0, 1]; (h, right - left, 1) for grey of more than 8 bits.

        Raises:
            UserError: For floating-point values outside 0..1, and integers outside 0..65535.
        """
        left, top, right, bottom = box
        height = max(1, STRIP // (right - left))
        for start in range(top, bottom, height):
            part = self._cut((left, start, right, min(start + height, bottom)))
            yield self._grey(part) if self.may_be_out_of_range else self._colour(part)

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _cut(self, box: Box) -> Image.Image:
        """Return a part of the turned picture, without turning the rest."""
        left, top, right, bottom = box
        width, height = self.image.size
        if self.orientation >= 5:
            left, top, right, bottom = top, left, bottom, right
        if self.orientation in (2, 3, 7, 8):
            left, right = width - right, width - left
        if self.orientation in (3, 4, 6, 7):
            top, bottom = height - bottom, height - top
        part = self.image.crop((left, top, right, bottom))
        return part.transpose(TURNS[self.orientation]) if self.orientation in TURNS else part

    def _colour(self, part: Image.Image) -> np.ndarray:
        if self.cut_to_8:
            self._note("16 bits a value cut to 8 (Pillow reads colour at 8 bits)")
        if part.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in part.info:
            rgba = part.convert("RGBA")
            if np.asarray(rgba)[..., 3].min() < 255:
                self._note(COMPOSITED)
            part = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        elif part.mode in ("1", "L"):
            self._note("grey made RGB")
        elif part.mode != "RGB":
            self._note(f"{'palette' if part.mode == 'P' else part.mode} made RGB")
        return np.asarray(part.convert("RGB")).astype(np.float32) / 255

    def _grey(self, part: Image.Image) -> np.ndarray:
        values = np.asarray(part, dtype=np.float64)
        least, most = values.min(), values.max()
        if part.mode == "F":
            if not (least >= 0 and most <= 1):  # this form also refuses NaN
                given = f"{least:g} to {most:g}"
                raise UserError(f"{self.named} has floating-point values from {given}: give values within 0..1")
        else:
            if most > 65535 or least < 0:
                given = f"{least:g} to {most:g}"
                raise UserError(f"{self.named} has integer values from {given}: give 8 or 16 bits a value (0..65535)")
            if isinstance(clear := part.info.get("transparency"), int):
                values = np.where(values == clear, 65535, values)
                self._note(COMPOSITED)
            values = values / 65535
            self._note("16-bit")
        self._note("grey made RGB")
        return values.astype(np.float32)[..., None]


def decode(file: Path, named: str) -> Decoded:
    """Decode a file. A PNG is whole without its texts, profile and EXIF, so it is read without those that are broken.

    Raises:
        UserError: For a TIFF that holds no main picture, or that Pillow would misread without an error.
        Exception: Pillow raises many kinds for damaged files.
    """
    try:
        return _decode(file, named)
    except UserError:
        raise
    except Exception:
        if (bare := _bare_png(file)) is None:
            raise
        decoded = _decode(bare, named)
        decoded.notes.append("texts and profile left out, because they are damaged or too long")
        return decoded


def _decode(file: Path | IO[bytes], named: str) -> Decoded:
    notes: list[str] = []
    # Pillow warns of large sizes that are allowed and of EXIF entries that nothing reads.
    with warnings.catch_warnings(action="ignore"), Image.open(file, formats=_known()) as image:
        _choose_page(image, named, notes)
        # The layout in the file, which Pillow drops when it loads. A PPM has the greatest value in its place.
        deep = bool(re.search(r";16|'RGB', \d{4}", str(getattr(image, "tile", ""))))
        _refuse_misread_tiff(getattr(image, "tag_v2", {}), deep, named)
        if image.format != "TIFF":  # Pillow turns a TIFF when it loads; it loads a PNG to look for EXIF
            image.load()
        orientation = 1
        with suppress(Exception):  # EXIF that cannot be read turns nothing
            orientation = image.getexif().get(0x0112, 1)
        if orientation in TURNS:
            notes.append("turned by its EXIF orientation")
        image.load()
        if orientation not in TURNS or image.format == "TIFF":
            orientation = 1
        cut_to_8 = deep and not image.mode.startswith("I")
        if cut_to_8 or image.mode.startswith("I"):
            _note_darkness(image, cut_to_8, notes)
        _note_profile(image.info, notes)
    return Decoded(image, orientation, cut_to_8, named, notes)


def _known() -> list[str]:
    """Return the formats that are read. An older Pillow knows no AVIF."""
    return [name for name in SUFFIXES if name != "AVIF" or features.check("avif")]


def _choose_page(image: Image.Image, named: str, notes: list[str]) -> None:
    """Go to the main page of a TIFF: the first that is no preview of another. Of other formats it is the first frame.

    A preview says so in its tags, or has at most half the width and height of the largest page.

    Raises:
        UserError: When the largest picture lies below a page, where Pillow does not look, as in a camera's raw file.
    """
    count = getattr(image, "n_frames", 1)
    main = 0
    if image.format == "TIFF":
        sizes, previews, below = [], set(), 0
        for page in range(count):
            image.seek(page)
            tags = getattr(image, "tag_v2", {})
            below = max([below, *_areas_below(image)])
            sizes.append(image.size)
            if tags.get(254, 0) & 1 or tags.get(255) == 2:  # a smaller version of another page
                previews.add(page)
        pages = [page for page in range(count) if page not in previews] or list(range(count))
        width, height = max((sizes[page] for page in pages), key=lambda size: size[0] * size[1])
        if below > width * height:
            raise UserError(f"{named} has only a preview that can be read: save the picture itself as PNG")
        main = next(page for page in pages if 2 * sizes[page][0] > width or 2 * sizes[page][1] > height)
        image.seek(main)
    if main:
        notes.append(f"page {main + 1} of {count} read, because the first is a preview")
    elif count > 1:
        notes.append(f"first of {count} frames read")


def _areas_below(image: Any) -> list[int]:
    """Return the numbers of pixels of the pictures below a page of a TIFF, as cameras store them."""
    areas = []
    with suppress(Exception):  # such pictures are not read, so they may be damaged
        for place in np.ravel(image.tag_v2.get(330, ()))[:16]:  # a hostile file may have many
            tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=image.tag_v2.prefix)
            image.fp.seek(int(place))
            tags.load(image.fp)
            areas.append(tags[256] * tags[257])
    return areas


def _refuse_misread_tiff(tags: Mapping[int, Any], deep: bool, named: str) -> None:
    """Refuse TIFFs that Pillow decodes, without an error, into another picture: darker, negative, or noise."""
    bits, white_is_zero, planes = max(tags.get(258, (8,))), tags.get(262) == 0, tags.get(284) == 2
    signed = 2 in tags.get(339, ()) and bits <= 8
    if signed or (bits > 8 and (bits not in (16, 32) or white_is_zero or (planes and not deep))):
        how = " with white as zero" if white_is_zero else " with colours in separate planes" if planes else ""
        kind = f"{'signed ' * signed}{bits} bits"
        raise UserError(f"{named} is a TIFF of {kind} a value{how}, which would be misread: save it as PNG")


def _note_darkness(image: Image.Image, cut_to_8: bool, notes: list[str]) -> None:
    """Note 16-bit values that use 15 bits or less, as those of cameras with 12 bits do."""
    try:
        high = np.ravel(image.getextrema())[1::2]
    except ValueError:  # Pillow does not look at big-endian values
        high = np.ravel(np.asarray(image).max())
    most = int(max(high[:-1] if image.mode.endswith("A") else high))
    if cut_to_8 and image.format == "PPM":  # Pillow rounds these, and cuts the others
        most = max(0, 257 * most - 128) >> 8
    most = 256 * most + 255 if cut_to_8 else most
    bits = max(8, most.bit_length())
    if bits < 16:
        notes.append(
            f"no value is above {most} of 65535: if the file has {bits} bits a value, the picture is too dark; "
            f"multiply its values by {2 ** (16 - bits)}"
        )


def _note_profile(info: Mapping[str | tuple[int, int], Any], notes: list[str]) -> None:
    """Note a colour profile other than sRGB: the values of the file are taken as they are."""
    if not (profile := info.get("icc_profile")):
        for key, usual in () if "srgb" in info else SRGB.items():
            if not np.allclose(info.get(key, usual), usual, atol=0.01):
                notes.append(f"its {key} ({info[key]}) is not applied")
        return
    name = "unreadable"
    with suppress(Exception):
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    name = " ".join(re.sub(r"[^ -~]", " ", name).split())[:60]
    if "srgb" not in name.lower() and name != "c2":  # c2: the small sRGB profile of social networks
        notes.append(f"the colour profile ({name}) is not applied")


def _bare_png(file: Path) -> io.BytesIO | None:
    """Return a PNG without the parts that are not needed to show it, or None where the file is no PNG.

    EXIF and transparency stay, where they are not damaged.
    """
    with file.open("rb") as opened:
        data = opened.read(8)
        if data != b"\x89PNG\r\n\x1a\n":  # a file of another kind may fill the memory
            return None
        data += opened.read()
    kept, place = [data[:8]], 8
    while place + 12 <= len(data):
        end = place + 12 + struct.unpack_from(">I", data, place)[0]
        chunk, kind = data[place:end], data[place + 4 : place + 8]
        whole = zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])
        if kind[:1].isupper() or (kind in (b"tRNS", b"eXIf") and whole):
            kept.append(chunk)
        place = end
    return io.BytesIO(b"".join(kept))
