"""One number for a whole curve: the area under it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dalmax_sk._base.pipelines import last_step, transformed

__all__ = ["area_under_budget_curve", "area_under_budget_curve_scorer"]


def area_under_budget_curve(
    n_labeled: ArrayLike, scores: ArrayLike, *, normalize: bool = True
) -> Any:
    """Compute the area under scores against numbers of labels.

    The curve between two rounds is taken as straight (trapezoids), so that rounds of
    unequal size count by the labels they span. Normalized, the area is the score
    averaged over all budgets from the first to the last; it is then of the scale of the
    scores and does not depend on how many labels were spent in all.

    Parameters
    ----------
    n_labeled : array-like of shape (n_budgets,)
        Numbers of labels, strictly increasing; at least two.
    scores : array-like of shape (n_budgets,) or (n_runs, n_budgets)
        The score at each number of labels; the last axis runs over the budgets.
    normalize : bool, default=True
        Divide by the range of `n_labeled`. False gives the area itself, in units of
        score times labels.

    Returns
    -------
    float or ndarray of shape (n_runs,)
        NaN where a score of the run is NaN.

    Raises
    ------
    ValueError
        If `n_labeled` has fewer than two entries, is negative, not finite or does not
        increase, if `scores` has another number of entries, or if either holds text.

    References
    ----------
    .. [1] X. Zhan, H. Liu, Q. Li and A. B. Chan, "A Comparative Survey: Benchmarking
       for Pool-based Active Learning", IJCAI 2021, section 4.
       https://doi.org/10.24963/ijcai.2021/634

    Examples
    --------
    >>> from dalmax_sk.evaluation import area_under_budget_curve
    >>> area_under_budget_curve([10, 20, 40], [0.5, 0.7, 0.9])
    0.733...
    >>> area_under_budget_curve([10, 20], [[0.5, 0.7], [0.6, 0.6]], normalize=False)
    array([6., 6.])
    """
    for name, given in (("n_labeled", n_labeled), ("scores", scores)):
        if np.asarray(given).dtype.kind not in "biufO":
            raise ValueError(f"{name} must hold numbers, got {given!r}.")
    budgets = np.asarray(n_labeled, dtype=float)
    values = np.asarray(scores, dtype=float)
    if budgets.ndim != 1 or len(budgets) < 2:
        raise ValueError(
            "n_labeled must be 1-D with at least two numbers of labels, for one point "
            f"spans no area; got shape {budgets.shape}."
        )
    is_rising = np.isfinite(budgets).all() and (np.diff(budgets) > 0).all()
    if not is_rising or budgets[0] < 0:
        raise ValueError(
            "n_labeled must be finite, not negative and strictly increasing, got "
            f"{np.asarray(n_labeled).tolist()}."
        )
    if values.ndim not in (1, 2) or values.shape[-1] != len(budgets):
        raise ValueError(
            f"scores must have shape ({len(budgets)},) or (n_runs, {len(budgets)}), "
            f"one score for each of n_labeled; got {values.shape}."
        )
    # (..., B) -> (...): the mean height of each trapezoid times its width
    heights = (values[..., 1:] + values[..., :-1]) / 2
    area = heights @ np.diff(budgets)
    if normalize:
        area = area / (budgets[-1] - budgets[0])
    return float(area) if values.ndim == 1 else area


def area_under_budget_curve_scorer(
    scoring: str | Callable[..., float] | None = None, *, normalize: bool = True
) -> "_Scorer":
    """Make a scorer that judges an active learner by all its rounds.

    For ``cross_val_score``, ``GridSearchCV`` and whatever else takes ``scoring=``: the
    held-out data are scored once with the model of each round, and the area under these
    scores is returned. A search over ``strategy`` then finds the strategy that is good
    on the way, not only at the end.

    Parameters
    ----------
    scoring : str, callable or None, default=None
        The score of a round, as in :func:`~sklearn.model_selection.cross_val_score`.
        None means accuracy.
    normalize : bool, default=True
        As in :func:`area_under_budget_curve`.

    Returns
    -------
    callable
        ``scorer(estimator, X, y) -> float``. The estimator is a fitted
        :class:`~dalmax_sk.ActiveLearningClassifier`, or a pipeline that ends in one,
        with at least one round of querying.

    See Also
    --------
    area_under_budget_curve : The area itself.

    Notes
    -----
    A learner with ``store_estimators=True`` keeps the model of each round; another one
    fits the earlier ones again, which takes as long as its rounds did.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import GridSearchCV
    >>> from dalmax_sk import ActiveLearningClassifier
    >>> from dalmax_sk.evaluation import area_under_budget_curve_scorer
    >>> X, y = load_iris(return_X_y=True)
    >>> learner = ActiveLearningClassifier(
    ...     n_initial=6, query_size=6, n_rounds=3, store_estimators=True, random_state=0
    ... )
    >>> search = GridSearchCV(
    ...     learner,
    ...     {"strategy": ["random_sampling", "margin_sampling"]},
    ...     scoring=area_under_budget_curve_scorer("balanced_accuracy"),
    ...     cv=3,
    ... ).fit(X, y)
    >>> search.best_params_
    {'strategy': 'margin_sampling'}
    """
    return _Scorer(scoring, normalize)


class _Scorer:
    """A class, not a closure: workers get it pickled, and its repr names it."""

    def __init__(
        self, scoring: str | Callable[..., float] | None, normalize: bool
    ) -> None:
        self.scoring = scoring
        self.normalize = normalize

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        learner = last_step(estimator)
        if not hasattr(learner, "staged_score"):
            raise TypeError(
                f"area_under_budget_curve_scorer needs an ActiveLearningClassifier, or "
                f"a pipeline that ends in one; {type(learner).__name__} has no rounds. "
                "Score it with the plain score instead."
            )
        X = transformed(estimator, X)
        scores = list(learner.staged_score(X, y, scoring=self.scoring))
        if len(scores) < 2:
            raise ValueError(
                "The learner has done no round of querying, so there is no curve: "
                f"n_rounds={learner.n_rounds}, {len(scores)} fits. Give it rounds and "
                "an oracle or fully labelled data."
            )
        n_labeled = [record["n_labeled"] for record in learner.history_]
        return float(
            area_under_budget_curve(n_labeled, scores, normalize=self.normalize)
        )

    def __repr__(self) -> str:
        return (
            f"area_under_budget_curve_scorer({self.scoring!r}, "
            f"normalize={self.normalize})"
        )
