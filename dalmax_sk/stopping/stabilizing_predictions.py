"""Stop when the predictions of successive models agree."""

import base64
import itertools
import zlib
from numbers import Integral, Real

import numpy as np
from sklearn.metrics import cohen_kappa_score

from dalmax_sk._base.sklearn_compat import Interval
from dalmax_sk.stopping.base import StoppingRule

__all__ = ["StabilizingPredictions"]


class StabilizingPredictions(StoppingRule):
    """Stop when successive models predict the same [1]_.

    After every fit the model predicts a fixed random sample of the rows, the stop set.
    Cohen's kappa says how far these predictions agree with those of the round before,
    beyond chance; the rule stops when the mean of the last `n_windows` kappas reaches
    `kappa`. It needs no labels but those of the run.

    Parameters
    ----------
    kappa : float, default=0.99
        Agreement to reach, in (0, 1]. Lower stops earlier.
    n_stop_set : int, default=2000
        Rows in the stop set; all rows if there are fewer.
    n_windows : int, default=3
        Kappas that are averaged; at least 1.
    random_state : int, default=0
        Seed of the choice of the stop set. Not of the learner's: the set must be the
        same in every round and in a resumed run.

    Notes
    -----
    A row of the stop set stays in it when it is labelled. Dropping it would leave what
    no strategy wanted: a biased sample, with which such rules work worse [2]_. A row
    that an oracle sets aside leaves the set, and the next one takes its place; kappa
    is computed on the rows that two rounds have in common.

    Agreement is no accuracy: a model that learns nothing agrees with itself. With
    small queries successive models are alike because little was added; then ask for
    more windows.

    The predictions are kept in ``history_`` under ``stop_set_<seed>_<size>``, packed:
    some 3 kB a round for 2,000 rows. The cost is one prediction of the stop set in
    every round.

    References
    ----------
    .. [1] M. Bloodgood and K. Vijay-Shanker, "A Method for Stopping Active Learning
       Based on Stabilizing Predictions and the Need for User-Adjustable Stopping",
       CoNLL 2009, 39-47. arXiv:1409.5165
    .. [2] L. Kurlandski and M. Bloodgood, "Impact of Stop Sets on Stopping Active
       Learning for Text Classification", ICSC 2022. arXiv:2201.05460

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from dalmax_sk import ActiveLearningClassifier
    >>> from dalmax_sk.stopping import StabilizingPredictions
    >>> X, y = load_digits(return_X_y=True)
    >>> rule = StabilizingPredictions(kappa=0.9, n_stop_set=300)
    >>> learner = ActiveLearningClassifier(
    ...     n_initial=50, query_size=25, n_rounds=20, stopping=rule, random_state=0
    ... ).fit(X[:900] / 16, y[:900])
    >>> learner.stop_reason_
    'kappa of successive predictions is 0.9..., at least 0.9'
    >>> rule.agreements(learner.history_).round(2)
    array([ nan, 0...])
    """

    _parameter_constraints = {
        "kappa": [Interval(Real, 0, 1, closed="right")],
        "n_stop_set": [Interval(Integral, 2, None, closed="left")],
        "n_windows": [Interval(Integral, 1, None, closed="left")],
        "random_state": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(self, kappa=0.99, *, n_stop_set=2000, n_windows=3, random_state=0):
        self.kappa = kappa
        self.n_stop_set = n_stop_set
        self.n_windows = n_windows
        self.random_state = random_state

    def observe(self, pool):
        """Return the predictions of the stop set, packed.

        Raises
        ------
        MissingCapabilityError
            If the pool was made from arrays and has no rows to predict.
        """
        rows = self._stop_rows(pool)
        codes = np.empty(len(rows), dtype=np.int64)
        is_labeled = np.isin(rows, pool.labeled_indices)
        name = type(self).__name__
        if not is_labeled.all():
            # pool.indices is not sorted by contract
            order = np.argsort(pool.indices)
            places = np.searchsorted(pool.indices, rows[~is_labeled], sorter=order)
            predicted = pool.predict(order[places], owner=name)
            codes[~is_labeled] = np.searchsorted(pool.classes, predicted)
        if is_labeled.any():
            order = np.argsort(pool.labeled_indices)
            places = np.searchsorted(
                pool.labeled_indices, rows[is_labeled], sorter=order
            )
            predicted = pool.predict(order[places], labeled=True, owner=name)
            codes[is_labeled] = np.searchsorted(pool.classes, predicted)
        # differences of neighbours are small numbers, which pack well
        packed = {"rows": _pack(np.diff(rows, prepend=0)), "codes": _pack(codes)}
        return {self._key: packed}

    def should_stop(self, history):
        """Return the reason to stop once successive models agree, else None."""
        latest = history[-self.n_windows - 1 :]
        if len(latest) <= self.n_windows:
            return None
        mean = self.agreements(latest)[1:].mean()
        if not mean >= self.kappa:  # NaN where a round was not observed
            return None
        return f"kappa of successive predictions is {mean:.4g}, at least {self.kappa:g}"

    def agreements(self, history):
        """Return Cohen's kappa of every round with the round before it.

        Parameters
        ----------
        history : list of dict
            ``history_`` of a learner that ran with this rule.

        Returns
        -------
        ndarray of shape (len(history),), float64
            In [-1, 1]; NaN for the first round, and where a round or the one before it
            was not observed.
        """
        predictions = [_unpack(record.get(self._key)) for record in history]
        kappas = [
            _kappa(before, after) for before, after in itertools.pairwise(predictions)
        ]
        return np.array([np.nan, *kappas][: len(history)])

    @property
    def _key(self):
        # two rules with different stop sets must not write over each other's
        return f"stop_set_{self.random_state}_{self.n_stop_set}"

    def _stop_rows(self, pool):
        """Return the sorted row numbers (k,) of the stop set."""
        rows = np.concatenate([pool.indices, pool.labeled_indices])
        # the number drawn for a row depends on the seed and the row alone, not on
        # which other rows there are: a stream's beginning does not depend on its length
        draws = np.random.default_rng(self.random_state).random(rows.max() + 1)[rows]
        return np.sort(rows[np.argsort(draws)[: self.n_stop_set]])


def _kappa(before, after):
    """Return Cohen's kappa of two (rows, codes) on the rows they share."""
    if before is None or after is None:
        return np.nan
    _, i, j = np.intersect1d(
        before[0], after[0], assume_unique=True, return_indices=True
    )
    first, second = before[1][i], after[1][j]
    if not len(first):
        return np.nan
    if np.array_equal(first, second):
        return 1.0  # 0 / 0 by the formula if there is one class only
    return cohen_kappa_score(first, second)


def _pack(values):
    """Return non-negative ints as text."""
    raw = zlib.compress(values.astype("<u4").tobytes(), 9)
    return base64.b64encode(raw).decode("ascii")


def _unpack(packed):
    """Return (rows, codes) of what `observe` packed, None of None."""
    if packed is None:
        return None
    steps, codes = (
        np.frombuffer(zlib.decompress(base64.b64decode(packed[name])), dtype="<u4")
        for name in ("rows", "codes")
    )
    return np.cumsum(steps, dtype=np.int64), codes.astype(np.int64)
