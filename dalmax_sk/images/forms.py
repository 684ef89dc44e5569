"""Forms of X: what has rows that can be counted and cut, and what has not."""

import os
from collections.abc import Mapping
from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dalmax_sk._base.sklearn_compat import is_dataframe

__all__ = ["as_array", "as_rows", "is_frame", "is_object_rows"]

_EXPECTED = (
    "X may be image paths, an array or tensor of images or of a table, a list of "
    "images of one size, a dataframe, a sparse matrix, or a sequence of texts or other "
    "objects that the estimator takes"
)


def is_frame(X: Any) -> bool:
    """Whether X is a dataframe: of pandas, polars, pyarrow or any that narwhals knows.

    Examples
    --------
    >>> import pandas as pd
    >>> is_frame(pd.DataFrame({"a": [1, 2]})), is_frame(pd.Series([1, 2]))
    (True, False)
    """
    return bool(is_dataframe(X)) or (hasattr(X, "iloc") and np.ndim(X) == 2)


def is_object_rows(X: Any) -> bool:
    """Whether X is a 1-D array of objects that are neither texts nor numbers.

    Examples
    --------
    >>> import numpy as np
    >>> is_object_rows(np.array([{"a": 1}, {"b": 2}]))
    True
    """
    if not isinstance(X, np.ndarray) or X.ndim != 1 or X.dtype.kind != "O":
        return False
    return len(X) > 0 and not (X[0] is None or _is_scalar(X[0]))


def as_rows(X: Any, who: str) -> Any:
    """Return X in a form whose rows can be counted and cut.

    Parameters
    ----------
    X : object
        Tensors become arrays; images in a list or in an array of objects become one
        array; dicts and lists of tokens become a 1-D array of objects. Dataframes,
        sparse matrices, texts and paths are returned as they are.
    who : str
        Named in messages.

    Raises
    ------
    TypeError
        If X is none of these: a Dataset, a DataLoader, a dict of arrays, a generator.
        Nothing is read of it.
    ValueError
        If images or rows of numbers differ in shape, or an array has masked cells.

    Examples
    --------
    >>> as_rows([{"a": 1.0}, {"b": 2.0}], "the learner").shape
    (2,)
    """
    if isinstance(X, (str, os.PathLike)) or is_frame(X) or hasattr(X, "tocsr"):
        return X
    if hasattr(X, "detach"):
        return as_array(X)
    if isinstance(X, np.ma.MaskedArray) and np.ma.is_masked(X):
        raise ValueError(
            f"X has {int(np.ma.count_masked(X))} masked cells, which {who} cannot "
            "take. Fill them (X.filled(np.nan)), for an imputer in the estimator."
        )
    if isinstance(X, (list, tuple)) or (
        isinstance(X, np.ndarray) and X.ndim == 1 and X.dtype.kind == "O"
    ):
        return _as_stacked(X)
    if isinstance(X, np.ndarray):
        return X
    if hasattr(X, "to_numpy") and getattr(X, "ndim", 1) == 1:  # a Series
        return as_rows(X.to_numpy(), who)
    if hasattr(X, "__array__") or hasattr(X, "__array_interface__"):
        return np.asarray(X)
    raise TypeError(
        f"X is a {type(X).__name__}, which {who} cannot take: {_EXPECTED}. Of a "
        "Dataset make an array: np.stack([np.asarray(image) for image, _ in dataset])."
    )


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (str, bytes, os.PathLike, Number, np.generic))


def as_array(value: Any) -> NDArray[Any]:
    """Return a tensor or another array-like as an array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # which NumPy does not have
            value = value.float()
        return np.asarray(value.numpy())
    return np.asarray(value)


def _as_stacked(X: Any) -> Any:
    """Return a sequence of rows as one array, of objects if they are no arrays."""
    if not len(X) or X[0] is None or _is_scalar(X[0]):
        return X
    if any(isinstance(row, Mapping) for row in X):
        return _as_objects(X)
    if all(isinstance(row, (list, tuple)) for row in X):
        if len({len(row) for row in X}) == 1:
            return X  # a table, or images in nested lists
        leaf = next((row[0] for row in X if row), None)
        if not isinstance(leaf, (Number, np.generic)):
            return _as_objects(X)  # lists of tokens
        rows = [np.empty(len(row)) for row in X]
    elif all(_is_array_like(row) for row in X):
        rows = [as_array(row) for row in X]
        if all(row.ndim == 0 for row in rows):
            return X
    else:
        return _as_objects(X)
    shapes = sorted({row.shape for row in rows})
    if len(shapes) > 1:
        raise ValueError(
            f"X is a sequence of {len(X)} rows whose shapes differ: {shapes[0]}, "
            f"{shapes[1]}{' …' * (len(shapes) > 2)}. Give all one shape; or give "
            "images as paths, with image_size= in the estimator."
        )
    return np.stack(rows)


def _is_array_like(value: Any) -> bool:
    names = ("detach", "__array__", "__array_interface__")
    return any(hasattr(value, name) for name in names)


def _as_objects(X: Any) -> NDArray[np.object_]:
    rows = np.empty(len(X), dtype=object)
    for i, row in enumerate(X):  # all at once NumPy would look into them
        rows[i] = row
    return rows
