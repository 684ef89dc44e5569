"""Core-set selection: cover the pool around what is labelled."""

from dalmax_sk.selection import k_center_greedy
from dalmax_sk.strategies.base import QueryStrategy

__all__ = ["CoreSet"]


class CoreSet(QueryStrategy):
    """Pick the candidate farthest from all labelled and picked samples, one by one.

    Each pick is the candidate farthest (Euclidean) from everything labelled or picked
    so far [1]_. The greedy choice covers the pool with at most twice the smallest
    radius possible [2]_.

    See Also
    --------
    DiversitySampling : K-means instead of k-center; less drawn to outliers.

    Notes
    -----
    The score of a pick is its distance to the nearest centre when it was picked. The
    query leaves ``covering_radius`` in ``pool.info``, the largest distance from a
    candidate to its nearest centre after all picks; the learner copies it into
    ``history_``.

    Where the embeddings of a row cannot change from round to round (a table without
    steps before the classifier, or a net whose body is frozen), the learner keeps each
    row's distance to the nearest labelled one, 12 bytes a row: a round then measures
    the distances to the labels that are new, and picks the same.

    References
    ----------
    .. [1] O. Sener and S. Savarese, "Active Learning for Convolutional Neural Networks:
       A Core-Set Approach", ICLR 2018, algorithm 1. https://arxiv.org/abs/1708.00489
    .. [2] T. F. Gonzalez, "Clustering to Minimize the Maximum Intercluster Distance",
       Theoretical Computer Science 38, 1985.
       https://doi.org/10.1016/0304-3975(85)90224-5

    Examples
    --------
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import CoreSet
    >>> pool = Pool.from_arrays(
    ...     embeddings=[[1.0], [4.0], [9.0]], labeled_embeddings=[[0.0]]
    ... )
    >>> CoreSet().query(pool, n=2)
    array([2, 1])
    >>> pool.info["covering_radius"]
    1.0
    """

    names = {"core_set_selection": {}, "core_set": {}}
    category = "diversity"
    requires = ("embeddings", "labeled_embeddings")
    cost = "O(n·(m + b)·d)"

    def _query(self, pool, n):
        positions, distances, radius = k_center_greedy(
            pool.embeddings,
            n,
            centers=pool.labeled_embeddings,
            random_state=pool.random_state,
            max_memory=pool.max_memory,
            return_distances=True,
            nearest=pool.distance_to_labeled,
        )
        pool.info["covering_radius"] = float(radius)
        return positions, distances
