"""The fit of one round: from a seed and the labelled rows, repeatable exactly."""

from sklearn.base import clone

from dalmax_sk._base.pipelines import last_step
from dalmax_sk._base.processes import explain_worker_death
from dalmax_sk._base.seeds import set_missing_seeds
from dalmax_sk._base.sklearn_compat import check_method_params, safe_indexing
from dalmax_sk.active_learning.rounds import round_context

__all__ = ["fit_labeled"]


def fit_labeled(unfitted, X, rows, y, *, params, seed, round_number, previous=None):
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
    params : dict
        Metadata for ``fit``; entries with one value a row of X are cut to `rows`.
    seed : int
        For every ``random_state`` of the clone that is None.
    round_number : int
        Named in the message of any error.
    previous : estimator, default=None
        Fitted; it is fitted on from its present weights, instead of a clone.

    Returns
    -------
    estimator
    """
    estimator = previous
    if estimator is None:
        estimator = clone(unfitted)
        set_missing_seeds(estimator, seed)
    name = type(last_step(estimator)).__name__
    doing = f"{name} fitting {len(rows)} labelled samples"
    with (
        round_context(round_number, doing),
        explain_worker_death(f"Fitting {name}"),
    ):
        estimator.fit(
            safe_indexing(X, rows), y, **check_method_params(X, params, indices=rows)
        )
    return estimator
