"""The kinds of values that flags take: how each is written, read and checked.

The ``read`` of a kind takes the text of the command line. It raises ValueError with
what is wrong in words that follow the flag's name.
"""

import difflib
import math
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

__all__ = [
    "BOOL",
    "FOLDER",
    "JOBS",
    "NAME_OR_FILE",
    "SHRINK_NOISE",
    "SIZE",
    "STRATEGIES",
    "STRATEGY",
    "SWITCH",
    "Kind",
    "choice",
    "did_you_mean",
    "number",
    "path",
    "text",
    "whole",
]

_BOOLS = dict.fromkeys(("true", "1", "yes", "on", "y", "t"), True)
_BOOLS |= dict.fromkeys(("false", "0", "no", "off", "n", "f"), False)

_SIZE = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[KMGT]?I?B?)", re.IGNORECASE)


@dataclass(frozen=True)
class Kind:
    """A kind of values.

    Attributes
    ----------
    metavar : str
        What stands for the value in ``--help``; nothing for a switch, which has none.
    read : callable
        Makes the value from text, or raises ValueError.
    in_toml : type, default=str
        The type of the value in a config file: str, int, float, bool or list.
    bare : str, default=""
        The text that a flag without a value means; nothing if it needs a value.
    """

    metavar: str
    read: Callable[[str], Any]
    in_toml: type = str
    bare: str = ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `` (did you mean …?)`` with the nearest of the `known`, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _refuse(expected: str, text: Any) -> NoReturn:
    raise ValueError(f"{expected}, got {text!r}") from None


def text(metavar: str) -> Kind:
    """Make a kind of texts that are taken as they are."""
    return Kind(metavar, str)


def path(metavar: str) -> Kind:
    """Make a kind of paths; they become absolute."""
    return Kind(metavar, os.path.abspath)


def whole(unit: str, *, least: int = 1, below_2_to: int = 63) -> Kind:
    """Make a kind of whole numbers of a unit."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            _refuse("must be a whole number", text)
        if number < least:
            _refuse(f"must be at least {least} ({unit})", number)
        if number >= 2**below_2_to:
            _refuse(f"must be below 2**{below_2_to}", number)
        return number

    return Kind("INT", read, int)


def number(
    expected: str, *, above: float, below: float = math.inf, most: float = math.inf
) -> Kind:
    """Make a kind of numbers in an interval, which `expected` describes."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            _refuse("must be a number", text)
        if not (above < number < below and number <= most):
            _refuse(expected, number)
        return number

    return Kind("FLOAT", read, float)


def choice(*words: str) -> Kind:
    """Make a kind that takes one of a few words."""

    def read(text: str) -> str:
        if text not in words:
            hint = did_you_mean(text, words)
            raise ValueError(f"must be one of {', '.join(words)}; got {text!r}{hint}")
        return text

    return Kind("|".join(words), read)


def _read_bool(text: str) -> bool:
    value = _BOOLS.get(text.strip().lower())
    return _refuse("must be True or False", text) if value is None else value


def _read_folder(text: str) -> str:
    folder = os.path.abspath(text)
    if not os.path.exists(folder):
        raise ValueError(f"names a folder that does not exist: {folder}")
    return folder


def _read_name_or_file(text: str) -> str:
    return os.path.abspath(text) if os.path.exists(text) else text


def _read_strategy(text: str) -> str:
    return text.strip().lower().replace("-", "_")


def _read_strategies(text: str) -> list[str]:
    names = [_read_strategy(word) for word in text.split(",")]
    if not all(names):
        _refuse("must be names with commas between them", text)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"holds {', '.join(repeated)} more than once")
    return names


def _read_jobs(text: str) -> int:
    try:
        n_jobs = int(text)
    except ValueError:
        n_jobs = 0
    return n_jobs or _refuse("must be a number of processes, or -1 for all cores", text)


def _read_pair(text: str) -> list[float]:
    try:
        shrink, noise = (float(word) for word in text.split(","))
    except ValueError:
        shrink = noise = math.nan
    if not (0 <= shrink <= 1 and 0 <= noise < math.inf):
        raise ValueError(
            "must be two numbers with a comma between them, the first in [0, 1] and "
            f"the second at least 0, such as 0.4,0.1; got {text!r}"
        )
    return [shrink, noise]


def _read_size(text: str) -> int:
    """Return bytes."""
    found = _SIZE.fullmatch(text.strip())
    n_bytes = 0.0
    if found is not None:
        unit = found["unit"].upper()
        base = 1024 if "I" in unit else 1000
        n_bytes = float(found["number"]) * base ** "BKMGT".index(unit[:1] or "B")
    if not 1 <= n_bytes < 2**63:
        _refuse("must be a size such as 500MB, 2GB or 2GiB", text)
    return int(n_bytes)


#: ``yes`` and ``no`` in many spellings; the flag alone means yes.
BOOL = Kind("BOOL", _read_bool, bool, bare="true")
#: A folder that is there.
FOLDER = Kind("FOLDER", _read_folder)
#: A number of processes.
JOBS = Kind("INT", _read_jobs, int)
#: A name such as "imagenet", or a file.
NAME_OR_FILE = Kind("NAME|FILE", _read_name_or_file)
#: ``0.4,0.1``
SHRINK_NOISE = Kind("SHRINK,NOISE", _read_pair)
#: ``2GB``, as bytes.
SIZE = Kind("SIZE", _read_size)
#: The name of a strategy; dashes and capitals are understood.
STRATEGY = Kind("NAME", _read_strategy)
#: Several of them.
STRATEGIES = Kind("NAME,NAME", _read_strategies, list)
#: A flag without a value: given, or not.
SWITCH = Kind("", _read_bool, bool)
