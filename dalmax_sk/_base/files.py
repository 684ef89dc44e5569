"""Files: written all or nothing, read only if they are files, kept inside their folder.

A run may be killed at any moment. Everything it writes is therefore written under a
temporary name in the same folder and renamed, which the operating system does at once.
The temporary name is short and drawn at random, and its file is made anew: nobody can
know it beforehand, and no link is followed.

Its writer holds a lock on it, which the system lets go of when the process ends. The
first file that a process writes into a folder removes those that nobody holds any more.
"""

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path

from filelock import FileLock

try:
    import fcntl
except ImportError:  # Windows: what a killed writer leaves is not removed there
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "file_lock",
    "inside",
    "is_disk_full",
    "is_part",
    "open_regular",
    "read_text",
    "release_and_remove",
    "replacing",
    "write_text",
    "writing",
]

# Far below the 143 bytes that the most restrictive file systems allow for a name.
_PART = re.compile(r"\.[0-9a-f]{16}\.dalmax-part")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# folders in which this process has removed what others left
_tidied: set[str] = set()


# ----------------------------------------------------------------------------- writing


def is_part(name: str | os.PathLike[str]) -> bool:
    """Tell whether a name is that of a file that is, or was, being written.

    Examples
    --------
    >>> from dalmax_sk._base.files import is_part
    >>> is_part("results/.0123456789abcdef.dalmax-part"), is_part("results/.part")
    (True, False)
    """
    return _PART.fullmatch(os.path.basename(os.fspath(name))) is not None


def is_disk_full(error: BaseException) -> bool:
    """Tell whether a write failed for want of room: a disk, a quota, a limit."""
    return isinstance(error, OSError) and error.errno in _FULL


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name the file in errors of writing it, which the system raises without a name.

    Parameters
    ----------
    path : path-like
        The file that is written inside the block.

    Raises
    ------
    OSError
        Of the same number, with `path` as its ``filename``.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None and not is_part(str(error.filename)):
            raise
        # some writers only say that it went wrong
        number = error.errno or errno.EIO
        raise OSError(number, error.strerror or str(error), os.fspath(path)) from error


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
        Wait until the content is on the disk before renaming, and then until the new
        name is: after a power cut the file holds the new content, never half of it or
        the old. False is faster, for files that can be made again.

    Yields
    ------
    pathlib.Path
        Write here. The file is there, and empty.

    Raises
    ------
    OSError
        If the file cannot be written; its ``filename`` is `path`.
    """
    path = Path(path)
    with writing(path):
        _tidy(path.parent)
        part, file = _make_part(path.parent)
        try:
            yield part
            if sync:
                os.fsync(file)
            if fcntl is None:  # Windows renames no file that is open
                os.close(file)
                file = -1
            os.replace(part, path)
            if sync:
                _sync_folder(path.parent)
        finally:
            part.unlink(missing_ok=True)
            if file != -1:
                os.close(file)


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


def _make_part(folder: Path) -> tuple[Path, int]:
    """Make a temporary file; return its path and a descriptor that holds its lock."""
    while True:
        part = folder / f".{secrets.token_hex(8)}.dalmax-part"
        # O_EXCL: never a file, or a link, that is there already
        file = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if fcntl is None or _hold(file):
            # Between the two steps another process may have found it without a holder.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), os.lstat(part)):
                    return part, file
        os.close(file)


def _sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _hold(file: int) -> bool:
    """Lock a file; return False if another process holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _tidy(folder: Path) -> None:
    """Remove the temporary files of writers that are gone, once a process."""
    name = os.path.abspath(folder)
    if fcntl is None or name in _tidied or not os.path.isdir(name):
        return
    _tidied.add(name)
    with os.scandir(name) as entries:
        parts = [entry.path for entry in entries if is_part(entry.name)]
    for part in parts:
        with suppress(OSError):  # held, removed meanwhile, no file, or no locks here
            file = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(part)
            finally:
                os.close(file)


# ----------------------------------------------------------------------------- reading


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a file for reading; refuse pipes, sockets and devices.

    They may keep their reader waiting for ever, or never end.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    binary file

    Raises
    ------
    OSError
        If it is there and no regular file: "not a regular file".

    Examples
    --------
    >>> import os
    >>> from dalmax_sk._base.files import open_regular
    >>> open_regular(os.devnull)
    Traceback (most recent call last):
    OSError: [Errno 22] not a regular file: '/dev/null'
    """
    return open(path, "rb", opener=_open_regular)


def _open_regular(name: str, flags: int) -> int:
    # looked at first: opening a device may do something
    mode = os.stat(name).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", name)
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the content of a regular file in UTF-8; see :func:`open_regular`.

    Raises
    ------
    OSError
        If it cannot be opened.
    UnicodeDecodeError
        If it is not UTF-8.
    """
    with open_regular(path) as file:
        return file.read().decode("utf-8")


def inside(
    folder: str | os.PathLike[str], name: str, *, follow_links: bool = False
) -> Path:
    """Return the path of a file that a record names, if it lies in the record's folder.

    A record may come from elsewhere: it must not make a command read or remove other
    files.

    Parameters
    ----------
    folder : path-like
        The folder that the name is relative to.
    name : str
        The name, with forward slashes.
    follow_links : bool, default=False
        Whether links below `folder` may lead out of it, as in a folder of images that
        its owner made of links.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        If the name is absolute or empty, holds ``..`` or a NUL, or leads out by a link.

    Examples
    --------
    >>> from dalmax_sk._base.files import inside
    >>> inside("run", "round_01/1.png").as_posix()
    'run/round_01/1.png'
    >>> inside("run", "../1.png")
    Traceback (most recent call last):
    ValueError: '../1.png' leads out of the folder run
    """
    relative = Path(name) if isinstance(name, str) else Path("..")
    path = Path(folder) / relative
    is_plain = (
        relative.parts
        and not relative.anchor
        and ".." not in relative.parts
        and "\0" not in name
    )
    if not is_plain or not (
        follow_links
        or Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    ):
        raise ValueError(f"{name!r} leads out of the folder {os.fspath(folder)}")
    return path


# ------------------------------------------------------------------------------- locks


def file_lock(path: str | os.PathLike[str]) -> FileLock:
    """Return a lock on a file, for one holder at a time and without long waits.

    The operating system lets go of it when the process ends, however it ends.

    Parameters
    ----------
    path : path-like
        The lock file. It is made if there is none, with its folder; it stays empty.

    Returns
    -------
    filelock.FileLock
        Its ``acquire()`` raises ``filelock.Timeout``, an OSError, if another process,
        or another lock of this one, holds it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from dalmax_sk._base.files import file_lock
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with file_lock(Path(folder) / "lock") as lock:
    ...         lock.is_locked
    True
    """
    # the wait is for a holder that is just removing its file: the new file is locked
    return FileLock(path, timeout=0.2, poll_interval=0.02, thread_local=False)


def release_and_remove(lock: FileLock) -> None:
    """Let go of a lock, if it is held, and remove its file.

    On Windows the file stays: open files cannot be removed there.
    """
    if lock.is_locked:
        # while it is held: nobody can hold the file by then
        with suppress(PermissionError):  # Windows
            os.unlink(lock.lock_file)
        lock.release()
