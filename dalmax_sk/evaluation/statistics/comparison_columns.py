"""The columns of a comparison's table.

Strategies are counted by k, seeds by S, budgets by B, bootstrap resamples by R;
`areas` are k times (S,) areas under the budget curve, `scores` k times (S, B),
`weights` k times (R, S). Strategies that are paired have the same seeds and weights;
others may have different numbers of seeds.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dalmax_sk.evaluation.statistics.paired_tests import (
    adjust_p_values,
    paired_p_value,
    seeds_after_step_down,
    seeds_to_decide,
    significance_level,
    welch_p_value,
    welch_seeds_to_decide,
)
from dalmax_sk.evaluation.statistics.resampling import (
    difference_interval,
    expanded_interval,
    mean_interval,
)
from dalmax_sk.evaluation.statistics.verdicts import MAX_MORE_SEEDS, Wording

__all__ = [
    "area_columns",
    "difference_columns",
    "label_columns",
    "labels_to_reach",
    "saved_labels",
    "separate_difference_columns",
]


def area_columns(
    areas: Sequence[np.ndarray],
    scores: Sequence[np.ndarray],
    weights: Sequence[np.ndarray],
    confidence_level: float,
) -> dict[str, Any]:
    ends = [
        mean_interval(of, w, confidence_level)
        for of, w in zip(areas, weights, strict=True)
    ]
    return {
        "aubc": np.array([of.mean() for of in areas]),
        "aubc_low": np.array([low for low, _ in ends]),
        "aubc_high": np.array([high for _, high in ends]),
        "final_score": np.array([of[:, -1].mean() for of in scores]),
    }


def difference_columns(
    areas: np.ndarray,
    base: int,
    weights: np.ndarray,
    wording: Wording,
    n_bootstrap: int,
    random_state: np.random.RandomState,
) -> dict[str, Any]:
    """Return the paired differences to the baseline and the results of their tests.

    `areas` is (k, S), `weights` (R, S): those of all strategies.
    """
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
    low, high = mean_interval(differences.T, weights, wording.confidence_level)
    return _decided(
        differences.mean(axis=1),
        low,
        high,
        np.array(tests),
        base,
        wording,
        lambda i, level: seeds_to_decide(
            differences[i], level, wording.power, wording.test, MAX_MORE_SEEDS
        ),
    )


def separate_difference_columns(
    areas: Sequence[np.ndarray],
    base: int,
    weights: Sequence[np.ndarray],
    wording: Wording,
) -> dict[str, Any]:
    """Return the differences of the means of strategies that are not paired."""
    theirs = areas[base]
    ends = [
        difference_interval(of, theirs, (w, weights[base]), wording.confidence_level)
        for of, w in zip(areas, weights, strict=True)
    ]
    return _decided(
        np.array([of.mean() - theirs.mean() for of in areas]),
        np.array([low for low, _ in ends]),
        np.array([high for _, high in ends]),
        np.array(
            [welch_p_value(of, theirs) for i, of in enumerate(areas) if i != base]
        ),
        base,
        wording,
        lambda i, level: welch_seeds_to_decide(
            areas[i], theirs, level, wording.power, MAX_MORE_SEEDS
        ),
    )


def _decided(
    differences: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    p_values: np.ndarray,
    base: int,
    wording: Wording,
    more_seeds: Callable[[int, float], float],
) -> dict[str, Any]:
    """Return the columns of differences (k,), with the verdicts of p_values (k - 1,).

    ``more_seeds(i, level)`` tells how many would decide about strategy i.
    """
    alpha = 1 - wording.confidence_level
    others = [i for i in range(len(differences)) if i != base]
    adjusted = adjust_p_values(p_values, wording.correction)
    columns: dict[str, Any] = {
        "aubc_difference": differences,
        "difference_low": low,
        "difference_high": high,
        "p_value": np.full(len(differences), np.nan),
        "p_adjusted": np.full(len(differences), np.nan),
        "verdict": np.full(len(differences), "baseline", dtype=object),
        "more_seeds": np.full(len(differences), np.nan),
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
        columns["more_seeds"][i] = more_seeds(i, level)
    columns["more_seeds"][others] = seeds_after_step_down(
        columns["more_seeds"][others], p_values, wording.correction
    )
    return columns


def label_columns(
    budgets: np.ndarray,
    scores: Sequence[np.ndarray],
    base: int,
    weights: Sequence[np.ndarray],
    wording: Wording,
) -> dict[str, Any]:
    """Return labels to the target and labels saved, each with its interval."""
    n_seeds = [len(of) for of in scores]
    # The first row weighs all seeds alike: the estimate. The rest are resamples.
    weights = [
        np.vstack([np.full(n, 1 / n), w])  # (1 + R, S)
        for n, w in zip(n_seeds, weights, strict=True)
    ]
    final = weights[base] @ scores[base][:, -1]
    target = final if wording.target_is_final else np.full(len(final), wording.target)
    labels = np.stack(
        [
            labels_to_reach(budgets, w @ of, target)  # of mean curves (1 + R, B)
            for of, w in zip(scores, weights, strict=True)
        ]
    )
    saved = saved_labels(labels, labels[base])  # (k, 1 + R)
    saved[base] = np.nan

    def ends(
        replicates: np.ndarray, sizes: Sequence[int]
    ) -> tuple[list[float], list[float]]:
        intervals = [
            expanded_interval(row[1:], n, wording.confidence_level)
            for row, n in zip(replicates, sizes, strict=True)
        ]
        low, high = zip(*intervals, strict=True)
        return list(low), list(high)

    labels_low, labels_high = ends(labels, n_seeds)
    saving_low, saving_high = ends(saved, [min(n, n_seeds[base]) for n in n_seeds])
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
    reached the target does not matter. Scores that are the target up to rounding have
    reached it, and millionths of a label are rounded away.

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
    reached = scores >= target[:, None] - 1e-12  # (R, B)
    first = reached.argmax(axis=1)
    rows = np.arange(len(scores))
    before = np.maximum(first - 1, 0)
    low, high = scores[rows, before], scores[rows, first]
    # low < target <= high wherever first > 0 and the target is reached
    rise = np.where(high > low, high - low, 1.0)
    share = np.where(first > 0, np.minimum((target - low) / rise, 1.0), 0.0)
    labels = n_labeled[before] + share * (n_labeled[first] - n_labeled[before])
    return np.where(reached.any(axis=1), np.round(labels, 6), np.inf)


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
