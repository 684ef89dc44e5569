"""Where labels come from: hidden in `y`, or from a callable."""

import numpy as np
from sklearn.utils import column_or_1d

from dalmax_sk._base.sklearn_compat import num_samples, safe_indexing

__all__ = ["CallableOracle", "SimulatedOracle", "as_labels", "find_missing"]


def as_labels(labels):
    """Return `labels` as a 1-D array whose entries keep their types.

    NumPy makes strings of everything in a list that holds one, of NaN too.

    Examples
    --------
    >>> as_labels(["cat", float("nan")])
    array(['cat', nan], dtype=object)
    """
    if isinstance(labels, list | tuple):
        are_strings = {isinstance(label, str) for label in labels}
        if len(are_strings) == 2:
            labels = np.array(labels, dtype=object)
    return column_or_1d(labels, warn=True)


def find_missing(y, missing_label=None):
    """Tell which entries of `y` hold no label.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Labels; None, NaN and pandas' missing values mean "not labelled".
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
    elif y.dtype.kind == "O":
        missing = np.fromiter((_is_missing(label) for label in y), bool, len(y))
    else:
        missing = np.zeros(len(y), dtype=bool)
    if not _is_missing(missing_label):
        missing[~missing] = [label == missing_label for label in y[~missing].tolist()]
    return missing


def _is_missing(label):
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(label, float | np.floating) and label != label


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
        try:
            n_labels = num_samples(labels)
        except TypeError as error:
            raise TypeError(
                f"The oracle was asked for {len(indices)} labels and must return a "
                f"sequence of them; it returned {labels!r}."
            ) from error
        if n_labels != len(indices):
            raise ValueError(
                f"The oracle was asked for {len(indices)} labels and returned "
                f"{n_labels}."
            )
        return as_labels(labels)
