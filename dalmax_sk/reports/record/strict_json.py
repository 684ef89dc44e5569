"""JSON that every parser reads: no NaN, plain numbers, short containers on one line."""

import json
import math
import os
from typing import Any

import numpy as np

__all__ = ["to_json", "to_plain"]

# A container shorter than this stays on one line: one picked image is one line.
_LINE = 160


def to_plain(value: Any) -> Any:
    """Turn `value` into what strict JSON can hold.

    NumPy scalars and arrays become Python numbers and lists, paths become strings,
    numbers that are not finite (which JSON has no word for) become None.

    Parameters
    ----------
    value : dict, list, tuple, ndarray, scalar, path or None
        Anything a run records.

    Returns
    -------
    dict, list, str, int, float, bool or None

    Raises
    ------
    TypeError
        If a value of another type is met; its type is named.

    Examples
    --------
    >>> import numpy as np
    >>> from dalmax_sk.reports import to_plain
    >>> to_plain({"rows": np.arange(2), "loss": float("nan")})
    {'rows': [0, 1], 'loss': None}
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(
        f"A run's record can hold numbers, strings, lists and dicts; got "
        f"{type(value).__name__}: {value!r}."
    )


def to_json(value: Any) -> str:
    """Return `value` as strict, readable JSON with the keys in the order given.

    Parameters
    ----------
    value : dict, list, tuple, ndarray, scalar, path or None
        See :func:`to_plain`.

    Returns
    -------
    str
        Ends with a line break. Containers that fit on one line, and lists of plain
        numbers or strings of any length, are on one line.

    Examples
    --------
    >>> from dalmax_sk.reports import to_json
    >>> print(to_json({"seed": 0, "score": float("inf")}), end="")
    {"seed": 0, "score": null}
    """
    return _render(to_plain(value), 0) + "\n"


def _render(value: Any, indent: int) -> str:
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    scalars_only = isinstance(value, list) and not any(
        isinstance(item, dict | list) for item in value
    )
    if not value or not isinstance(value, dict | list):
        return flat
    # The outermost object is spread out unless it is tiny.
    if scalars_only or len(flat) + indent <= (_LINE if indent else 80):
        return flat
    inner, pad = indent + 2, " " * (indent + 2)
    if isinstance(value, dict):
        lines = [
            f"{pad}{json.dumps(key, ensure_ascii=False)}: {_render(item, inner)}"
            for key, item in value.items()
        ]
        opening, closing = "{", "}"
    else:
        lines = [pad + _render(item, inner) for item in value]
        opening, closing = "[", "]"
    return f"{opening}\n" + ",\n".join(lines) + f"\n{' ' * indent}{closing}"
