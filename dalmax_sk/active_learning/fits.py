"""The fit of one round: from a seed and the labelled rows, repeatable exactly."""

import logging

import numpy as np
from sklearn.base import clone
from sklearn.dummy import DummyClassifier

from dalmax_sk._base.fits import classes_of, fit_estimator
from dalmax_sk._base.pipelines import final_step, last_step
from dalmax_sk._base.processes import explain_worker_death
from dalmax_sk._base.seeds import set_missing_seeds
from dalmax_sk._base.sklearn_compat import check_method_params, safe_indexing
from dalmax_sk.active_learning.rounds import round_context

__all__ = ["fit_labeled"]

logger = logging.getLogger("dalmax_sk")


def fit_labeled(
    unfitted, X, rows, y, *, classes, params, seed, round_number, previous=None
):
    """Return the estimator of a round.

    Parameters
    ----------
    unfitted : estimator
        Cloned.
    X : array-like of shape (n_samples, ...)
    rows : ndarray of int of shape (m,)
        Rows of X to fit on.
    y : ndarray of shape (m,)
        Their labels.
    classes : ndarray of shape (n_classes,)
        All classes, sorted.
    params : dict
        Metadata for ``fit``; entries with one value a row of X are cut to `rows`.
    seed : int
        For every ``random_state`` of the clone that is None, and for the global
        generators if it has none.
    round_number : int
        Named in the message of any error.
    previous : estimator, default=None
        Fitted; it is fitted on from its present weights, instead of a clone, unless the
        labels are of other classes than it was fitted on and was not told of.

    Returns
    -------
    estimator
    """
    estimator = previous
    if not _can_continue(previous, y, classes, round_number):
        estimator = clone(unfitted)
        set_missing_seeds(estimator, seed)
    name = type(last_step(estimator)).__name__
    doing = f"{name} fitting {len(rows)} labelled samples"
    with (
        round_context(round_number, doing),
        explain_worker_death(f"Fitting {name}"),
    ):
        estimator = fit_estimator(
            estimator,
            safe_indexing(X, rows),
            y,
            check_method_params(X, params, indices=rows),
            seed=seed,
            classes=classes,
            fitted=estimator is previous,
        )
        if not hasattr(estimator, "predict"):
            raise TypeError(
                f"{name} has no predict after fit. Give a classifier as estimator."
            )
    return estimator


def _can_continue(previous, y, classes, round_number):
    """Tell whether the weights of a fitted estimator fit the labels `y`."""
    # a dummy is of a time with one class only
    if previous is None or isinstance(previous, DummyClassifier):
        return False
    final = final_step(previous)[1]
    told = getattr(final, "classes", None)
    if told is not None:
        return len(told) == len(classes)
    if np.array_equal(np.unique(y), np.unique(classes_of(previous))):
        return True
    logger.info(
        "round %d: the labels are of other classes than before, and %s cannot continue "
        "with these; it is fitted from scratch",
        round_number,
        type(final).__name__,
    )
    return False
