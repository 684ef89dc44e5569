"""Image files as X: paths in, uint8 pixels out.

A folder of class folders becomes a 1-D array of paths
(:mod:`~dalmax_sk.images.paths`), one file becomes pixels
(:mod:`~dalmax_sk.images.decode`), and many files become one array that is kept in
memory while it fits a budget (:mod:`~dalmax_sk.images.cache`).
"""

from dalmax_sk.images.cache import (
    ImageCache,
    find_broken_images,
    get_image_cache,
    set_image_cache_size,
)
from dalmax_sk.images.decode import ImageReadError, common_image_size, decode_image
from dalmax_sk.images.digits import make_digits_folder
from dalmax_sk.images.paths import (
    IMAGE_EXTENSIONS,
    as_paths,
    check_images,
    load_image_paths,
)

__all__ = [
    "IMAGE_EXTENSIONS",
    "ImageCache",
    "ImageReadError",
    "as_paths",
    "check_images",
    "common_image_size",
    "decode_image",
    "find_broken_images",
    "get_image_cache",
    "load_image_paths",
    "make_digits_folder",
    "set_image_cache_size",
]
