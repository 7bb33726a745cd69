"""Pictures that are cut, altered, hostile or no pictures at all, and pictures with odd names."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from campaign.bad_input.case import EITHER, EXECUTED, FIT, REFUSED, WHOLE, Case, chunk, quoted, replaced

FORMATS = {"PNG": {}, "JPEG": {}, "WEBP": {"lossless": True}, "BMP": {}, "TIFF": {}}
MODES = ("1", "L", "LA", "P", "RGBA", "CMYK", "I;16")
NAMES = ("a\nb.png", "обр\u202eаз-日本.png", "x" * 251 + ".png", "-m.png", "a=b=c.png", "a,b.png", "a{b}c.png",
         "a'b\"c.png", "%s%n.png", " a b .png", "<img src=x onerror=alert(1)>.png", "*.png", "#x.png", "[red]x.png",
         f"a;touch {EXECUTED};.png", "a\x1b[31mb.png", "=1+1.png", "1_2", "5e7")  # fmt: skip
PATHS = ("/dev/zero", "/dev/null", "/dev/random", "/proc/self/mem", "/etc/passwd", "/", ".", "~nosuch/x.png", "x" * 300,
         "/" + "a/" * 3000, "http://127.0.0.1/x.png", "file:///etc/passwd", "astronaut/x")  # fmt: skip
BOXES = ("[0,0,8]", "[0,0,0,0]", "[-1,0,30,30]", "[0,0,1000000,1000000]", "[30,30,0,0]", "[a,b,c,d]", "[1.5,0,20,20]",
         "[[0,0],[20,20]]", "7", "{a:1}", "[0,0,99999999999999999999999,9]")  # fmt: skip


def pictures(folder: Path, rng: random.Random) -> list[Case]:
    """Write the pictures; return a case for each."""
    whole = np.random.default_rng(rng.randrange(2**32)).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    picture = Image.fromarray(whole)
    files: dict[str, tuple[bytes, tuple[int, ...]]] = {}
    for kind, how in FORMATS.items():
        data, name = _saved(picture, kind, **how), kind.lower()
        for i in range(3):
            files[f"cut{i}.{name}"] = data[: rng.randrange(1, len(data))], EITHER
            files[f"flipped{i}.{name}"] = _flipped(data, rng), EITHER
        files[f"headless.{name}"] = b"XXXX" + data[4:], EITHER
    for mode in MODES:
        if mode == "I;16":
            odd = Image.fromarray(whole[..., 0].astype(np.uint16) * 257)
        else:
            odd = picture.convert(mode)
        files[f"mode-{mode.replace(';', '')}.tiff"] = _saved(odd, "TIFF"), WHOLE
    for name, value in {"nan": np.nan, "inf": np.inf, "negative": -1.0, "two": 2.0}.items():
        grey = np.full((40, 40), 0.5, np.float32)
        grey[3:5, 3:5] = value
        files[f"float-{name}.tiff"] = _saved(Image.fromarray(grey), "TIFF"), REFUSED
    png = _saved(picture, "PNG")
    for kind, more in {
        "iTXt": b"k\0\1\0\0\0" + zlib.compress(bytes(10**8), 9),
        "zTXt": b"k\0\0" + zlib.compress(bytes(10**7), 9),
        "iCCP": b"k\0\0" + zlib.compress(bytes(10**8), 9),
    }.items():
        files[f"{kind}.png"] = png[:33] + chunk(kind.encode(), more) + png[33:], EITHER
    files |= {
        "empty.png": (b"", REFUSED),
        "text.png": (b"hello\n" * 100, REFUSED),
        "zeros.png": (bytes(5000), REFUSED),
        "svg.png": (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", REFUSED),
        "script.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EOF\n", REFUSED),
        "0x10.png": (_claims(0, 10), REFUSED),
        "1x1.png": (_claims(1, 1), REFUSED),
        "1x10000.png": (_claims(1, 10_000), REFUSED),
        "400-megapixels.png": (_claims(20_000, 20_000, rows=10), REFUSED),
        "2-gigapixels.png": (_claims(65_535, 32_768, rows=1), REFUSED),
        "largest.png": (_claims(2**31 - 1, 2**31 - 1, rows=0), REFUSED),
        "16-bit.png": (_claims(12_000, 12_000, bits=16, colour=0), EITHER),
    }
    for name, (data, _) in files.items():
        (folder / name).write_bytes(data)
    cases = [Case(name, replaced(FIT, f"image.path={folder / name}"), codes) for name, (_, codes) in files.items()]
    return cases + _names(folder, png) + _specials(folder) + _boxes(folder / "mode-L.tiff")


def _saved(picture: Image.Image, kind: str, **how: bool) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **how)
    return file.getvalue()


def _flipped(data: bytes, rng: random.Random) -> bytes:
    altered = bytearray(data)
    for _ in range(rng.choice((1, 3, 20))):
        altered[rng.randrange(min(len(data), 200) if rng.random() < 0.7 else len(data))] ^= 1 << rng.randrange(8)
    return bytes(altered)


def _claims(width: int, height: int, bits: int = 8, colour: int = 2, rows: int | None = None) -> bytes:
    """Return a PNG that claims a size; it holds ``rows`` rows of zeros."""
    line = 1 + (width * {0: 1, 2: 3}[colour] * bits + 7) // 8
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(bytes(line)) for _ in range(height if rows is None else rows)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _names(folder: Path, png: bytes) -> list[Case]:
    cases = []
    for name in NAMES:
        (folder / name).write_bytes(png)
        cases.append(Case(f"the name {name!r}", replaced(FIT, f"image.path={quoted(folder / name)}"), WHOLE))
        cases.append(Case(f"the name {name!r}, not quoted", replaced(FIT, f"image.path={folder / name}")))
    raw = os.fsencode(folder) + b"/\xff\xfe.png"
    Path(os.fsdecode(raw)).write_bytes(png)
    return [*cases, Case("a name that is not UTF-8", replaced(FIT, "image.path=" + os.fsdecode(raw)))]


def _specials(folder: Path) -> list[Case]:
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "dangling.png").symlink_to("nothing.png")
    paths = [*(str(folder / f"{name}.png") for name in ("folder", "pipe", "loop", "dangling", "absent")), *PATHS]
    cases = [Case(f"the path {p[:40]}", replaced(FIT, f"image.path={quoted(Path(p))}"), REFUSED) for p in paths]
    grey = f"image.path={folder / 'mode-L.tiff'}"
    for key, more in {"image.reference": ["image=noisy", "noise.sigma=5"], "operator.file": ["operator=mask"]}.items():
        for name in ("text", "1x1", "folder", "pipe", "absent", "400-megapixels", "loop"):
            argv = replaced(FIT, *more, grey, f"{key}={folder / name}.png")
            cases.append(Case(f"{key} {name}", argv, REFUSED))
    return cases


def _boxes(picture: Path) -> list[Case]:
    return [Case(f"box {b}", replaced(FIT, f"image.path={picture}", f"image.box={b}"), REFUSED) for b in BOXES]
