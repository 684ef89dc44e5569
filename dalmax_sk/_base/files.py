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

from filelock import FileLock

__all__ = ["file_lock", "part_name", "release_and_remove", "replacing", "write_text"]


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
