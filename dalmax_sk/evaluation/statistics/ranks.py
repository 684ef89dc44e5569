"""Ranks over the seeds: Friedman's test, Nemenyi's critical difference, groups."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

__all__ = ["critical_difference", "friedman_p_value", "rank_groups", "rank_rows"]


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
        What :func:`rank_rows` returned.

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
