"""Labels as the training sees them: positions, weights, a validation split."""

import numpy as np
import torch
from sklearn.utils.multiclass import check_classification_targets

__all__ = ["class_weights", "encode_labels", "stratified_split"]


def encode_labels(y, classes, name):
    """Position of each label in the sorted class list, and that list.

    Parameters
    ----------
    y : ndarray of shape (n,)
    classes : array-like or None
        All classes; None takes those in y.
    name : str
        Of the estimator, for messages.

    Returns
    -------
    y_index : Tensor of shape (n,), int64
    classes : ndarray of shape (n_classes,)

    Raises
    ------
    ValueError
        If y is continuous, holds a label that is not in ``classes``, or there are fewer
        than two classes.

    Examples
    --------
    >>> y_index, classes = encode_labels(np.array(["b", "a"]), ["c", "b", "a"], "me")
    >>> y_index.tolist(), classes.tolist()
    ([1, 0], ['a', 'b', 'c'])
    """
    if y.dtype.kind != "U":  # names are no regression, however many there are
        check_classification_targets(y)
    present = np.unique(y)
    if classes is None:
        classes = present
    else:
        given, classes = list(classes), np.unique(np.asarray(classes))
        if len(classes) != len(given):
            raise ValueError(f"classes must name each class once; got {given!r}.")
        unknown = [label for label in present.tolist() if label not in classes]
        if unknown:
            raise ValueError(
                f"y holds {unknown!r}, which is not in classes={classes.tolist()!r}. "
                "Add it there, or drop those samples."
            )
    if len(classes) < 2:
        raise ValueError(
            f"{name} needs at least 2 classes; y holds one class, "
            f"{present.tolist()!r}. If others exist, pass classes=."
        )
    return torch.from_numpy(np.searchsorted(classes, y)), classes


def class_weights(class_weight, y_index, classes):
    """Weight of each class in the loss, (n_classes,) float64, or None.

    Parameters
    ----------
    class_weight : dict, "balanced" or None
        A dict may leave out classes of weight 1. ``"balanced"`` is n / (classes present
        × count), and 1 for absent classes.
    y_index : Tensor of shape (n,), int64
    classes : ndarray of shape (n_classes,)
    """
    if class_weight is None:
        return None
    weight = np.ones(len(classes))
    if isinstance(class_weight, dict):
        unknown = [label for label in class_weight if label not in classes]
        if unknown:
            raise ValueError(
                f"class_weight names {unknown!r}, but the classes are "
                f"{classes.tolist()!r}."
            )
        for label, value in class_weight.items():
            weight[np.flatnonzero(classes == label)] = value
    else:
        counts = np.bincount(y_index, minlength=len(classes))
        present = counts > 0
        weight[present] = len(y_index) / (present.sum() * counts[present])
    return torch.from_numpy(weight)


def stratified_split(y_index, fraction):
    """Rows for training and for validation, drawn from torch's default generator.

    Parameters
    ----------
    y_index : Tensor of shape (n,), int64
    fraction : float
        Share of the rows for validation, at least one row.

    Returns
    -------
    rows, valid_rows : Tensor of int64, each sorted

    Raises
    ------
    ValueError
        If the classes with two or more members have too few rows.
    """
    n = len(y_index)
    n_valid = max(1, round(fraction * n))
    # The k-th of m shuffled members of a class stands at (k + u) / m. The lowest
    # positions hold every class in proportion; an only member is never taken.
    y = y_index.numpy()
    present = np.unique(y)
    order = torch.randperm(n).numpy()
    offsets = torch.rand(len(present), dtype=torch.float64).numpy()
    position = np.full(n, np.inf)
    for offset, label in zip(offsets, present, strict=True):
        members = order[y[order] == label]
        if len(members) > 1:
            position[members] = (np.arange(len(members)) + offset) / len(members)
    if n_valid > np.isfinite(position).sum() or n_valid >= n:
        raise ValueError(
            f"early_stopping=True with validation_fraction={fraction} needs {n_valid} "
            f"of the {n} samples for validation, from classes with two or more. Give "
            "more samples, or pass early_stopping=False."
        )
    is_valid = np.zeros(n, dtype=bool)
    is_valid[np.argsort(position, kind="stable")[:n_valid]] = True
    valid = torch.from_numpy(is_valid)
    return (~valid).nonzero().flatten(), valid.nonzero().flatten()
