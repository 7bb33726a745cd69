"""Files as other programs write them: odd pages, texts, profiles and depths; what is no picture starts nothing."""

import ast
import io
import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps
from support import ROOT

from dipddpm.errors import UserError
from dipddpm.pictures import decode, masks, read

H, W = 23, 31
rng = np.random.default_rng(0)
COLOUR = rng.integers(0, 256, (H, W, 3), np.uint8)
GREY = rng.integers(0, 256, (H, W), np.uint8)
SMALL = np.ascontiguousarray(COLOUR[::2, ::2][:11, :15])
LEFT_OUT = "texts and profile left out, because they are damaged or too long"


def chunk(kind, data, spoilt=False):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ spoilt)


def png(extra=b"", before_pixels=True):
    """Return a PNG of COLOUR with more chunks behind its header, or before its end."""
    buffer = io.BytesIO()
    Image.fromarray(COLOUR).save(buffer, "PNG")
    whole = buffer.getvalue()
    place = 33 if before_pixels else len(whole) - 12
    return whole[:place] + extra + whole[place:]


def pixels(path):
    return np.rint(read.load(str(path)).pixels * 255).astype(np.uint8)


def test_the_main_page_of_a_tiff_is_taken_and_not_its_preview(tmp_path):
    path = tmp_path / "a.tif"
    tagged = [(SMALL, {"subfiletype": 1}), (COLOUR, {})]
    untagged = [(SMALL, {}), (COLOUR, {})]
    behind = [(COLOUR, {}), (SMALL, {"subfiletype": 1})]
    old = [(SMALL.repeat(2, 0), {"extratags": [(255, "H", 1, 2, True)]}), (COLOUR, {})]  # of TIFF 5
    for pages, note in [(tagged, "page 2 of 2 read, because the first is a preview"),
                        (untagged, "page 2 of 2 read, because the first is a preview"),
                        (old, "page 2 of 2 read, because the first is a preview"),
                        (behind, "first of 2 frames read")]:  # fmt: skip
        with tifffile.TiffWriter(path) as tiff:
            for page, options in pages:
                tiff.write(page, photometric="rgb", **options)
        np.testing.assert_array_equal(pixels(path), COLOUR)
        assert read.load(str(path)).notes == (note,)
    with tifffile.TiffWriter(path) as tiff:  # a page of a document is no preview, though it is smaller
        tiff.write(COLOUR[:-5, :-5], photometric="rgb")
        tiff.write(COLOUR, photometric="rgb")
    assert read.check(str(path)) == (W - 5, H - 5)
    for kind in (1, 0):
        with tifffile.TiffWriter(path) as tiff:  # a camera's raw file: the picture lies below its preview
            tiff.write(SMALL, photometric="rgb", subfiletype=kind, subifds=1)
            tiff.write(COLOUR, photometric="rgb")
        with pytest.raises(UserError, match="has only a preview that can be read: save the picture itself as PNG"):
            read.check(str(path))
    with tifffile.TiffWriter(path) as tiff:  # of a microscope: smaller copies lie below the picture
        tiff.write(COLOUR, photometric="rgb", subifds=1)
        tiff.write(SMALL, photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(pixels(path), COLOUR)


@pytest.mark.parametrize("extra", [
    chunk(b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(bytes(3_000_000))),
    chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"0" * 3_000_000)),
    chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(3_000_000))),
    chunk(b"gAMA", b"\0\0\xb1\x8f", spoilt=True),
    chunk(b"pHYs", b"\0"),
    chunk(b"tRNS", b"\0", spoilt=True),
])  # fmt: skip
def test_a_png_is_whole_without_its_texts_and_profile(tmp_path, extra):
    exif = Image.Exif()
    exif[0x0112] = 3
    path = tmp_path / "a.png"
    path.write_bytes(png(extra))
    np.testing.assert_array_equal(pixels(path), COLOUR)
    assert read.load(str(path)).notes == (LEFT_OUT,)
    path.write_bytes(png(extra + chunk(b"eXIf", exif.tobytes()[6:])))
    np.testing.assert_array_equal(pixels(path), COLOUR[::-1, ::-1], err_msg="what is not damaged still counts")
    path.write_bytes(png(extra, before_pixels=False))
    np.testing.assert_array_equal(pixels(path), COLOUR)
    path.write_bytes(png(extra)[:-200])
    with pytest.raises(UserError, match="is damaged or cannot be read"):
        read.check(str(path))


@pytest.mark.parametrize(
    "exif", [b"", b"\0\x08\0\x02\x01\x12\0\x03", b"II*\0\xff\xff\0\0", b"Exif\0\0II*\0\x08\0\0\0\1"]
)
def test_broken_exif_turns_nothing(tmp_path, exif):
    (tmp_path / "a.png").write_bytes(png(chunk(b"eXIf", exif)))
    Image.fromarray(COLOUR).save(tmp_path / "a.webp", exif=exif, lossless=True)
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(pixels(path), COLOUR, err_msg=path.name)
        assert read.load(str(path)).notes == ()


def test_a_flipped_bit_in_the_pixels_is_no_other_picture(tmp_path):
    path, whole = tmp_path / "a.png", png()
    first = whole.index(b"IDAT") + 4
    for place in range(first, len(whole) - 16, (len(whole) - first) // 50):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 8]) + whole[place + 1 :])
        with pytest.raises(UserError, match="is damaged or cannot be read"):
            read.check(str(path))


def test_values_that_use_12_of_16_bits_are_read_as_they_are_and_noted(tmp_path):
    values = (GREY.astype(np.uint16) << 4) | 15
    Image.fromarray(values).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "big.tif", values, byteorder=">")
    tifffile.imwrite(tmp_path / "colour.tif", np.dstack([values] * 3), photometric="rgb")
    tifffile.imwrite(tmp_path / "int.tif", values.astype(np.int32))
    for path in tmp_path.iterdir():
        picture = read.load(str(path), box=[0, 0, 9, 9])
        assert "no value is above 4095 of 65535: if the file has 12 bits" in picture.notes[0], path.name
        assert picture.notes[0].endswith("multiply its values by 16")
        assert picture.pixels.max() <= 4095 / 65535
    colour = np.dstack([values] * 3).astype(">u2").tobytes()
    (tmp_path / "a.ppm").write_bytes(b"P6 %d %d 65535\n" % (W, H) + colour)
    assert "no value is above 4095 of 65535" in read.load(str(tmp_path / "a.ppm")).notes[0]
    (tmp_path / "a.ppm").write_bytes(b"P6 %d %d 4095\n" % (W, H) + colour)  # which Pillow scales
    assert read.load(str(tmp_path / "a.ppm")).notes == ("16 bits a value cut to 8 (Pillow reads colour at 8 bits)",)
    Image.fromarray(values * 16).save(tmp_path / "a.png")
    assert read.load(str(tmp_path / "a.png")).notes == ("16-bit", "grey made RGB")
    Image.fromarray(GREY // 16).save(tmp_path / "a.png")
    assert read.load(str(tmp_path / "a.png")).notes == ("grey made RGB",), "8 bits are not asked"


def test_a_colour_profile_other_than_srgb_is_noted(tmp_path):
    lab, srgb = (ImageCms.ImageCmsProfile(ImageCms.createProfile(kind)).tobytes() for kind in ("LAB", "sRGB"))
    for profile, notes in [
        (lab, ("the colour profile (Lab identity built-in) is not applied",)),
        (srgb, ()),
        (b"no profile", ("the colour profile (unreadable) is not applied",)),
    ]:
        for name in ("a.png", "a.jpg", "a.tif", "a.webp"):
            Image.fromarray(COLOUR).save(tmp_path / name, icc_profile=profile)
            assert read.load(str(tmp_path / name)).notes == notes


def test_a_png_that_tells_its_colours_in_numbers_is_noted(tmp_path):
    usual, linear = chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"gAMA", struct.pack(">I", 100000))
    adobe = chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000))
    said = ("its gamma (1.0) is not applied",), ("its chromaticity",), (), ()
    for extra, notes in zip((linear, adobe + usual, usual, chunk(b"sRGB", b"\0") + linear), said, strict=True):
        (tmp_path / "a.png").write_bytes(png(extra))
        found = read.load(str(tmp_path / "a.png")).notes
        assert len(found) == len(notes) and all(map(str.startswith, found, notes)), found


def test_a_mask_that_is_transparent_in_places_is_refused(tmp_path):
    path = tmp_path / "mask.png"
    known = np.ones((H, W), bool)
    known[3:9, 4:20] = False
    black = np.dstack([0 * COLOUR, 255 * known]).astype(np.uint8)
    palette = Image.fromarray(255 * known.astype(np.uint8)).quantize(2)
    for image, options in [(Image.fromarray(black), {}), (palette, {"transparency": 0})]:
        image.save(path, **options)
        with pytest.raises(UserError, match="operator.file: the mask is transparent in places") as caught:
            masks.check(str(path), None, (W, H))
        with pytest.raises(UserError, match="operator.file: the mask is transparent in places"):
            masks.drawn(read.load(str(path), 9, key="operator.file"))
        assert "\n" not in str(caught.value)
    Image.fromarray(255 * known.astype(np.uint8)).convert("RGBA").save(path)
    masks.check(str(path), None, (W, H))
    masks.check(str(path), [0, 0, 9, 8], (9, 8))
    np.testing.assert_array_equal(masks.drawn(read.load(str(path), key="operator.file")), known)
    with pytest.raises(UserError, match="operator.file: every pixel is known"):
        masks.check(str(path), [20, 9, 30, 20], (10, 11))


def test_the_built_in_picture_is_no_mask(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given in ("astronaut", "5"):
        with pytest.raises(UserError) as caught:
            read.check(given, key="operator.file")
        assert str(caught.value) == f"operator.file={given} does not exist: type operator.file=<file>"
    assert read.check("astronaut", key="image.reference") == (172, 172)


def test_a_file_of_another_format_starts_no_program(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    asked = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given, **more: asked.append(given))
    path = tmp_path / "face.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n")
    with pytest.raises(UserError, match="is no picture that can be read: give a PNG, JPEG"):
        read.check(str(path))
    assert not asked
    Image.fromarray(COLOUR).save(path, format="TGA")
    with pytest.raises(UserError, match="is no picture that can be read"):
        read.check(str(path))
    for name in ("a.avif", "a.gif", "a.ppm", "A.JPEG", "a.bmp"):
        Image.fromarray(COLOUR).save(tmp_path / name)
        assert read.check(str(tmp_path / name)) == (W, H)


def test_pictures_are_opened_by_one_function_and_the_tables_of_a_jpeg_by_another():
    """Pillow opens whatever it knows, unless it is given the formats."""
    found = set()
    for folder in ("dipddpm", "prior_training", "scripts"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-2:] == ["Image", "open"]:
                    found.add((file.relative_to(ROOT).as_posix(), any(k.arg == "formats" for k in node.keywords)))
                assert not (isinstance(node, ast.Attribute) and node.attr == "imread"), file
    assert found == {("dipddpm/pictures/decode.py", True), ("dipddpm/pictures/jpegs.py", True)}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_strips_give_the_same_bits_as_the_whole_and_lie_where_they_belong(tmp_path, monkeypatch, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLOUR).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / "deep.png", exif=exif)
    for name in ("a.png", "deep.png"):
        for size, box in ((None, None), (9, None), (40, None), (None, (3, 1, 20, 22)), (8, (2, 3, 19, 20))):
            whole = read.load(str(tmp_path / name), size, box)
            with monkeypatch.context() as patch:
                patch.setattr(decode, "STRIP", 50)
                strips = read.load(str(tmp_path / name), size, box)
            np.testing.assert_array_equal(strips.pixels, whole.pixels)
            assert strips.notes == whole.notes and strips.box == whole.box
    with Image.open(tmp_path / "a.png") as stored:
        turned = np.asarray(ImageOps.exif_transpose(stored))
    part = read.load(str(tmp_path / "a.png"), box=(3, 1, 14, 20)).pixels
    np.testing.assert_array_equal(part, turned[1:20, 3:14].astype(np.float32) / 255)


@pytest.mark.parametrize(("size", "box"), [(16, None), (None, (100, 100, 164, 164)), (16, (100, 100, 600, 600))])
def test_reading_takes_at_most_3_bytes_a_pixel_beside_the_decoded_picture(tmp_path, monkeypatch, size, box):
    monkeypatch.setattr(decode, "STRIP", 2**14)  # the pictures are small, too
    side = 1000
    for array in (rng.integers(0, 65536, (side, side), np.uint16), rng.integers(0, 256, (side, side, 3), np.uint8)):
        Image.fromarray(array).save(tmp_path / "a.tif")
        read.load(str(tmp_path / "a.tif"), size, box)  # imports what is imported late
        tracemalloc.start()  # of NumPy's memory; Pillow keeps the decoded picture in its own
        read.check(str(tmp_path / "a.tif"), box)
        masks.check(str(tmp_path / "a.tif"), box, read.check(str(tmp_path / "a.tif"), box))
        read.load(str(tmp_path / "a.tif"), size, box)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3 * side**2


def test_sizes_and_boxes_that_cannot_be_are_refused(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    sizes: list[Any] = [0, 4, -8, 8193, 10**12, 9.5, True, "9"]
    boxes: list[Any] = [(1, 2, 3), (1, 2, 3, 4, 5), (0, 0, 9.5, 9), (0, 0, True, 9), ()]
    for size in sizes:
        with pytest.raises(ValueError, match="is not allowed: 8 to 8192 pixels, or None") as caught:
            read.read_picture(path, size)
        assert str(caught.value).startswith(f"size={size} ")
    for box in boxes:
        with pytest.raises(ValueError, match="is not allowed: .left,top,right,bottom."):
            read.read_picture(path, box=box)
    with pytest.raises(ValueError, match="is not inside image.path"):
        read.read_picture(path, box=(0, 0, 10**12, 10**12))
    nine: Any = np.int64(9)
    assert read.read_picture(path, nine, [0, 0, 12, nine]).shape == (1, 3, 9, 9)
