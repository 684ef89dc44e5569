"""Flags from a TOML file: ``--config file.toml``.

Keys are the flags' names, with dashes or underscores. Keys at the top belong to the
command that is run; a table named like a command (``[train-al]``) belongs to that
command and goes before them. The command line goes before both.
"""

import os
import tomllib
from collections.abc import Mapping
from typing import Any

from dalmax_sk._base.files import read_text
from dalmax_sk.cli.errors import UsageError
from dalmax_sk.cli.flags.kinds import did_you_mean
from dalmax_sk.cli.flags.table import FLAGS, flags_of
from dalmax_sk.cli.flags.values import Values

__all__ = ["read_config"]

_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: 'a list of texts, ["a", "b"]',
    str: 'a text in "quotes"',
}


def read_config(path: str | os.PathLike[str], command: str) -> dict[str, Any]:
    """Read the flags of `command` from a TOML file.

    Parameters
    ----------
    path : path-like
        The file.
    command : str
        Name of the command that is run, for instance ``"train-al"``.

    Returns
    -------
    dict
        Names and values of the flags.

    Raises
    ------
    UsageError
        If the file is missing or no TOML, or if keys are unknown or values wrong; all
        of them are named.
    """
    content = _read_toml(path)
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    top = {key: value for key, value in content.items() if key not in tables}
    found = _read_table(top, command, "")
    given, problems = found.given, found.problems
    commands = dict.fromkeys(name for flag in FLAGS for name in flag.commands)
    for key, table in tables.items():
        name = key.replace("_", "-")
        if name not in commands:
            problems.append(
                f"[{key}] is no command of dalmax{did_you_mean(name, commands)}; "
                f"tables are named like commands: {', '.join(commands)}"
            )
            continue
        found = _read_table(table, name, f"[{key}] ")
        problems += found.problems
        if name == command:
            given |= found.given
    if problems:
        raise UsageError(f"{path}: {'; '.join(problems)}.")
    return given


def _read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        content = tomllib.loads(read_text(path))
        repr(content)  # which messages need: not of numbers beyond 4300 digits
        return content
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--config {path} is not a TOML file: {error}.") from error
    except OSError as error:
        raise UsageError(
            f"--config {path} cannot be read: {error.strerror}."
        ) from error


def _read_table(table: Mapping[str, Any], command: str, place: str) -> Values:
    """Read the flags of a command; messages begin with the `place`."""
    flags = {flag.name: flag for flag in flags_of(command)}
    values = Values()
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in flags:
            values.problems.append(place + _unknown_key(key, name, command))
        elif not flags[name].in_file:
            values.problems.append(
                f"{place}{key} can be given on the command line only"
            )
        elif name in values.given:
            values.problems.append(
                f"{place}{key} is there twice, with a dash and without"
            )
        else:
            expected = flags[name].kind.in_toml
            text = _as_text(value, expected)
            if text is None:
                values.given[name] = None
                values.problems.append(
                    f"{place}{key} must be {_WORDS[expected]}, got {value!r}"
                )
            else:
                values.read(flags[name], text, place + key)
    values.join_names(flags.values())
    return values


def _unknown_key(key: str, name: str, command: str) -> str:
    others = [other for flag in FLAGS if flag.name == name for other in flag.commands]
    if others:
        return (
            f"{key} is a flag of {', '.join(others)}, not of {command}; put it into a "
            f"table, [{others[0]}]"
        )
    hint = did_you_mean(name, [flag.name for flag in flags_of(command)])
    return f"{key} is no flag of {command}{hint}"


def _as_text(value: Any, expected: type) -> str | None:
    """Return a value as the command line would give it, or None if it cannot be."""
    if expected is list and isinstance(value, list):
        is_text = all(isinstance(word, str) for word in value)
        return ",".join(value) if is_text and value else None
    if expected in (bool, list) and isinstance(value, str):
        return value
    # bool is an int to Python, but not to the flags
    is_expected = type(value) is expected or (expected is float and type(value) is int)
    return str(value) if is_expected else None
