"""The best n of a vector of scores, surely or by chance.

Scores are one number a candidate, so these kernels work on the host wherever the scores
live: one small copy costs less than the synchronisations of a selection on a GPU, and
one seed gives the same batch on every device.
"""

import math
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from dalmax_sk.selection.kit.arrays import Array, as_vector, check_count, positions_like

__all__ = ["stochastic_top_n", "top_n"]

_BATCHES = ("power", "softmax", "softrank")


def top_n(scores: Any, n: int, *, random_state: Any = None) -> Array:
    """Pick the n largest scores, largest first, ties broken at random.

    Among equal scores every one has the same chance of being picked and every order the
    same chance of being returned, so a score that is constant over the pool gives a
    uniform sample and no position is favoured. Only the picked scores are sorted: the
    work is O(n_pool + n log n).

    Parameters
    ----------
    scores : array-like or torch.Tensor of shape (n_pool,)
        Higher is better. Infinite scores are allowed, NaN is not. Integers and booleans
        are compared as float64.
    n : int
        How many to pick, from 1 to n_pool.
    random_state : int, RandomState instance or None, default=None
        Decides ties. An int gives the same picks on every call; None draws from NumPy's
        global generator.

    Returns
    -------
    positions : ndarray or torch.Tensor of shape (n,), int64
        Positions in `scores` in order of preference, all distinct; a tensor on the
        device of `scores` if that is a tensor.

    Raises
    ------
    ValueError
        If `scores` is not one-dimensional, holds NaN, or if `n` is not an integer from
        1 to n_pool.

    See Also
    --------
    stochastic_top_n : Higher scores are picked with higher probability.

    Examples
    --------
    >>> from dalmax_sk.selection import top_n
    >>> top_n([0.1, 0.9, 0.4, 0.7], 2)
    array([1, 3])
    """
    values = as_vector(scores, "scores")
    n = check_count(n, len(values), "scores")
    picks = _top_n(values, n, check_random_state(random_state))
    return positions_like(picks, scores)


def stochastic_top_n(
    scores: Any,
    n: int,
    *,
    batch: str = "power",
    beta: float = 1.0,
    random_state: Any = None,
) -> Array:
    r"""Draw n distinct positions, higher scores with higher probability.

    The scores are perturbed by independent Gumbel noise of scale 1/beta and the n
    largest are taken, which draws without replacement from

    * ``"power"``: :math:`p_i \propto s_i^{\beta}`, for scores whose zero means
      "worthless", such as an entropy or a mutual information;
    * ``"softmax"``: :math:`p_i \propto \exp(\beta s_i)`, for scores whose differences
      matter and whose zero does not;
    * ``"softrank"``: :math:`p_i \propto r_i^{-\beta}` with the rank :math:`r_i = 1` for
      the largest score, for scores whose order alone is to be trusted.

    The larger `beta`, the closer to :func:`top_n`; ``beta=0`` draws uniformly.

    Parameters
    ----------
    scores : array-like or torch.Tensor of shape (n_pool,)
        Higher is better; NaN is refused. With ``batch="power"`` all must be at least
        zero, and those that are zero come last, in random order.
    n : int
        How many to pick, from 1 to n_pool.
    batch : {"power", "softmax", "softrank"}, default="power"
        The distribution to draw from.
    beta : float, default=1.0
        The coldness (inverse temperature), in [0, inf).
    random_state : int, RandomState instance or None, default=None
        Source of the noise. The draws do not depend on the device.

    Returns
    -------
    positions : ndarray or torch.Tensor of shape (n,), int64
        Distinct positions in the order of the perturbed scores, which is the order in
        which sampling without replacement would have drawn them.

    Raises
    ------
    ValueError
        For an unknown `batch`, a `beta` outside [0, inf), negative scores with
        ``batch="power"``, and whatever :func:`top_n` refuses.

    References
    ----------
    .. [1] Andreas Kirsch, Sebastian Farquhar, Parmida Atighehchian, Andrew Jesson,
       Frédéric Branchaud-Charron and Yarin Gal. "Stochastic Batch Acquisition: A Simple
       Baseline for Deep Active Learning". Transactions on Machine Learning Research,
       2023. arXiv:2106.12059
    .. [2] Wouter Kool, Herke van Hoof and Max Welling. "Stochastic Beams and Where to
       Find Them: The Gumbel-Top-k Trick for Sampling Sequences Without Replacement".
       ICML 2019.

    Examples
    --------
    >>> from dalmax_sk.selection import stochastic_top_n
    >>> stochastic_top_n([0.0, 8.0, 1.0, 2.0], 4, beta=1.0, random_state=0)
    array([1, 3, 2, 0])
    """
    if batch not in _BATCHES:
        raise ValueError(f"batch must be one of {_BATCHES}, got {batch!r}.")
    if not isinstance(beta, int | float | np.number) or not 0 <= beta < math.inf:
        raise ValueError(f"beta must be a number in [0, inf), got {beta!r}.")
    values = as_vector(scores, "scores").astype(np.float64)
    n = check_count(n, len(values), "scores")
    rng = check_random_state(random_state)

    if batch == "power":
        n_negative = int(np.count_nonzero(values < 0))
        if n_negative:
            raise ValueError(
                f'batch="power" needs scores of at least 0, but {n_negative} of '
                f"{len(values)} are negative (the least is {values.min():g}). "
                'Shift them, or use batch="softmax" or "softrank".'
            )
        with np.errstate(divide="ignore"):  # the logarithm of zero is wanted here
            log_weights = np.log(values)
    elif batch == "softmax":
        log_weights = values
    else:
        log_weights = -np.log(_ranks(values, rng))

    noise = rng.gumbel(size=len(values))
    # Adding noise / beta (and not multiplying the scores) keeps infinities infinite.
    perturbed = log_weights + noise / float(beta) if beta > 0 else noise
    return positions_like(_top_n(perturbed, n, rng), scores)


def _top_n(values: np.ndarray, n: int, rng: np.random.RandomState) -> np.ndarray:
    """Return the positions of the n largest values, ties by ``rng``."""
    threshold = np.partition(values, len(values) - n)[len(values) - n]
    above = np.flatnonzero(values > threshold)
    tied = np.flatnonzero(values == threshold)
    chosen = np.concatenate([above, rng.permutation(tied)[: n - len(above)]])
    # A stable sort of a shuffled batch leaves equal scores in random order.
    chosen = rng.permutation(chosen)
    return chosen[np.argsort(-values[chosen], kind="stable")]


def _ranks(values: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Return ranks, 1 for the largest value, equal values in random order."""
    shuffle = rng.permutation(len(values))
    order = shuffle[np.argsort(-values[shuffle], kind="stable")]
    ranks = np.empty(len(values))
    ranks[order] = np.arange(1, len(values) + 1)
    return ranks
