"""Features of image files on disk: computed once, block by block.

A cache is one folder for one way of making features: ``settings.json`` says which, and
each block of files is a pair of ``<name>.npy`` (rows) and ``<name>.json`` (which file,
with which time stamp and size, each row belongs to). Every file is written whole or not
at all, the rows before their index, so that a killed extraction loses at most the block
it was at, and one that an error ends nothing.
"""

import hashlib
import json
import os
import uuid
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dalmax_sk._base.files import replacing, write_text
from dalmax_sk._base.limits import limits

__all__ = ["FeatureCache"]

Rows = NDArray[np.floating[Any]]
#: Absolute path, time of the last change (ns), size (bytes).
FileKey = tuple[str, int, int]
#: Makes features of files: yields (start, stop, rows (stop - start, d)) in order.
Compute = Callable[[Sequence[str]], Iterator[tuple[int, int, Rows]]]

_FORMAT = 1
_NO_FILE: FileKey = ("", -1, -1)


class FeatureCache:
    """Features of files under one folder, for one set of settings.

    Parameters
    ----------
    directory : path-like
        Caches of several settings may share it: each has a folder of its own.
    name : str
        Beginning of that folder's name.
    settings : dict
        Whatever the features depend on besides the file; plain JSON.
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
        self.folder = Path(directory) / f"{name}-{digest}"
        self.n_features = n_features
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "settings.json").exists():
            write_text(self.folder / "settings.json", text + "\n")

    def features(self, paths: Sequence[str], compute: Compute) -> Rows:
        """Rows of `paths`, (n, d) float32: read where they are known, else computed.

        Parameters
        ----------
        paths : sequence of n str
            In any order, also repeatedly.
        compute : callable
            Called once with the files that are not here, or not as they are now.
        """
        keys = [_file_key(path) for path in paths]
        # A file whose stamp cannot be read is passed on: computing it says why.
        rows_of: dict[FileKey | str, list[int]] = {}
        for row, (key, path) in enumerate(zip(keys, paths, strict=True)):
            rows_of.setdefault(key or path, []).append(row)
        out = np.empty((len(paths), self.n_features), dtype=np.float32)
        self._read_known(rows_of, out)
        if rows_of:
            self._compute_rest(rows_of, paths, compute, out)
        return out

    def _read_known(self, rows_of: dict[FileKey | str, list[int]], out: Rows) -> None:
        """Fill in the rows that are on disk, and take them out of `rows_of`."""
        for index_file in sorted(self.folder.glob("block-*.json")):
            try:
                block = _read_block(index_file, self.n_features)
            except FileNotFoundError:  # another process found it damaged
                continue
            except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
                warnings.warn(
                    f"The cached features {index_file.with_suffix('')} are damaged "
                    f"({error}); they are removed and computed again.",
                    UserWarning,
                    stacklevel=2,
                )
                index_file.unlink(missing_ok=True)
                index_file.with_suffix(".npy").unlink(missing_ok=True)
                continue
            keys, features = block
            for position, key in enumerate(keys):
                rows = rows_of.pop(key, None)
                if rows is not None:
                    out[rows] = features[position]

    def _compute_rest(
        self,
        rows_of: dict[FileKey | str, list[int]],
        paths: Sequence[str],
        compute: Compute,
        out: Rows,
    ) -> None:
        keys = list(rows_of)
        missing = [paths[rows_of[key][0]] for key in keys]
        pending: list[Rows] = []
        n_saved = 0

        def save_pending() -> None:
            nonlocal n_saved
            if not pending:
                return
            block = np.concatenate(pending)  # (n_done, d)
            pending.clear()  # first: what cannot be written is not tried twice
            done = keys[n_saved : n_saved + len(block)]
            n_saved += len(block)
            self._write_block(done, block)
            for key, row in zip(done, block, strict=True):
                out[rows_of[key]] = row

        try:
            for _, stop, features in compute(missing):
                pending.append(features)
                if stop - n_saved >= limits.store_rows:
                    save_pending()
        finally:  # a broken file or Ctrl+C must not cost what was computed before
            save_pending()

    def _write_block(self, keys: Sequence[FileKey | str], features: Rows) -> None:
        # A name of its own, because two processes may write at once.
        stem = self.folder / f"block-{uuid.uuid4().hex}"
        features = np.ascontiguousarray(features, dtype=np.float32)
        with replacing(stem.with_suffix(".npy")) as part, open(part, "wb") as file:
            np.save(file, features)
        index = {
            "checksum": zlib.crc32(features.data),
            # a bare path: the file appeared after the look at its stamp; not kept
            "files": [list(key) if isinstance(key, tuple) else None for key in keys],
        }
        write_text(stem.with_suffix(".json"), json.dumps(index) + "\n")


def _file_key(path: str) -> FileKey | None:
    # Taken before the file is read: one that changes in between has an old stamp with
    # its new features, and is computed once more the next time.
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return os.path.abspath(path), status.st_mtime_ns, status.st_size


def _read_block(index_file: Path, n_features: int) -> tuple[list[FileKey], Rows]:
    """Files and rows of one block; ValueError and the like if anything is amiss."""
    index = json.loads(index_file.read_text(encoding="utf-8"))
    keys = [
        (str(path), int(mtime_ns), int(n_bytes))
        for path, mtime_ns, n_bytes in (file or _NO_FILE for file in index["files"])
    ]
    features = np.load(index_file.with_suffix(".npy"), mmap_mode="r")
    if features.shape != (len(keys), n_features) or features.dtype != np.float32:
        raise ValueError(
            f"{features.dtype} rows of shape {features.shape}, expected float32 of "
            f"{(len(keys), n_features)}"
        )
    if zlib.crc32(features.data) != index["checksum"]:
        raise ValueError("its checksum differs")
    return keys, features
