"""Ranks over the seeds, their tests, and the budgets at which one beats another."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from dalmax_sk.evaluation.statistics.resampling import welch_degrees

__all__ = [
    "critical_difference",
    "friedman_p_value",
    "pairwise_wins",
    "rank_groups",
    "rank_rows",
    "separate_wins",
]


def rank_rows(scores: np.ndarray) -> np.ndarray:
    """Rank the strategies within each seed; 1 is the highest score, ties share.

    Parameters
    ----------
    scores : ndarray of float of shape (n_seeds, n_strategies)
        Higher is better.

    Returns
    -------
    ndarray of float of shape (n_seeds, n_strategies)
    """
    # Averages of equal scores may differ in their last bits.
    rounded = np.round(scores, 12)
    return stats.rankdata(-rounded, axis=1)


def friedman_p_value(ranks: np.ndarray) -> float:
    """Test whether all strategies rank alike, by Friedman's chi-square with ties.

    Parameters
    ----------
    ranks : ndarray of float of shape (n_seeds, n_strategies)
        Result of :func:`rank_rows`.

    Returns
    -------
    float
        NaN with fewer than three strategies, for which the test is not defined; 1 if
        all are tied at every seed.
    """
    if ranks.shape[1] < 3:
        return np.nan
    if (np.ptp(ranks, axis=1) == 0).all():
        return 1.0
    return float(stats.friedmanchisquare(*ranks.T).pvalue)


def critical_difference(n_strategies: int, n_seeds: int, alpha: float) -> float:
    """Return by how much two mean ranks must differ, by Nemenyi's test.

    ``q / sqrt(2) * sqrt(k (k + 1) / (6 n))`` with the upper `alpha` point q of the
    range of k independent normal variables [1]_.

    Parameters
    ----------
    n_strategies, n_seeds : int
        k, at least 2, and n.
    alpha : float in (0, 1)
        Level of the whole family of pairs.

    Returns
    -------
    float
        In ranks.

    References
    ----------
    .. [1] J. Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets",
       Journal of Machine Learning Research 7 (2006), section 3.2.2.
    """
    k = n_strategies
    q = stats.studentized_range.isf(alpha, k, np.inf)
    return float(q / np.sqrt(2) * np.sqrt(k * (k + 1) / (6 * n_seeds)))


def rank_groups(
    mean_ranks: np.ndarray, names: Sequence[str], difference: float
) -> list[list[str]]:
    """Return the largest sets of strategies whose mean ranks do not differ.

    Parameters
    ----------
    mean_ranks : ndarray of float of shape (n_strategies,)
        Mean over the seeds.
    names : sequence of str of length n_strategies
        The strategies.
    difference : float
        The critical difference.

    Returns
    -------
    list of list of str
        Sets of at least two, best first; a strategy may be in several, or in none.
    """
    order = np.argsort(mean_ranks, kind="stable")
    ordered = mean_ranks[order]
    # ends[i]: one after the last that does not differ from i
    ends = np.searchsorted(ordered, ordered + difference, side="left")
    groups = []
    reached = 0
    for start, end in enumerate(ends):
        if end > reached and end - start > 1:
            groups.append([names[i] for i in order[start:end]])
        reached = max(reached, end)
    return groups


def pairwise_wins(scores: np.ndarray, confidence_level: float) -> np.ndarray:
    """Count the budgets at which one strategy beats another, as a share.

    Entry (i, j) gains 1 / n_budgets for each budget at which the paired t-statistic
    over the seeds, ``sqrt(n) * mean / sd`` of the differences i - j, exceeds the
    critical value of the two-sided test (2.776 with five seeds at 95 %) [1]_. No
    correction for the number of pairs or budgets is made.

    Parameters
    ----------
    scores : ndarray of float of shape (n_strategies, n_seeds, n_budgets)
        Higher is better.
    confidence_level : float in (0, 1)
        Of each single test.

    Returns
    -------
    ndarray of float of shape (n_strategies, n_strategies)
        In [0, 1], with a diagonal of zeros. A difference other than 0 that is equal at
        all seeds counts as beaten: its statistic is infinite.

    References
    ----------
    .. [1] J. T. Ash, C. Zhang, A. Krishnamurthy, J. Langford and A. Agarwal, "Deep
       Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds", ICLR 2020,
       section 5. https://arxiv.org/abs/1906.03671
    """
    n_strategies, n_seeds, _ = scores.shape
    critical = stats.t.isf((1 - confidence_level) / 2, n_seeds - 1)
    wins = np.empty((n_strategies, n_strategies))
    for i, ours in enumerate(scores):
        differences = ours - scores  # (k, S, B)
        mean = differences.mean(axis=1)
        spread = differences.std(axis=1, ddof=1)
        # equal scores averaged in different orders differ by rounding alone
        mean = np.where(np.abs(mean) <= 1e-12, 0.0, mean)
        # multiplied out, so that a spread of 0 needs no division
        wins[i] = (np.sqrt(n_seeds) * mean > critical * spread).mean(axis=1)
    return wins


def separate_wins(scores: Sequence[np.ndarray], confidence_level: float) -> np.ndarray:
    """Count the budgets at which one strategy beats another that it is not paired with.

    As :func:`pairwise_wins`, by Welch's t-test.

    Parameters
    ----------
    scores : sequence of ndarray of float of shape (n_seeds, n_budgets)
        One a strategy; the numbers of seeds may differ. Higher is better.
    confidence_level : float in (0, 1)
        Of each single test.

    Returns
    -------
    ndarray of float of shape (n_strategies, n_strategies)
    """
    wins = np.zeros((len(scores), len(scores)))
    for i, ours in enumerate(scores):
        for j, theirs in enumerate(scores):
            mean = ours.mean(axis=0) - theirs.mean(axis=0)  # (B,)
            mean = np.where(np.abs(mean) <= 1e-12, 0.0, mean)
            variances = ours.var(axis=0, ddof=1), theirs.var(axis=0, ddof=1)
            degrees = welch_degrees(*variances, len(ours), len(theirs))
            error = np.sqrt(variances[0] / len(ours) + variances[1] / len(theirs))
            critical = stats.t.isf((1 - confidence_level) / 2, degrees)
            wins[i, j] = (mean > critical * error).mean()
    return wins
