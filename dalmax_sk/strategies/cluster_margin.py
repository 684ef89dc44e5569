"""Cluster-Margin: the least sure candidates, taken from many clusters in turn."""

from numbers import Real

import numpy as np

from dalmax_sk._base.sklearn_compat import Interval, StrOptions
from dalmax_sk._base.storage import take_rows
from dalmax_sk.selection import average_linkage, round_robin, top_n
from dalmax_sk.strategies.base import QueryStrategy
from dalmax_sk.strategies.uncertainty import uncertainty_scores

__all__ = ["ClusterMargin"]


class ClusterMargin(QueryStrategy):
    r"""Pick candidates of low margin, spread over the clusters of the pool.

    The candidates with the smallest margins between their two most probable classes are
    put into clusters of average linkage, and the batch is drawn from these clusters in
    turn, a random member each time, from the smallest cluster to the largest and over
    again [1]_. Made for large batches, in which margins alone would pick many copies of
    one difficulty.

    Parameters
    ----------
    margin_factor : float, default=10.0
        How many candidates of small margin there are for each pick, at least 1:
        :math:`k_m` of the paper is this number times the size of the batch.
    mean_cluster_size : float, default=10.0
        Clustering stops at this number of points per cluster on average, at least 1.
        Unused with `threshold`.
    threshold : float or None, default=None
        Average distance up to which clusters are merged, the :math:`\varepsilon` of the
        paper, at least 0. None stops by `mean_cluster_size`.
    metric : {"cosine", "sqeuclidean"}, default="cosine"
        Distance of two embeddings: one minus the cosine of their angle, or the squared
        Euclidean distance.
    scope : {"candidates", "pool"}, default="candidates"
        What is clustered: the candidates of small margin alone, or the whole pool as in
        the paper; these candidates are then kept.

    See Also
    --------
    UncertaintySampling : Margins alone.
    BADGE : Uncertainty and diversity in one vector.

    Notes
    -----
    The paper clusters the pool once, before the first round, on the embeddings of the
    model trained on the initial set, and tunes :math:`\varepsilon` for each data set.
    Here the embeddings are those of the current model, so each query clusters anew;
    ``scope="candidates"`` keeps that at the square of :math:`k_m` instead of the
    square of the pool. Where to cut (`mean_cluster_size`) and cosine distances are our
    choices. With Euclidean distances average linkage tends to leave one giant cluster
    and many single outliers, which then come first.

    The clustering is exact, see :func:`~dalmax_sk.selection.average_linkage`. Random
    draws: ties of margins, then the order within clusters, then ties of their sizes.

    The score of a pick is one minus its margin. The query leaves ``n_candidates`` and
    ``n_clusters``, that of clusters with at least one of these, in ``pool.info``.

    References
    ----------
    .. [1] G. Citovsky, G. DeSalvo, C. Gentile, L. Karydas, A. Rajagopalan, A.
       Rostamizadeh and S. Kumar, "Batch Active Learning at Scale", NeurIPS 2021.
       https://arxiv.org/abs/2107.14263

    Examples
    --------
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import ClusterMargin
    >>> pool = Pool.from_arrays(
    ...     proba=[[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.6, 0.4], [1.0, 0.0]],
    ...     embeddings=[[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0], [0.1, 1.0]],
    ...     random_state=0,
    ... )
    >>> picks = ClusterMargin(margin_factor=2, mean_cluster_size=2).query(pool, n=2)
    >>> int(picks[0]), int(picks[1]) in (0, 1, 2)
    (3, True)
    """

    names = {"cluster_margin": {}}
    category = "both"
    requires = ("proba", "embeddings")
    cost = "O(N²·d) for N = 10·b"

    _parameter_constraints = {
        "margin_factor": [Interval(Real, 1, None, closed="left")],
        "mean_cluster_size": [Interval(Real, 1, None, closed="left")],
        "threshold": [None, Interval(Real, 0, None, closed="left")],
        "metric": [StrOptions({"cosine", "sqeuclidean"})],
        "scope": [StrOptions({"candidates", "pool"})],
    }

    def __init__(
        self,
        margin_factor=10.0,
        mean_cluster_size=10.0,
        threshold=None,
        metric="cosine",
        scope="candidates",
    ):
        self.margin_factor = margin_factor
        self.mean_cluster_size = mean_cluster_size
        self.threshold = threshold
        self.metric = metric
        self.scope = scope

    def _query(self, pool, n):
        rng = pool.random_state
        scores = uncertainty_scores(pool.proba, "margin")
        n_candidates = min(len(pool), int(np.ceil(self.margin_factor * n)))
        candidates = np.sort(top_n(scores, n_candidates, random_state=rng))
        if self.scope == "pool":
            labels = self._cluster(pool.embeddings, pool.max_memory)[candidates]
        else:
            labels = self._cluster(
                take_rows(pool.embeddings, candidates), pool.max_memory
            )
        pool.info["n_candidates"] = n_candidates
        pool.info["n_clusters"] = len(np.unique(labels))
        positions = candidates[round_robin(labels, n, random_state=rng)]
        return positions, scores[positions]

    def _cluster(self, embeddings, max_memory):
        """Return the cluster of each row."""
        n_clusters = None
        if self.threshold is None:
            n_clusters = int(np.ceil(len(embeddings) / self.mean_cluster_size))
        return average_linkage(
            embeddings,
            n_clusters=n_clusters,
            threshold=self.threshold,
            metric=self.metric,
            max_memory=max_memory,
        )[0]
