"""Tests over the seeds, their correction, and the seeds that a decision needs."""

import itertools

import numpy as np
from scipy import stats

from dalmax_sk.evaluation.statistics.resampling import welch_degrees

__all__ = [
    "adjust_p_values",
    "paired_p_value",
    "seeds_after_step_down",
    "seeds_to_decide",
    "significance_level",
    "welch_p_value",
    "welch_seeds_to_decide",
]

# Up to this number of seeds all sign flips are tried (2**14 = 16384).
_MAX_EXACT = 14


def paired_p_value(
    differences: np.ndarray,
    test: str,
    *,
    n_resamples: int = 9999,
    random_state: np.random.RandomState,
) -> float:
    """Test two-sided whether paired differences have their centre at 0.

    Parameters
    ----------
    differences : ndarray of float of shape (n_seeds,)
        Strategy minus baseline, one a seed.
    test : {"t", "wilcoxon", "permutation"}
        ``"t"``: Student's paired test. ``"permutation"``: flips of the differences'
        signs, statistic the sum. ``"wilcoxon"``: the same on signed ranks, zeros
        left out. Up to 14 seeds all flips are tried, so the p-value is exact; with
        more, `n_resamples` flips are drawn, and it is at least
        ``1 / (n_resamples + 1)``.
    n_resamples : int, default=9999
        Number of drawn flips.
    random_state : RandomState
        Source of the draws.

    Returns
    -------
    float
        1 if all differences are 0; NaN for ``"t"`` if they are all equal and not 0,
        for then there is no variation to compare them with.
    """
    # Equal scores averaged in different places differ by rounding alone.
    noise = 1e-12 * max(1.0, np.abs(differences).max())
    if (np.abs(differences) <= noise).all():
        return 1.0
    if test == "t":
        if np.ptp(differences) <= noise:
            return np.nan
        return float(stats.ttest_1samp(differences, 0.0).pvalue)
    values = differences
    if test == "wilcoxon":
        values = differences[np.abs(differences) > noise]
        # ranks of rounded sizes, so that ties stay ties
        sizes = np.round(np.abs(values) / noise)
        values = np.sign(values) * stats.rankdata(sizes)
    return _sign_flip_p_value(values, n_resamples, random_state)


def welch_p_value(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Test two-sided, by Welch's t-test, whether two samples have the same mean.

    Parameters
    ----------
    ours, theirs : ndarray of float of shape (n_seeds,)
        One value a seed; the numbers may differ.

    Returns
    -------
    float
        1 if all values are equal; NaN if neither sample varies, but they differ.
    """
    noise = _noise(np.concatenate([ours, theirs]))
    if max(np.ptp(ours), np.ptp(theirs)) <= noise:
        return 1.0 if abs(ours.mean() - theirs.mean()) <= noise else np.nan
    return float(stats.ttest_ind(ours, theirs, equal_var=False).pvalue)


def _noise(values: np.ndarray) -> float:
    """Return by how much equal scores may differ that were averaged elsewhere."""
    return 1e-12 * max(1.0, float(np.abs(values).max()))


def _sign_flip_p_value(
    values: np.ndarray, n_resamples: int, random_state: np.random.RandomState
) -> float:
    """Return how often flipped signs give a sum at least as far from 0."""
    n = len(values)
    exact = n <= _MAX_EXACT
    if exact:
        signs = np.array(list(itertools.product((-1, 1), repeat=n)))
    else:
        signs = random_state.choice([-1, 1], size=(n_resamples, n))
    sums = np.abs(signs @ values)
    # the same sum in another order of adding must count as equal
    reached = sums >= np.abs(values.sum()) - 1e-9 * np.abs(values).sum()
    if exact:
        return float(reached.mean())
    # the observed signs are one of the flips
    return float((reached.sum() + 1) / (n_resamples + 1))


def adjust_p_values(p_values: np.ndarray, correction: str | None) -> np.ndarray:
    """Correct p-values for their number, controlling the family-wise error rate.

    Parameters
    ----------
    p_values : ndarray of float of shape (m,)
        NaN (no test was possible) counts as 1 and stays NaN.
    correction : {"holm", "bonferroni"} or None
        Holm's step-down procedure is valid wherever Bonferroni's is and rejects at
        least as much.

    Returns
    -------
    ndarray of float of shape (m,)
        To be compared with the level of the whole family.
    """
    p = np.where(np.isnan(p_values), 1.0, p_values)
    adjusted = np.empty_like(p)
    order = np.argsort(p, kind="stable")
    factors = _factors(len(p), correction)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * p[order]))
    return np.where(np.isnan(p_values), np.nan, adjusted)


def significance_level(
    p_values: np.ndarray, index: int, alpha: float, correction: str | None
) -> float:
    """Return the level at which one of the p-values is tested.

    Parameters
    ----------
    p_values : ndarray of float of shape (m,)
        As in :func:`adjust_p_values`.
    index : int
        Which one.
    alpha : float in (0, 1)
        Level of the whole family.
    correction : {"holm", "bonferroni"} or None
        As there. Holm's level depends on how many p-values are smaller.

    Returns
    -------
    float
    """
    p = np.where(np.isnan(p_values), 1.0, p_values)
    place = int(np.argsort(np.argsort(p, kind="stable"))[index])
    return float(alpha / _factors(len(p), correction)[place])


def _factors(m: int, correction: str | None) -> np.ndarray:
    """Return the factors of the smallest, second smallest, ... of m p-values."""
    if correction == "holm":
        return np.arange(m, 0, -1.0)
    return np.full(m, float(m) if correction == "bonferroni" else 1.0)


def seeds_to_decide(
    differences: np.ndarray, alpha: float, power: float, test: str, max_more: int
) -> float:
    """Return how many more seeds would probably decide about the differences.

    That is under the assumption that their true mean and standard deviation are those
    observed: the smallest number of seeds at which the paired t-test at level `alpha`
    finds the difference, in its direction, with probability `power`. For the other
    tests it is an approximation, and never less than the seeds with which they can
    reach `alpha` at all.

    Parameters
    ----------
    differences : ndarray of float of shape (n_seeds,)
        Strategy minus baseline, one a seed.
    alpha : float in (0, 1)
        Level of the two-sided test.
    power : float in (0, 1)
        Probability with which the difference is to be found.
    test : {"t", "wilcoxon", "permutation"}
        The test.
    max_more : int
        Largest answer.

    Returns
    -------
    float
        A whole number, at least 1; ``inf`` if it is more than `max_more`. NaN if the
        differences are all 0, or with ``"t"`` all equal: flips find equal differences
        as soon as there are enough seeds.
    """
    n = len(differences)
    mean, spread = differences.mean(), differences.std(ddof=1)
    noise = 1e-12 * max(1.0, np.abs(differences).max())
    seeds = np.arange(n + 1, n + max_more + 1)
    if np.ptp(differences) <= noise:
        if test == "t" or abs(mean) <= noise:
            return np.nan
        found = np.ones(len(seeds), dtype=bool)
    else:
        effect = abs(mean) / spread
        critical = stats.t.isf(alpha / 2, seeds - 1)
        # P(T > critical) for noncentral T; the tail beyond -critical would be a
        # significant difference in the wrong direction, which decides nothing rightly
        found = stats.nct.sf(critical, seeds - 1, effect * np.sqrt(seeds)) >= power
    if test != "t":
        # of 2**seeds flips, two are the most extreme
        found &= 2.0 ** (1 - seeds) <= alpha
    return float(seeds[np.argmax(found)] - n) if found.any() else np.inf


def welch_seeds_to_decide(
    ours: np.ndarray, theirs: np.ndarray, alpha: float, power: float, max_more: int
) -> float:
    """Return how many more seeds of each would probably decide, by Welch's test.

    As :func:`seeds_to_decide`, if the true means and variances are those observed.

    Parameters
    ----------
    ours, theirs : ndarray of float of shape (n_seeds,)
        One value a seed; the numbers may differ.
    alpha : float in (0, 1)
        Level of the two-sided test.
    power : float in (0, 1)
        Probability with which the difference is to be found.
    max_more : int
        Largest answer.

    Returns
    -------
    float
        A whole number, at least 1; ``inf`` if it is more than `max_more`. NaN if
        neither sample varies.
    """
    if max(np.ptp(ours), np.ptp(theirs)) <= _noise(np.concatenate([ours, theirs])):
        return np.nan
    more = np.arange(1, max_more + 1)
    n, other_n = len(ours) + more, len(theirs) + more
    variances = ours.var(ddof=1), theirs.var(ddof=1)
    degrees = welch_degrees(*variances, n, other_n)
    effect = abs(ours.mean() - theirs.mean())
    shift = effect / np.sqrt(variances[0] / n + variances[1] / other_n)
    found = stats.nct.sf(stats.t.isf(alpha / 2, degrees), degrees, shift) >= power
    return float(more[np.argmax(found)]) if found.any() else np.inf


def seeds_after_step_down(
    more_seeds: np.ndarray, p_values: np.ndarray, correction: str | None
) -> np.ndarray:
    """Return how many more seeds decide, if smaller p-values must be decided first.

    Holm's procedure tests a p-value only after it has rejected all smaller ones, so
    that none is decided before those are.

    Parameters
    ----------
    more_seeds : ndarray of float of shape (m,)
        Result of :func:`seeds_to_decide` for each undecided one; NaN elsewhere.
    p_values : ndarray of float of shape (m,)
        As in :func:`adjust_p_values`.
    correction : {"holm", "bonferroni"} or None
        As there. Only Holm's steps down.

    Returns
    -------
    ndarray of float of shape (m,)
        NaN where `more_seeds` is.
    """
    if correction != "holm":
        return more_seeds
    order = np.argsort(np.where(np.isnan(p_values), 1.0, p_values), kind="stable")
    after = np.empty_like(more_seeds)
    after[order] = np.fmax.accumulate(more_seeds[order])
    return np.where(np.isnan(more_seeds), np.nan, after)
