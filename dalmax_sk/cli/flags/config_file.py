"""Flags from a TOML file: ``--config file.toml``.

Keys are the flags' names, with dashes or underscores. Keys at the top belong to the
command that is run; a table named like a command (``[train-al]``) belongs to that
command and goes before them. What the command line gives goes before both.
"""

import os
import tomllib
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, get_args, get_type_hints

from dalmax_sk.cli.errors import UsageError
from dalmax_sk.cli.flags.checks import BOOLS, LISTS, did_you_mean

__all__ = ["read_config", "register_command"]

_commands: dict[str, Callable[..., None]] = {}

# Flags that say what to do with results that are there already: a file that lies around
# must not decide that.
_COMMAND_LINE_ONLY = ("config", "resume", "overwrite")

_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: 'a text in "quotes"',
}


def register_command(name: str, function: Callable[..., None]) -> None:
    """Let config files know the flags of a command: the parameters of `function`."""
    _commands[name] = function


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
        Flag names with underscores and values of the types that the command line would
        give.

    Raises
    ------
    UsageError
        If the file is missing or no TOML, or if keys are unknown or values of the wrong
        type; all of them are named.
    """
    content = _read_toml(path)
    problems: list[str] = []
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    top = {key: value for key, value in content.items() if key not in tables}
    found = _read_table(top, command, "", problems)
    own: dict[str, Any] = {}
    for key, table in tables.items():
        name = key.replace("_", "-")
        if name not in _commands:
            hint = did_you_mean(name, _commands)
            problems.append(
                f"[{key}] is no command of dalmax{hint}; tables are named like "
                f"commands: {', '.join(_commands)}"
            )
            continue
        values = _read_table(table, name, f"[{key}] ", problems)
        if name == command:
            own |= values
    if problems:
        raise UsageError(f"{path}: {'; '.join(problems)}.")
    return found | own


def _read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path} is not a TOML file: {error}.") from error
    except OSError as error:
        raise UsageError(
            f"--config {path} cannot be read: {error.strerror}."
        ) from error


def _read_table(
    table: Mapping[str, Any], command: str, place: str, problems: list[str]
) -> dict[str, Any]:
    """Return the flags in a table; what is wrong with them goes to `problems`."""
    types = _flag_types(command)
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in types:
            problems.append(place + _unknown_key(key, name, command))
        elif name in _COMMAND_LINE_ONLY:
            problems.append(f"{place}{key} can be given on the command line only")
        elif name in found:
            problems.append(f"{place}{key} is there twice, with a dash and without")
        else:
            found[name] = _read_value(name, value, types[name])
            if found[name] is None:
                problems.append(
                    f"{place}{key} must be {_expected(name, types[name])}, got "
                    f"{value!r}"
                )
    return found


def _flag_types(command: str) -> dict[str, type]:
    """Return the type of every flag of a command: str, int, float or bool."""
    hints = get_type_hints(_commands[command])
    del hints["return"]
    return {
        name: get_args(hint)[0] if isinstance(hint, UnionType) else hint
        for name, hint in hints.items()
    }


def _unknown_key(key: str, name: str, command: str) -> str:
    others = [other for other in _commands if name in _flag_types(other)]
    if others:
        return (
            f"{key} is a flag of {', '.join(others)}, not of {command}; put it into a "
            f"table, [{others[0]}]"
        )
    hint = did_you_mean(name, _flag_types(command))
    return f"{key} is no flag of {command}{hint}"


def _read_value(name: str, value: Any, expected: type) -> Any:
    """Return `value` as the command line would give it, or None if it cannot be."""
    if expected is str and name in BOOLS and isinstance(value, bool):
        return str(value)
    if expected is str and name in LISTS and isinstance(value, list):
        is_text = all(isinstance(word, str) for word in value)
        return ",".join(value) if is_text and value else None
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    # bool is an int to Python, but not to the flags
    return value if type(value) is expected else None


def _expected(name: str, expected: type) -> str:
    if name in BOOLS:
        return "true or false"
    if name in LISTS:
        return 'a list of texts, ["a", "b"]'
    return _WORDS[expected]
