"""Pictures of every sort: each value where it belongs, each refusal one line that names what was typed."""

import os
import struct
import zlib

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from skimage import data

from dipddpm.errors import UserError
from dipddpm.pictures import read, write

H, W = 11, 17
rng = np.random.default_rng(0)
COLOUR, GREY = rng.integers(0, 256, (H, W, 3), np.uint8), rng.integers(0, 256, (H, W), np.uint8)
ALPHA = rng.integers(0, 256, (H, W), np.uint8)
DEEP, DEEP_GREY = rng.integers(0, 65536, (H, W, 3), np.uint16), rng.integers(0, 65536, (H, W), np.uint16)
PALETTE = Image.fromarray(COLOUR).quantize(16)
FROM_PALETTE = np.reshape(PALETTE.getpalette() or [], (-1, 3))[np.asarray(PALETTE)]
CUT = "16 bits a value cut to 8 (Pillow reads colour at 8 bits)"


def grey(values):
    return np.repeat(np.asarray(values)[..., None], 3, axis=2)


def write_png(path, array, colour_type, chunks=()):
    """Write a 16-bit PNG, which Pillow cannot for colours."""
    height, width = array.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 16, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))


def refused(path, box=None, **options):
    with pytest.raises(UserError) as caught:
        read.check(str(path), box, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1 and ": " in message, "one line, with the way out after the colon"
    return message


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.webp"])
def test_lossless_formats_are_read_to_the_bit(tmp_path, name):
    Image.fromarray(COLOUR).save(tmp_path / name, lossless=True)
    picture = read.load(str(tmp_path / name))
    assert picture.pixels.dtype == np.float32 and picture.notes == ()
    np.testing.assert_array_equal(picture.pixels, COLOUR.astype(np.float32) / 255)
    assert read.check(str(tmp_path / name)) == (W, H)


def test_grey_and_palette_pictures_become_rgb(tmp_path):
    for name, image, expected, note in [
        ("l.png", Image.fromarray(GREY), grey(GREY), "grey made RGB"),
        ("l.jpg", Image.new("L", (W, H), 77), np.full((H, W, 3), 77), "grey made RGB"),
        ("1.png", Image.fromarray(GREY > 99), grey(255 * (GREY > 99)), "grey made RGB"),
        ("p.gif", PALETTE, FROM_PALETTE, "palette made RGB"),
    ]:
        image.save(tmp_path / name)
        picture = read.load(str(tmp_path / name))
        np.testing.assert_array_equal(picture.pixels, expected.astype(np.float32) / 255, err_msg=name)
        assert picture.notes == (note,)


@pytest.mark.parametrize("mode, ink, expected", [
    ("CMYK", (255, 0, 0, 0), (0, 1, 1)), ("CMYK", (0, 0, 0, 255), (0, 0, 0)), ("YCbCr", (76, 85, 255), (1, 0, 0)),
])  # fmt: skip
def test_jpegs_of_other_colour_spaces(tmp_path, mode, ink, expected):
    Image.new(mode, (W, H), ink).save(tmp_path / "a.jpg", quality=95)
    picture = read.load(str(tmp_path / "a.jpg"))
    np.testing.assert_allclose(picture.pixels, np.broadcast_to(expected, (H, W, 3)), atol=0.02)
    assert picture.notes == (("CMYK made RGB",) if mode == "CMYK" else ())


def test_transparency_is_composited_on_white(tmp_path):
    palette = FROM_PALETTE / 255
    several = np.array([0, 128, 255, 7] + 12 * [255])[np.asarray(PALETTE)] / 255
    key = tuple(int(v) for v in COLOUR[3, 5])
    with_alpha = {mode: Image.fromarray(a) for mode, a in (("RGBA", COLOUR), ("LA", GREY))}
    for image in with_alpha.values():
        image.putalpha(Image.fromarray(ALPHA))
    for name, image, options, colour, alpha in [
        ("rgba", with_alpha["RGBA"], {}, COLOUR / 255, ALPHA / 255),
        ("opaque", Image.fromarray(COLOUR).convert("RGBA"), {}, COLOUR / 255, np.ones((H, W))),
        ("la", with_alpha["LA"], {}, grey(GREY / 255), ALPHA / 255),
        ("one entry", PALETTE, {"transparency": 3}, palette, np.asarray(PALETTE) != 3),
        ("several", PALETTE, {"transparency": bytes([0, 128, 255, 7])}, palette, several),
        ("key", Image.fromarray(COLOUR), {"transparency": key}, COLOUR / 255, (COLOUR != key).any(2)),
    ]:
        image.save(tmp_path / "a.png", **options)
        picture = read.load(str(tmp_path / "a.png"))
        expected = colour * alpha[..., None] + (1 - alpha[..., None])
        np.testing.assert_allclose(picture.pixels, expected, atol=0.51 / 255, err_msg=name)
        assert picture.notes == (() if name == "opaque" else ("composited on white",))


def test_grey_of_more_than_8_bits_keeps_every_value(tmp_path):
    expected = grey(DEEP_GREY / 65535).astype(np.float32)
    Image.fromarray(DEEP_GREY).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "little.tif", DEEP_GREY)
    tifffile.imwrite(tmp_path / "big.tif", DEEP_GREY, byteorder=">")
    Image.fromarray(DEEP_GREY.astype(np.int32)).save(tmp_path / "int.tif")
    tifffile.imwrite(tmp_path / "float.tif", (DEEP_GREY / 65535).astype(np.float32))
    for path in tmp_path.iterdir():
        picture = read.load(str(path))
        np.testing.assert_array_equal(picture.pixels, expected, err_msg=path.name)
        assert picture.notes == (("grey made RGB",) if path.name == "float.tif" else ("16-bit", "grey made RGB"))
    clear = int(DEEP_GREY[2, 3])
    write_png(tmp_path / "a.png", DEEP_GREY, 0, [(b"tRNS", struct.pack(">H", clear))])
    expected = np.where(grey(DEEP_GREY) == clear, 1, expected)
    np.testing.assert_array_equal(read.load(str(tmp_path / "a.png")).pixels, expected)


def test_colour_of_16_bits_is_cut_to_8_and_says_so(tmp_path):
    write_png(tmp_path / "a.png", DEEP, 2)
    tifffile.imwrite(tmp_path / "a.tif", DEEP, photometric="rgb")
    tifffile.imwrite(
        tmp_path / "z.tif", DEEP.transpose(2, 0, 1), photometric="rgb", planarconfig="separate", compression="zlib"
    )
    for path in tmp_path.iterdir():
        picture = read.load(str(path))
        np.testing.assert_allclose(picture.pixels, (DEEP // 256) / 255, rtol=1e-6, err_msg=path.name)
        assert picture.notes == (CUT,)


def test_tiffs_that_pillow_misreads_or_that_have_no_scale_are_refused(tmp_path):
    path, floats = tmp_path / "a.tif", (DEEP_GREY / 65535).astype(np.float32)
    for array, options, reason in [
        (DEEP.transpose(2, 0, 1), {"photometric": "rgb", "planarconfig": "separate"}, "colours in separate planes"),
        (DEEP_GREY, {"photometric": "miniswhite"}, "white as zero"),
        (np.where(floats == floats[1, 1], np.nan, floats), {}, "floating-point values from nan"),
        (300 * floats, {}, "floating-point values from"),
        (-floats, {}, "floating-point values from -"),
        (DEEP_GREY.astype(np.int32) + 65536, {}, "integer values from"),
        (-DEEP_GREY.astype(np.int32), {}, "integer values from -"),
        (floats.astype(np.float64), {}, "is a TIFF of a kind that cannot be read: save it as PNG"),
        (np.repeat(floats[..., None], 3, axis=2), {"photometric": "rgb"}, "is a TIFF of a kind that cannot be read"),
        ((GREY // 2).astype(np.int8), {}, "signed 8 bits"),
    ]:
        tifffile.imwrite(path, array, **options)
        message = refused(path)
        assert message.startswith(f"image.path={path} ") and reason in message


# Where the EXIF standard puts the stored picture's first pixel and the end of its first row (row, column).
TURNS = {1: ((0, 0), (0, -1)), 2: ((0, -1), (0, 0)), 3: ((-1, -1), (-1, 0)), 4: ((-1, 0), (-1, -1)),
         5: ((0, 0), (-1, 0)), 6: ((0, -1), (-1, -1)), 7: ((-1, -1), (0, -1)), 8: ((-1, 0), (0, 0))}  # fmt: skip


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", [*TURNS, 9])
def test_exif_orientation_moves_pixels_where_they_belong(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLOUR).save(tmp_path / f"a.{suffix}", exif=exif, lossless=True, exact=True)
    picture = read.load(str(tmp_path / f"a.{suffix}"))
    first, end = TURNS.get(orientation, TURNS[1])
    assert picture.pixels.shape == ((W, H, 3) if 5 <= orientation <= 8 else (H, W, 3))
    np.testing.assert_array_equal(picture.pixels[first], COLOUR[0, 0].astype(np.float32) / 255)
    np.testing.assert_array_equal(picture.pixels[end], COLOUR[0, -1].astype(np.float32) / 255)
    assert picture.notes == (("turned by its EXIF orientation",) if 2 <= orientation <= 8 else ())


@pytest.mark.parametrize("name", ["a.webp", "a.tif", "a.gif", "a.png"])
def test_of_several_frames_the_first_is_taken(tmp_path, name):
    first, *others = [Image.new("RGB", (W, H), colour) for colour in ("red", "lime", "blue")]
    first.save(tmp_path / name, save_all=True, append_images=others, lossless=True)
    picture = read.load(str(tmp_path / name))
    np.testing.assert_array_equal(picture.pixels, np.broadcast_to((1, 0, 0), (H, W, 3)))
    assert picture.notes[0] == "first of 3 frames read"


def test_what_is_no_picture_is_refused_in_one_line(tmp_path, monkeypatch):
    def say(name, **options):
        message = refused(tmp_path / name, **options)
        assert message.startswith(f"{options.get('key', 'image.path')}={tmp_path / name} ")
        return message

    (tmp_path / "text.png").write_text("two\nlines")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "lost.png").symlink_to(tmp_path / "nowhere")
    assert "no picture that can be read: give a PNG, JPEG" in say("text.png")
    assert "is empty: give a PNG" in say("empty.png")
    assert "is a folder: give a PNG" in say("folder.png")
    assert "is a pipe or device: give a PNG" in say("pipe.png")
    assert f"does not exist: did you mean {tmp_path / 'folder.png'}?" in say("foldr.png")
    assert "does not exist: type image.path=<file> or image.path=astronaut" in say("q")
    assert "type image.reference=<file>" in say("q", key="image.reference")
    assert f"is a link to {tmp_path / 'nowhere'}, which does not exist: type image.path=<file>" in say("lost.png")
    assert "does not exist: type image.path=<file>" in say("q.png"), "the same suffix is no resemblance"
    assert "cannot be reached (File name too long): type image.path=<file>" in say(300 * "a")
    assert "does not exist: type image.path=<file>" in refused("~no-such-user/a.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.fromarray(COLOUR).save(tmp_path / "me.png")
    assert read.check("~/me.png") == (W, H)
    assert f"did you mean {tmp_path}/me.png?" in refused("~/mee.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif"])
def test_damaged_files_are_refused_or_read_but_never_crash(tmp_path, suffix):
    path, draw = tmp_path / f"a.{suffix}", np.random.default_rng(5)
    Image.fromarray(draw.integers(0, 256, (61, 67, 3), np.uint8)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "is damaged or cannot be read (" in refused(path)
    if suffix == "tif":  # a second page without any tag
        place = struct.unpack_from("<I", whole, 4)[0]
        place += 2 + 12 * struct.unpack_from("<H", whole, place)[0]
        path.write_bytes(whole[:place] + struct.pack("<I", len(whole)) + whole[place + 4 :] + bytes(6))
        assert "is damaged or cannot be read (Missing dimensions): give a PNG" in refused(path)
    refusals = 0
    for _ in range(40):
        broken = bytearray(whole)
        for place in draw.integers(0, 120, 3):
            broken[place] = draw.integers(256)
        path.write_bytes(broken)
        try:
            pixels = read.load(str(path)).pixels
            assert 0 <= pixels.min() <= pixels.max() <= 1, "no NaN either"
        except UserError as error:
            assert "\n" not in str(error)
            refusals += 1
    assert refusals > 0


def test_large_pictures_load_without_a_warning_and_huge_ones_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.fromarray(COLOUR).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", H * W - 1)  # where Pillow warns, which is an error here
    assert read.check(str(path)) == (W, H)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", H * W // 2 - 1)
    assert "has too many pixels (Image size (187 pixels) exceeds" in refused(path)


def test_a_box_is_cut_out_after_turning_and_before_resizing(tmp_path):
    path = tmp_path / "a.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # clockwise: 17x11 becomes 11x17
    Image.fromarray(COLOUR).save(path, exif=exif)
    turned = np.rot90(COLOUR, -1).astype(np.float32) / 255
    np.testing.assert_array_equal(read.load(str(path), box=[1, 2, 10, 17]).pixels, turned[2:17, 1:10])
    assert read.check(str(path), [1, 2, 10, 17]) == (9, 15)
    assert read.load(str(path), size=9, box=[1, 2, 10, 11]).notes == ("turned by its EXIF orientation",)
    assert read.check(str(path), [0, 0, 11, 17]) == (11, 17)
    for box in [[-1, 0, 9, 9], [0, -1, 9, 9], [0, 0, 12, 9], [0, 0, 9, 18], [9, 0, 0, 9], [0, 9, 9, 9]]:
        message = refused(path, box)
        assert message.startswith(f"image.box=[{','.join(map(str, box))}] is not inside image.path={path}")
        assert message.endswith("11x17: type image.box=[left,top,right,bottom] within [0,0,11,17]")
    assert read.check(str(path), [0, 0, 8, 8]) == (8, 8)
    Image.new("RGB", (9, 7)).save(tmp_path / "b.png")
    assert refused(tmp_path / "b.png") == f"image.path={tmp_path / 'b.png'} is 9x7: give at least 8 pixels a side"
    assert refused(path, [0, 0, 7, 8]) == "image.box=[0,0,7,8] is 7x8: give at least 8 pixels a side"


def test_the_square_is_cut_from_the_middle(tmp_path):
    for array in (COLOUR, COLOUR.transpose(1, 0, 2)):
        Image.fromarray(array).save(tmp_path / "a.png")
        middle = array[:, 3:14] if array.shape[1] == W else array[3:14]
        picture = read.load(str(tmp_path / "a.png"), size=11)
        np.testing.assert_array_equal(picture.pixels, middle.astype(np.float32) / 255)
        assert picture.notes == (f"centre-cropped from {array.shape[1]}x{array.shape[0]} to 11x11",)


@pytest.mark.parametrize("size", [8, 13, 23])
def test_resizing_keeps_constants_symmetry_and_range_and_does_not_round(tmp_path, size):
    path = tmp_path / "a.png"
    Image.new("RGB", (W, H), (10, 100, 250)).save(path)
    constant = read.load(str(path), size=size)
    assert constant.pixels.shape == (size, size, 3)
    assert np.ptp(constant.pixels, axis=(0, 1)).max() < 1e-6
    np.testing.assert_allclose(constant.pixels[0, 0] * 255, [10, 100, 250], rtol=1e-6)
    assert constant.notes[-1] == f"resized from 11x11 to {size}x{size} (Lanczos)"
    Image.fromarray(COLOUR[:, 3:14]).save(path)
    straight = read.load(str(path), size=size).pixels
    Image.fromarray(COLOUR[::-1, 3:14][:, ::-1]).save(path)
    np.testing.assert_allclose(read.load(str(path), size=size).pixels, straight[::-1, ::-1], atol=1e-6)
    assert np.abs(straight * 255 - np.rint(straight * 255)).max() > 0.3, "not rounded to 8 bits on the way"
    Image.fromarray(grey(255 * (GREY > 127)).astype(np.uint8)).save(path)
    pixels = read.load(str(path), size=size).pixels  # Lanczos overshoots at edges
    assert pixels.min() == 0 and pixels.max() == 1


def test_resizing_is_lanczos_with_three_lobes_widened_to_the_coarser_grid(tmp_path):
    Image.fromarray(COLOUR[:, 3:14]).save(tmp_path / "a.png")
    scale = 11 / 8
    d = (np.arange(11)[None] - (np.arange(8)[:, None] + 0.5) * scale + 0.5) / scale
    weights = np.where(np.abs(d) < 3, np.sinc(d) * np.sinc(d / 3), 0)
    weights /= weights.sum(1, keepdims=True)
    expected = np.einsum("ik,jl,klc->ijc", weights, weights, COLOUR[:, 3:14] / 255).clip(0, 1)
    np.testing.assert_allclose(read.load(str(tmp_path / "a.png"), size=8).pixels, expected, atol=1e-5)


def test_saving_and_loading_is_exact_in_8_bits(tmp_path):
    levels = COLOUR.astype(np.float32) / 255
    tensor = read.to_tensor(levels)
    assert tensor.shape == (1, 3, H, W) and tensor.dtype == torch.float32
    assert tensor[0, 2, 7, 5].item() == levels[7, 5, 2]
    for given in (tensor, tensor[0], levels, tensor.clone().requires_grad_()):
        write.save_picture(tmp_path / "new" / "a.png", given)
        np.testing.assert_array_equal(read.load(str(tmp_path / "new" / "a.png")).pixels, levels)


def test_saving_clips_rounds_to_the_nearest_and_takes_any_precision(tmp_path):
    values = np.array([-3.0, 0.49 / 255, 0.51 / 255, 126.51 / 255, 127.49 / 255, 254.4 / 255, 254.6 / 255, 7.0])
    write.save_picture(tmp_path / "a.png", np.broadcast_to(values[None, :, None], (8, 8, 3)))
    assert np.asarray(Image.open(tmp_path / "a.png"))[3, :, 1].tolist() == [0, 0, 1, 127, 127, 254, 255, 255]
    write.save_picture(tmp_path / "a.png", torch.full((1, 3, 8, 9), 0.5, dtype=torch.bfloat16))
    assert set(np.asarray(Image.open(tmp_path / "a.png")).ravel()) == {128}


@pytest.mark.parametrize("pixels", [torch.rand(2, 3, 8, 8), torch.rand(8, 8, 3), torch.rand(8, 8), np.zeros((3, 8, 8)),
                                    np.zeros((1, 8, 8, 3)), np.zeros((8, 8, 4))])  # fmt: skip
def test_what_is_not_one_rgb_picture_is_not_saved(tmp_path, pixels):
    with pytest.raises(ValueError, match=r"the picture has the shape \(.*: must be \(3, H, W\)"):
        write.save_picture(tmp_path / "a.png", pixels)
    with pytest.raises(ValueError, match=r"the picture is uint8: give floating-point values"):
        write.save_picture(tmp_path / "a.png", (pixels * 255).astype(np.uint8) if isinstance(pixels, np.ndarray)
                           else (pixels * 255).to(torch.uint8))  # fmt: skip
    with pytest.raises(ValueError, match=r"must end in .png, because the file is a PNG"):
        write.save_picture(tmp_path / "a.jpg", COLOUR / 255)
    assert not list(tmp_path.iterdir())


def test_a_failing_write_leaves_the_old_picture(tmp_path, monkeypatch):
    write.save_picture(tmp_path / "a.png", COLOUR / 255)
    before = (tmp_path / "a.png").read_bytes()

    def full(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write.save_picture(tmp_path / "a.png", 1 - COLOUR / 255)
    assert (tmp_path / "a.png").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_the_built_in_picture_is_a_face_unless_a_box_is_given():
    whole = data.astronaut().astype(np.float32) / 255
    np.testing.assert_array_equal(read.load("astronaut").pixels, whole[20:192, 140:312])
    np.testing.assert_array_equal(read.load("astronaut", box=[0, 0, 512, 512]).pixels, whole)
    assert read.load("astronaut", size=64).pixels.shape == (64, 64, 3)
