"""Confusions and scores of every class on the test images, for the record."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import precision_recall_fscore_support

__all__ = ["describe_test"]


def describe_test(
    y_true: ArrayLike, y_pred: ArrayLike, *, labels: Sequence[Any]
) -> dict[str, Any]:
    """Count the confusions of the test images and score every class.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n,)
        True and predicted labels.
    labels : sequence of length n_classes
        All classes, in the order of rows and columns.

    Returns
    -------
    dict
        ``n_images``; ``accuracy``, a fraction; ``confusion``, a list of n_classes lists
        of n_classes counts (row: true class, column: predicted class); ``per_class``, a
        list of dicts with ``class``, ``precision`` (NaN if nothing is predicted as the
        class), ``recall`` (NaN if no image is of it), ``f1`` (NaN if both), all as
        fractions, and ``support`` (its test images).

    Raises
    ------
    ValueError
        If a label is not among `labels`, or if there are no images.

    Examples
    --------
    >>> from dalmax_sk.reports import describe_test
    >>> test = describe_test(
    ...     ["cat", "dog", "dog"], ["cat", "cat", "dog"], labels=["cat", "dog"]
    ... )
    >>> test["confusion"]
    [[1, 0], [1, 1]]
    >>> test["per_class"][0]["precision"], test["per_class"][0]["recall"]
    (0.5, 1.0)
    """
    true, predicted = np.asarray(y_true), np.asarray(y_pred)
    unknown = sorted({*true.tolist(), *predicted.tolist()} - set(labels), key=str)
    if unknown:
        raise ValueError(
            f"{len(unknown)} of the labels are none of the {len(labels)} classes: "
            f"{unknown[:5]}. Every class has to be among labels."
        )
    if not len(true):
        raise ValueError("There are no test images to score; at least 1 is needed.")
    code = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=int)
    codes = [[code[label] for label in part.tolist()] for part in (true, predicted)]
    np.add.at(counts, tuple(codes), 1)
    # NaN for 0 / 0; F1 is 2 TP / (2 TP + FP + FN), defined unless the class occurs
    # nowhere
    scores = precision_recall_fscore_support(
        true, predicted, labels=list(labels), zero_division=np.nan
    )
    return {
        "n_images": len(true),
        "accuracy": float(np.trace(counts) / len(true)),
        "confusion": counts.tolist(),
        "per_class": [
            {
                "class": label,
                "precision": float(precision),
                "recall": float(recall),
                "f1": float(f1),
                "support": int(support),
            }
            for label, precision, recall, f1, support in zip(
                labels, *scores, strict=True
            )
        ],
    }
