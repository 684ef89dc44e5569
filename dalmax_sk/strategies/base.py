"""The base classes of query strategies."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator

from dalmax_sk._base.sklearn_compat import Interval, StrOptions
from dalmax_sk.selection import stochastic_top_n, top_n
from dalmax_sk.strategies.registry import register

__all__ = ["QueryStrategy", "ScoreStrategy"]


class QueryStrategy(BaseEstimator):
    """Base class of all query strategies.

    A strategy is an ordinary parameter object: hyper-parameters in ``__init__``,
    nothing fitted, so ``clone`` and ``GridSearchCV`` (``strategy__measure``) work. The
    public :meth:`query` validates; a subclass writes :meth:`_query`, and names in
    ``requires`` the quantities of the pool that it reads. A subclass with ``names`` in
    its body is known by them to :func:`get_strategy`.

    See Also
    --------
    ScoreStrategy : Base class for strategies that score each candidate by itself.

    Examples
    --------
    A strategy of one's own:

    >>> import numpy as np
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import QueryStrategy
    >>> class LargestNorm(QueryStrategy):
    ...     requires = ("embeddings",)
    ...
    ...     def _query(self, pool, n):
    ...         norms = np.linalg.norm(pool.embeddings, axis=1)
    ...         return np.argsort(-norms)[:n]
    >>> LargestNorm().query(Pool.from_arrays(embeddings=[[1.0], [3.0], [-2.0]]), n=2)
    array([1, 2])
    """

    #: Names of the pool's quantities that a query reads, as `Pool.prepare` takes them;
    #: a property where they depend on parameters.
    requires: tuple = ()

    #: Names in the registry, the main one first, each with the parameters it fixes. A
    #: class in whose body they stand registers itself.
    names: dict = {}
    #: "baseline", "uncertainty", "diversity", "both", "learned", "combined" or "other".
    category: str = "other"
    #: The quantities that a query reads, in words, where `requires` does not tell all;
    #: a property where they depend on parameters.
    looks_at: str = ""
    #: The cost of a query in addition to the model's pass over the pool; a property
    #: where it depends on parameters.
    cost: str = "not stated"

    _parameter_constraints: dict = {}

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        register(cls)

    def query(self, pool, n, return_scores=False):
        """Pick candidates to be labelled next.

        Parameters
        ----------
        pool : Pool
            The candidates. Its ``random_state`` is the only source of randomness: the
            same pool gives the same picks.
        n : int
            Number of picks, from 1 to ``len(pool)``.
        return_scores : bool, default=False
            If True, return the scores of the picks as well.

        Returns
        -------
        positions : ndarray of int of shape (n,)
            Distinct positions in the pool, the most wanted first.
        scores : ndarray of float of shape (n,) or None
            Only if `return_scores`: what the strategy valued each pick at, higher is
            better; None if it does not score.

        Raises
        ------
        ValueError
            If `n` is out of range, the pool is empty, or a parameter of the strategy is
            out of its range.
        MissingCapabilityError
            If the estimator in the pool cannot give what the strategy needs.
        """
        self._validate_params()
        name = type(self).__name__
        if not isinstance(n, Integral) or isinstance(n, bool):
            raise TypeError(f"{name}.query: n must be an int, got {n!r}.")
        if len(pool) == 0:
            raise ValueError(f"{name}.query: the pool has no candidates.")
        if not 1 <= n <= len(pool):
            raise ValueError(
                f"{name}.query: n must be from 1 to {len(pool)}, the number of "
                f"candidates; got {n}."
            )
        pool.prepare(self.requires, owner=name)
        pool.info.clear()
        picked = self._query(pool, int(n))
        positions, scores = picked if isinstance(picked, tuple) else (picked, None)
        positions = _checked_positions(positions, n, len(pool), name)
        return (positions, scores) if return_scores else positions

    def get_state(self):
        """Return what the strategy has learned from the rounds so far.

        Nearly all strategies learn nothing: a query is a function of the pool. For the
        others the learner writes the state to its checkpoint after each query.

        Returns
        -------
        dict
            Of plain numbers, strings, lists and dicts; empty if there is nothing.
        """
        return {}

    def set_state(self, state):
        """Restore what :meth:`get_state` returned.

        Parameters
        ----------
        state : dict

        Raises
        ------
        ValueError
            If the state is not one of this strategy's.
        """
        if state:
            raise ValueError(
                f"{type(self).__name__} keeps no state, got one with {sorted(state)}."
            )

    def _check_pool(self, pool):
        """Raise MissingCapabilityError if `pool` cannot give what a query will need.

        The learner asks before any label is bought, with the estimator not yet fitted,
        and once more after the first fit. A strategy whose needs depend on the
        estimator says here which they are.
        """
        for need in self.requires:
            pool.check(need, owner=type(self).__name__)

    def _query(self, pool, n):
        """Return `n` positions, or a tuple of positions and their scores.

        `n` is an int from 1 to ``len(pool)`` and every need is at hand.
        """
        raise NotImplementedError(f"{type(self).__name__} must define _query.")


class ScoreStrategy(QueryStrategy):
    """Base class of strategies that score each candidate by itself.

    Subclasses write :meth:`_score`. One with an ``__init__`` of its own may leave out
    `batch` and `beta`.

    Parameters
    ----------
    batch : {"top", "power", "softmax", "softrank"}, default="top"
        How scores become a batch: ``"top"`` takes the largest, ties broken at random
        from the seed; the others draw a stochastic batch [1]_, which avoids picking
        many near-copies of one candidate.
    beta : float, default=1.0
        Coldness of a stochastic batch, at least 0: 0 is uniform sampling, large values
        approach ``"top"``. Unused with ``batch="top"``.

    References
    ----------
    .. [1] A. Kirsch, S. Farquhar, P. Atighehchian, A. Jesson, F. Branchaud-Charron and
       Y. Gal, "Stochastic Batch Acquisition: A Simple Baseline for Deep Active
       Learning", Transactions on Machine Learning Research, 2023.
       https://arxiv.org/abs/2106.12059

    Examples
    --------
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import ScoreStrategy
    >>> class LeastConfidence(ScoreStrategy):
    ...     requires = ("proba",)
    ...
    ...     def _score(self, pool):
    ...         return 1 - pool.proba.max(axis=1)
    >>> pool = Pool.from_arrays(proba=[[0.9, 0.1], [0.5, 0.5], [0.7, 0.3]])
    >>> LeastConfidence(batch="top").query(pool, n=2)
    array([1, 2])
    """

    # for subclasses whose own __init__ does not take them
    batch = "top"
    beta = 1.0

    _parameter_constraints: dict = {
        "batch": [StrOptions({"top", "power", "softmax", "softrank"})],
        "beta": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, batch="top", beta=1.0):
        self.batch = batch
        self.beta = beta

    def _query(self, pool, n):
        scores = self._score(pool)
        if self.batch == "top":
            positions = top_n(scores, n, random_state=pool.random_state)
        else:
            positions = stochastic_top_n(
                scores,
                n,
                batch=self.batch,
                beta=self.beta,
                random_state=pool.random_state,
            )
        return positions, scores[positions]

    def _score(self, pool):
        """Return one float a candidate, shape (n,); higher is more wanted."""
        raise NotImplementedError(f"{type(self).__name__} must define _score.")


def _checked_positions(positions, n, n_candidates, name):
    """Return `positions` as int64 after checking what every strategy promises."""
    positions = np.asarray(positions)
    if positions.shape != (n,) or positions.dtype.kind not in "iu":
        raise ValueError(
            f"{name}._query must return {n} integer positions, got an array of shape "
            f"{positions.shape} and type {positions.dtype}."
        )
    if positions.min() < 0 or positions.max() >= n_candidates:
        raise ValueError(
            f"{name}._query returned positions from {positions.min()} to "
            f"{positions.max()}, the pool has 0 to {n_candidates - 1}."
        )
    if len(np.unique(positions)) < n:
        raise ValueError(f"{name}._query returned a position more than once.")
    return positions.astype(np.int64, copy=False)
