"""Many image files become one array, decoded once and kept while they fit a budget.

An :class:`ImageCache` holds one store for each (height, width, mode). A store keeps
its pixels in a few large blocks and remembers each file's row there together with the
file's time stamp and size. Loading images that are in the cache is therefore one
``os.stat`` a file and one gather.
"""

import logging
import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from dalmax_sk._base import progress
from dalmax_sk._base.limits import limits
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
    "find_broken_images",
    "get_image_cache",
    "set_image_cache_size",
]

logger = logging.getLogger("dalmax_sk")

#: Time of the last change (ns) and size (bytes) of a file: if either differs, the file
#: is decoded anew.
Stamp = tuple[int, int]

_DEFAULT_BYTES = 2**30


class ImageCache:
    """Decoded images, kept in memory while they fit a budget.

    Every file is decoded once and kept for as long as it stays the same on disk (its
    time of last change and size). When the budget is spent, what is in the cache stays
    and the other files are decoded at every call; what :meth:`load` returns is the same
    either way. Safe to use from several threads.

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

    def __init__(self, max_bytes: int) -> None:
        self._lock = threading.Lock()
        self._stores: dict[tuple[int, int, str], RowStore] = {}
        self._told_full = False
        self._max_bytes = _check_bytes(max_bytes)

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return type(self), (self._max_bytes,)

    def __repr__(self) -> str:
        return f"ImageCache(max_bytes={self.max_bytes})"

    @property
    def max_bytes(self) -> int:
        return self._max_bytes

    @max_bytes.setter
    def max_bytes(self, max_bytes: int) -> None:
        budget = _check_bytes(max_bytes)
        with self._lock:
            if budget < self._nbytes():
                self._stores.clear()
            self._max_bytes = budget
            self._told_full = False

    @property
    def nbytes(self) -> int:
        with self._lock:
            return self._nbytes()

    def clear(self) -> None:
        """Forget all images and give their memory back."""
        with self._lock:
            self._stores.clear()
            self._told_full = False

    def fits(self, n: int, image_size: int | tuple[int, int], mode: ImageMode) -> bool:
        """Whether `n` images of one size and mode could all be kept.

        Parameters
        ----------
        n : int
            Number of different files, those of this size and mode that are in the cache
            already included.
        image_size : int or (int, int)
            Height and width in pixels.
        mode : {"rgb", "grey"}
            Three channels or one.

        Returns
        -------
        fits : bool
            True if `n` is at most the room this size and mode has now plus what is left
            of the budget.
        """
        size = check_image_size(image_size)
        if size is None:
            raise ValueError("fits needs an image_size; got None.")
        n_bytes = size[0] * size[1] * check_image_mode(mode)
        with self._lock:
            store = self._stores.get((*size, mode))
            room = store.n_rows if store is not None else 0
            return n <= room + (self._max_bytes - self._nbytes()) // n_bytes

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
        keys = [os.path.abspath(name) for name in names]
        unique: dict[str, str] = {}  # key -> path as given
        for key, name in zip(keys, names, strict=True):
            unique.setdefault(key, name)
        files = list(unique.items())
        # The stamp is taken before the file is read: a file that changes in between has
        # an old stamp with its new pixels, and is decoded once more the next time.
        stamps = [file_stamp(name) for name in unique.values()]
        out = np.empty((len(files), *shape), dtype=np.uint8)
        with self._lock:
            store = self._stores.get((*shape[:2], mode))
            missing = (
                list(range(len(files)))
                if store is None
                else store.gather(list(unique), stamps, out)
            )

        def decode(row: int) -> None:
            out[row] = decode_image(files[row][1], image_size=shape[:2], mode=mode)

        failures = _in_threads(
            decode,
            missing,
            n_bytes=sum(stamp[1] for row in missing if (stamp := stamps[row])),
            tell=tell and len(missing) > limits.decode_files,
        )
        broken = {row for row, _ in failures}
        decoded = [row for row in missing if row not in broken]
        if decoded and self._max_bytes:
            with self._lock:
                self._keep(
                    [(files[row][0], stamps[row], out[row]) for row in decoded], mode
                )
        if len(files) < len(keys):
            position = {key: row for row, key in enumerate(unique)}
            out = out[[position[key] for key in keys]]
        return out, [(files[row][1], reason) for row, reason in failures]

    def _keep(
        self, images: list[tuple[str, Stamp | None, NDArray[np.uint8]]], mode: str
    ) -> None:
        """Store (key, stamp, pixels) in this order while there is room."""
        shape = images[0][2].shape
        store = self._stores.setdefault((*shape[:2], mode), RowStore(shape))
        n_short = sum(key not in store.index for key, _, _ in images) - store.n_free
        if n_short > 0:
            # Half as much again as there is, so that loading batch by batch ends with
            # few blocks; never beyond the budget.
            room = (self._max_bytes - self._nbytes()) // store.row_bytes
            store.grow(min(max(n_short, store.n_rows // 2), room))
        n_left = sum(not store.put(*image) for image in images)
        if n_left and not self._told_full:
            self._told_full = True
            logger.info(
                "The image cache is full (%d of %d bytes): %d images or more are "
                "decoded at every use. set_image_cache_size(bytes) enlarges it.",
                self._nbytes(),
                self._max_bytes,
                n_left,
            )

    def _nbytes(self) -> int:
        return sum(store.n_rows * store.row_bytes for store in self._stores.values())


class RowStore:
    """Rows of one shape and type in blocks, and the row of each key.

    The image cache has one for each size and mode, whose keys are files. Not for
    several threads at once.

    Parameters
    ----------
    shape : tuple of int
        Of one row.
    dtype : dtype-like, default=uint8
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any = np.uint8) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.row_bytes = int(np.prod(shape)) * self.dtype.itemsize
        self.blocks: list[NDArray[Any]] = []  # each (rows, *shape)
        self.starts: list[int] = []  # number of the first row of each block
        self.n_rows = 0
        self.index: dict[str, tuple[Stamp, int]] = {}

    @property
    def n_free(self) -> int:
        return self.n_rows - len(self.index)

    def grow(self, n_rows: int) -> None:
        if n_rows > 0:
            self.starts.append(self.n_rows)
            self.blocks.append(np.empty((n_rows, *self.shape), dtype=self.dtype))
            self.n_rows += n_rows

    def put(self, key: str, stamp: Stamp | None, values: NDArray[Any]) -> bool:
        """Copy one row in, over an older version of it; False if there is no room."""
        if stamp is None:  # the file appeared after the look at its stamp
            return True
        if key in self.index:
            row = self.index[key][1]
        elif self.n_free:
            row = len(self.index)
        else:
            return False
        self.index[key] = stamp, row
        block = bisect_right(self.starts, row) - 1
        self.blocks[block][row - self.starts[block]] = values
        return True

    def gather(
        self,
        keys: Sequence[str],
        stamps: Sequence[Stamp | None],
        out: NDArray[Any],
    ) -> list[int]:
        """Copy what is here into the rows of `out`; return the missing rows."""
        rows = np.full(len(keys), -1, dtype=np.int64)
        for i, (key, stamp) in enumerate(zip(keys, stamps, strict=True)):
            entry = self.index.get(key)
            if entry is not None and entry[0] == stamp:
                rows[i] = entry[1]
        for start, block in zip(self.starts, self.blocks, strict=True):
            here = np.flatnonzero((rows >= start) & (rows < start + len(block)))
            # In steps, because block[...] makes a copy on the way.
            for step in np.array_split(here, len(here) // limits.decode_files + 1):
                out[step] = block[rows[step] - start]
        return np.flatnonzero(rows < 0).tolist()


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

        stamps = [file_stamp(name) for name in names]
        n_bytes = sum(stamp[1] for stamp in stamps if stamp)
        rows = _in_threads(decode, range(len(names)), n_bytes=n_bytes, tell=True)
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


def _in_threads(
    function: Callable[[int], None], rows: Sequence[int], *, n_bytes: int, tell: bool
) -> list[tuple[int, str]]:
    """Call `function` on each row in threads; return (row, reason) of the failures.

    `n_bytes` is the size of all the files together.
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
    n_threads = (
        joblib.cpu_count() if n_bytes >= limits.small_file_bytes * len(rows) else 1
    )
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


def file_stamp(name: str) -> Stamp | None:
    try:
        status = os.stat(name)
    except (OSError, ValueError):  # decoding gives the reason
        return None
    return status.st_mtime_ns, status.st_size


def _check_bytes(max_bytes: int) -> int:
    if not isinstance(max_bytes, Integral) or isinstance(max_bytes, bool):
        raise ValueError(
            f"max_bytes must be an int (bytes). Got {max_bytes!r} instead."
        )
    if max_bytes < 0:
        raise ValueError(f"max_bytes must be at least 0. Got {max_bytes!r} instead.")
    return int(max_bytes)


_shared_cache = ImageCache(_DEFAULT_BYTES)
