"""Greedy maximisation of a coverage, exact and lazy.

The coverage of a set is the (weighted) mean over all points of the similarity to the
nearest member of the set: the facility-location function, which is submodular. What a
candidate would add therefore only shrinks as others are picked, and an old value is an
upper bound, see `lazy_greedy`.
"""

import math
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from dalmax_sk.selection.coverage.lazy_greedy import LazyGreedy
from dalmax_sk.selection.coverage.similarity import Similarity, unit_tensor
from dalmax_sk.selection.kit.arrays import (
    Array,
    as_points,
    as_weight,
    check_count,
    check_max_memory,
    positions_like,
)
from dalmax_sk.selection.kit.tie_order import TieOrder

__all__ = ["greedy_coverage"]


def greedy_coverage(
    X: Any,
    n: int,
    centers: Any = None,
    *,
    kernel: str = "rbf",
    sigma: float = 1.0,
    sample_weight: Any = None,
    random_state: Any = None,
    max_memory: int = 2**30,
    return_gains: bool = False,
) -> Array | tuple[Array, Array, float]:
    r"""Pick n points, each adding most to how well the picks cover all points.

    The greedy maximisation of the generalised coverage [1]_

    .. math:: C(S) = \frac{\sum_x w_x \max_{s \in S \cup L} k(x, s)}{\sum_x w_x},

    which is the facility-location function [2]_. The sum goes over the rows of `X`; L
    are the `centers`. Greedy picks reach at least 63 % of the largest gain over C(∅)
    that n points can have.

    Parameters
    ----------
    X : array-like or torch.Tensor of shape (n_pool, n_features)
        The points, which are the candidates as well; finite.
    n : int
        How many to pick, from 1 to n_pool.
    centers : array-like or torch.Tensor of shape (n_centers, n_features), default=None
        Points that cover already, such as the labelled ones.
    kernel : {"rbf", "cosine"}, default="rbf"
        The similarity k: ``exp(-|x - s|² / sigma²)``, or ``(1 + cos(x, s)) / 2`` with
        rows of zeros at ``1 - |x - s|² / 4`` from the unit vectors of the others.
    sigma : float, default=1.0
        The radius of the RBF kernel, in (0, inf). Unused with ``"cosine"``.
    sample_weight : array-like or torch.Tensor of shape (n_pool,), default=None
        The weights w, finite, at least 0, not all 0. None weighs all points alike.
    random_state : int, RandomState instance or None, default=None
        None breaks ties by the lowest position; a seed breaks them by a random order
        that depends on the points and not on their positions (equal points come in a
        random order of positions). It changes nothing else.
    max_memory : int, default=2**30
        Bytes that temporary blocks may take, besides a few numbers a point. The picks
        do not depend on it; the speed does.
    return_gains : bool, default=False
        Whether to return the gains as well.

    Returns
    -------
    positions : ndarray or torch.Tensor of shape (n,), int64
        Positions in `X` in the order of the picks, all distinct. A tensor on the device
        of `X` if that is a tensor.
    gains : ndarray or torch.Tensor of shape (n,), float64
        What each pick added to the coverage, never increasing, from 1 to 0. Only if
        `return_gains`.
    coverage : float
        The coverage after all picks, from 0 to 1. Only if `return_gains`.

    Raises
    ------
    ValueError
        If `X` or `centers` are not two-dimensional, finite and of equal width, if `n`
        is not an integer from 1 to n_pool, if `sigma` is not positive, if the kernel is
        unknown or the weights are negative, infinite, all 0 or of another number.

    Notes
    -----
    A gain is a sum of float64 terms, each from plain differences of two points, rounded
    once. It does not depend on the order of the points, so ties are exact: equal points
    have equal gains. Similarities below 2**-120 count as 0. Candidates without any gain
    are picked last, in the order that breaks ties.

    References
    ----------
    .. [1] Wonho Bae, Junhyug Noh and Danica J. Sutherland. "Generalized Coverage for
       More Robust Low-Budget Active Learning". ECCV 2024. arXiv:2407.12212
    .. [2] Kai Wei, Rishabh Iyer and Jeff Bilmes. "Submodularity in Data Subset
       Selection and Active Learning". ICML 2015.
    .. [3] Michel Minoux. "Accelerated greedy algorithms for maximizing submodular set
       functions". Optimization Techniques, 1978. doi:10.1007/BFb0006528

    Examples
    --------
    >>> from dalmax_sk.selection import greedy_coverage
    >>> X = [[0.0], [0.1], [0.2], [5.0], [5.1]]
    >>> greedy_coverage(X, 2)
    array([1, 3])
    >>> greedy_coverage(X, 1, centers=[[0.0]])
    array([3])
    """
    max_memory = check_max_memory(max_memory)
    pool, covering, _ = as_points(X, centers, max_memory)
    n = check_count(n, len(pool), "X")
    similarity = _as_similarity(kernel, sigma)
    weight = as_weight(sample_weight, len(pool))
    weight /= weight.max()
    if kernel == "cosine":
        pool = unit_tensor(pool, max(1, max_memory // 4))
        covering = unit_tensor(covering, max_memory)

    rng = None if random_state is None else check_random_state(random_state)
    greedy = LazyGreedy(
        pool, covering, similarity, weight, TieOrder(pool, rng), max_memory
    )
    picks, gains = greedy.run(n)
    if not return_gains:
        return positions_like(picks, X)
    total = math.fsum(weight)
    coverage = math.fsum(greedy.weight * greedy.best) / total
    return positions_like(picks, X), positions_like(gains / total, X), coverage


def _as_similarity(kernel: str, sigma: float) -> Similarity:
    if kernel == "cosine":
        return Similarity("linear", 2.0)
    if kernel != "rbf":
        raise ValueError(f"kernel must be 'rbf' or 'cosine', got {kernel!r}.")
    if not isinstance(sigma, int | float | np.number) or not 0 < sigma < math.inf:
        raise ValueError(f"sigma must be a number in (0, inf), got {sigma!r}.")
    return Similarity("rbf", float(sigma))
