"""Small pools of three kinds, for the checks of `dalmax_sk.utils.estimator_checks`.

All quantities of a pool are functions of its rows, so rows that are equal have equal
probabilities, and pools that hold the same rows in another order are the same pool.
"""

import functools
import pickle
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from dalmax_sk.pool import MissingCapabilityError, Pool

__all__ = [
    "KINDS",
    "Problem",
    "TracingPool",
    "find_kind",
    "find_kinds",
    "make_pool",
    "new_estimator",
]

#: "arrays": `Pool.from_arrays` with everything it takes; "linear": a fitted
#: LogisticRegression on a table; "network": a small trained CNNClassifier on a table.
KINDS = ("arrays", "linear", "network")

_SAMPLES = 6


@dataclass(frozen=True)
class Problem:
    """A table of Gaussian classes; its first rows are labelled, the rest candidates."""

    n: int = 30
    n_labeled: int = 12
    n_features: int = 4
    n_classes: int = 3
    n_seen: int | None = None  # classes among the labels, None for all
    dtype: str = "float64"
    names: bool = False  # whether labels are strings
    seed: int = 0

    @property
    def n_rows(self):
        return self.n_labeled + self.n

    @property
    def classes(self):
        codes = np.arange(self.n_classes)
        return np.array([f"class {c}" for c in codes]) if self.names else codes

    @functools.cached_property
    def X(self):
        rng = np.random.RandomState(self.seed)
        X = self._centers[self._codes] + rng.randn(self.n_rows, self.n_features)
        return X.astype(self.dtype)

    @property
    def y(self):
        return self.classes[self._codes]

    @functools.cached_property
    def _codes(self):
        """Classes in turn; among the labelled rows only those that are seen."""
        codes = np.arange(self.n_rows) % self.n_classes
        seen = self.n_seen or self.n_classes
        codes[: self.n_labeled] = np.arange(self.n_labeled) % seen
        return codes

    @functools.cached_property
    def _centers(self):
        rng = np.random.RandomState(self.seed + 1)
        # as far apart in many dimensions as in few: nobody is sure of everything
        scale = 2.4 / np.sqrt(self.n_features)
        return scale * rng.randn(self.n_classes, self.n_features)

    def head(self):
        """Weight (C, d) and bias (C,) of a model; it expects no unseen class."""
        weight = 0.6 * self._centers
        bias = -0.3 * (self._centers**2).sum(axis=1)
        bias[self.n_seen or self.n_classes :] = -40
        return weight, bias


def new_estimator(kind):
    """Return an unfitted estimator of the kind "linear" or "network"."""
    if kind == "linear":
        return LogisticRegression(C=0.5)
    from dalmax_sk.cnn import CNNClassifier  # torch takes its time

    return CNNClassifier(max_epochs=8, lr=0.01, device="cpu", random_state=0)


def fitted_estimator(kind, problem):
    """Return an estimator fitted on the labelled rows, a new copy every time."""
    return pickle.loads(_pickled_estimator(kind, problem))


@functools.lru_cache(maxsize=64)
def _pickled_estimator(kind, problem):
    estimator = clone(new_estimator(kind))
    if kind == "network":
        estimator.set_params(classes=problem.classes)
    m = problem.n_labeled
    return pickle.dumps(estimator.fit(problem.X[:m], problem.y[:m]))


class TracingPool(Pool):
    """A pool that remembers in `used` what it was asked for and could give."""

    def _finish(self, *args):
        # a subset shares the set, so what it is asked for is noted here as well
        self.used = set()
        super()._finish(*args)

    def prepare(self, requires, owner="This strategy"):
        requires = tuple(requires)
        super().prepare(requires, owner=owner)
        self._note(*requires)

    def posterior_proba(self, *args, **kwargs):
        found = super().posterior_proba(*args, **kwargs)
        self._note("posterior_proba")
        return found

    def _rows(self, owner, positions=None, *, labeled=False):
        found = super()._rows(owner, positions, labeled=labeled)
        if not labeled:
            self._note("rows")
        return found

    def _note(self, *names):
        self.used.update(names)


def make_pool(
    kind,
    problem=Problem(),
    *,
    rows=None,
    X=None,
    estimator=None,
    random_state=0,
    max_memory=None,
):
    """Make a pool.

    Parameters
    ----------
    kind : {"arrays", "linear", "network"}
    problem : Problem
    rows : array-like of int, default=None
        The candidates, as rows of the problem's table. None means all that are not
        labelled, in their order. With arrays a row may occur more than once.
    X : ndarray, default=None
        Another table, of the same shape.
    estimator : estimator, default=None
        Another fitted estimator, for the kinds that have one.
    random_state, max_memory
        As in `Pool`.

    Returns
    -------
    TracingPool
    """
    m = problem.n_labeled
    X = problem.X if X is None else X
    rows = np.arange(m, problem.n_rows) if rows is None else np.asarray(rows)
    seeds = {"random_state": random_state}
    if max_memory is not None:
        seeds["max_memory"] = max_memory
    if kind != "arrays":
        if estimator is None and m:
            estimator = fitted_estimator(kind, problem)
        return TracingPool(
            estimator,
            X,
            np.arange(m),
            problem.y[:m],
            classes=problem.classes,
            candidate_indices=rows,
            **seeds,
        )
    weight, bias = problem.head()
    rng = np.random.RandomState(5)
    noise = 0.4 * rng.randn(_SAMPLES, *weight.shape)
    wide = X.astype(np.float64)
    samples = np.stack([softmax(wide[rows] @ (weight + e).T + bias, 1) for e in noise])
    return TracingPool.from_arrays(
        proba=softmax(wide[rows] @ weight.T + bias, axis=1),
        embeddings=X[rows],
        labeled_embeddings=X[:m],
        labeled_proba=softmax(wide[:m] @ weight.T + bias, axis=1),
        posterior_proba=samples,
        y_labeled=problem.y[:m],
        classes=problem.classes,
        head=(weight, bias),
        **seeds,
    )


_is_enough_found = {}


def find_kind(strategy, kinds=KINDS):
    """Return the first kind of pool that has all that `strategy` needs, or None.

    Any other error than that of a missing capability is passed on.
    """
    return next((kind for kind in kinds if _is_enough(strategy, kind)), None)


def find_kinds(strategy):
    """Return all kinds of pools that have all that `strategy` needs."""
    return [kind for kind in KINDS if _is_enough(strategy, kind)]


def _is_enough(strategy, kind):
    key = (type(strategy), repr(strategy), kind)
    if key not in _is_enough_found:
        try:
            clone(strategy).query(make_pool(kind), 2)
        except MissingCapabilityError:
            _is_enough_found[key] = False
        else:
            _is_enough_found[key] = True
    return _is_enough_found[key]
