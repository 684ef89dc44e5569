"""Mixture: every batch split between several strategies."""

import numpy as np

from dalmax_sk.strategies._composite import CompositeStrategy
from dalmax_sk.strategies.base import QueryStrategy
from dalmax_sk.strategies.typi_clust import TypiClust
from dalmax_sk.strategies.uncertainty import UncertaintySampling

__all__ = ["Mixture"]


def split_batch(n, weights):
    """Split a batch in fixed shares by the largest remainder.

    Parameters
    ----------
    n : int
        Size of the batch.
    weights : array-like of shape (k,)
        Shares, at least 0 and not all 0; only their ratios matter.

    Returns
    -------
    ndarray of int of shape (k,)
        Parts that add up to `n`, each within one of its exact share. What rounding down
        leaves over goes to the largest remainders, ties to the earlier part.

    Examples
    --------
    >>> split_batch(10, [2, 1, 1])
    array([5, 3, 2])
    """
    weights = np.asarray(weights, dtype=np.float64)
    exact = n * (weights / weights.sum())
    parts = np.floor(exact + 1e-9).astype(np.int64)  # 0.1 * 30 is just below 3
    remainders = np.round(exact - parts, 9)  # so that equal shares tie
    order = np.lexsort((np.arange(len(parts)), -remainders))
    parts[order[: n - parts.sum()]] += 1
    return parts


class Mixture(CompositeStrategy):
    """Let several strategies pick a fixed share of each batch.

    The strategies pick in turn, and each sees the pool without what those before it
    picked. A share of random picks keeps a run from going blind in one direction; a
    share of a covering strategy next to an uncertain one is the simplest cure for
    batches full of near-copies.

    Parameters
    ----------
    strategies : list of QueryStrategy or of (str, QueryStrategy), default=None
        The strategies, in the order in which they pick. Without a name of its own one
        is called after its class in lower case, ``"coreset"``; several of one class
        ``"coreset-1"``, ``"coreset-2"``. None means margin
        :class:`~dalmax_sk.strategies.UncertaintySampling` and
        :class:`~dalmax_sk.strategies.TypiClust`.
    weights : array-like of shape (n_strategies,), default=None
        Shares of the batch, at least 0; only their ratios matter. None means equal
        shares.

    See Also
    --------
    Switch : One strategy after the other, by the number of labels.
    ActiveLearningByLearning : Learns which strategy to ask.

    Notes
    -----
    A batch of n is divided by the largest remainder (:func:`split_batch`): with equal
    shares and two strategies n = 5 gives 3 and 2, and n = 1 always asks the first. A
    strategy whose part is 0 is not asked.

    Order of the picks: the j-th of a strategy's k picks stands at ``(j - 1/2) / k`` of
    the batch, so every beginning of the batch has nearly the right shares; ties go to
    the earlier strategy. The values that strategies give their picks cannot be
    compared, so there are no scores.

    A strategy does not know what the others picked, only that it is gone: CoreSet does
    not take it for a centre.

    The query leaves what each strategy reports in ``pool.info`` as ``<name>_<key>``.

    Examples
    --------
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import CoreSet, Mixture, UncertaintySampling
    >>> strategy = Mixture([("sure", UncertaintySampling()), ("wide", CoreSet())])
    >>> pool = Pool.from_arrays(
    ...     proba=[[0.9, 0.1], [0.5, 0.5], [0.6, 0.4], [0.8, 0.2]],
    ...     embeddings=[[0.0], [1.0], [1.5], [5.0]],
    ...     labeled_embeddings=[[0.0]],
    ... )
    >>> strategy.query(pool, n=3)
    array([1, 3, 2])
    >>> strategy.set_params(sure__measure="entropy").get_params()["sure__measure"]
    'entropy'
    """

    names = {"mixture": {}}
    looks_at = "what its strategies look at"
    cost = "the sum of its strategies"

    _parameter_constraints = {
        "strategies": [list, None],
        "weights": ["array-like", None],
    }

    def __init__(self, strategies=None, weights=None):
        self.strategies = strategies
        self.weights = weights

    def get_params(self, deep=True):
        """Return the parameters, with those of the strategies by name if `deep`.

        Parameters
        ----------
        deep : bool, default=True

        Returns
        -------
        dict
            ``"<name>"`` is a strategy, ``"<name>__<parameter>"`` one of its parameters.
        """
        params = super().get_params(deep=False)
        if deep and isinstance(self.strategies, list):
            for name, part in _named(self.strategies):
                params[name] = part
                if hasattr(part, "get_params"):
                    nested = part.get_params(deep=True)
                    params |= {f"{name}__{key}": nested[key] for key in nested}
        return params

    def set_params(self, **params):
        """Set parameters, those of a strategy as ``<name>__<parameter>``.

        Parameters
        ----------
        **params : dict
            ``<name>=strategy`` puts another strategy in the place of that name.

        Returns
        -------
        self : Mixture
        """
        for key in ("strategies", "weights"):
            if key in params:
                setattr(self, key, params.pop(key))
        if isinstance(self.strategies, list):
            names = [name for name, _ in _named(self.strategies)]
            for i, name in enumerate(names):
                if name in params:
                    new, old = params.pop(name), self.strategies[i]
                    # a list of its own: the old one may belong to others
                    self.strategies = list(self.strategies)
                    self.strategies[i] = (name, new) if isinstance(old, tuple) else new
        super().set_params(**params)
        return self

    def _get_parts(self):
        return dict(_named(self.strategies or []))

    def _get_strategies(self):
        """Return (name, strategy) pairs, checked."""
        if self.strategies is None:
            return _named([UncertaintySampling(), TypiClust()])
        parts = _named(self.strategies)
        names = [name for name, _ in parts]
        wrong = [part for _, part in parts if not isinstance(part, QueryStrategy)]
        if wrong or not parts:
            raise ValueError(
                "Mixture: strategies must be a list of at least one QueryStrategy, or "
                f"of pairs (name, QueryStrategy); got {self.strategies!r}."
            )
        reserved = {"strategies", "weights"}.intersection(names)
        if reserved or len(set(names)) < len(names) or any("__" in n for n in names):
            raise ValueError(
                "Mixture: names of strategies must differ, hold no double underscore, "
                f"and not be 'strategies' or 'weights'; got {names}."
            )
        return parts

    def _get_weights(self, n_parts):
        """Return the shares, checked."""
        if self.weights is None:
            return np.ones(n_parts)
        weights = np.asarray(self.weights, dtype=np.float64)
        if weights.shape != (n_parts,):
            raise ValueError(
                f"Mixture: weights must be one number for each of the {n_parts} "
                f"strategies, got shape {weights.shape}."
            )
        if not np.isfinite(weights).all() or weights.min() < 0 or weights.sum() == 0:
            raise ValueError(
                "Mixture: weights must be finite, at least 0 and not all 0, got "
                f"{self.weights!r}."
            )
        return weights

    def _check_pool(self, pool):
        parts = self._get_strategies()
        weights = self._get_weights(len(parts))
        for (_, part), weight in zip(parts, weights, strict=True):
            if weight:
                part._check_pool(pool)

    def _query(self, pool, n):
        parts = self._get_strategies()
        sizes = split_batch(n, self._get_weights(len(parts)))
        asked = [
            (name, part, int(size))
            for (name, part), size in zip(parts, sizes, strict=True)
            if size
        ]
        # one pass of the estimator for all of them, before the pool is cut
        required = {name for _, part, _ in asked for name in part.requires}
        names = " + ".join(type(part).__name__ for _, part, _ in asked)
        pool.prepare(required, owner=f"Mixture of {names}")

        left = np.arange(len(pool))  # positions in the pool that nobody has picked
        rest, info, picks, places = pool, {}, [], []
        for name, part, size in asked:
            positions = part.query(rest, size)
            info |= {f"{name}_{key}": value for key, value in rest.info.items()}
            picks.append(left[positions])
            places.append((np.arange(size) + 0.5) / size)
            keep = np.setdiff1d(np.arange(len(left)), positions)
            if len(picks) < len(asked):
                left, rest = left[keep], rest.subset(keep)
        pool.info.clear()  # the first strategy was given the pool itself
        pool.info.update(info)
        order = np.argsort(np.concatenate(places), kind="stable")
        return np.concatenate(picks)[order]


def _named(strategies):
    """Return (name, strategy) pairs; a strategy without a name gets its class's."""
    bare = [s for s in strategies if not isinstance(s, tuple)]
    named, seen = [], {}
    for entry in strategies:
        if isinstance(entry, tuple) and len(entry) == 2:
            named.append(entry)
            continue
        name = type(entry).__name__.lower()
        if sum(type(entry) is type(other) for other in bare) > 1:
            seen[name] = seen.get(name, 0) + 1
            name = f"{name}-{seen[name]}"
        named.append((name, entry))
    return named
