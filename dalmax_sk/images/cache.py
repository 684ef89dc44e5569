"""Decode many image files as one array, and keep their pixels within a budget."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from dalmax_sk._base import progress
from dalmax_sk._base.limits import limits
from dalmax_sk._base.row_cache import Key, RowCache, file_key
from dalmax_sk.images.decode import (
    ImageMode,
    ImageReadError,
    ImageSize,
    PathLike,
    check_image_mode,
    check_image_size,
    common_image_size,
    decode_image,
)

__all__ = [
    "ImageCache",
    "decode_reduced",
    "find_broken_images",
    "get_image_cache",
    "set_image_cache_size",
]


class ImageCache(RowCache):
    """Decoded images, kept in memory while they fit a budget.

    Every file is decoded once and kept for as long as it stays the same on disk (its
    time of last change and size). When the budget is spent, images of the size and mode
    in use stay, those of others go, and further files are decoded at every call; what
    :meth:`load` returns is the same either way. Safe to use from several threads.

    Parameters
    ----------
    max_bytes : int
        Budget for pixels in bytes; 0 keeps nothing. The index beside them takes some
        300 bytes a file and is not counted.

    Attributes
    ----------
    max_bytes : int
        The budget. Setting it below ``nbytes`` empties the cache.
    nbytes : int
        Bytes of pixels allocated now, never above ``max_bytes``.

    See Also
    --------
    get_image_cache : The instance the whole process shares.

    Notes
    -----
    A pickled cache arrives empty: every process fills its own.

    Examples
    --------
    >>> import os, tempfile
    >>> from PIL import Image
    >>> from dalmax_sk.images import ImageCache
    >>> cache = ImageCache(max_bytes=10_000_000)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "a.png")
    ...     Image.new("RGB", (40, 30), "red").save(path)
    ...     images = cache.load([path, path], image_size=16)
    >>> images.shape, images.dtype, cache.nbytes
    ((2, 16, 16, 3), dtype('uint8'), 768)
    """

    _full = (
        "The image cache is full (%d of %d bytes): %d images or more are decoded at "
        "every use. set_image_cache_size(bytes) enlarges it."
    )

    def load(
        self,
        paths: Iterable[PathLike],
        *,
        image_size: ImageSize,
        mode: ImageMode = "rgb",
    ) -> NDArray[np.uint8]:
        """Read images as one array, from the cache where it holds them.

        Files that are not in the cache are decoded by several threads; more than 512 of
        them report their progress under ``"decode"``.

        Parameters
        ----------
        paths : iterable of n str or path-like
            Image files, in any order, also repeatedly (each is decoded once).
        image_size : int, (int, int) or None
            Height and width in pixels to resize to; None takes the size that all the
            files share.
        mode : {"rgb", "grey"}, default="rgb"
            Three channels or one.

        Returns
        -------
        images : ndarray of shape (n, H, W, C), uint8
            In the order of `paths`; a new C-contiguous array, the caller's to change.

        Raises
        ------
        ImageReadError
            If files cannot be read; all of them together. The others are kept.
        ValueError
            If `image_size` is None and the sizes differ, or an argument is wrong.
        """
        names = [os.fspath(path) for path in paths]
        n_channels = check_image_mode(mode)
        size = check_image_size(image_size)
        if size is None:
            size = common_image_size(names)
        images, failures = self._collect(names, (*size, n_channels), mode, tell=True)
        if failures:
            raise ImageReadError(failures)
        return images

    def _collect(
        self,
        names: Sequence[str],
        shape: tuple[int, int, int],
        mode: ImageMode,
        *,
        tell: bool,
    ) -> tuple[NDArray[np.uint8], list[tuple[str, str]]]:
        """(n, H, W, C) pixels of `names`, and the files that failed (no pixels)."""
        unique: dict[Key, int] = {}
        position = [unique.setdefault(file_key(name), len(unique)) for name in names]
        keys = list(unique)
        files = dict(zip(position, names, strict=True))  # the path as given
        group = (*shape[:2], mode)
        found, missing = self.find(group, keys)
        out = np.empty((len(keys), *shape), dtype=np.uint8) if found is None else found

        def decode(row: int) -> None:
            out[row] = decode_image(files[row], image_size=shape[:2], mode=mode)

        failures = _in_threads(
            decode, missing, keys, tell=tell and len(missing) > limits.decode_files
        )
        broken = {row for row, _ in failures}
        decoded = [row for row in missing if row not in broken]
        self.keep(group, keys, out, decoded)
        if len(keys) < len(names):
            out = out[position]
        return out, [(files[row], reason) for row, reason in failures]


def get_image_cache() -> ImageCache:
    """The image cache that this process shares; CNNClassifier reads through it.

    Its budget is 1 GiB (2**30 bytes) until :func:`set_image_cache_size` changes it.
    Worker processes (joblib) have one each.

    Returns
    -------
    cache : ImageCache

    Examples
    --------
    >>> from dalmax_sk.images import get_image_cache
    >>> get_image_cache() is get_image_cache()
    True
    """
    return _shared_cache


def set_image_cache_size(max_bytes: int) -> None:
    """Set the budget of the shared image cache.

    Parameters
    ----------
    max_bytes : int
        Budget in bytes, at least 0; 0 switches caching off. A budget below what is held
        now empties the cache first.

    Raises
    ------
    ValueError
        If `max_bytes` is not such an int.

    Examples
    --------
    >>> from dalmax_sk.images import get_image_cache, set_image_cache_size
    >>> set_image_cache_size(4 * 2**30)
    >>> get_image_cache().max_bytes
    4294967296
    >>> set_image_cache_size(2**30)
    """
    _shared_cache.max_bytes = max_bytes


def find_broken_images(
    paths: Iterable[PathLike],
    *,
    image_size: ImageSize = None,
    mode: ImageMode = "rgb",
    cache: ImageCache | None = None,
) -> list[tuple[str, str]]:
    """Decode every file completely and list those that fail.

    A file that is cut short always fails. Damage inside a JPEG mostly does not: libjpeg
    repairs what it can, and the pixels are wrong.

    Parameters
    ----------
    paths : iterable of str or path-like
        Image files; the progress is reported under ``"decode"``.
    image_size : int, (int, int) or None, default=None
        Size to decode to. With a size, good images are kept in `cache` (files that it
        holds already count as good); with None they are decoded and dropped.
    mode : {"rgb", "grey"}, default="rgb"
        Three channels or one.
    cache : ImageCache or None, default=None
        None means the shared one, :func:`get_image_cache`.

    Returns
    -------
    failures : list of (path, reason)
        In the order of `paths`, each file once; empty if all is well.

    Examples
    --------
    >>> from dalmax_sk.images import find_broken_images
    >>> find_broken_images(["no/such/image.png"])
    [('no/such/image.png', 'no such file')]
    """
    names = list(dict.fromkeys(os.fspath(path) for path in paths))
    size = check_image_size(image_size)
    n_channels = check_image_mode(mode)
    if size is None:

        def decode(row: int) -> None:
            decode_image(names[row], mode=mode)

        keys = [file_key(name) for name in names]
        rows = _in_threads(decode, range(len(names)), keys, tell=True)
        return [(names[row], reason) for row, reason in rows]

    cache = get_image_cache() if cache is None else cache
    shape = (*size, n_channels)
    step = min(limits.decode_files, max(1, limits.read_bytes // int(np.prod(shape))))
    failures: list[tuple[str, str]] = []
    for start in range(0, len(names), step):
        wave = names[start : start + step]
        failures += cache._collect(wave, shape, mode, tell=False)[1]
        progress.report("decode", start + len(wave), len(names))
    return failures


def decode_reduced(
    paths: Sequence[PathLike], image_size: tuple[int, int], mode: ImageMode
) -> list[NDArray[np.uint8]]:
    """Decode files without keeping them; a larger one is resized, a smaller one is not.

    Parameters
    ----------
    paths : sequence of str or path-like
    image_size : (int, int)
        Height and width that a file may have at most.
    mode : {"rgb", "grey"}

    Returns
    -------
    list of ndarray of shape (h, w, C), uint8

    Raises
    ------
    ImageReadError
        If files cannot be read; all of them together.
    """
    images: list[Any] = [None] * len(paths)

    def decode(row: int) -> None:
        own = common_image_size([paths[row]])
        is_larger = any(a > b for a, b in zip(own, image_size, strict=True))
        images[row] = decode_image(
            paths[row], image_size=image_size if is_larger else None, mode=mode
        )

    keys = [file_key(path) for path in paths]
    failures = _in_threads(decode, range(len(paths)), keys, tell=False)
    if failures:
        raise ImageReadError([(os.fspath(paths[row]), why) for row, why in failures])
    return images


def _in_threads(
    function: Callable[[int], None],
    rows: Sequence[int],
    keys: Sequence[Key],
    *,
    tell: bool,
) -> list[tuple[int, str]]:
    """Call `function` on each row in threads; return (row, reason) of the failures.

    Rows are positions in `keys`, which tell the sizes of the files.
    """

    def run(task: Sequence[int]) -> list[tuple[int, str]]:
        failed = []
        for row in task:
            try:
                function(row)
            except ImageReadError as error:
                failed.append((row, error.failures[0][1]))
        return failed

    failures: list[tuple[int, str]] = []
    if not rows:
        return failures
    n_bytes = sum(stamp[1] for row in rows if (stamp := keys[row][1]))
    are_small = n_bytes < limits.small_file_bytes * len(rows)
    n_threads = 1 if are_small else joblib.cpu_count()
    with ThreadPoolExecutor(n_threads) as pool:
        # Wave by wave: the progress is known, and an interrupt waits for one wave only.
        for start in range(0, len(rows), limits.decode_files):
            wave = rows[start : start + limits.decode_files]
            tasks = [
                wave[i : i + limits.decode_task_files]
                for i in range(0, len(wave), limits.decode_task_files)
            ]
            for failed in pool.map(run, tasks):
                failures += failed
            if tell:
                progress.report("decode", start + len(wave), len(rows))
    return failures


_shared_cache = ImageCache(2**30)
