"""The columns of a comparison's table.

Strategies are counted by k, seeds by S, budgets by B, bootstrap resamples by R;
`areas` (k, S) are areas under the budget curve, `scores` is (k, S, B), `weights` is
(R, S).
"""

from typing import Any

import numpy as np

from dalmax_sk.evaluation.statistics.paired_tests import (
    adjust_p_values,
    paired_p_value,
    seeds_after_step_down,
    seeds_to_decide,
    significance_level,
)
from dalmax_sk.evaluation.statistics.resampling import expanded_interval, mean_interval
from dalmax_sk.evaluation.statistics.verdicts import MAX_MORE_SEEDS, Wording

__all__ = [
    "area_columns",
    "difference_columns",
    "label_columns",
    "labels_to_reach",
    "saved_labels",
]


def area_columns(
    areas: np.ndarray,
    scores: np.ndarray,
    weights: np.ndarray,
    confidence_level: float,
) -> dict[str, Any]:
    low, high = mean_interval(areas.T, weights, confidence_level)
    return {
        "aubc": areas.mean(axis=1),
        "aubc_low": low,
        "aubc_high": high,
        "final_score": scores[:, :, -1].mean(axis=1),
    }


def difference_columns(
    areas: np.ndarray,
    base: int,
    weights: np.ndarray,
    wording: Wording,
    n_bootstrap: int,
    random_state: np.random.RandomState,
) -> dict[str, Any]:
    """Return the paired differences to the baseline and the results of their tests."""
    alpha = 1 - wording.confidence_level
    differences = areas - areas[base]  # (k, S)
    others = [i for i in range(len(areas)) if i != base]
    tests = [
        paired_p_value(
            differences[i],
            wording.test,
            n_resamples=n_bootstrap,
            random_state=random_state,
        )
        for i in others
    ]
    p_values = np.array(tests)
    adjusted = adjust_p_values(p_values, wording.correction)
    low, high = mean_interval(differences.T, weights, wording.confidence_level)

    columns: dict[str, Any] = {
        "aubc_difference": differences.mean(axis=1),
        "difference_low": low,
        "difference_high": high,
        "p_value": np.full(len(areas), np.nan),
        "p_adjusted": np.full(len(areas), np.nan),
        "verdict": np.full(len(areas), "baseline", dtype=object),
        "more_seeds": np.full(len(areas), np.nan),
    }
    for name in ("aubc_difference", "difference_low", "difference_high"):
        columns[name][base] = np.nan
    columns["p_value"][others] = p_values
    columns["p_adjusted"][others] = adjusted
    for place, i in enumerate(others):
        if adjusted[place] <= alpha:
            better = columns["aubc_difference"][i] > 0
            columns["verdict"][i] = "better" if better else "worse"
            continue
        columns["verdict"][i] = "undecided"
        level = significance_level(p_values, place, alpha, wording.correction)
        columns["more_seeds"][i] = seeds_to_decide(
            differences[i], level, wording.power, wording.test, MAX_MORE_SEEDS
        )
    columns["more_seeds"][others] = seeds_after_step_down(
        columns["more_seeds"][others], p_values, wording.correction
    )
    return columns


def label_columns(
    budgets: np.ndarray,
    scores: np.ndarray,
    base: int,
    weights: np.ndarray,
    wording: Wording,
) -> dict[str, Any]:
    """Return labels to the target and labels saved, each with its interval."""
    n_strategies, n_seeds, _ = scores.shape
    # The first row weighs all seeds alike: the estimate. The rest are resamples.
    weights = np.vstack([np.full(n_seeds, 1 / n_seeds), weights])  # (1 + R, S)
    final = weights @ scores[base, :, -1]
    target = final if wording.target_is_final else np.full(len(final), wording.target)
    labels = np.empty((n_strategies, len(weights)))
    for i in range(n_strategies):
        curves = weights @ scores[i]  # (1 + R, B)
        # A mean that is the target up to rounding has reached it.
        labels[i] = labels_to_reach(budgets, curves, target - 1e-12)
    saved = saved_labels(labels, labels[base])  # (k, 1 + R)
    saved[base] = np.nan

    def ends(replicates: np.ndarray) -> tuple[list[float], list[float]]:
        intervals = [
            expanded_interval(row[1:], n_seeds, wording.confidence_level)
            for row in replicates
        ]
        low, high = zip(*intervals, strict=True)
        return list(low), list(high)

    labels_low, labels_high = ends(labels)
    saving_low, saving_high = ends(saved)
    saving_low[base] = saving_high[base] = np.nan
    finite = np.isfinite(saved[:, 0])
    ratio = np.where(finite, np.where(finite, saved[:, 0], 0) / labels[base, 0], np.nan)
    return {
        "labels_to_target": labels[:, 0],
        "labels_low": labels_low,
        "labels_high": labels_high,
        "label_saving": saved[:, 0],
        "saving_low": saving_low,
        "saving_high": saving_high,
        "saving_ratio": ratio,
    }


def labels_to_reach(
    n_labeled: np.ndarray, scores: np.ndarray, target: float | np.ndarray
) -> np.ndarray:
    """Return the number of labels at which curves first reach a target.

    Between two rounds a curve is taken as straight. Its course after it has first
    reached the target does not matter.

    Parameters
    ----------
    n_labeled : ndarray of shape (n_budgets,)
        Increasing.
    scores : ndarray of float of shape (n_curves, n_budgets)
        Higher is better.
    target : float or ndarray of shape (n_curves,)
        The score to reach.

    Returns
    -------
    ndarray of float of shape (n_curves,)
        The first of `n_labeled` where the curve begins at or above the target, ``inf``
        where it never gets there.
    """
    target = np.broadcast_to(np.asarray(target, dtype=float), len(scores))
    reached = scores >= target[:, None]  # (R, B)
    first = reached.argmax(axis=1)
    rows = np.arange(len(scores))
    before = np.maximum(first - 1, 0)
    low, high = scores[rows, before], scores[rows, first]
    # low < target <= high wherever first > 0 and the target is reached
    rise = np.where(high > low, high - low, 1.0)
    share = np.where(first > 0, (target - low) / rise, 0.0)
    labels = n_labeled[before] + share * (n_labeled[first] - n_labeled[before])
    return np.where(reached.any(axis=1), labels, np.inf)


def saved_labels(labels: np.ndarray, baseline_labels: np.ndarray) -> np.ndarray:
    """Return by how many labels a strategy reaches a target earlier than the baseline.

    Parameters
    ----------
    labels, baseline_labels : ndarray of float of shape (n,)
        Results of :func:`labels_to_reach` for both.

    Returns
    -------
    ndarray of float of shape (n,)
        ``inf`` where only the strategy reaches the target, ``-inf`` where only the
        baseline does, NaN where neither does.
    """
    neither = np.isinf(labels) & np.isinf(baseline_labels)
    return np.where(neither, np.nan, baseline_labels - np.where(neither, 0.0, labels))
