"""Filtered: guards around any strategy."""

import heapq
import logging
import math
from numbers import Integral, Real

import numpy as np

from dalmax_sk._base.sklearn_compat import Interval, RealNotInt, StrOptions
from dalmax_sk.selection import greedy_apart, kth_neighbor_distances, near_any
from dalmax_sk.strategies._composite import CompositeStrategy
from dalmax_sk.strategies.base import QueryStrategy
from dalmax_sk.strategies.uncertainty import UncertaintySampling

__all__ = ["Filtered"]

logger = logging.getLogger("dalmax_sk")


def balanced_quotas(n_labeled, n_available, n, order):
    """Share out picks so that the counts of all classes become as equal as they can.

    Parameters
    ----------
    n_labeled : array-like of int of shape (C,)
        Labels that each class has.
    n_available : array-like of int of shape (C,)
        Candidates that there are of each class.
    n : int
        Picks to share out, at most ``sum(n_available)``.
    order : array-like of int of shape (C,)
        Rank of each class where counts are equal, the lowest first.

    Returns
    -------
    ndarray of int of shape (C,)
        Picks for each class: one after another goes to the class with the fewest labels
        and picks that has a candidate left.

    Examples
    --------
    >>> balanced_quotas([5, 1, 0], [9, 9, 2], 6, order=[0, 1, 2])
    array([0, 4, 2])
    """
    n_labeled, left = np.asarray(n_labeled), np.array(n_available)
    quotas = np.zeros(len(left), dtype=np.int64)
    queue = [(n_labeled[c], order[c], c) for c in range(len(left)) if left[c] > 0]
    heapq.heapify(queue)
    for _ in range(n):
        count, rank, c = heapq.heappop(queue)
        quotas[c] += 1
        left[c] -= 1
        if left[c] > 0:
            heapq.heappush(queue, (count + 1, rank, c))
    return quotas


class Filtered(CompositeStrategy):
    """Keep a strategy from picking copies, outliers and classes that have enough.

    Each guard is off until its parameter is given. They act in this order: the
    subsample is drawn first, then outliers and near-duplicates of labelled samples are
    dropped, then the strategy is asked, and its picks are taken in its order of
    preference unless one is a near-duplicate of a pick before it or its class is full.
    What that leaves open the strategy is asked for again, among the candidates still
    allowed.

    Parameters
    ----------
    strategy : QueryStrategy or None, default=None
        The strategy to guard. None means margin
        :class:`~dalmax_sk.strategies.UncertaintySampling`.
    near_duplicates : float or None, default=None
        No two picks, and no pick and labelled sample, have embeddings within this
        distance. 0 refuses exact copies only.
    class_balance : bool, default=False
        Whether to share the batch out over the *predicted* classes, so that labels and
        picks together have class counts as equal as the candidates allow.
    out_of_distribution : float or None, default=None
        Drop the candidates whose distance to their `n_neighbors`-th nearest neighbour
        lies above this quantile of all of them, in (0, 1): 0.95 drops the most
        isolated 5 % [1]_.
    reference : {"pool", "labeled"}, default="pool"
        Whose neighbours count for `out_of_distribution`: the candidates' own, which
        finds isolated ones, or the labelled samples', which finds whatever is unlike
        all labels. The latter also shuts out every class not labelled yet, so it is for
        pools known to hold foreign images and for a labelled set that covers the rest.
    n_neighbors : int, default=10
        Which neighbour; fewer if there are fewer.
    metric : {"cosine", "euclidean"}, default="cosine"
        Distance of embeddings, see :func:`~dalmax_sk.selection.near_any`. Cosine, 1 -
        cos(u, v) from 0 to 2, has the same scale for every net.
    subsample : int, float or None, default=None
        Show the strategy only this number of candidates, or this fraction of them
        (rounded up), drawn uniformly anew at every query; never fewer than the picks
        wanted. It bounds the cost of all that follows, the model's pass included.
    shortage : {"relax", "raise"}, default="relax"
        What to do when the guards allow fewer candidates than are wanted: ``"relax"``
        lifts them for the missing picks, one after another: first the class balance,
        then near-duplicates, then out-of-distribution; it logs a warning and records
        the number. ``"raise"`` is an error.

    See Also
    --------
    Mixture : Several strategies share a batch.

    Notes
    -----
    Asked again, a strategy is asked for twice, four times … as many as are missing, so
    a pool full of copies takes few queries. It does not know what was picked in this
    batch, only that picks, their near-duplicates and full classes are gone.

    The query leaves in ``pool.info``, with the notes of the strategy:
    ``n_out_of_distribution`` and ``n_near_duplicates`` (candidates dropped; the latter
    of labels or picks), ``n_queries`` (of the strategy) and ``n_relaxed`` (picks that
    break a guard), as far as they apply.

    References
    ----------
    .. [1] Y. Sun, Y. Ming, X. Zhu and Y. Li, "Out-of-Distribution Detection with Deep
       Nearest Neighbors", ICML 2022. https://arxiv.org/abs/2204.06507

    Examples
    --------
    Without the guard the two copies would be the batch:

    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import Filtered, UncertaintySampling
    >>> strategy = Filtered(UncertaintySampling(), near_duplicates=0.1)
    >>> pool = Pool.from_arrays(
    ...     proba=[[0.51, 0.49], [0.52, 0.48], [0.7, 0.3], [0.9, 0.1]],
    ...     embeddings=[[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]],
    ... )
    >>> strategy.query(pool, n=2), pool.info["n_near_duplicates"]
    (array([0, 2]), 1)
    """

    names = {"filtered": {"near_duplicates": 0.001}}
    looks_at = "what its strategy looks at, and embeddings or probabilities"
    cost = "O(n·(m + b)·d), and that of its strategy"

    _parameter_constraints = {
        "strategy": [QueryStrategy, None],
        "near_duplicates": [Interval(Real, 0, None, closed="left"), None],
        "class_balance": ["boolean"],
        "out_of_distribution": [Interval(Real, 0, 1, closed="neither"), None],
        "reference": [StrOptions({"pool", "labeled"})],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "metric": [StrOptions({"cosine", "euclidean"})],
        "subsample": [
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="right"),
            None,
        ],
        "shortage": [StrOptions({"relax", "raise"})],
    }

    def __init__(
        self,
        strategy=None,
        *,
        near_duplicates=None,
        class_balance=False,
        out_of_distribution=None,
        reference="pool",
        n_neighbors=10,
        metric="cosine",
        subsample=None,
        shortage="relax",
    ):
        self.strategy = strategy
        self.near_duplicates = near_duplicates
        self.class_balance = class_balance
        self.out_of_distribution = out_of_distribution
        self.reference = reference
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.subsample = subsample
        self.shortage = shortage

    def _get_parts(self):
        return {} if self.strategy is None else {"strategy": self.strategy}

    def _guards_require(self):
        """Return the quantities of the pool that the guards themselves read."""
        required = set()
        if self.near_duplicates is not None:
            required |= {"embeddings", "labeled_embeddings"}
        if self.out_of_distribution is not None:
            required.add("embeddings")
            if self.reference == "labeled":
                required.add("labeled_embeddings")
        return required | {"proba"} if self.class_balance else required

    def _check_pool(self, pool):
        for need in sorted(self._guards_require()):
            pool.check(need, owner=type(self).__name__)
        self._get_strategy()._check_pool(pool)

    def _get_strategy(self):
        return UncertaintySampling() if self.strategy is None else self.strategy

    def _query(self, pool, n):
        # a stream of its own: the strategy draws from the pool's
        rng = np.random.RandomState(pool.random_state.randint(2**31 - 1))
        kept = self._draw_subsample(len(pool), n, rng)
        view = pool if len(kept) == len(pool) else pool.subset(kept)
        part = self._get_strategy()
        view.prepare(
            self._guards_require() | set(part.requires),
            owner=f"Filtered {type(part).__name__}",
        )
        batch = _Batch(self, view, part, n, rng)
        normal = self._in_distribution(view, batch.info)
        fresh = self._unlike_the_labeled(view, batch.info)
        batch.collect(normal & fresh, apart=True, balanced=self.class_balance)
        n_allowed = len(batch.picks)
        if self.shortage == "raise" and n_allowed < n:
            raise ValueError(
                f"Filtered: the guards allow only {n_allowed} of the {n} picks wanted "
                f"from {len(pool)} candidates {batch.info}. Loosen them, ask for "
                "fewer, or use shortage='relax'."
            )
        batch.collect(normal & fresh, apart=True, balanced=False)
        batch.collect(normal, apart=False, balanced=False)
        batch.collect(np.ones(len(view), dtype=bool), apart=False, balanced=False)
        batch.info["n_relaxed"] = n - n_allowed
        if n_allowed < n:
            logger.warning(
                "Filtered: the guards allow %d of %d picks; they are lifted for the "
                "other %d",
                n_allowed,
                n,
                n - n_allowed,
            )
        pool.info.clear()
        pool.info.update(batch.info)
        positions = kept[np.array(batch.picks)]
        return positions, None if batch.scores is None else np.array(batch.scores)

    def _draw_subsample(self, n_candidates, n, rng):
        """Return the positions that are looked at at all, ascending."""
        size = self.subsample
        if size is None:
            return np.arange(n_candidates)
        if not isinstance(size, Integral):
            size = math.ceil(round(size * n_candidates, 6))
        size = min(max(size, n), n_candidates)
        return np.sort(rng.choice(n_candidates, size, replace=False))

    def _in_distribution(self, view, info):
        """Return which candidates are not isolated, bool of shape (n,)."""
        if self.out_of_distribution is None:
            return np.ones(len(view), dtype=bool)
        reference = None
        n_others = len(view) - 1
        if self.reference == "labeled":
            reference = view.labeled_embeddings
            n_others = len(reference)
            if n_others == 0:
                raise ValueError(
                    "Filtered(out_of_distribution=..., reference='labeled'): nothing "
                    "is labelled yet. Use reference='pool'."
                )
        if n_others == 0:  # the last candidate has nobody to be far from
            return np.ones(len(view), dtype=bool)
        distances = kth_neighbor_distances(
            view.embeddings,
            min(self.n_neighbors, n_others),
            reference,
            metric=self.metric,
            max_memory=view.max_memory,
        )
        # the smallest distance that at least this share of the candidates keeps to
        limit = np.quantile(distances, self.out_of_distribution, method="inverted_cdf")
        info["n_out_of_distribution"] = int((distances > limit).sum())
        return distances <= limit

    def _unlike_the_labeled(self, view, info):
        """Return which candidates are near no labelled sample, bool of shape (n,)."""
        if self.near_duplicates is None:
            return np.ones(len(view), dtype=bool)
        near = near_any(
            view.embeddings,
            view.labeled_embeddings,
            self.near_duplicates,
            metric=self.metric,
            max_memory=view.max_memory,
        )
        info["n_near_duplicates"] = int(near.sum())
        return ~near


class _Batch:
    """The picks of one query while they are collected.

    Positions are those in `view`, the part of the pool that is looked at.
    """

    def __init__(self, guards, view, part, n, rng):
        self.guards = guards
        self.view = view
        self.part = part
        self.n = n
        self.picks = []
        self.scores = []
        self.info = {"n_queries": 0}
        self.predicted = None
        if guards.class_balance:
            self.predicted = view.proba.argmax(axis=1)
            self.order = rng.permutation(view.proba.shape[1])

    def collect(self, allowed, *, apart, balanced):
        """Fill the batch up from the `allowed` candidates, bool of shape (n_view,)."""
        apart = apart and self.guards.near_duplicates is not None
        rest = np.flatnonzero(allowed)
        rest = np.setdiff1d(rest, self.picks)
        missing = self.n - len(self.picks)
        if apart and self.picks:
            rest = rest[~self._near(rest, self.picks)]
        attempt = 0
        quotas = None
        while missing and len(rest):
            if balanced and quotas is None:
                quotas = self._quotas(rest, missing)
                rest = rest[quotas[self.predicted[rest]] > 0]
            asked = self._ask(rest, min(missing * 2**attempt, len(rest)))
            new = self._accept(asked, missing, apart, quotas)
            missing -= len(new)
            attempt += 1
            rest = np.setdiff1d(rest, new)
            if apart and missing and len(rest):
                near = self._near(rest, new)
                self.info["n_near_duplicates"] += int(near.sum())
                rest = rest[~near]
            if quotas is not None:
                rest = rest[quotas[self.predicted[rest]] > 0]

    def _ask(self, rest, n):
        """Return the strategy's `n` picks among `rest`, and keep its scores."""
        pool = self.view if len(rest) == len(self.view) else self.view.subset(rest)
        positions, scores = self.part.query(pool, n, return_scores=True)
        self.info |= pool.info | {"n_queries": self.info["n_queries"] + 1}
        self.asked_scores = scores
        return rest[positions]

    def _accept(self, asked, missing, apart, quotas):
        """Take picks in order of preference, as far as the guards allow."""
        guards = self.guards
        if not apart and quotas is None:
            kept = np.arange(min(missing, len(asked)))
        else:
            points = self.view.embeddings[asked] if apart else np.zeros((len(asked), 1))
            kept = greedy_apart(
                points,
                guards.near_duplicates if apart else -1,
                missing,
                groups=None if quotas is None else self.predicted[asked],
                quotas=quotas,
                metric=guards.metric,
                max_memory=self.view.max_memory,
            )
        new = asked[kept]
        if quotas is not None:
            quotas -= np.bincount(self.predicted[new], minlength=len(quotas))
        self.picks += new.tolist()
        if self.asked_scores is None:
            self.scores = None
        elif self.scores is not None:
            self.scores += np.asarray(self.asked_scores)[kept].tolist()
        return new

    def _near(self, rest, picks):
        """Return which of `rest` are near-duplicates of `picks`."""
        return near_any(
            self.view.embeddings[rest],
            self.view.embeddings[picks],
            self.guards.near_duplicates,
            metric=self.guards.metric,
            max_memory=self.view.max_memory,
        )

    def _quotas(self, rest, missing):
        """Return how many picks of each predicted class are wanted."""
        n_classes = len(self.order)
        return balanced_quotas(
            np.bincount(self.view.y_labeled_codes, minlength=n_classes),
            np.bincount(self.predicted[rest], minlength=n_classes),
            min(missing, len(rest)),
            self.order,
        )
