"""TypiClust: the most typical point of every cluster that has no label yet."""

from numbers import Integral

import numpy as np

from dalmax_sk._base.sklearn_compat import Interval
from dalmax_sk.selection import clusters_to_visit, k_means_clusters, most_typical
from dalmax_sk.selection.kit.arrays import concatenate
from dalmax_sk.strategies.base import QueryStrategy

__all__ = ["TypiClust"]


class TypiClust(QueryStrategy):
    r"""Pick typical points of uncovered clusters, for the first few labels.

    The embeddings of all samples, labelled or not, are clustered into as many clusters
    as there will be labels after this batch [1]_. Again and again the cluster with the
    fewest labelled samples, of these the largest, gives its most typical candidate:
    the one with the smallest mean distance to its K nearest neighbours among the
    candidates that the cluster has left.

    Parameters
    ----------
    max_clusters : int, default=500
        Upper limit on the number of clusters, at least 1. Beyond it clusters are
        visited repeatedly.
    n_neighbors : int, default=20
        K of the typicality, at least 1; among s candidates of a cluster the smaller of
        it and ``s // 2``, and at least 1.
    min_cluster_size : int, default=6
        Clusters with fewer samples, labelled ones included, are left out as outliers,
        unless the others have no candidate left. The authors' program takes clusters of
        more than five.

    See Also
    --------
    DiversitySampling : The candidate nearest to the centre of each cluster.
    CoreSet : Covers the pool and is drawn to outliers, which TypiClust avoids.

    Notes
    -----
    The model's predictions play no part. With embeddings from self-supervised training
    the method needs no label at all, as in the paper; with those of a model trained on
    a handful of labels it is at the mercy of these.

    Clusters are those of k-means; the paper uses k-means up to 50 clusters and
    mini-batch k-means beyond, to save time. Neighbours are those of the authors'
    program: candidates alone, without the labelled samples and the earlier picks, and
    no more than half of those in the cluster, so that the typical point of a small
    cluster lies in its dense part and not in its middle. Their mean distance is the
    paper's; the program takes the mean of the squares. Random draws: the start of
    k-means, then ties between clusters, then ties between candidates.

    The score of a pick is its typicality, the inverse of that mean distance, infinite
    if all its neighbours are copies of it. The query leaves ``n_clusters`` and
    ``inertia`` (sum of squared distances to the centres) in ``pool.info``.

    References
    ----------
    .. [1] G. Hacohen, A. Dekel and D. Weinshall, "Active Learning on a Budget: Opposite
       Strategies Suit High and Low Budgets", ICML 2022.
       https://arxiv.org/abs/2202.02794

    Examples
    --------
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import TypiClust
    >>> left, right = [0, 2, 3, 4.5, 8], [50, 53, 55, 56.5, 59, 62]
    >>> pool = Pool.from_arrays(
    ...     embeddings=[[x] for x in left + right], random_state=0
    ... )
    >>> TypiClust(n_neighbors=2, min_cluster_size=1).query(pool, n=2)
    array([7, 2])
    """

    names = {"typi_clust": {}, "typiclust": {}}
    category = "diversity"
    requires = ("embeddings", "labeled_embeddings")
    cost = "O(n·k·d) an iteration of k-means, k ≤ 500"

    _parameter_constraints = {
        "max_clusters": [Interval(Integral, 1, None, closed="left")],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "min_cluster_size": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, max_clusters=500, n_neighbors=20, min_cluster_size=6):
        self.max_clusters = max_clusters
        self.n_neighbors = n_neighbors
        self.min_cluster_size = min_cluster_size

    def _query(self, pool, n):
        labeled = pool.labeled_embeddings
        # the candidates first, then the labelled
        everyone = concatenate(pool.embeddings, labeled, pool.max_memory // 4)
        rng = pool.random_state
        n_clusters = min(len(labeled) + n, self.max_clusters, len(everyone))
        clusters, _, inertia = k_means_clusters(
            everyone, n_clusters, random_state=rng, max_memory=pool.max_memory
        )
        pool.info["n_clusters"] = n_clusters
        pool.info["inertia"] = float(inertia)

        visits = clusters_to_visit(
            np.bincount(clusters, minlength=n_clusters),
            n,
            n_labeled=np.bincount(clusters[len(pool) :], minlength=n_clusters),
            min_size=self.min_cluster_size,
            random_state=rng,
        )
        return most_typical(
            pool.embeddings,
            clusters[: len(pool)],
            visits,
            n_neighbors=self.n_neighbors,
            random_state=rng,
            max_memory=pool.max_memory,
        )
