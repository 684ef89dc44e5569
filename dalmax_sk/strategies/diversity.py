"""Diversity sampling: one candidate from each cluster of the pool."""

from dalmax_sk._base.sklearn_compat import StrOptions
from dalmax_sk.selection import k_means_select
from dalmax_sk.strategies.base import QueryStrategy
from dalmax_sk.strategies.uncertainty import MEASURES, uncertainty_scores

__all__ = ["DiversitySampling"]


class DiversitySampling(QueryStrategy):
    """Cluster the pool's embeddings by k-means and pick the one nearest each centre.

    With `n` picks wanted there are `n` clusters, and always exactly `n` distinct picks:
    where two centres share their nearest candidate, the farther centre takes its
    nearest one still free.

    Parameters
    ----------
    weighting : {None, "least_confidence", "margin", "entropy"}, default=None
        Weight each candidate in the clustering by how uncertain the model is of it
        [1]_. None leaves probabilities out of it.

    See Also
    --------
    CoreSet : Covers the pool by greedy k-center, labelled samples included.

    Notes
    -----
    Labelled samples do not count: a cluster around one is picked from again. The score
    of a pick is minus its distance to its cluster's centre. The query leaves
    ``inertia`` in ``pool.info``, the (weighted) sum of squared distances to the nearest
    centre.

    References
    ----------
    .. [1] F. Zhdanov, "Diverse mini-batch Active Learning", 2019.
       https://arxiv.org/abs/1901.05954

    Examples
    --------
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import DiversitySampling
    >>> embeddings = [[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]]
    >>> pool = Pool.from_arrays(embeddings=embeddings, random_state=0)
    >>> sorted(DiversitySampling().query(pool, n=2).tolist())
    [1, 4]
    """

    names = {"diversity_sampling": {}}
    category = "diversity"
    cost = "O(n·b·d) an iteration of k-means"

    _parameter_constraints = {"weighting": [None, StrOptions(set(MEASURES))]}

    def __init__(self, weighting=None):
        self.weighting = weighting

    @property
    def requires(self):
        return ("embeddings",) if self.weighting is None else ("embeddings", "proba")

    def _query(self, pool, n):
        weights = None
        if self.weighting is not None:
            weights = uncertainty_scores(pool.proba, self.weighting)
            if not weights.any():
                raise ValueError(
                    f"DiversitySampling(weighting={self.weighting!r}): the model is "
                    "fully certain of every candidate, so all weights are 0. Use "
                    "weighting=None with this estimator."
                )
        positions, distances, inertia = k_means_select(
            pool.embeddings,
            n,
            sample_weight=weights,
            random_state=pool.random_state,
            max_memory=pool.max_memory,
            return_distances=True,
        )
        pool.info["inertia"] = float(inertia)
        return positions, -distances
