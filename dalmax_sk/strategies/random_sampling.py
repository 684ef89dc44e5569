"""Random sampling, the baseline of every comparison."""

from dalmax_sk.strategies.base import QueryStrategy

__all__ = ["RandomSampling"]


class RandomSampling(QueryStrategy):
    """Pick candidates uniformly at random, without replacement.

    The baseline that every other strategy has to beat. Looks at nothing, so it works
    with any estimator.

    Examples
    --------
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import RandomSampling
    >>> pool = Pool.from_arrays(embeddings=[[0.0], [1.0], [2.0], [3.0]], random_state=0)
    >>> RandomSampling().query(pool, n=3).shape
    (3,)
    """

    names = {"random_sampling": {}}
    category = "baseline"
    cost = "O(n)"

    def _query(self, pool, n):
        return pool.random_state.permutation(len(pool))[:n]
