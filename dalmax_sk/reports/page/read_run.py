"""``run.json`` as the pages read it: complete, or an error that names its faults."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dalmax_sk._base.json_files import MALFORMED
from dalmax_sk.evaluation.runs.run_folders import read_run_json

__all__ = ["as_written", "read_run_record"]

# keys that a page needs, by their place in the record
_EXPECTED = {
    "": "status config resolved classes data versions hardware sessions initial rounds "
    "command seed total_seconds",
    "config": "type iterations",
    "resolved": "device",
    "data": "train test",
    "data.train": "directory n_images skipped sha256",
    "data.test": "directory n_images skipped sha256",
}
_EXPECTED_OF_ROUNDS = "round n_labeled metrics seconds strategy training picked"
_EXPECTED_OF_PICKS = "row file class"


def read_run_record(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Read ``run.json`` of a run.

    Parameters
    ----------
    directory : path-like
        The run's folder.

    Returns
    -------
    dict

    Raises
    ------
    FileNotFoundError
        If there is no ``run.json`` in the folder.
    ValueError
        If it is no JSON, or not that of a run of active learning in a format that this
        version reads.
    """
    file = Path(directory) / "run.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} does not exist: a page is made from the run.json that `dalmax "
            "train-al` writes to RESULTS/active_learning/TYPE/. Give the folder that "
            "holds it."
        )
    run = read_run_json(file)
    lacking = _lacking(run)
    if lacking:
        raise ValueError(
            f"{file} lacks {', '.join(lacking)}; a run did not write it so."
        )
    return run


@contextmanager
def as_written(directory: str | os.PathLike[str]) -> Iterator[None]:
    """Name the file in errors about values that a run does not write.

    Parameters
    ----------
    directory : path-like
        The folder of the run whose record is worked on inside the block.

    Raises
    ------
    ValueError
        If a value in the record is of another type than a run writes there.
    """
    try:
        yield
    except MALFORMED as error:
        raise ValueError(
            f"{Path(directory) / 'run.json'} is not as a run writes it "
            f"({type(error).__name__}: {error}). Put an intact copy of it back, or "
            "move the folder away."
        ) from error


def _lacking(run: Mapping[str, Any]) -> list[str]:
    """Return the places of missing keys, at most ten."""
    parts: list[tuple[str, Any, str]] = []
    for place, names in _EXPECTED.items():
        part: Any = run
        for key in place.split(".") if place else ():
            part = part.get(key) if isinstance(part, dict) else None
        parts.append((f"{place}." if place else "", part, names))
    entries = run.get("rounds")
    for i, entry in enumerate(entries if isinstance(entries, list) else ()):
        parts.append((f"rounds[{i}].", entry, _EXPECTED_OF_ROUNDS))
        picked = entry.get("picked") if isinstance(entry, dict) else None
        for j, pick in enumerate(picked if isinstance(picked, list) else ()):
            parts.append((f"rounds[{i}].picked[{j}].", pick, _EXPECTED_OF_PICKS))
    lacking = [
        place + name
        for place, part, names in parts
        for name in names.split()
        if not isinstance(part, dict) or name not in part
    ]
    return lacking[:10]
