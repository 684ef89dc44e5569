"""The list of classes, and labels that are none of them."""

import warnings
from numbers import Real

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite

from dalmax_sk.active_learning.oracle import as_labels, as_plain, find_missing

__all__ = ["check_classes", "check_missing_label", "find_classes", "merged_classes"]

# how NumPy and pandas write a missing value into an array of strings
_MISSING_TEXTS = ("None", "nan", "NaN", "<NA>", "NaT")


def find_classes(y, classes, missing_label):
    """Return all classes, sorted: those given, or else those in `y`.

    Raises
    ------
    ValueError
        If `y` has no label, or some labels, all of one class, and no classes are given;
        or if its labels are no classes.
    """
    missing = find_missing(y, missing_label)
    known = _as_one_type(y[~missing], "y")
    assert_all_finite(known, input_name="y")
    if classes is not None:
        found = check_classes(classes)
        if find_missing(found, missing_label).any():
            raise ValueError(
                f"missing_label={missing_label!r} is one of the classes, "
                f"{found.tolist()}; a label cannot be both."
            )
        return found
    if not len(known):
        raise ValueError(
            "y has no labels at all, so the classes are unknown: pass classes=[...] to "
            "ActiveLearningClassifier."
        )
    if known.dtype.kind != "U":  # names are no regression, however many there are
        check_classification_targets(known)
    found = np.unique(known)
    if len(found) == 1 and missing.any():
        raise ValueError(
            f"y has labels of one class only, {found.tolist()}, and other classes are "
            "unknown: pass classes=[...] to ActiveLearningClassifier."
        )
    _warn_of_texts(found)
    return found


def check_classes(classes):
    """Return `classes` sorted, or raise ValueError if they are no list of classes."""
    found = as_labels(classes) if np.ndim(classes) < 2 else np.asarray(classes)
    if found.ndim != 1 or not len(found) or find_missing(found).any():
        raise ValueError(
            "classes must be a 1-D sequence of labels, none of them missing, got "
            f"{classes!r}."
        )
    found = _as_one_type(found, "classes")
    values, counts = np.unique(found, return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"classes holds {values[counts > 1].tolist()} more than once; distinct "
            "labels are expected."
        )
    return values


def merged_classes(classes, more):
    """Return `classes` with further ones, sorted; those that are known are no error."""
    more = check_classes(more)
    if (classes.dtype.kind in "UT") != (more.dtype.kind in "UT"):
        raise ValueError(
            f"add_classes got {more.tolist()}, and the classes are "
            f"{classes.tolist()}: labels of one type are expected."
        )
    return np.union1d(classes, more)


def _as_one_type(labels, who):
    """Return labels in a type of their own, not as objects; mixtures are refused."""
    if labels.dtype.kind == "O":
        if len({isinstance(label, str) for label in labels}) == 2:
            types = sorted({type(label).__name__ for label in labels})
            raise ValueError(
                f"{who} mixes labels of the types {', '.join(types)}; use one type. If "
                "one of them means 'not labelled', name it as missing_label."
            )
    return as_plain(labels)


def _warn_of_texts(classes):
    """Warn of classes that are missing values turned into text."""
    if classes.dtype.kind != "U":
        return
    width = classes.dtype.itemsize // 4
    texts = {text[:width] for text in _MISSING_TEXTS if width > 2}
    suspects = [label for label in classes.tolist() if label in texts]
    if suspects:
        warnings.warn(
            f"y holds {suspects} as labels: texts that NumPy makes of missing values "
            "in an array of strings. If they mean 'not labelled', give "
            f"missing_label={suspects[0]!r}, or make y an array of objects "
            "(dtype=object) before setting entries to None. If they are classes, name "
            "all in classes=[...].",
            UserWarning,
            stacklevel=2,
        )


def check_missing_label(y, missing_label):
    """Raise an error if no entry of `y` can ever equal `missing_label`.

    Raises
    ------
    TypeError
        If it is no scalar, or a string where labels are numbers or the reverse.
    ValueError
        If the type of `y` cannot hold it: -1 in unsigned integers.
    """
    if np.ndim(missing_label):
        raise TypeError(f"missing_label={missing_label!r} must be one value.")
    value = np.empty(1, dtype=object)
    value[0] = missing_label
    known = y[~find_missing(y)]
    if find_missing(value)[0] or not len(known):
        return
    if y.dtype.kind in "iub" and isinstance(missing_label, Real):
        if y.dtype.kind == "b":
            can_hold = isinstance(missing_label, bool | np.bool_)
        else:
            limits = np.iinfo(y.dtype)
            is_whole = float(missing_label).is_integer()
            can_hold = is_whole and limits.min <= missing_label <= limits.max
        if not can_hold:
            raise ValueError(
                f"missing_label={missing_label!r} can never be in y, whose type is "
                f"{y.dtype}. Use a type that holds it, or None for missing_label."
            )
        return
    is_text = isinstance(missing_label, str)
    if not any(isinstance(label, str) == is_text for label in known.tolist()):
        raise TypeError(
            f"missing_label={missing_label!r} is of the type "
            f"{type(missing_label).__name__} and can never equal a label of y, such as "
            f"{known.tolist()[0]!r}. Give it in the type of the labels."
        )
