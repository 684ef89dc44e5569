"""Checks and preparations that a run of active learning begins with."""

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.utils import check_consistent_length, get_tags

from dalmax_sk._base.fits import has_outputs
from dalmax_sk._base.pipelines import final_step
from dalmax_sk.active_learning.classes import check_classes
from dalmax_sk.active_learning.labels import UNKNOWN
from dalmax_sk.active_learning.oracle import as_labels
from dalmax_sk.images import as_paths
from dalmax_sk.images.forms import is_object_rows
from dalmax_sk.images.paths import looks_like_files

__all__ = [
    "check_eval_set",
    "check_stopping",
    "default_estimator",
    "given_classes",
    "prepare_estimator",
]


def default_estimator(X=None):
    """Return a classifier for data of the form of X; None stands for a table.

    Raises
    ------
    TypeError
        If X holds texts or other objects, which neither default takes.
    """
    paths = None if X is None else as_paths(X)
    if paths is not None and not looks_like_files(paths):
        raise TypeError(
            f"X holds texts, such as {paths[0][:40]!r}: no such file exists, and none "
            "is named as an image. For texts give an estimator that takes them: "
            "estimator=make_pipeline(TfidfVectorizer(), LogisticRegression())."
        )
    if is_object_rows(X):
        raise TypeError(
            f"X holds rows of the type {type(X[0]).__name__}. Give an estimator that "
            "takes them; for dicts of numbers and words: "
            "estimator=make_pipeline(DictVectorizer(), LogisticRegression())."
        )
    if paths is not None or getattr(X, "ndim", 2) > 2:
        # torch loads only when a net is needed
        from dalmax_sk.cnn import CNNClassifier

        return CNNClassifier()
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression()


def given_classes(classes, estimator):
    """Return the classes that the learner or else its estimator was told, or None.

    Raises
    ------
    ValueError
        If both were told and they differ.
    """
    own = _params(final_step(estimator)[1]).get("classes")
    if classes is None or own is None:
        return own if classes is None else classes
    if not np.array_equal(check_classes(own), check_classes(classes)):
        raise ValueError(
            f"classes={list(classes)} differs from the estimator's "
            f"classes={list(own)}. Give one of them only."
        )
    return classes


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
    class not labelled yet keeps its column; a net that gets numbers for labels gets
    the numbers of its outputs.

    Raises
    ------
    ValueError
        If it is no classifier, or is to go on from its present weights and cannot.
    """
    kind = get_tags(estimator).estimator_type
    if kind not in (None, "classifier"):
        name = type(final_step(estimator)[1]).__name__
        raise ValueError(f"estimator must be a classifier; {name} is a {kind}.")
    if not hasattr(estimator, "predict") and not is_classifier(estimator):
        raise ValueError(
            f"estimator={estimator!r} has no predict and is no classifier. Give a "
            "classifier, or a Pipeline that ends in one."
        )
    estimator = clone(estimator)
    prefix, last = final_step(estimator)
    params = _params(last)
    if "classes" in params:
        own = params["classes"]
        if has_outputs(last):
            own = np.arange(len(classes))
        elif own is None or len(own) != len(classes):
            own = classes
        estimator.set_params(**{f"{prefix}classes": own})
    if warm_start:
        prefix, last = final_step(estimator, wrappers=False)
        params = _params(last)
        if "warm_start" not in params:
            raise ValueError(
                "refit='continue' needs an estimator with a warm_start parameter; "
                f"{type(last).__name__} has none. Use refit='scratch'."
            )
        if members := sorted(_MEMBERS & params.keys()):
            raise ValueError(
                "refit='continue' needs an estimator whose present weights go on "
                f"learning; with warm_start, {type(last).__name__} keeps its members "
                f"as they are (it has the parameters {', '.join(members)}), so new "
                "labels would teach it nothing. Use refit='scratch'."
            )
        estimator.set_params(**{f"{prefix}warm_start": True})
    return estimator


# A parameter of them tells an ensemble, or trees, which never change once they are
# grown: with a warm start a further fit adds members, or nothing.
_MEMBERS = {
    "iterations",
    "max_depth",
    "max_leaf_nodes",
    "min_samples_leaf",
    "n_estimators",
    "n_members",
    "num_leaves",
}


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
