"""Files that keep a second process out while a first one is at work."""

import os
from contextlib import suppress
from pathlib import Path
from typing import IO

__all__ = ["FileLock"]


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
    >>> from dalmax_sk._locks import FileLock
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
