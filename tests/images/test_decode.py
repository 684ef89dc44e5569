"""decode_image against one file of every kind, made here, with known pixels."""

import functools
import os
import pickle
import struct
import threading
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, PngImagePlugin
from sklearn.datasets import load_sample_image

from dalmax_sk._base.limits import limits
from dalmax_sk.images import ImageReadError, common_image_size, decode_image
from dalmax_sk.images.decode import largest_integer


@pytest.fixture
def rgb():
    """Pixels of shape (6, 9, 3): neither square nor symmetric."""
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def save(path, pixels_or_image, **options):
    image = pixels_or_image
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    image.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.PNG", {}),
        ("a.bmp", {}),
        ("a.tif", {}),
        ("a.tiff", {"compression": "tiff_lzw"}),
        ("a.webp", {"lossless": True}),
    ],
)
def test_lossless_formats_give_their_pixels(tmp_path, rgb, name, options):
    path = save(tmp_path / name, rgb, **options)
    pixels = decode_image(path)
    assert_array_equal(pixels, rgb)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.jpe", "a.jfif"])
def test_jpeg_gives_its_pixels(tmp_path, name):
    # A flat colour survives JPEG up to rounding.
    path = save(tmp_path / name, Image.new("RGB", (16, 8), (200, 100, 50)), quality=95)
    pixels = decode_image(path)
    assert pixels.shape == (8, 16, 3)
    assert_allclose(pixels, np.broadcast_to([200, 100, 50], (8, 16, 3)), atol=2)


def test_the_content_decides_not_the_ending(tmp_path, rgb):
    path = save(tmp_path / "a.jpg", rgb, format="PNG")
    assert_array_equal(decode_image(path), rgb)


def test_modes(tmp_path, rgb):
    path = save(tmp_path / "a.png", rgb)
    grey = decode_image(path, mode="grey")
    # ITU-R 601 luma; Pillow computes it with 16-bit fractions.
    assert grey.shape == (6, 9, 1)
    assert_allclose(grey[..., 0], rgb @ [0.299, 0.587, 0.114], atol=1)

    path = save(tmp_path / "b.png", rgb[..., 0])
    assert_array_equal(decode_image(path), np.repeat(rgb[..., :1], 3, axis=2))
    assert_array_equal(decode_image(path, mode="grey"), rgb[..., :1])


def test_one_bit(tmp_path):
    bits = np.array([[True, False, True], [False, False, True]])
    path = save(tmp_path / "a.png", Image.fromarray(bits).convert("1"))
    assert_array_equal(decode_image(path, mode="grey")[..., 0], bits * 255)


# Pillow writes 16-bit PNG from little-endian arrays only.
@pytest.mark.parametrize(
    ("name", "order"), [("a.png", "<u2"), ("a.tif", "<u2"), ("a.tif", ">u2")]
)
def test_16_bit_grey_is_scaled_not_clipped(tmp_path, name, order):
    # 65535 values at once: every one is v * 255 / 65535, rounded.
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    path = save(tmp_path / name, values.astype(order))
    expected = np.rint(values * (255 / 65535))
    assert_array_equal(decode_image(path, mode="grey")[..., 0], expected)
    assert_array_equal(decode_image(path)[..., 2], expected)


def test_32_bit_integers(tmp_path):
    path = save(
        tmp_path / "a.tif", np.array([[0, 257], [30000, 65535]], dtype=np.int32)
    )
    expected = [[0, 1], [117, 255]]
    assert_array_equal(decode_image(path, mode="grey")[..., 0], expected)

    path = save(tmp_path / "b.tif", np.array([[-1, 70000]], dtype=np.int32))
    with pytest.raises(ImageReadError, match="from -1 to 70000, expected 0 to 65535"):
        decode_image(path)


def test_16_bit_colour_keeps_the_high_byte(tmp_path):
    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    # Pillow cannot write 16-bit colour: a 1 x 1 PNG by hand.
    row = b"\0" + struct.pack(">3H", 0x12FF, 0x8000, 0xFFFF)
    path = tmp_path / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(row))
        + chunk(b"IEND", b"")
    )
    assert decode_image(path).tolist() == [[[0x12, 0x80, 0xFF]]]


def test_float_tiff(tmp_path):
    values = np.array([[0.0, 0.25], [0.5, 1.0]], dtype=np.float32)
    path = save(tmp_path / "a.tif", values)
    expected = [[0, 64], [128, 255]]
    assert_array_equal(decode_image(path, mode="grey")[..., 0], expected)


@pytest.mark.parametrize(
    ("values", "seen"),
    [([0.0, 255.0], "from 0 to 255"), ([-0.5, 1.0], "from -0.5"), ([np.nan, 1], "nan")],
)
def test_float_tiff_out_of_range_is_refused(tmp_path, values, seen):
    path = save(tmp_path / "a.tif", np.array([values], dtype=np.float32))
    with pytest.raises(ImageReadError, match=f"{seen}.*expected 0 to 1"):
        decode_image(path)


def test_alpha_is_laid_over_white(tmp_path):
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], np.uint8)
    path = save(tmp_path / "a.png", rgba)
    # 51/255 = 0.2 of black over white is 204.
    expected = [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]]
    assert decode_image(path).tolist() == expected

    la = np.array([[[7, 255], [7, 0], [0, 51]]], np.uint8)
    path = save(tmp_path / "b.png", Image.fromarray(la, "LA"))
    assert decode_image(path, mode="grey").tolist() == [[[7], [255], [204]]]


def test_palette(tmp_path):
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([2, 0, 1])
    path = save(tmp_path / "a.png", image)
    blue, red, green = [0, 0, 255], [255, 0, 0], [0, 255, 0]
    assert decode_image(path).tolist() == [[blue, red, green]]
    # One transparent index, and one opacity for each index.
    path = save(tmp_path / "b.png", image, transparency=0)
    assert decode_image(path).tolist() == [[blue, [255, 255, 255], green]]
    path = save(tmp_path / "c.png", image, transparency=bytes([0, 255, 51]))
    assert decode_image(path).tolist() == [[[204, 204, 255], [255, 255, 255], green]]


def test_transparent_colour(tmp_path):
    image = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    path = save(tmp_path / "a.png", image, transparency=(1, 2, 3))
    assert decode_image(path).tolist() == [[[255, 255, 255], [4, 5, 6]]]

    image = Image.fromarray(np.array([[500, 65535, 0]], np.uint16))
    path = save(tmp_path / "b.png", image, transparency=500)
    assert decode_image(path, mode="grey").tolist() == [[[255], [255], [0]]]


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk(tmp_path, name):
    # Magenta + yellow ink is red. (CMYK JPEGs are stored inverted, Adobe's way.)
    path = save(tmp_path / name, Image.new("CMYK", (8, 8), (0, 255, 255, 0)))
    assert_allclose(decode_image(path)[0, 0], [255, 0, 0], atol=3)


def exif_cases():
    # The stored pixels that, shown with this EXIF orientation, give `upright`.
    return {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_exif_orientation(tmp_path, rgb, orientation, name):
    stored = np.ascontiguousarray(exif_cases()[orientation](rgb))
    image = Image.fromarray(stored)
    exif = image.getexif()
    exif[0x0112] = orientation
    options = {"lossless": True} if name == "a.webp" else {}
    path = save(tmp_path / name, image, exif=exif, **options)
    assert_array_equal(decode_image(path), rgb)
    assert common_image_size([path]) == (6, 9)


def test_exif_orientation_and_resizing_of_a_large_jpeg(tmp_path):
    # (height, width) are those of the upright image, also on the quick path.
    upright = np.zeros((400, 800, 3), np.uint8)
    upright[:200, 400:] = 255  # white in the upper right quarter
    image = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
    exif = image.getexif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.jpg", image, exif=exif)
    pixels = decode_image(path, image_size=(20, 40), mode="grey")[..., 0]
    assert pixels.shape == (20, 40)
    assert common_image_size([path]) == (400, 800)
    assert pixels[:9, 21:].min() > 250
    assert pixels[:, :19].max() < 5
    assert pixels[11:].max() < 5


def test_the_first_page_or_frame_is_taken(tmp_path, rgb):
    first, second = Image.fromarray(rgb), Image.new("RGB", (9, 6))
    pages = {"save_all": True, "append_images": [second]}
    assert_array_equal(decode_image(save(tmp_path / "a.tif", first, **pages)), rgb)
    path = save(tmp_path / "a.webp", first, lossless=True, **pages)
    assert_array_equal(decode_image(path), rgb)


@pytest.mark.parametrize(
    ("image_size", "shape"), [(4, (4, 4, 3)), ((3, 20), (3, 20, 3)), (None, (6, 9, 3))]
)
def test_image_size(tmp_path, rgb, image_size, shape):
    path = save(tmp_path / "a.png", rgb)
    pixels = decode_image(path, image_size=image_size)
    expected = Image.fromarray(rgb).resize(
        (shape[1], shape[0]), Image.Resampling.BILINEAR
    )
    assert_array_equal(pixels, np.asarray(expected))


@pytest.mark.parametrize("photo", ["china.jpg", "flower.jpg"])
@pytest.mark.parametrize("size", [16, 40, 64])
def test_the_quick_path_for_large_jpegs_stays_close_to_the_exact_one(
    tmp_path, photo, size
):
    # 640 x 427: at 1/8 the picture ends within the last row of pixels, and taking that
    # row whole would stretch it (a mean difference of 0.6 to 1.9 grey levels).
    path = save(tmp_path / "a.jpg", load_sample_image(photo), quality=92)
    with Image.open(path) as image:
        exact = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    difference = np.abs(decode_image(path, image_size=size).astype(int) - exact)
    assert difference.max() <= 12
    assert difference.mean() < 0.5


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    level=st.integers(0, 255),
)
@settings(max_examples=25, deadline=None)
def test_a_flat_image_stays_flat_at_every_size(
    tmp_path_factory, height, width, size, level
):
    path = tmp_path_factory.mktemp("flat") / "a.png"
    save(path, np.full((height, width), level, np.uint8))
    pixels = decode_image(path, image_size=size, mode="grey")
    assert_array_equal(pixels, np.full((*size, 1), level))


# --- What cannot be read --------------------------------------------------------------


def truncated(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / name, noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize("image_size", [None, 4])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.webp", "a.tif"])
def test_truncated_files_are_errors(tmp_path, name, image_size):
    path = truncated(tmp_path, name)
    with pytest.raises(ImageReadError, match=f"{name}: .") as info:
        decode_image(path, image_size=image_size)
    assert [failed for failed, _ in info.value.failures] == [str(path)]


def test_reasons(tmp_path, monkeypatch):
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "really.png", format="GIF")
    for name, reason in {
        "text.png": "damaged, or not a PNG, JPEG, BMP, WebP or TIFF image",
        "really.png": "a GIF image, not a PNG, JPEG, BMP, WebP or TIFF image",
        "empty.png": r"empty file \(0 bytes\)",
        "folder.png": "is a directory",
        "missing.png": "no such file",
    }.items():
        with pytest.raises(ImageReadError, match=f"{name}: {reason}"):
            decode_image(tmp_path / name)


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1", "a HEIC image"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "an AVIF image"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
        (b"P6 4 4 255\n", "a NetPBM image"),
        (b"\n<!DOCTYPE html><html>404", "a web page, perhaps the error page"),
        (b'<?xml version="1.0"?>\n<svg xmlns="">', "an SVG drawing"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer to a Git LFS"),
        (b"\0" * 128 + b"DICM", "a DICOM image"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\0\0\0\x14ftypisom", "a video"),
        (b"torn", "damaged, or not a PNG"),
    ],
)
def test_other_formats_are_named(tmp_path, start, kind):
    (tmp_path / "a.jpg").write_bytes(start + b" and more" * 50)
    with pytest.raises(ImageReadError, match=f"a.jpg: {kind}"):
        decode_image(tmp_path / "a.jpg")


def test_decompression_bomb_is_a_broken_file(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", np.zeros((20, 20), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageReadError, match=r"a\.png: .*decompression bomb"):
        decode_image(path)


@pytest.mark.parametrize(
    "image_size", [0, -1, 2.5, True, (3,), (3, 4, 5), (3, 0), "32", (3, 4.0)]
)
def test_bad_image_size(image_size):
    with pytest.raises(ValueError, match="image_size must be a positive int") as info:
        decode_image("unused.png", image_size=image_size)
    assert repr(image_size) in str(info.value)
    assert not isinstance(info.value, ImageReadError)


def test_numpy_ints_are_image_sizes(tmp_path, rgb):
    path = save(tmp_path / "a.png", rgb)
    assert decode_image(path, image_size=np.int64(4)).shape == (4, 4, 3)
    assert decode_image(path, image_size=np.array([4, 5])).shape == (4, 5, 3)


def test_bad_mode():
    with pytest.raises(ValueError, match=r"mode must be 'rgb' or 'grey'\. Got 'RGB'"):
        decode_image("unused.png", mode="RGB")


def test_image_read_error_lists_ten_and_survives_pickling():
    error = ImageReadError([(f"{i}.png", "torn") for i in range(25)])
    assert str(error).count("torn") == 10
    assert "25 image files could not be read" in str(error)
    assert "and 15 more" in str(error)
    assert "find_broken_images" in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert again.failures == error.failures
    assert str(again) == str(error)


# --- common_image_size ----------------------------------------------------------------


def test_common_image_size(tmp_path, rgb):
    paths = [save(tmp_path / f"{i}.png", rgb) for i in range(3)]
    assert common_image_size(paths) == (6, 9)
    assert common_image_size(map(str, paths)) == (6, 9)


def test_common_image_size_names_two_that_differ(tmp_path, rgb):
    paths = [save(tmp_path / "a.png", rgb), save(tmp_path / "b.png", rgb[:, :4])]
    with pytest.raises(ValueError, match="differ in size") as info:
        common_image_size(paths)
    for part in (str(paths[0]), "(6, 9)", str(paths[1]), "(6, 4)", "set image_size="):
        assert part in str(info.value)


def test_common_image_size_reads_a_changed_file_again(tmp_path, rgb):
    path = save(tmp_path / "a.png", rgb)
    assert common_image_size([path]) == (6, 9)
    save(path, rgb[:2, :3])
    assert common_image_size([path]) == (2, 3)


def test_common_image_size_reports_all_broken_files(tmp_path, rgb):
    good = save(tmp_path / "a.png", rgb)
    (tmp_path / "b.png").write_text("no")
    with pytest.raises(ImageReadError, match="2 image files") as info:
        common_image_size([tmp_path / "b.png", good, tmp_path / "c.png"])
    assert info.value.failures[1] == (str(tmp_path / "c.png"), "no such file")
    with pytest.raises(ValueError, match="got no paths"):
        common_image_size([])


def test_only_regular_files_are_images(tmp_path):
    # property: a pipe or a device does not keep the reader waiting
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", "/dev/zero"):
        with pytest.raises(ImageReadError, match="not a regular file"):
            decode_image(path)
        with pytest.raises(ImageReadError, match="not a regular file"):
            common_image_size([path])
        assert largest_integer(path) is None


def test_the_limit_is_of_pixels_that_are_decoded(tmp_path, monkeypatch):
    # properties: above it an error says how to raise it; a JPEG that shrinks is small
    pixels = np.zeros((64, 64, 3), np.uint8)
    png, jpeg = save(tmp_path / "a.png", pixels), save(tmp_path / "a.jpg", pixels)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(
            ImageReadError, match=r"64 x 64 = 4,096 pixels .*DALMAX_MAX_IMAGE_PIXELS"
        ):
            decode_image(png, image_size=4)
        assert decode_image(jpeg, image_size=4).shape == (4, 4, 3)


def test_large_images_are_decoded_one_at_a_time(tmp_path, monkeypatch):
    paths = [save(tmp_path / f"{i}.png", np.zeros((9, 9), np.uint8)) for i in range(16)]
    at_once, lock = [], threading.Lock()
    load = PngImagePlugin.PngImageFile.load

    def watched(self):
        is_free = lock.acquire(blocking=False)
        at_once.append(not is_free)
        time.sleep(0.001)
        result = load(self)
        if is_free:
            lock.release()
        return result

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", watched)
    with limits.override(large_image_pixels=80), ThreadPoolExecutor(8) as pool:
        decode = functools.partial(decode_image, image_size=4)
        assert len(list(pool.map(decode, paths))) == 16
    assert not any(at_once)
