"""Bootstrap over the seeds: resamples, and intervals that hold with few seeds.

Experiments have three to ten seeds. There the usual percentile interval is far too
narrow (measured with 5 normal values and a nominal 95 %: 84 %, and BCa 84 % as well),
for two reasons that Hesterberg [1]_ explains: the bootstrap's variance is that of n
where n - 1 is due, and normal quantiles are used where Student's are due. Both
intervals here correct both.

References
----------
.. [1] T. C. Hesterberg, "What Teachers Should Know About the Bootstrap: Resampling in
   the Undergraduate Statistics Curriculum", The American Statistician 69 (2015).
   https://doi.org/10.1080/00031305.2015.1089789
"""

import itertools
from typing import Any

import numpy as np
from scipy import stats

__all__ = [
    "difference_interval",
    "expanded_interval",
    "mean_interval",
    "resample_weights",
    "too_few_seeds",
    "welch_degrees",
]


def resample_weights(
    n: int, n_resamples: int, random_state: np.random.RandomState, *, exact: bool = True
) -> np.ndarray:
    """Return how much each of n seeds weighs in each bootstrap resample.

    All n**n resamples if they are at most `n_resamples` (then nothing is random), else
    `n_resamples` drawn ones.

    Parameters
    ----------
    n : int
        Number of seeds.
    n_resamples : int
        Largest number of resamples.
    random_state : RandomState
        Source of the draws.
    exact : bool, default=True
        False draws `n_resamples` in any case, so that those of two samples of
        different sizes combine.

    Returns
    -------
    ndarray of float of shape (n_resamples or less, n)
        Rows sum to 1: ``weights @ values`` are the means of the resamples.
    """
    if exact and n**n <= n_resamples:
        drawn = np.array(list(itertools.product(range(n), repeat=n)))
    else:
        drawn = random_state.randint(n, size=(n_resamples, n))
    # (R, n, 1) == (n,) -> how often each seed was drawn
    return (drawn[:, :, None] == np.arange(n)).sum(axis=1) / n


def mean_interval(
    values: np.ndarray, weights: np.ndarray, confidence_level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return a bootstrap interval for the mean over the seeds.

    The percentiles' distances from the mean are widened by sqrt(n / (n - 1)) times the
    ratio of Student's quantile to the normal one: the interval keeps the skewness
    that the bootstrap found and gets the width that n seeds warrant. Measured coverage
    of nominal 95 % intervals of normal values: 92.5 % with 2, 92.6 % with 3, 94.6 %
    with 4 and 5, 95.0 % with 10; of exponential values: 87 %, 85 %, 88 %, 89 % and 91 %
    with 2, 3, 4, 5 and 10 (Student's own interval: 91 %, 88 %, 88 %, 88 % and 90 %).

    Parameters
    ----------
    values : ndarray of float of shape (n_seeds,) or (n_seeds, n_budgets)
        One value, or one row, a seed.
    weights : ndarray of shape (n_resamples, n_seeds)
        Result of :func:`resample_weights`.
    confidence_level : float in (0, 1)
        Nominal coverage.

    Returns
    -------
    low, high : ndarray of shape () or (n_budgets,)
    """
    n = len(values)
    tail = (1 - confidence_level) / 2
    mean = values.mean(axis=0)
    # deviations first: equal values then give exactly 0, not the rounding of a sum
    ends = np.quantile(weights @ (values - mean), [tail, 1 - tail], axis=0)
    factor = np.sqrt(n / (n - 1)) * stats.t.isf(tail, n - 1) / stats.norm.isf(tail)
    return mean + factor * ends[0], mean + factor * ends[1]


def difference_interval(
    ours: np.ndarray,
    theirs: np.ndarray,
    weights: tuple[np.ndarray, np.ndarray],
    confidence_level: float,
) -> tuple[float, float]:
    """Return a bootstrap interval for the difference of the means of two samples.

    Each sample is resampled by itself. As in :func:`mean_interval` the deviations of a
    sample of n are widened by sqrt(n / (n - 1)), and their sum by the ratio of
    Student's quantile, with Welch's degrees of freedom, to the normal one.

    Parameters
    ----------
    ours, theirs : ndarray of float of shape (n_seeds,)
        One value a seed; the numbers may differ.
    weights : tuple of two ndarray of shape (n_resamples, n_seeds)
        Results of :func:`resample_weights`.
    confidence_level : float in (0, 1)
        Nominal coverage.

    Returns
    -------
    low, high : float
    """
    tail = (1 - confidence_level) / 2
    moved = [
        np.sqrt(len(a) / (len(a) - 1)) * (w @ (a - a.mean()))
        for a, w in zip((ours, theirs), weights, strict=True)
    ]
    ends = np.quantile(moved[0] - moved[1], [tail, 1 - tail])
    degrees = welch_degrees(
        ours.var(ddof=1), theirs.var(ddof=1), len(ours), len(theirs)
    )
    factor = stats.t.isf(tail, degrees) / stats.norm.isf(tail)
    low, high = ours.mean() - theirs.mean() + factor * ends
    return float(low), float(high)


def welch_degrees(
    variance: Any, other_variance: Any, n: Any, other_n: Any
) -> np.ndarray:
    """Return the degrees of freedom of Welch's test, by Welch and Satterthwaite.

    Parameters
    ----------
    variance, other_variance : float or ndarray of float
        Of the two samples.
    n, other_n : int or ndarray of int
        Their sizes.

    Returns
    -------
    ndarray of float
        Those of the pooled test where there is no variance.
    """
    ours, theirs = variance / n, other_variance / other_n
    below = ours**2 / (n - 1) + theirs**2 / (other_n - 1)
    welch = (ours + theirs) ** 2 / np.where(below > 0, below, 1.0)
    return np.where(below > 0, welch, n + other_n - 2)


def expanded_interval(
    replicates: np.ndarray, n: int, confidence_level: float
) -> tuple[float, float]:
    """Return the expanded percentile interval of a statistic that is no mean.

    The percentiles are moved outwards, from those at which a normal variable has its
    tails to those at which Student's has [1]_. It does not depend on the scale of the
    statistic, which may be infinite in some resamples. It never leaves their range,
    though: where the tail wanted is smaller than the probability of the most extreme
    resample, 1 / n**n, there is no such interval (at 95 % below five seeds). Nor is
    there where the tail is smaller than one of the resamples drawn.

    Parameters
    ----------
    replicates : ndarray of float of shape (n_resamples,)
        The statistic of each resample. NaN means unknown: it counts as smallest for
        the lower end and as largest for the upper one.
    n : int
        Number of seeds.
    confidence_level : float in (0, 1)
        Nominal coverage.

    Returns
    -------
    low, high : float
        NaN where there is no interval.
    """
    tail = _expanded_tail(n, confidence_level)
    if too_few_seeds(n, confidence_level) or tail < 1 / len(replicates):
        return np.nan, np.nan
    unknown = np.isnan(replicates)
    # no interpolation: it has no meaning between a number and infinity
    low, high = (
        np.quantile(np.where(unknown, end, replicates), q, method="inverted_cdf")
        for end, q in ((-np.inf, tail), (np.inf, 1 - tail))
    )
    return float(low), float(high)


def too_few_seeds(n: int, confidence_level: float) -> bool:
    """Tell whether no number of resamples gives n seeds an expanded interval.

    Parameters
    ----------
    n : int
        Number of seeds.
    confidence_level : float in (0, 1)
        Nominal coverage.

    Returns
    -------
    bool
    """
    return bool(_expanded_tail(n, confidence_level) < float(n) ** -n)


def _expanded_tail(n: int, confidence_level: float) -> float:
    """Return the share of resamples beyond each end of an expanded interval."""
    tail = (1 - confidence_level) / 2
    return float(stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.isf(tail, n - 1)))
