"""The tables and texts of a run: ``history.csv``, accuracy and time.

Each function writes one file, all or nothing, from a history or arrays.
"""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from dalmax_sk._base.files import write_text
from dalmax_sk.reports.record.strict_json import to_plain

__all__ = [
    "write_final_accuracy",
    "write_history_csv",
    "write_infos",
]

_Folder = str | os.PathLike[str]


def write_final_accuracy(accuracy: float, directory: _Folder) -> Path:
    """Write ``final_accuracy.txt``: the accuracy on the test images, in percent.

    Parameters
    ----------
    accuracy : float in [0, 1]
        Accuracy after the last round.
    directory : path-like
        The run's folder.

    Returns
    -------
    pathlib.Path
        The file.

    Examples
    --------
    >>> import tempfile
    >>> from dalmax_sk.reports import write_final_accuracy
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_final_accuracy(0.9321, folder).read_text()
    'Final Test Accuracy: 93.21%'
    """
    if not 0.0 <= accuracy <= 1.0:
        raise ValueError(f"accuracy must be a fraction in [0, 1]; got {accuracy!r}.")
    text = f"Final Test Accuracy: {accuracy * 100:.2f}%"
    return write_text(Path(directory) / "final_accuracy.txt", text)


def write_infos(total_seconds: float, directory: _Folder) -> Path:
    """Write ``infos.txt``: the time that the run took.

    Parameters
    ----------
    total_seconds : float
        Wall time in seconds, summed over the parts of a run that was resumed.
    directory : path-like
        The run's folder.

    Returns
    -------
    pathlib.Path
        The file.

    Examples
    --------
    >>> import tempfile
    >>> from dalmax_sk.reports import write_infos
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(write_infos(12.34, folder).read_text(), end="")
    Total time: 12.34 seconds
    """
    text = f"Total time: {total_seconds:.2f} seconds\n"
    return write_text(Path(directory) / "infos.txt", text)


def write_history_csv(history: Sequence[Mapping[str, Any]], directory: _Folder) -> Path:
    """Write ``history.csv``: one row a round, a column for every number or word.

    Lists (the picked rows, their scores, the epochs) are left out; ``run.json`` holds
    them. A cell is empty where the round has no such value.

    Parameters
    ----------
    history : list of dict
        ``history_`` of an active learner.
    directory : path-like
        The run's folder.

    Returns
    -------
    pathlib.Path
        The file.

    Examples
    --------
    >>> import tempfile
    >>> from dalmax_sk.reports import write_history_csv
    >>> history = [{"round": 0, "n_labeled": 20, "eval_accuracy": 0.5, "queried": []}]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(write_history_csv(history, folder).read_text(), end="")
    round,n_labeled,eval_accuracy
    0,20,0.5
    """
    rows = [
        {key: value for key, value in to_plain(dict(record)).items() if _is_cell(value)}
        for record in history
    ]
    # the columns, in the order in which the rounds bring them
    columns = list(dict.fromkeys(key for row in rows for key in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_text(Path(directory) / "history.csv", buffer.getvalue())


def _is_cell(value: Any) -> bool:
    return isinstance(value, str | Real)
