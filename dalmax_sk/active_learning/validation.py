"""Checks and preparations that a run of active learning begins with."""

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_consistent_length
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite

from dalmax_sk._base.pipelines import final_step, last_step
from dalmax_sk._base.sklearn_compat import check_feature_names, check_n_features
from dalmax_sk.active_learning.labels import UNKNOWN
from dalmax_sk.active_learning.oracle import as_labels, find_missing
from dalmax_sk.images import as_paths, check_images
from dalmax_sk.strategies import UncertaintySampling, get_strategy

__all__ = [
    "as_strategy",
    "check_eval_set",
    "check_rows",
    "check_stopping",
    "default_estimator",
    "find_classes",
    "given_classes",
    "prepare_estimator",
]


def default_estimator(X=None):
    """Return a classifier for data of the form of X; None stands for a table."""
    if X is not None and (as_paths(X) is not None or X.ndim > 2):
        # torch loads only when a net is needed
        from dalmax_sk.cnn import CNNClassifier

        return CNNClassifier()
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression()


def as_strategy(strategy):
    """Return a strategy object of a name, or of None."""
    if strategy is None:
        return UncertaintySampling()
    return get_strategy(strategy) if isinstance(strategy, str) else strategy


def check_rows(learner, X, *, reset):
    """Validate X; tables in DataFrames stay DataFrames, for column transformers."""
    if hasattr(X, "iloc") and getattr(X, "ndim", 1) == 2:
        check_feature_names(learner, X, reset=reset)
        check_n_features(learner, X, reset=reset)
        return X
    X = check_images(learner, X, reset=reset, dtype=None)
    if reset and X.ndim > 2:
        del learner.n_features_in_  # of images it would be the height, or the channels
    return X


def given_classes(classes, estimator):
    """Return the classes that the learner or else its estimator was told, or None.

    Raises
    ------
    ValueError
        If both were told and they differ.
    """
    own = _params(last_step(estimator)).get("classes")
    if classes is None or own is None:
        return own if classes is None else classes
    if set(np.asarray(own).tolist()) != set(np.asarray(classes).tolist()):
        raise ValueError(
            f"classes={list(classes)} differs from the estimator's "
            f"classes={list(own)}. Give one of them only."
        )
    return classes


def find_classes(y, classes, missing_label):
    """Return all classes, sorted: those given, or else those in `y`.

    Raises
    ------
    ValueError
        If `y` has no label and no classes are given, or its labels are no classes.
    """
    known = y[~find_missing(y, missing_label)]
    if known.dtype.kind == "O":
        if len({isinstance(label, str) for label in known}) == 2:
            types = sorted({type(label).__name__ for label in known})
            raise ValueError(
                f"y mixes labels of the types {', '.join(types)}; use one type. If one "
                "of them means 'not labelled', name it as missing_label."
            )
        known = np.array(known.tolist())  # strings as strings, ints as ints
    assert_all_finite(known, input_name="y")
    if classes is not None:
        return np.unique(np.asarray(classes))
    if not len(known):
        raise ValueError(
            "y has no labels at all, so the classes are unknown: pass classes=[...] to "
            "ActiveLearningClassifier."
        )
    if known.dtype.kind != "U":  # names are no regression, however many there are
        check_classification_targets(known)
    return np.unique(known)


def check_eval_set(eval_set, check_X, labels):
    """Return (X, y) of an evaluation set, validated; y in the type of the classes.

    Parameters
    ----------
    eval_set : tuple of (X, y)
    check_X : callable
        Validates X against the training data.
    labels : LabelState
        Knows the classes.
    """
    if not isinstance(eval_set, list | tuple) or len(eval_set) != 2:
        raise ValueError("eval_set must be a tuple (X_eval, y_eval).")
    X, y = check_X(eval_set[0]), as_labels(eval_set[1])
    check_consistent_length(X, y)
    codes = labels.encode(y, "eval_set's y")
    if (codes == UNKNOWN).any():
        raise ValueError("eval_set's y has missing labels.")
    return X, labels.classes[codes]


def prepare_estimator(estimator, classes, warm_start):
    """Clone `estimator` and tell it the full class list and whether to go on.

    A final step with a ``classes`` parameter that is None gets the list, so that a
    class not labelled yet keeps its column.

    Raises
    ------
    ValueError
        If it is to go on from its present weights and cannot.
    """
    estimator = clone(estimator)
    prefix, last = final_step(estimator)
    params = _params(last)
    if "classes" in params and params["classes"] is None:
        estimator.set_params(**{f"{prefix}classes": classes})
    if warm_start:
        if "warm_start" not in params:
            raise ValueError(
                "refit='continue' needs an estimator with a warm_start parameter; "
                f"{type(last).__name__} has none. Use refit='scratch'."
            )
        estimator.set_params(**{f"{prefix}warm_start": True})
    return estimator


def _params(estimator):
    return estimator.get_params(deep=False) if hasattr(estimator, "get_params") else {}


def check_stopping(stopping):
    """Return `stopping` as a list of valid rules or functions."""
    if stopping is None:
        return []
    rules = stopping if isinstance(stopping, list) else [stopping]
    for rule in rules:
        if not (hasattr(rule, "should_stop") or callable(rule)):
            raise ValueError(
                "stopping must hold rules of dalmax_sk.stopping or functions "
                f"f(history), got {rule!r}."
            )
        if hasattr(rule, "_validate_params"):
            rule._validate_params()
    return rules
