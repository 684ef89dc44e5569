"""Files that are either old or new, never half written.

A run may be killed at any moment. Everything it writes is therefore written under a
temporary name in the same folder and renamed, which the operating system does at once.
The temporary name is fixed (``.name.part``), so what a killed run left behind is
overwritten by the next one rather than piling up.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

__all__ = ["FileLock", "part_name", "replacing", "write_text"]


def part_name(path: str | os.PathLike[str]) -> Path:
    """Return the temporary name that stands for `path` while it is being written.

    Parameters
    ----------
    path : path-like
        The final name.

    Returns
    -------
    pathlib.Path

    Examples
    --------
    >>> from dalmax_sk._base.files import part_name
    >>> part_name("results/run.json").name
    '.run.json.part'
    """
    path = Path(path)
    return path.with_name(f".{path.name}.part")


@contextmanager
def replacing(path: str | os.PathLike[str], *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path; rename it to `path` when the block ends well.

    If the block raises, `path` keeps what it held before and the temporary file is
    removed.

    Parameters
    ----------
    path : path-like
        File to write; its folder must exist.
    sync : bool, default=True
        Wait until the content is on the disk before renaming, so that not even a power
        cut leaves the new name on an empty file. False is faster, for files that can be
        made again.

    Yields
    ------
    pathlib.Path
        Write here.
    """
    path = Path(path)
    part = part_name(path)
    try:
        yield part
        if sync:
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str, *, sync: bool = True) -> Path:
    """Write `text` to `path` in UTF-8 with Unix line ends, all or nothing.

    Parameters
    ----------
    path : path-like
        File to write; its folder must exist.
    text : str
        The content.
    sync : bool, default=True
        As in :func:`replacing`.

    Returns
    -------
    pathlib.Path
        `path`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from dalmax_sk._base.files import write_text
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_text(Path(folder) / "note.txt", "three words here").read_text()
    'three words here'
    """
    with replacing(path, sync=sync) as part:
        part.write_text(text, encoding="utf-8", newline="\n")
    return Path(path)


class FileLock:
    """A lock on a file, held by one process at a time.

    The operating system lets go of it when the process ends, however it ends.

    Parameters
    ----------
    path : path-like
        The lock file. It is made if there is none, with its folder; it stays empty.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from dalmax_sk._base.files import FileLock
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     lock = FileLock(Path(folder) / "lock")
    ...     lock.acquire()
    ...     lock.release()
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        BlockingIOError
            If another process, or another FileLock of this one, holds it.
        """
        while self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                file = open(self.path, "a")
            except FileNotFoundError:  # its holder just removed the folder: make it
                continue
            try:
                _lock(file)
            except BlockingIOError:
                file.close()
                raise
            if self._is_at_path(file):
                self._file = file
            else:  # its holder removed it after we had opened it: lock the new one
                file.close()

    def _is_at_path(self, file: IO[str]) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), os.stat(self.path))
        except FileNotFoundError:
            return False

    def release(self, *, remove: bool = False) -> None:
        """Let go of the lock, if it is held.

        Parameters
        ----------
        remove : bool, default=False
            Remove the lock file. (On Windows it stays: open files cannot be removed
            there.)
        """
        if self._file is None:
            return
        if remove:
            with suppress(PermissionError):  # Windows
                self.path.unlink(missing_ok=True)
        self._file.close()
        self._file = None


def _lock(file: IO[str]) -> None:
    """Lock `file` or raise BlockingIOError."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError as error:
            raise BlockingIOError(str(error)) from error
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
