"""The model inside pipelines and wrappers, and its input."""

from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import (
    FixedThresholdClassifier,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from dalmax_sk._base.sklearn_compat import BaseSearchCV

__all__ = [
    "components",
    "final_step",
    "last_step",
    "transformed",
    "without_last",
    "wrapped_model",
]

# They hand their estimator the labels as they come, and not those of a sub-problem.
_WRAPPERS = (
    BaseSearchCV,
    CalibratedClassifierCV,
    FixedThresholdClassifier,
    FrozenEstimator,
    TunedThresholdClassifierCV,
)


def final_step(estimator, *, wrappers=True):
    """Return the name prefix and the object of the step that classifies, unfitted.

    Searches and calibrators are seen through, unless `wrappers` is False.
    """
    if isinstance(estimator, Pipeline):
        name, inner = estimator.steps[-1]
    elif wrappers and isinstance(estimator, _WRAPPERS):
        name, inner = "estimator", estimator.estimator
    else:
        return "", estimator
    prefix, last = final_step(inner, wrappers=wrappers)
    return f"{name}__{prefix}", last


def without_last(estimator):
    """Return the unfitted steps before the model, as a list of transformers."""
    steps = []
    while isinstance(estimator, (Pipeline, *_WRAPPERS)):
        if isinstance(estimator, Pipeline):
            steps += [step for _, step in estimator.steps[:-1]]
            estimator = estimator.steps[-1][1]
        else:
            estimator = estimator.estimator
    return [step for step in steps if step not in (None, "passthrough")]


def _delegate(estimator):
    """Return the model inside that gives every output of `estimator`, or None."""
    if isinstance(estimator, FrozenEstimator):
        return estimator.estimator
    return getattr(estimator, "best_estimator_", None)


def last_step(estimator):
    """Return the step that classifies; None for None.

    Of a fitted search it is that of its best estimator.
    """
    while True:
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        elif (inner := _delegate(estimator)) is not None:
            estimator = inner
        else:
            return estimator


def transformed(estimator, X):
    """Return X as the last step gets it."""
    while True:
        if isinstance(estimator, Pipeline):
            if len(estimator) > 1:
                X = estimator[:-1].transform(X)
            estimator = estimator[-1]
        elif (inner := _delegate(estimator)) is not None:
            estimator = inner
        else:
            return X


def wrapped_model(final):
    """Return a fitted model inside `final` that sees the same inputs, or None.

    Its outputs are not those of `final`: a calibrator changes the probabilities. Of
    several models, one for each fold, it is the first.
    """
    calibrated = getattr(final, "calibrated_classifiers_", None)
    if calibrated:
        return calibrated[0].estimator
    inner = getattr(final, "estimator_", None)
    if inner is None:
        return None
    try:
        check_is_fitted(inner)
    except (NotFittedError, TypeError):  # the template of an ensemble's members
        return None
    widths = {getattr(model, "n_features_in_", None) for model in (final, inner)}
    return inner if len(widths) == 1 else None


def components(estimator):
    """Return an estimator and all estimators among its parameters, nested ones too.

    Attributes are read and not ``get_params``, which takes a millisecond of a round.
    """
    found = [estimator]
    for name, value in getattr(estimator, "__dict__", {}).items():
        if not name.startswith("_") and not name.endswith("_"):
            found += _estimators_in(value)
    return found


def _estimators_in(value):
    if isinstance(value, list | tuple):  # (name, estimator), and lists of these
        return [part for entry in value for part in _estimators_in(entry)]
    is_estimator = hasattr(value, "get_params") and not isinstance(value, type)
    return components(value) if is_estimator else []
