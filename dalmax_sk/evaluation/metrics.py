"""One number for a whole curve: the area under it."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["area_under_budget_curve"]


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
        If `n_labeled` has fewer than two entries, is not finite or does not increase,
        or if `scores` has another number of entries.

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
    budgets = np.asarray(n_labeled, dtype=float)
    values = np.asarray(scores, dtype=float)
    if budgets.ndim != 1 or len(budgets) < 2:
        raise ValueError(
            "n_labeled must be 1-D with at least two numbers of labels, for one point "
            f"spans no area; got shape {budgets.shape}."
        )
    if not np.isfinite(budgets).all() or (np.diff(budgets) <= 0).any():
        raise ValueError(
            "n_labeled must be finite and strictly increasing, got "
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
