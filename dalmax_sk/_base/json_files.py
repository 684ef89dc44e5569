"""JSON that is read back: damage of any kind is one error, and checksums find it."""

import json
import os
import zlib
from collections.abc import Mapping
from typing import Any

from dalmax_sk._base.files import read_text

__all__ = ["MALFORMED", "parse_json", "read_json", "seal", "sealed", "unsealed"]

#: Errors of code that takes values to be of another form than they are.
MALFORMED = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)

# Nothing that is written here is nested half as deep.
_DEPTH = 64
_SEAL = "crc32"


def read_json(path: str | os.PathLike[str]) -> Any:
    """Return the content of a JSON file.

    Parameters
    ----------
    path : path-like
        The file.

    Raises
    ------
    OSError
        If it is no regular file, or cannot be read.
    ValueError
        If it is not UTF-8, no JSON, or nested too deeply.
    """
    return parse_json(read_text(path))


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text in UTF-8, or raise ValueError.

    Examples
    --------
    >>> from dalmax_sk._base.json_files import parse_json
    >>> parse_json('{"a": [1, 2]}')
    {'a': [1, 2]}
    >>> parse_json(10_000 * "[")
    Traceback (most recent call last):
    ValueError: nested too deeply
    """
    try:
        value = json.loads(text.decode("utf-8") if isinstance(text, bytes) else text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    level = [value]
    for _ in range(_DEPTH):
        level = [
            item
            for container in level
            for item in (
                container.values()
                if isinstance(container, dict)
                else container
                if isinstance(container, list)
                else ()
            )
            if isinstance(item, dict | list)
        ]
        if not level:
            return value
    raise ValueError("nested too deeply")


def sealed(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of an object with their checksum, the CRC-32 of their text."""
    return {**entries, _SEAL: zlib.crc32(json.dumps(entries).encode())}


def seal(text: str) -> str:
    """Add the checksum to the text of an object, as ``json.dumps(entries)`` made it.

    As :func:`sealed`, for a text that is there already.

    Examples
    --------
    >>> from dalmax_sk._base.json_files import parse_json, seal, unsealed
    >>> seal('{"a": 1}')
    '{"a": 1, "crc32": 4221669015}'
    >>> unsealed(parse_json(seal('{"a": 1}')))
    {'a': 1}
    """
    return f'{text[:-1]}, "{_SEAL}": {zlib.crc32(text.encode())}}}'


def unsealed(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of an object without their checksum.

    Without one, as in files of older versions, they are taken as they are.

    Raises
    ------
    ValueError
        If the checksum differs: an entry is not as it was written.
    """
    rest = {name: value for name, value in entries.items() if name != _SEAL}
    if _SEAL in entries and entries[_SEAL] != sealed(rest)[_SEAL]:
        raise ValueError("its checksum differs")
    return rest
