"""Rows of arrays in memory: pixels of images and features of samples."""

import logging
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dalmax_sk._base.limits import limits

__all__ = ["Key", "RowCache", "Stamp", "file_key"]

logger = logging.getLogger("dalmax_sk")

#: Time of the last change (ns) and size (bytes) of a file.
Stamp = tuple[int, int]
#: Name of a sample and its stamp; a row is used again only while both are the same.
#: Rows without a stamp are never kept.
Key = tuple[str, Stamp | None]


def file_key(path: str | os.PathLike[str]) -> Key:
    """Identity of a file: absolute path, and its stamp if the file can be found.

    Take it before the file is read: a file that changes in between has an old stamp
    with its new contents, and is read once more the next time.
    """
    name = os.path.abspath(path)
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # reading the file gives the reason
        return name, None
    return name, (status.st_mtime_ns, status.st_size)


class RowCache:
    """Rows kept in memory while they fit a budget; safe to use from several threads.

    Rows of one shape and type form a group. When the budget is spent, groups used
    longest ago go first; the rows of the group in use stay, and further ones are not
    taken. A pickled cache arrives empty: every process fills its own.

    Parameters
    ----------
    max_bytes : int
        Budget in bytes; 0 keeps nothing. The index beside the rows takes some 300 bytes
        a row and is not counted.

    Attributes
    ----------
    max_bytes : int
        The budget. Setting it below ``nbytes`` empties the cache.
    nbytes : int
        Bytes of rows allocated now, never above ``max_bytes``.
    """

    #: Message that the budget is spent: bytes held, bytes of the budget, rows refused.
    _full = "The cache is full (%d of %d bytes): %d rows or more are not kept."

    def __init__(self, max_bytes: int) -> None:
        self._lock = threading.Lock()
        self._groups: OrderedDict[Hashable, RowGroup] = OrderedDict()
        self._told_full = False
        self._max_bytes = _check_bytes(max_bytes)

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return type(self), (self._max_bytes,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_bytes={self.max_bytes})"

    @property
    def max_bytes(self) -> int:
        return self._max_bytes

    @max_bytes.setter
    def max_bytes(self, max_bytes: int) -> None:
        budget = _check_bytes(max_bytes)
        if budget < self.nbytes:
            self.clear()
        self._max_bytes = budget
        self._told_full = False

    @property
    def nbytes(self) -> int:
        with self._lock:
            return self._nbytes()

    def clear(self) -> None:
        """Forget all rows and give their memory back."""
        with self._lock:
            self._groups.clear()
            self._told_full = False

    def find(
        self, group: Hashable, keys: Sequence[Key]
    ) -> tuple[NDArray[Any] | None, list[int]]:
        """Rows (n, ...) of n keys, and the positions of those that are not here.

        Missing rows hold anything; the array is None if the group is unknown.
        """
        with self._lock:
            rows = self._groups.get(group)
            if rows is None:
                return None, list(range(len(keys)))
            self._groups.move_to_end(group)
            return rows.gather(keys)

    def keep(
        self,
        group: Hashable,
        keys: Sequence[Key],
        rows: NDArray[Any],
        which: Sequence[int] | NDArray[np.int64],
    ) -> None:
        """Store some of n rows (n, ...) of distinct keys while there is room.

        `which` are their positions, in the order in which they are stored.
        """
        with self._lock:
            kept = self._groups.get(group)
            if kept is None:
                kept = RowGroup(rows.shape[1:], rows.dtype)
                if kept.row_bytes > self._max_bytes:
                    return
                self._groups[group] = kept
            self._groups.move_to_end(group)
            n_short = sum(keys[i][0] not in kept.index for i in which) - kept.n_free
            if n_short > 0:
                # Half as much again as there is, so that growing ends with few blocks.
                wanted = max(n_short, kept.n_rows // 2)
                self._make_room(group, wanted * kept.row_bytes)
                room = (self._max_bytes - self._nbytes()) // kept.row_bytes
                kept.grow(min(wanted, room))
            n_left = sum(not kept.put(keys[i], rows[i]) for i in which)
            if n_left and not self._told_full:
                self._told_full = True
                logger.info(self._full, self._nbytes(), self._max_bytes, n_left)

    def _make_room(self, group: Hashable, n_bytes: int) -> None:
        """Drop other groups, those used longest ago first, while need be."""
        for other in list(self._groups):
            if self._nbytes() + n_bytes <= self._max_bytes:
                return
            if other != group:
                del self._groups[other]

    def _nbytes(self) -> int:
        return sum(rows.n_rows * rows.row_bytes for rows in self._groups.values())


class RowGroup:
    """Rows of one shape and type in a few large blocks, and the row of each name.

    Parameters
    ----------
    shape : tuple of int
        Of one row.
    dtype : dtype
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape = shape
        self.dtype = dtype
        self.row_bytes = int(np.prod(shape)) * dtype.itemsize
        self.blocks: list[NDArray[Any]] = []  # each (rows, *shape)
        self.starts: list[int] = []  # number of the first row of each block
        self.n_rows = 0
        self.index: dict[str, tuple[Stamp, int]] = {}

    @property
    def n_free(self) -> int:
        return self.n_rows - len(self.index)

    def grow(self, n_rows: int) -> None:
        """Add a block of free rows."""
        if n_rows > 0:
            self.starts.append(self.n_rows)
            self.blocks.append(np.empty((n_rows, *self.shape), dtype=self.dtype))
            self.n_rows += n_rows

    def put(self, key: Key, values: NDArray[Any]) -> bool:
        """Copy one row in, over an older version of it; False if there is no room."""
        name, stamp = key
        if stamp is None:  # the file appeared after the look at its stamp
            return True
        if name in self.index:
            row = self.index[name][1]
        elif self.n_free:
            row = len(self.index)
        else:
            return False
        self.index[name] = stamp, row
        block = bisect_right(self.starts, row) - 1
        self.blocks[block][row - self.starts[block]] = values
        return True

    def gather(self, keys: Sequence[Key]) -> tuple[NDArray[Any], list[int]]:
        """Rows (n, *shape) of n keys, and the positions of those that are not here."""
        out = np.empty((len(keys), *self.shape), dtype=self.dtype)
        rows = np.full(len(keys), -1, dtype=np.int64)
        for i, (name, stamp) in enumerate(keys):
            entry = self.index.get(name)
            if entry is not None and entry[0] == stamp:
                rows[i] = entry[1]
        for start, block in zip(self.starts, self.blocks, strict=True):
            here = np.flatnonzero((rows >= start) & (rows < start + len(block)))
            # In steps, because block[...] makes a copy on the way.
            for step in np.array_split(here, len(here) // limits.decode_files + 1):
                out[step] = block[rows[step] - start]
        return out, np.flatnonzero(rows < 0).tolist()


def _check_bytes(max_bytes: int) -> int:
    is_int = isinstance(max_bytes, Integral) and not isinstance(max_bytes, bool)
    if not is_int or max_bytes < 0:
        raise ValueError(
            f"max_bytes must be an int (bytes) of at least 0. Got {max_bytes!r}."
        )
    return int(max_bytes)
