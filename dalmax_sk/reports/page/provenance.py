"""Origin of a page's numbers: command, settings, data, versions, hardware."""

import json
from collections.abc import Mapping
from typing import Any

from dalmax_sk._base.words import counted
from dalmax_sk.images.paths import ignored_words
from dalmax_sk.reports.page.document import Cell, table
from dalmax_sk.reports.page.markup import Content, element
from dalmax_sk.reports.page.number_format import file_size, number, seconds

__all__ = ["data_words", "described", "sessions_table", "settings_table"]

# Files that were left out are named up to this number.
_MOST_SKIPPED = 50


def described(value: Any, key: str = "") -> str:
    r"""Return any plain value as a reader wants it.

    Parameters
    ----------
    value : str, number, bool, None, list or dict
        The value.
    key : str, default=""
        Its name; one that ends in ``_bytes`` is a size in memory.

    Returns
    -------
    str

    Examples
    --------
    >>> from dalmax_sk.reports.page.provenance import described
    >>> described(None), described(2**30, "memory_bytes"), described(["a", 1])
    ('–', '1.1\xa0GB', '["a", 1]')
    """
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if key.endswith("_bytes") and isinstance(value, int):
        return file_size(value)
    return json.dumps(value, ensure_ascii=False)


def settings_table(values: Mapping[str, Any]) -> Content:
    """Return names and values as a table.

    Parameters
    ----------
    values : dict
        Plain values by name.

    Returns
    -------
    content
    """
    rows: list[list[Cell]] = [
        [element("code", key), described(value, key)] for key, value in values.items()
    ]
    return table(["name", "value"], rows)


def sessions_table(run: Mapping[str, Any]) -> Content:
    """Return when a run was started, gone on with, and how each part ended.

    Parameters
    ----------
    run : dict
        Content of ``run.json``.

    Returns
    -------
    content
    """
    rows: list[list[Cell]] = [
        [
            session["started"],
            (session["seconds"], seconds(session["seconds"])),
            session["status"],
            element("code", session["command"]),
        ]
        for session in run["sessions"]
    ]
    return table(["started", "time", "status", "command"], rows)


def data_words(run: Mapping[str, Any]) -> Content:
    """Return the facts about the image folders.

    Parameters
    ----------
    run : dict
        Content of ``run.json``.

    Returns
    -------
    content
    """
    words: list[Content] = []
    for split, what in (("train", "training"), ("test", "test")):
        data = run["data"][split]
        words.append(
            element(
                "p",
                f"{counted(data['n_images'], f'{what} image')} in ",
                element("code", data["directory"]),
                f", SHA-256 of their names and sizes {data['sha256'][:16]}…",
            )
        )
        note = ignored_words(data.get("ignored", {}))
        if note:
            words.append(element("p", f"Left out: {note}."))
        skipped = data["skipped"]
        if skipped:
            words.append(
                element(
                    "p",
                    f"{counted(len(skipped), 'file')} left out because "
                    "they cannot be read:",
                )
            )
            rows = [[entry["file"], entry["reason"]] for entry in skipped]
            words.append(table(["file", "reason"], rows[:_MOST_SKIPPED]))
            if len(rows) > _MOST_SKIPPED:
                words.append(
                    element("p", f"and {number(len(rows) - _MOST_SKIPPED)} more.")
                )
    return words
