"""Features of samples: computed once, kept in memory and, if asked for, in a folder.

A row belongs to a sample (the identity of a file, or a digest of values) and to a net
with its weights and preprocessing. :class:`FeatureStore` looks it up in memory, then in
a :class:`FeatureFolder`, and has it computed where it is in neither.
"""

import hashlib
import json
import os
import uuid
import warnings
import zlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dalmax_sk._base.files import open_regular, replacing, write_text
from dalmax_sk._base.json_files import MALFORMED, read_json, seal, unsealed
from dalmax_sk._base.limits import limits
from dalmax_sk._base.row_cache import Key, RowCache, file_key

__all__ = [
    "FeatureFolder",
    "FeatureStore",
    "get_feature_store",
    "set_feature_store_size",
]

Rows = NDArray[Any]
#: Makes features of the samples at some positions: yields (start, stop, rows of
#: positions[start:stop]) in order, without gaps.
Compute = Callable[[NDArray[np.int64]], Iterator[tuple[int, int, Rows]]]

_FORMAT = 1


class FeatureStore(RowCache):
    """Features of frozen nets, kept in memory while they fit a budget.

    Features of one net, with its weights, are kept together. When the budget is spent,
    those of the net that was used longest ago go first; those of the net in use stay,
    and further samples are computed at every use. The results are the same either way.
    Safe to use from several threads.

    Parameters
    ----------
    max_bytes : int
        Budget in bytes; 0 keeps nothing. The index beside the features takes some 300
        bytes a sample and is not counted.

    Attributes
    ----------
    max_bytes : int
        The budget. Setting it below ``nbytes`` empties the store.
    nbytes : int
        Bytes allocated now, never above ``max_bytes``.

    See Also
    --------
    get_feature_store : The instance the whole process shares.

    Notes
    -----
    A pickled store arrives empty: every process fills its own.

    Examples
    --------
    >>> from dalmax_sk.features import FeatureStore
    >>> store = FeatureStore(max_bytes=1_000_000)
    >>> store.nbytes
    0
    """

    _full = (
        "The feature store is full (%d of %d bytes): features of %d samples or more "
        "are computed at every use. set_feature_store_size(bytes) enlarges it."
    )

    def features(
        self,
        net: Hashable,
        keys: Sequence[Key],
        compute: Compute,
        folder: "FeatureFolder | None" = None,
    ) -> Rows:
        """Features (n, ...) of samples: read where they are known, else computed.

        Rows are kept as they are computed: a killed process loses at most one block of
        a folder, and one that an error ends loses nothing.

        Parameters
        ----------
        net : hashable
            All that the features depend on besides the sample.
        keys : sequence of n (str, (int, int) or None)
            In any order, also repeatedly (each sample is computed once).
        compute : callable
            Maps positions in `keys`, (k,) int64, to an iterator of (start, stop, rows)
            over them, in order and without gaps. Called at most once.
        folder : FeatureFolder or None, default=None
            For this net; features are read from it and added to it.

        Returns
        -------
        ndarray of shape (n, ...)
        """
        unique: dict[Key, int] = {}
        inverse = [unique.setdefault(key, len(unique)) for key in keys]
        first = np.unique(inverse, return_index=True)[1]  # of each key in `keys`
        names = list(unique)
        group = (net, None if folder is None else folder.identity)
        rows, missing = self.find(group, names)
        if missing and folder is not None:
            if rows is None:
                rows = np.empty((len(names), folder.n_features), dtype=np.float32)
            read, missing = folder.read(names, missing, rows)
            self.keep(group, names, rows, read)
        if missing:
            absent = np.array(missing)
            done = saved = 0

            def save() -> None:
                nonlocal saved
                # Counted first: what cannot be written is not tried twice.
                new, saved = absent[saved:done], done
                if len(new) and rows is not None:
                    if folder is not None:
                        folder.write([names[i] for i in new], rows[new])
                    self.keep(group, names, rows, new)

            try:
                for start, done, features in compute(first[absent]):
                    if rows is None:
                        shape = (len(names), *features.shape[1:])
                        rows = np.empty(shape, features.dtype)
                    rows[absent[start:done]] = features
                    if done - saved >= limits.store_rows:
                        save()
            finally:  # a broken file or Ctrl+C must not cost what was computed before
                save()
        assert rows is not None
        return rows if len(names) == len(keys) else rows[inverse]


def get_feature_store() -> FeatureStore:
    """The store of features that this process shares.

    CNNClassifier keeps the features of frozen layers there, ImageEmbedder those of
    image files. Its budget is 1 GiB (2**30 bytes) until :func:`set_feature_store_size`
    changes it. Worker processes have one each.

    Returns
    -------
    store : FeatureStore

    Examples
    --------
    >>> from dalmax_sk.features import get_feature_store
    >>> get_feature_store() is get_feature_store()
    True
    """
    return _shared_store


def set_feature_store_size(max_bytes: int) -> None:
    """Set the memory budget of the shared store of features.

    Parameters
    ----------
    max_bytes : int
        Budget in bytes, at least 0; with 0 nothing is kept in memory. A budget below
        the present size empties the store first.

    Raises
    ------
    ValueError
        If `max_bytes` is not such an int.

    Examples
    --------
    >>> from dalmax_sk.features import get_feature_store, set_feature_store_size
    >>> set_feature_store_size(4 * 2**30)
    >>> get_feature_store().max_bytes
    4294967296
    >>> set_feature_store_size(2**30)
    """
    _shared_store.max_bytes = max_bytes


_shared_store = FeatureStore(2**30)


class FeatureFolder:
    """Features of files on disk, for one net and its settings.

    ``settings.json`` says how the features are made, and each block of files is a pair
    of ``<name>.npy`` (rows) and ``<name>.json`` (the file, time stamp and size of each
    row). Every file is written whole or not at all, the rows before their index.

    Parameters
    ----------
    directory : path-like
        Several nets may share it: each has a folder of its own.
    name : str
        Beginning of that folder's name.
    settings : dict
        All that the features depend on besides the file; plain JSON.
    n_features : int
        Length d of a row.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        name: str,
        settings: dict[str, Any],
        n_features: int,
    ) -> None:
        text = json.dumps({"format": _FORMAT, **settings}, sort_keys=True, indent=1)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.path = Path(directory).absolute() / f"{name}-{digest}"
        self.n_features = n_features
        self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / "settings.json").exists():
            write_text(self.path / "settings.json", text + "\n")
        # Of a folder that was deleted and made anew nothing is known.
        self.identity = file_key(self.path / "settings.json")

    def read(
        self, keys: Sequence[Key], wanted: Sequence[int], out: Rows
    ) -> tuple[list[int], list[int]]:
        """Fill in the wanted rows of ``out`` (n, d) that are here.

        Returns the positions that were read, and those that are missing.
        """
        row_of = {keys[i]: i for i in wanted if keys[i][1] is not None}
        found: list[int] = []
        for index_file in sorted(self.path.glob("block-*.json")):
            try:
                block_keys, features = _read_block(index_file, self.n_features)
            except FileNotFoundError:  # another process found it damaged
                continue
            except (OSError, EOFError, *MALFORMED) as error:
                warnings.warn(
                    f"The cached features {index_file.with_suffix('')} are damaged "
                    f"({error}); they are removed and computed again.",
                    UserWarning,
                    stacklevel=2,
                )
                index_file.unlink(missing_ok=True)
                index_file.with_suffix(".npy").unlink(missing_ok=True)
                continue
            pairs = [
                (position, row)
                for position, key in enumerate(block_keys)
                if (row := row_of.pop(key, None)) is not None
            ]
            if pairs:
                positions, rows = map(list, zip(*pairs, strict=True))
                out[rows] = features[positions]
                found += rows
        here = set(found)
        return found, [i for i in wanted if i not in here]

    def write(self, keys: Sequence[Key], features: Rows) -> None:
        """Add a block of rows (n, d)."""
        # A name of its own, because two processes may write at once.
        stem = self.path / f"block-{uuid.uuid4().hex}"
        features = np.ascontiguousarray(features, dtype=np.float32)
        header = np.lib.format.header_data_from_array_1_0(features)
        with replacing(stem.with_suffix(".npy")) as part, open(part, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            # np.save does not say why it failed, on a full disk for instance
            file.write(features.data)
        index = {
            "checksum": zlib.crc32(features.data),
            # without a stamp: the file appeared after the look at it; not kept
            "files": [
                None if stamp is None else [name, *stamp] for name, stamp in keys
            ],
        }
        write_text(stem.with_suffix(".json"), seal(json.dumps(index)) + "\n")


def _read_block(index_file: Path, n_features: int) -> tuple[list[Key], Rows]:
    """Keys and rows (n, d) of one block; ValueError and the like if it is damaged."""
    index = unsealed(read_json(index_file))
    keys: list[Key] = []
    for entry in index["files"]:
        name, mtime_ns, n_bytes = entry or ("", -1, -1)
        keys.append((str(name), (int(mtime_ns), int(n_bytes))))
    rows_file = index_file.with_suffix(".npy")
    open_regular(rows_file).close()
    features = np.lib.format.open_memmap(rows_file, mode="r")  # of .npy files only
    if features.shape != (len(keys), n_features) or features.dtype != np.float32:
        raise ValueError(
            f"{features.dtype} rows of shape {features.shape}, expected float32 of "
            f"{(len(keys), n_features)}"
        )
    if zlib.crc32(features.data) != index["checksum"]:
        raise ValueError("its checksum differs")
    return keys, features
