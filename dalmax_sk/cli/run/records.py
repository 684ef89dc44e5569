"""``run.json`` read back: which run, of which kind, with which images."""

from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any

from dalmax_sk._base.json_files import read_json
from dalmax_sk.cli.errors import UsageError
from dalmax_sk.evaluation.runs.run_folders import check_picks

__all__ = [
    "AL_KIND",
    "FORMAT",
    "check_al_run",
    "check_keys",
    "find_al_run",
    "read_record",
]

#: The format of run.json; a change that readers would notice raises it.
FORMAT = 1

#: What run.json of ``train-al`` calls itself.
AL_KIND = "active learning on image folders"

# what is read of such a record
_EXPECTED: dict[str, type | UnionType] = {
    "status": str,
    "config": dict,
    "config.iterations": int,
    "rounds": list,
    "initial": list,
    "sessions": list,
    "versions": dict,
    "classes": dict,
    "data.train.directory": str,
    "data.train.sha256": str,
    "data.train.n_images": int,
    "data.test.directory": str,
    "data.test.sha256": str,
    "data.test.n_images": int,
}


def read_record(file: Path) -> dict[str, Any]:
    """Return the content of a record that one of the commands wrote.

    Parameters
    ----------
    file : pathlib.Path
        ``run.json``, or ``test.json``.

    Raises
    ------
    UsageError
        If it is no JSON, or of a format that this version cannot read.
    """
    try:
        record = read_json(file)
    except ValueError as error:
        raise UsageError(
            f"{file} is not valid JSON ({error}); a run did not write it so. Move "
            "it away, or choose another --dir-results."
        ) from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        found = record.get("format") if isinstance(record, dict) else None
        raise UsageError(
            f"{file} has format {found!r}; this version of dalmax_sk reads format "
            f"{FORMAT}. Choose another --dir-results."
        )
    return record


def check_keys(
    record: Mapping[str, Any], file: Path, expected: Mapping[str, type | UnionType]
) -> None:
    """Raise UsageError if a record lacks what is read of it, or holds other types.

    Parameters
    ----------
    record : dict
        The content of `file`.
    file : pathlib.Path
        ``run.json``.
    expected : dict
        The type at each place; a place is made of keys with dots between them.
    """
    wrong = []
    for place, type_ in expected.items():
        value: Any = record
        for key in place.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if not isinstance(value, type_):
            wrong.append(place)
    if wrong:
        raise UsageError(
            f"{file} is not as a command of dalmax writes it: {', '.join(wrong)} "
            "missing or of another type. Put an intact copy of it back, move the "
            "folder away, or choose another --dir-results."
        )


def check_al_run(run: Mapping[str, Any], file: Path) -> None:
    """Raise UsageError if a record of ``train-al`` is not as it writes it.

    The images that it names lie in the folder of the run, or in that of the training
    images; nothing else is ever read, or removed, for its sake.

    Parameters
    ----------
    run : dict
        The content of `file`.
    file : pathlib.Path
        ``run.json``.
    """
    check_keys(run, file, _EXPECTED)
    for number, entry in enumerate(run["rounds"]):
        place = f"rounds[{number}]"
        check_keys({place: entry}, file, {f"{place}.picked": list})
        check_keys({place: entry}, file, {f"{place}.round": int})
    for number, entry in enumerate(run["sessions"]):
        place = f"sessions[{number}]"
        check_keys({place: entry}, file, {f"{place}.seconds": int | float})
    try:
        check_picks(run, file.parent)
    except ValueError as error:
        raise UsageError(str(error)) from error


def find_al_run(path: Path) -> tuple[Path, dict[str, Any]] | None:
    """Find the run of ``train-al`` that a path belongs to.

    Parameters
    ----------
    path : pathlib.Path
        The run's folder, its ``run.json``, its ``selected_images/`` or a folder of one
        round in there.

    Returns
    -------
    folder : pathlib.Path
        The run's folder.
    record : dict
        Its ``run.json``.

        None if there is no ``run.json`` at these places.

    Raises
    ------
    UsageError
        If there is one that does not tell of a run of ``train-al``.
    """
    places = [path, path.parent] if path.name == "run.json" else [path]
    if path.name == "selected_images":
        places.append(path.parent)
    elif path.parent.name == "selected_images":
        places.append(path.parent.parent)
    for folder in places:
        file = folder / "run.json"
        if file.is_file():
            record = read_record(file)
            if record.get("kind") != AL_KIND:
                raise UsageError(
                    f"{file} tells of {record.get('kind')!r}; a run of dalmax train-al "
                    f"({AL_KIND!r}) is expected."
                )
            check_al_run(record, file)
            return folder, record
    return None
