"""Where labels come from: hidden in `y`, or from a callable."""

import numpy as np

from dalmax_sk._sklearn_compat import num_samples, safe_indexing

__all__ = ["CallableOracle", "SimulatedOracle", "find_missing"]


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
    if missing_label is not None:
        equal = np.fromiter(
            (label == missing_label for label in y.tolist()), bool, len(y)
        )
        missing = missing | equal
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
        return (
            np.array([labels[i] for i in range(n_labels)], dtype=object)
            if isinstance(labels, list | tuple)
            else np.asarray(labels)
        )
