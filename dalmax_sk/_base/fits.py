"""Fits and predictions of estimators of any make, in the labels of the data."""

import numpy as np
from sklearn.base import clone

from dalmax_sk._base.pipelines import final_step, last_step
from dalmax_sk._base.seeds import global_seed

__all__ = [
    "as_labels_of",
    "classes_of",
    "fit_estimator",
    "has_outputs",
    "output",
    "predict",
]

# What estimators raise for labels that they cannot take.
_REFUSALS = (LookupError, TypeError, ValueError)


def fit_estimator(estimator, X, y, params, *, seed, classes=None, fitted=False):
    """Fit an estimator on labels of any kind, repeatably.

    Two kinds of estimators get the labels as numbers 0 .. k-1, and their outputs are
    translated back by `classes_of` and `predict`; all others get them as they are.

    - A net with one output a class (parameters ``module`` and ``criterion``) gets
      positions among all `classes`, for its loss takes the numbers of outputs.
    - An estimator that refuses the labels gets positions among those in `y`, if it
      takes these and refuses the labels a second time.

    Parameters
    ----------
    estimator : estimator
        Unfitted, or fitted with a warm start.
    X : array-like of shape (m, ...)
    y : ndarray of shape (m,)
    params : dict
        Metadata for ``fit``.
    seed : int
        For the global generators, see `global_seed`.
    classes : ndarray of shape (C,), default=None
        All classes, sorted.
    fitted : bool, default=False
        Whether it goes on from its present weights.

    Returns
    -------
    estimator
        Fitted.
    """

    def fit(model, labels):
        with global_seed(model, seed):
            return model.fit(X, labels, **params)

    if classes is not None and has_outputs(estimator):
        codes = np.searchsorted(classes, y)
        model = fit(estimator, codes.astype(_dtype_of_targets(estimator)))
        return _labelled(model, classes)
    present, codes = np.unique(y, return_inverse=True)
    if fitted or np.array_equal(present, np.arange(len(present))):
        return fit(estimator, y)
    try:
        return fit(estimator, y)
    except _REFUSALS as error:
        refusal = error
    try:
        model = fit(clone(estimator), codes)
    except _REFUSALS:
        raise refusal from None
    try:
        fit(clone(estimator), y)
    except _REFUSALS:
        return _labelled(model, present)
    raise refusal


def has_outputs(estimator):
    """Tell whether an unfitted estimator is a net with one output for each class."""
    final = final_step(estimator)[1]
    return hasattr(final, "module") and hasattr(final, "criterion")


def _dtype_of_targets(estimator):
    """Return the type of the labels that the loss of a net takes."""
    from torch import nn

    criterion = final_step(estimator)[1].criterion
    cls = criterion if isinstance(criterion, type) else type(criterion)
    is_binary = issubclass(cls, nn.BCELoss | nn.BCEWithLogitsLoss)
    return np.float32 if is_binary else np.int64


def _labelled(model, labels):
    """Note on a fitted model which labels its numbers 0 .. k-1 stand for."""
    last_step(model)._dalmax_labels = labels
    return model


def classes_of(estimator):
    """Return the labels that the columns of a fitted estimator stand for."""
    final = last_step(estimator)
    labels = getattr(final, "_dalmax_labels", None)
    if labels is None:
        return np.asarray(final.classes_)
    return labels[np.asarray(final.classes_).astype(np.int64)]


def output(estimator, method, X):
    """Return what a method of a fitted estimator gives for X.

    Loaders of torch draw from the global generator, if only to number their workers.
    """
    with global_seed(estimator, 0):
        return getattr(estimator, method)(X)


def predict(estimator, X, classes):
    """Return the labels (n,) that an estimator predicts, in the type of `classes`."""
    predicted = output(estimator, "predict", X)
    labels = getattr(last_step(estimator), "_dalmax_labels", None)
    if labels is None:
        return as_labels_of(predicted, classes)
    return labels[np.asarray(predicted).astype(np.int64).reshape(len(predicted))]


def as_labels_of(predicted, classes):
    """Return labels as a 1-D array in the type of `classes`.

    Some estimators predict a column, numbers for booleans, or the text of a label.

    Raises
    ------
    ValueError
        If a prediction is none of the classes.
    """
    predicted = np.asarray(predicted)
    if predicted.ndim == 2 and predicted.shape[1] == 1:
        predicted = predicted[:, 0]
    if predicted.dtype == classes.dtype or predicted.dtype.kind == classes.dtype.kind:
        return predicted.astype(classes.dtype, copy=False)
    if predicted.dtype.kind in "OSUT" and classes.dtype.kind in "biuf":
        label_of = {str(label): label for label in classes.tolist()}
        texts = [str(text) for text in predicted.tolist()]
        unknown = sorted(set(texts) - label_of.keys())
        labels = np.array([label_of.get(text, classes[0]) for text in texts])
    else:
        labels = predicted.astype(classes.dtype)
        same = labels == predicted
        unknown = np.unique(predicted[~same]).tolist() if not np.all(same) else []
    if unknown:
        raise ValueError(
            f"The estimator predicts {unknown[:5]}, expected some of the classes "
            f"{classes.tolist()[:20]}."
        )
    return labels.astype(classes.dtype, copy=False)
