"""Where labels come from: hidden in `y`, or from a callable."""

from collections.abc import Mapping, Set
from numbers import Number

import numpy as np
from sklearn.utils import column_or_1d

from dalmax_sk._base.sklearn_compat import num_samples, safe_indexing
from dalmax_sk.images.forms import as_array

__all__ = [
    "CallableOracle",
    "SimulatedOracle",
    "as_labels",
    "as_plain",
    "find_missing",
]


def as_labels(labels):
    """Return `labels` as a 1-D array whose entries keep their types.

    NumPy makes strings of everything in a list that holds one, of NaN too. A masked
    entry is a missing label: it becomes None.

    Examples
    --------
    >>> as_labels(["cat", float("nan")])
    array(['cat', nan], dtype=object)
    >>> import numpy as np
    >>> as_labels(np.ma.masked_array([0, 1], mask=[False, True]))
    array([0, None], dtype=object)
    """
    if isinstance(labels, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(labels)
        labels = np.asarray(labels.data)
        if mask.any():
            labels = labels.astype(object)
            labels[mask] = None
    elif isinstance(labels, list | tuple):
        are_strings = {isinstance(label, str) for label in labels}
        if len(are_strings) == 2 or any(map(_is_missing, labels)):
            array = np.empty(len(labels), dtype=object)
            array[:] = labels
            labels = array
    elif hasattr(labels, "detach"):
        labels = as_array(labels)
    return column_or_1d(labels, warn=True)


def as_plain(labels):
    """Return known labels in a type of their own: an object array of ints as ints."""
    return np.array(labels.tolist()) if labels.dtype.kind == "O" else labels


def find_missing(y, missing_label=None):
    """Tell which entries of `y` hold no label.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Labels; None, NaN, NaT, pandas' missing values and ``numpy.ma.masked`` mean
        "not labelled".
    missing_label : scalar, default=None
        One more value that means the same, for instance -1.

    Returns
    -------
    ndarray of bool of shape (n,)

    Examples
    --------
    >>> import numpy as np
    >>> find_missing(np.array(["cat", None, "dog"], dtype=object))
    array([False,  True, False])
    >>> find_missing(np.array([0, -1, 1]), missing_label=-1)
    array([False,  True, False])
    """
    # NaN and NaT are the values that differ from themselves
    if y.dtype.kind in "fcmM":
        missing = y != y
    elif y.dtype.kind in "OT":
        missing = np.fromiter((_is_missing(label) for label in y), bool, len(y))
    else:
        missing = np.zeros(len(y), dtype=bool)
    if not _is_missing(missing_label):
        missing[~missing] = [label == missing_label for label in y[~missing].tolist()]
    return missing


def _is_missing(label):
    if label is None or label is np.ma.masked:
        return True
    if type(label).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(label, Number | np.generic) and bool(label != label)


class SimulatedOracle:
    """Reveals the labels of a fully labelled `y`, only those asked for."""

    def __init__(self, y):
        self._y = y

    def __call__(self, indices):
        """Return the labels of rows `indices`."""
        return self._y[indices]


class CallableOracle:
    """Asks a user's function ``oracle(X_rows, indices) -> labels``."""

    def __init__(self, function, X):
        self._function = function
        self._X = X

    def __call__(self, indices):
        """Return the labels of rows `indices`, checked for their number."""
        labels = self._function(safe_indexing(self._X, indices), indices)
        refused = (
            f"The oracle was asked for {len(indices)} labels and must return a "
            "sequence of them, in the order of `indices`; it returned "
        )
        if isinstance(labels, str | bytes | Mapping | Set):
            raise TypeError(f"{refused}a {type(labels).__name__}: {labels!r}.")
        try:
            n_labels = num_samples(labels)
        except TypeError as error:
            raise TypeError(f"{refused}{labels!r}.") from error
        if n_labels != len(indices):
            raise ValueError(
                f"The oracle was asked for {len(indices)} labels and returned "
                f"{n_labels}."
            )
        return as_labels(labels)
