"""A folder of results that one command writes: in use or not, and whose."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dalmax_sk._base.files import file_lock, release_and_remove, write_text
from dalmax_sk.cli.errors import UsageError
from dalmax_sk.cli.run.records import FORMAT, read_record
from dalmax_sk.reports.record.strict_json import to_json

__all__ = ["OutputFolder", "acquire", "listed"]


class OutputFolder:
    """A folder and the files that a command writes into it.

    Parameters
    ----------
    path : path-like
        The folder; it need not exist.
    kind : str
        What the command's record calls itself.
    names : sequence of str
        The files that the command writes, without the record.
    record : str, default="run.json"
        Name of the record; it is written last and removed last.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        kind: str,
        names: Sequence[str],
        *,
        record: str = "run.json",
    ) -> None:
        self.path = Path(path)
        self._kind = kind
        self._files = [self.path / name for name in names]
        self._record = self.path / record
        self._lock = file_lock(self.path / ".lock")

    def read(self) -> dict[str, Any] | None:
        """Return the record, or None if there is none.

        Raises
        ------
        UsageError
            If the record is another command's, or cannot be read.
        """
        if not self._record.exists():
            return None
        record = read_record(self._record)
        if record.get("kind") != self._kind:
            raise UsageError(
                f"{self.path} holds the results of something else "
                f"({record.get('kind')!r}). Choose another --dir-results."
            )
        return record

    def check_free(self, *, overwrite: bool) -> None:
        """Raise UsageError if the folder holds results and may not be written to.

        Parameters
        ----------
        overwrite : bool
            Whether results of the same kind may be replaced.
        """
        record = self.read()
        present = [file.name for file in self._files if file.exists()]
        if record is None and present and overwrite:
            raise UsageError(
                f"{self.path} holds {listed(present)} but no {self._record.name}, so "
                "it cannot be told whether dalmax wrote them; --overwrite removes only "
                "what it wrote. Move them away, or choose another --dir-results."
            )
        if (record is None and not present) or overwrite:
            return
        found = listed(present + ([self._record.name] if record else []))
        raise UsageError(
            f"{self.path} holds results already ({found}). Add --overwrite to replace "
            "them, or choose another --dir-results."
        )

    def clear(self) -> None:
        """Remove the command's own files, the record last, and nothing else."""
        self.clear_but()

    def clear_but(self, *kept: str) -> None:
        """Remove the command's own files, except those named `kept`."""
        for file in [*self._files, self._record]:
            if file.name not in kept:
                file.unlink(missing_ok=True)

    def claim(self) -> None:
        """Write a record that says whose the files are that follow.

        Killed while it writes them, the command can be told to overwrite them.
        """
        record = {"format": FORMAT, "kind": self._kind, "status": "running"}
        write_text(self._record, to_json(record))

    def lock(self) -> None:
        """Make the folder and keep other processes out of it until this one ends.

        Raises
        ------
        UsageError
            If another process is at work in the folder.
        """
        acquire(self._lock, self.path)

    def unlock(self) -> None:
        """Let other processes in again."""
        release_and_remove(self._lock)


def acquire(lock: FileLock, folder: Path) -> None:
    """Acquire the lock of a folder, or raise UsageError at once.

    The operating system releases it with the process, however that ends.
    """
    try:
        lock.acquire()
    except Timeout as error:
        raise UsageError(
            f"Another process is at work in {folder}. Wait for it, or choose another "
            "--dir-results."
        ) from error
    except OSError as error:
        raise UsageError(
            f"No files can be written to {folder} ({error.strerror or error}). Choose "
            "another --dir-results."
        ) from error


def listed(names: Sequence[str], limit: int = 5) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
