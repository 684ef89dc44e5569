"""Arrays beyond memory: temporary files mapped into memory, read block by block.

A mapped file costs address space and no memory, except for the pages that were touched
lately, which count as resident until the system takes them back. `row_blocks`,
`take_rows` and `copy_rows` give them back as they go, so that resident memory stays at
a few blocks. Code that reads and writes large arrays through them needs nothing else.
"""

import errno
import itertools
import math
import mmap
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from dalmax_sk._base.limits import limits

__all__ = [
    "DEFAULT_MAX_MEMORY",
    "SpillError",
    "allocate",
    "by_rows",
    "copy_rows",
    "is_mapped",
    "release_pages",
    "row_blocks",
    "rows_within",
    "take_rows",
]

# Bytes that the temporary blocks of a selection may take, unless told otherwise.
DEFAULT_MAX_MEMORY = 2**30
# Touching one row brings in its neighbourhood: Linux maps 64 kB around a fault, and a
# whole huge page where the page cache holds one.
_FAULT_BYTES = 2 * 2**20
# What is written at once where blocks of a file cannot be reserved.
_ZEROS = bytes(2**20)

# start address -> (end address, the mapping), for tensors that share its memory and do
# not know where it comes from
_known: dict[int, tuple[int, "weakref.ref[mmap.mmap]"]] = {}


class SpillError(OSError):
    """An array that does not fit in memory could not be put on the disk either.

    See Also
    --------
    dalmax_sk.pool.Pool : Its parameter ``max_memory`` says from which size on arrays
        are kept on the disk.
    """


class _Scratch(mmap.mmap):
    """A mapping of a temporary file that only `allocate` makes."""


def allocate(
    shape: tuple[int, ...],
    dtype: Any,
    *,
    max_memory: int,
    what: str,
    folder: str | os.PathLike[str] | None = None,
) -> np.ndarray:
    """Return an array to be filled: in memory if it is small, else on the disk.

    Parameters
    ----------
    shape : tuple of int
        Its shape.
    dtype : dtype-like
        The type of its entries.
    max_memory : int
        An array of more bytes is a temporary file that is mapped into memory. The file
        has no name (on POSIX systems; elsewhere the system deletes it when it is
        closed), so it is gone as soon as nothing refers to the array, also if the
        process is killed.
    what : str
        What will be in it, for the error message, such as ``"the embeddings of 10
        candidates"``.
    folder : path-like, default=None
        Where the file goes; None means `tempfile.gettempdir()`, which follows the
        environment variable ``TMPDIR``. A folder in memory (tmpfs) saves none.

    Returns
    -------
    ndarray of `shape`
        Of arbitrary content in memory, of zeros on the disk.

    Raises
    ------
    SpillError
        If the disk cannot hold it. Its blocks are reserved here, so a disk that is full
        is an error now and not a signal that kills the process later.

    Examples
    --------
    >>> from dalmax_sk._base.storage import allocate, is_mapped
    >>> array = allocate((1000, 8), "float32", max_memory=1000, what="an example")
    >>> array.shape, is_mapped(array)
    ((1000, 8), True)
    """
    dtype = np.dtype(dtype)
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes <= max_memory:
        return np.empty(shape, dtype)
    folder = tempfile.gettempdir() if folder is None else os.fspath(folder)
    try:
        with tempfile.TemporaryFile(dir=folder, prefix="dalmax-") as file:
            _reserve(file.fileno(), n_bytes)
            mapping = _Scratch(file.fileno(), n_bytes)
    except OSError as error:
        raise SpillError(
            error.errno,
            _no_room(what, n_bytes, max_memory, folder, error),
            folder,
        ) from error
    return np.ndarray(shape, dtype, buffer=mapping)


def is_mapped(array: Any) -> bool:
    """Tell whether an array or a CPU tensor is a view of a mapped file.

    A tensor is known to be one only after the array whose memory it shares has been
    looked at here, as `dalmax_sk.selection.kit.arrays.as_matrix` does.
    """
    return _mapping_of(array) is not None


def release_pages(array: Any) -> None:
    """Give back the memory that the pages of a mapped array take.

    What was written is not lost: it is in the file, and read again when it is touched.
    Nothing happens to other arrays, nor where the system has no means to do it.

    Parameters
    ----------
    array : ndarray or torch.Tensor
        The array, or the part of it whose pages shall go.
    """
    mapping = _mapping_of(array)
    if mapping is None or not hasattr(mmap, "MADV_DONTNEED"):
        return
    base = _address(mapping)
    start, stop = _extent(array)
    first = (start - base) // mmap.PAGESIZE * mmap.PAGESIZE
    length = min(stop - base, len(mapping)) - first
    if length > 0:
        mapping.madvise(mmap.MADV_DONTNEED, first, length)


def rows_within(array: Any, n_bytes: int | None = None) -> int:
    """Return how many rows of an array or tensor take about `n_bytes`, at least 1.

    None means a block of 16 MB.
    Many rows are a multiple of 256: a matrix product of a block then gives a row the
    same bits as a product of all.
    """
    limit = limits.block_bytes if n_bytes is None else n_bytes
    n_rows = max(1, limit // max(1, _row_bytes(array)))
    return (
        n_rows
        if n_rows < limits.round_rows
        else n_rows // limits.round_rows * limits.round_rows
    )


def row_blocks(
    array: Any, n_rows: int | None = None, *, along: Sequence[Any] = ()
) -> Iterator[slice]:
    """Yield slices of the rows of an array, giving back pages behind the reader.

    Parameters
    ----------
    array : ndarray or torch.Tensor of shape (n, ...)
        Read or written block by block, mapped or not; only the pages of a mapped one
        are given back.
    n_rows : int, default=None
        Rows of a block; None means 16 MB.
    along : sequence of ndarray or torch.Tensor of shape (n, ...)
        Arrays whose rows are read or written together with those of `array`.

    Yields
    ------
    slice
        Of the next block; the last may have fewer rows.

    Examples
    --------
    >>> import numpy as np
    >>> from dalmax_sk._base.storage import row_blocks
    >>> [block.stop for block in row_blocks(np.zeros((5, 2)), 2)]
    [2, 4, 5]
    """
    n_rows = rows_within(array) if n_rows is None else max(1, n_rows)
    mapped = [part for part in (array, *along) if is_mapped(part)]
    row_bytes = max(1, sum(map(_row_bytes, mapped)))
    first = stop = 0  # of the rows whose pages may be resident
    try:
        for start in range(0, len(array), n_rows):
            stop = min(start + n_rows, len(array))
            yield slice(start, stop)
            if (stop - first) * row_bytes >= limits.release_bytes:
                _release_rows(mapped, first, stop)
                first = stop
    finally:
        _release_rows(mapped, first, stop)


def by_rows(function: Callable[[Any], np.ndarray], array: np.ndarray) -> np.ndarray:
    """Return ``function(array)``, which gives a number a row, computed block by block.

    Parameters
    ----------
    function : callable
        Takes rows of `array` and returns an array of one entry a row.
    array : ndarray of shape (n, ...)
        Mapped or not. In blocks the temporaries of `function` stay in the cache.

    Returns
    -------
    ndarray of shape (n,)
    """
    n_rows = rows_within(array, limits.scored_bytes)
    if len(array) <= n_rows:
        return function(array)
    return np.concatenate([function(array[at]) for at in row_blocks(array, n_rows)])


def take_rows(array: Any, index: Any) -> Any:
    """Return ``array[index]`` in memory, giving back the pages that it touched.

    Parameters
    ----------
    array : ndarray or torch.Tensor of shape (n, ...)
        Mapped or not.
    index : slice, or ndarray or torch.Tensor of int of shape (k,)
        Row numbers, of the kind of `array`.

    Returns
    -------
    ndarray or torch.Tensor of shape (k, ...)
        Of the kind of `array`: a copy, except for a slice of rows in memory.
    """
    if not is_mapped(array):
        return array[index]
    rows = array[index] if isinstance(index, slice) else index
    shape = (len(rows), *array.shape[1:])
    if isinstance(array, np.ndarray):
        out = np.empty(shape, array.dtype)
    else:
        out = array.new_empty(shape)
    if isinstance(index, slice):
        copy_rows(rows, out)
        return out
    for step in _gather_steps(np.asarray(index), _row_bytes(array)):
        out[step] = array[index[step]]
        release_pages(array)
    return out


def copy_rows(source: Any, out: Any) -> None:
    """Write the rows of an array into another, giving back the pages of both.

    Parameters
    ----------
    source, out : ndarray or torch.Tensor of shape (n, ...)
        Mapped or not, of one kind; the types of their entries may differ.
    """
    for block in row_blocks(source, along=[out]):
        out[block] = source[block]


def _gather_steps(index: np.ndarray, row_bytes: int) -> Iterator[slice]:
    """Yield parts of an index whose rows bring in a bounded part of a mapping."""
    if len(index) == 0:
        return
    # A row counts twice, as it is and as the copy on its way, and with its
    # neighbourhood if the row before it lies in another one.
    where = index.astype(np.int64) * row_bytes // _FAULT_BYTES
    moves = np.cumsum(np.diff(where, prepend=where[0] - 1) != 0)
    brought = moves * _FAULT_BYTES + np.arange(len(index)) * 2 * row_bytes
    cuts = np.flatnonzero(np.diff(brought // limits.gather_bytes)) + 1
    ends = [0, *cuts.tolist(), len(index)]
    for start, stop in itertools.pairwise(ends):
        yield slice(start, stop)


def _release_rows(arrays: list[Any], start: int, stop: int) -> None:
    if stop > start:
        for array in arrays:
            release_pages(array[start:stop])


def _row_bytes(array: Any) -> int:
    return math.prod(array.shape[1:]) * array.dtype.itemsize


def _reserve(descriptor: int, n_bytes: int) -> None:
    """Make the disk set aside the blocks of a file, or raise OSError."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, n_bytes)
            return
        except OSError as error:
            # a file system that cannot reserve; writing does it as well
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
    for start in range(0, n_bytes, len(_ZEROS)):
        left = memoryview(_ZEROS)[: n_bytes - start]
        while left:
            left = left[os.write(descriptor, left) :]
    os.fsync(descriptor)  # some file systems find out only now that they are full


def _no_room(
    what: str, n_bytes: int, max_memory: int, folder: str, error: OSError
) -> str:
    """Return the words for a disk that cannot hold an array."""
    try:
        free = f"{shutil.disk_usage(folder).free:,} bytes free"
    except OSError:
        free = "an unknown number of bytes free"
    return (
        f"{what[:1].upper()}{what[1:]} take {n_bytes:,} bytes. That is more than "
        f"max_memory={max_memory:,}, so they go to a temporary file in {folder}, which "
        f"has {free}: {error.strerror or error}. Set the environment variable TMPDIR "
        "to a folder on a disk with more room, raise max_memory if the machine has the "
        "memory, or look at fewer candidates (strategies.Filtered)"
    )


def _mapping_of(array: Any) -> mmap.mmap | None:
    """Return the mapping whose pages an array may give back, or None."""
    if not isinstance(array, np.ndarray):
        return _known_mapping(array)
    base: Any = array
    shared = False  # a private mapping (mode "c") would lose what was written
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            shared = base.mode in ("r", "r+", "w+")
        base = base.base
    if not isinstance(base, _Scratch) and not (shared and isinstance(base, mmap.mmap)):
        return None
    start = _address(base)
    if start not in _known or _known[start][1]() is not base:
        _known[start] = (start + len(base), weakref.ref(base, _forget))
    return base


def _forget(reference: "weakref.ref[mmap.mmap]") -> None:
    for start, (_, known) in list(_known.items()):
        if known is reference:
            _known.pop(start, None)


def _known_mapping(tensor: Any) -> mmap.mmap | None:
    """Return the mapping that a tensor's memory lies in, if it is known.

    Anything else than a tensor (a DataFrame, a sparse matrix) lies in none.
    """
    if not _known or not hasattr(tensor, "data_ptr") or tensor.device.type != "cpu":
        return None
    address = tensor.data_ptr()
    for start, (stop, reference) in list(_known.items()):
        if start <= address < stop and tensor.numel():
            return reference()
    return None


def _address(mapping: mmap.mmap) -> int:
    return int(np.frombuffer(mapping, np.uint8).__array_interface__["data"][0])


def _extent(array: Any) -> tuple[int, int]:
    """Return the first address of an array or tensor and the one behind its last."""
    size = array.dtype.itemsize
    if isinstance(array, np.ndarray):
        address = int(array.__array_interface__["data"][0])
        strides = array.strides
    else:
        address = array.data_ptr()
        strides = tuple(size * stride for stride in array.stride())
    if 0 in array.shape:
        return address, address
    steps = [(n - 1) * step for n, step in zip(array.shape, strides, strict=True)]
    start = address + sum(step for step in steps if step < 0)
    return start, address + sum(step for step in steps if step > 0) + size
