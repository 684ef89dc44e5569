"""One image file becomes pixels, by one set of rules for every format.

Whatever the file holds, :func:`decode_image` gives upright 8-bit pixels, ``"rgb"`` or
``"grey"``. The rules stand in its docstring; the tests hold one file for each of them.
"""

import os
import re
import struct
import threading
import zlib
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from functools import lru_cache
from numbers import Integral
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import (  # the readers register themselves here, before threads use them
    BmpImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from dalmax_sk._base.files import open_regular
from dalmax_sk._base.limits import limits

__all__ = ["ImageReadError", "common_image_size", "decode_image"]

PathLike: TypeAlias = str | os.PathLike[str]
ImageSize: TypeAlias = int | tuple[int, int] | None
ImageMode: TypeAlias = Literal["rgb", "grey"]

#: Channels of a decoded image, by mode.
N_CHANNELS = {"rgb": 3, "grey": 1}

# Content decides, not the file's ending, but nothing outside these formats is tried:
# some of Pillow's readers start other programs (EPS).
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")

# First bytes of files that are no image of the above but look like one by their ending.
_SIGNATURES = (
    (re.compile(rb".{4}ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)", re.S), "a HEIC image"),
    (re.compile(rb".{4}ftypavi[fs]", re.S), "an AVIF image"),
    (re.compile(rb"GIF8[79]a"), "a GIF image"),
    (
        re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
        "a JPEG 2000 image",
    ),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "), "a JPEG XL image"),
    (re.compile(rb"8BPS"), "a Photoshop file"),
    (re.compile(rb"%PDF"), "a PDF"),
    (re.compile(rb"P[1-7]\s"), "a NetPBM image"),
    (re.compile(rb"[^<]*(<\?xml.*)?<svg", re.I | re.S), "an SVG drawing"),
    (
        re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|\?xml)", re.I),
        "a web page, perhaps the error page of a download",
    ),
    (re.compile(rb"version https://git-lfs"), "a pointer to a Git LFS file"),
    (re.compile(rb".{128}DICM", re.S), "a DICOM image"),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive"),
    (re.compile(rb"\x1f\x8b"), "a gzip archive"),
    (re.compile(rb".{4}ftyp|\x1aE\xdf\xa3", re.S), "a video"),
)

# What Pillow raises on damaged files; it has no base class for them. MemoryError is not
# among them: it says nothing about the file.
_PILLOW_ERRORS = (
    OSError,  # includes UnidentifiedImageError
    EOFError,
    SyntaxError,  # broken PNG and EXIF structures
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,  # where warnings are errors
)

# Pillow's limit of pixels. The variable reaches worker processes, and the command line.
_LIMIT = "DALMAX_MAX_IMAGE_PIXELS"
if _LIMIT in os.environ:
    if not os.environ[_LIMIT].isdecimal() or int(os.environ[_LIMIT]) < 1:
        raise ValueError(
            f"The environment variable {_LIMIT} must be a number of pixels, got "
            f"{os.environ[_LIMIT]!r}."
        )
    Image.MAX_IMAGE_PIXELS = int(os.environ[_LIMIT])

# Held while a large image is decoded: threads must not hold several in memory.
_one_large_image = threading.Lock()

# Shrinking first goes quickly to this multiple of the wanted size, then exactly.
# Pillow's documentation calls 3.0 "almost indistinguishable from fair resampling".
_REDUCING_GAP = 3.0

# EXIF tag, and what turns an image upright.
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_MAX_LISTED = 10


class ImageReadError(ValueError):
    """One or more image files could not be read.

    Parameters
    ----------
    failures : sequence of (path, reason)
        Every file of the call that failed.

    Attributes
    ----------
    failures : list of (str, str)
        The same, as a list; the message shows the first ten.

    Examples
    --------
    >>> from dalmax_sk.images import ImageReadError
    >>> print(ImageReadError([("cat/7.jpg", "no such file")]))
    1 image file could not be read:
      cat/7.jpg: no such file
    Repair or remove it. find_broken_images(paths) lists all of a data set.
    """

    def __init__(self, failures: Sequence[tuple[str, str]]) -> None:
        self.failures = list(failures)
        n = len(self.failures)
        lines = [f"{n} image file{'s' * (n != 1)} could not be read:"]
        lines += [f"  {path}: {reason}" for path, reason in self.failures[:_MAX_LISTED]]
        if n > _MAX_LISTED:
            lines.append(f"  and {n - _MAX_LISTED} more (see .failures)")
        lines.append(
            f"Repair or remove {'it' if n == 1 else 'them'}. find_broken_images(paths) "
            "lists all of a data set."
        )
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[type, tuple[list[tuple[str, str]]]]:
        # The default would rebuild the error from its message.
        return type(self), (self.failures,)


def decode_image(
    path: PathLike, *, image_size: ImageSize = None, mode: ImageMode = "rgb"
) -> NDArray[np.uint8]:
    """Read one image file as upright 8-bit pixels.

    Parameters
    ----------
    path : str or path-like
        A PNG, JPEG, BMP, WebP or TIFF file. The content decides, not the ending.
    image_size : int, (int, int) or None, default=None
        Height and width in pixels to resize to; one number means a square, None keeps
        the file's own size. The aspect ratio is not kept.
    mode : {"rgb", "grey"}, default="rgb"
        Three channels, or one (ITU-R 601 luma).

    Returns
    -------
    pixels : ndarray of shape (H, W, C), uint8
        C is 3 for "rgb" and 1 for "grey"; C-contiguous and writable.

    Raises
    ------
    ImageReadError
        If the file is missing, truncated, no regular file (a pipe, a device), too
        large, of another format, or holds values outside the ranges below.
    ValueError
        If `image_size` or `mode` is not one of the above.

    Notes
    -----
    - A JPEG that was damaged without being cut short is mostly decoded to wrong pixels
      without an error: libjpeg repairs what it can.
    - The EXIF orientation is applied; colour profiles are not.
    - Transparent pixels (RGBA, LA, transparent palettes and colours) are laid over
      white.
    - Palettes and CMYK become RGB; 1-bit images become 0 and 255.
    - 16-bit grey is scaled by 255/65535, 32-bit integers likewise and only if they lie
      in 0..65535. Of 16-bit colour the high byte is kept.
    - Floating-point TIFF must lie in [0, 1] and is scaled by 255. A range of 0..255 is
      refused, not guessed: a dark image of that kind looks like one in [0, 1].
    - Of several pages or frames the first is taken.
    - An image of more than ``PIL.Image.MAX_IMAGE_PIXELS`` pixels (89 million, unless it
      is set) is refused: a small file may unpack to any size. What counts are the
      pixels that are decoded, of which a JPEG has fewer when it shrinks; twice as many
      in the file are refused in any case. The environment variable
      ``DALMAX_MAX_IMAGE_PIXELS`` sets the limit for the command line and its workers.
    - Resizing is antialiased bilinear interpolation. An image that shrinks by six or
      more is first reduced by a whole factor (a JPEG while it is decoded), which is
      several times faster and moves pixels by a few grey levels at most.

    Examples
    --------
    >>> import os, tempfile
    >>> from PIL import Image
    >>> from dalmax_sk.images import decode_image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "red.png")
    ...     Image.new("RGB", (40, 30), "red").save(path)
    ...     pixels = decode_image(path, image_size=(2, 4))
    >>> pixels.shape, pixels[0, 0].tolist()
    ((2, 4, 3), [255, 0, 0])
    """
    size = check_image_size(image_size)
    check_image_mode(mode)
    name = os.fspath(path)
    try:
        return _decode(name, size, mode)
    except MemoryError as error:
        raise MemoryError(f"Memory ran out while {name} was decoded.") from error
    except _PILLOW_ERRORS as error:
        raise ImageReadError([(name, _reason(name, error))]) from error


def common_image_size(paths: Iterable[PathLike]) -> tuple[int, int]:
    """Height and width that all the files share, from their headers alone.

    Parameters
    ----------
    paths : iterable of str or path-like
        At least one image file.

    Returns
    -------
    size : (int, int)
        Height and width in pixels, upright (after the EXIF orientation).

    Raises
    ------
    ValueError
        If two files differ (both are named), or `paths` is empty.
    ImageReadError
        If headers cannot be read; all such files together.

    Examples
    --------
    >>> import os, tempfile
    >>> from PIL import Image
    >>> from dalmax_sk.images import common_image_size
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "a.png")
    ...     Image.new("L", (40, 30)).save(path)
    ...     common_image_size([path])
    (30, 40)
    """
    first: tuple[str, tuple[int, int]] | None = None
    failures = []
    for name in dict.fromkeys(os.fspath(path) for path in paths):
        try:
            status = os.stat(name)
            size = _header_size(
                os.path.abspath(name), status.st_mtime_ns, status.st_size
            )
        except _PILLOW_ERRORS as error:
            failures.append((name, _reason(name, error)))
            continue
        if first is None:
            first = name, size
        elif size != first[1]:
            raise ValueError(
                f"The images differ in size: {first[0]} is {first[1]}, {name} is "
                f"{size} (height, width). Images of one size are expected; set "
                "image_size= to resize them all."
            )
    if failures:
        raise ImageReadError(failures)
    if first is None:
        raise ValueError(
            "common_image_size got no paths; at least one image file is expected."
        )
    return first[1]


# Remembered, because every round of active learning asks for the same files again.
@lru_cache(maxsize=2**18)
def _header_size(name: str, mtime_ns: int, n_bytes: int) -> tuple[int, int]:
    """Upright (height, width) of the file as it was at `mtime_ns`."""
    with open_regular(name) as file, Image.open(file, formats=_FORMATS) as image:
        if not isinstance(image, JpegImagePlugin.JpegImageFile):
            _check_n_pixels(image)  # Pillow decodes a PNG to find its orientation
        if _lies_on_its_side(image):
            return image.width, image.height
        return image.height, image.width


def largest_integer(path: PathLike) -> int | None:
    """Largest value of an image of 16-bit or 32-bit integers; None for all others."""
    try:
        with open_regular(path) as file, Image.open(file, formats=_FORMATS) as image:
            if not image.mode.startswith("I"):
                return None
            _check_n_pixels(image)
            return int(np.asarray(image).max())
    except _PILLOW_ERRORS:  # named by whoever reads the image
        return None


def check_image_size(image_size: ImageSize) -> tuple[int, int] | None:
    """`image_size` as (height, width) or None; ValueError if it is neither."""
    if image_size is None:
        return None
    pair = (
        tuple(image_size)
        if isinstance(image_size, (tuple, list, np.ndarray))
        else (image_size, image_size)
    )
    if len(pair) != 2 or not all(
        isinstance(side, Integral) and not isinstance(side, bool) and side >= 1
        for side in pair
    ):
        raise ValueError(
            "image_size must be a positive int (a square), a pair (height, width) of "
            f"positive ints, or None. Got {image_size!r} instead."
        )
    return int(pair[0]), int(pair[1])


def check_image_mode(mode: str) -> int:
    """Give the number of channels of `mode`; ValueError if there is no such mode."""
    if mode not in N_CHANNELS:
        raise ValueError(f"mode must be 'rgb' or 'grey'. Got {mode!r} instead.")
    return N_CHANNELS[mode]


def _decode(name: str, size: tuple[int, int] | None, mode: str) -> NDArray[np.uint8]:
    with open_regular(name) as file, Image.open(file, formats=_FORMATS) as image:
        # a JPEG is decoded at a fraction of its size, which is known below
        may_shrink = size is not None and isinstance(
            image, JpegImagePlugin.JpegImageFile
        )
        n_pixels = 0 if may_shrink else _check_n_pixels(image)
        is_large = n_pixels > limits.large_image_pixels
        with _one_large_image if is_large else nullcontext():
            stored_size = size  # (height, width) before the image is turned upright
            if size is not None and _lies_on_its_side(image):
                stored_size = size[1], size[0]
            box = _draft(image, stored_size)
            _check_n_pixels(image)
            image.load()
            flat = _eight_bit(image)
            if mode == "grey":
                flat = _converted(flat, "L")
            # Asked for after load(), because Pillow turns TIFF by itself there.
            turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
            flat = _resized(flat, stored_size, box)
    # of a grey image after it is resized, when it is small
    flat = _converted(flat, "RGB" if mode == "rgb" else "L")
    pixels = np.array(flat if turn is None else flat.transpose(turn))
    return pixels if mode == "rgb" else pixels[:, :, np.newaxis]


def _check_n_pixels(image: Image.Image) -> int:
    """Return the pixels that are to be decoded, or raise if they are too many."""
    n_pixels = image.width * image.height
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and n_pixels > limit:
        raise Image.DecompressionBombError(
            f"{image.width} x {image.height} = {n_pixels:,} pixels are more than the "
            f"limit of {limit:,} (it might be a decompression bomb)"
        )
    return n_pixels


def _resized(
    flat: Image.Image,
    size: tuple[int, int] | None,
    box: tuple[float, float, float, float] | None,
) -> Image.Image:
    """Return the picture, which fills the `box`, with another height and width."""
    if size is None or (flat.height, flat.width) == size:
        return flat
    return flat.resize(
        (size[1], size[0]),
        Image.Resampling.BILINEAR,
        box=box,
        reducing_gap=_REDUCING_GAP,
    )


def _draft(
    image: Image.Image, size: tuple[int, int] | None
) -> tuple[float, float, float, float] | None:
    """Let a JPEG decode at 1/2, 1/4 or 1/8, at least _REDUCING_GAP times `size`.

    Returns the part of the decoded image that is the picture: its sides need not be
    whole numbers of pixels then.
    """
    if size is None:
        return None
    height, width = (round(side * _REDUCING_GAP) for side in size)
    drafted = image.draft(None, (width, height))
    return None if drafted is None else drafted[1]


def _lies_on_its_side(image: Image.Image) -> bool:
    # Pillow's TIFF reader swaps the sides as soon as the file is open.
    return image.format != "TIFF" and image.getexif().get(_ORIENTATION) in (5, 6, 7, 8)


def _eight_bit(image: Image.Image) -> Image.Image:
    """`image` as an opaque "L" or "RGB" image."""
    # Pillow's own convert() clips 16-bit and float images at 255 instead of scaling.
    if image.mode.startswith("I"):  # I;16, I;16B, I
        return _from_integers(image)
    if image.mode == "F":
        return _from_floats(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(layer, mask=layer.getchannel("A"))
        return white
    return _converted(image, "L" if image.mode in ("1", "L") else "RGB")


def _converted(image: Image.Image, mode: str) -> Image.Image:
    # convert() copies even when there is nothing to convert.
    return image if image.mode == mode else image.convert(mode)


def _from_integers(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise ValueError(f"integer pixels from {low} to {high}, expected 0 to 65535")
    # Nearest integer to v * 255 / 65535 = v / 257; 257 is odd, so there are no ties.
    grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey[values == transparent] = 255
    return Image.fromarray(grey)


def _from_floats(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0.0 and high <= 1.0):  # NaN fails as well
        raise ValueError(
            f"floating-point pixels from {low:g} to {high:g}, expected 0 to 1"
        )
    return Image.fromarray(np.rint(values * 255.0).astype(np.uint8))


def _reason(name: str, error: BaseException) -> str:
    """Return the fault of the file in a few words."""
    if isinstance(error, UnidentifiedImageError):
        if os.path.getsize(name) == 0:
            return "empty file (0 bytes)"
        with open_regular(name) as file:
            start = file.read(256)
        for signature, kind in _SIGNATURES:
            if signature.match(start):
                return f"{kind}, not a PNG, JPEG, BMP, WebP or TIFF image"
        return "damaged, or not a PNG, JPEG, BMP, WebP or TIFF image"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    text = str(error)
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return (
            f"{text.rstrip('.')}. If it is right, set PIL.Image.MAX_IMAGE_PIXELS, or "
            f"the environment variable {_LIMIT}, to a larger number"
        )
    return text if isinstance(error, (OSError, ValueError)) else f"unreadable: {text}"
