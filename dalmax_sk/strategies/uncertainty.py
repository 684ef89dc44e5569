"""Uncertainty sampling from class probabilities, or from decision values."""

import numpy as np
from scipy.special import entr, expit

from dalmax_sk._base.sklearn_compat import StrOptions
from dalmax_sk._base.storage import by_rows
from dalmax_sk.strategies.base import ScoreStrategy

__all__ = ["UncertaintySampling", "uncertainty_scores"]

MEASURES = ("least_confidence", "margin", "entropy")


def uncertainty_scores(proba, measure):
    """Score how uncertain class probabilities are; higher is more uncertain.

    Parameters
    ----------
    proba : ndarray of shape (n, C)
        Class probabilities.
    measure : {"least_confidence", "margin", "entropy"}
        With p1 >= p2 >= ... the probabilities of one candidate: ``1 - p1``;
        ``1 - (p1 - p2)``; ``-sum(p * log(p))`` in nats.

    Returns
    -------
    ndarray of shape (n,)
        At least 0. Least confidence and margin are at most 1, entropy at most log(C).

    Examples
    --------
    >>> import numpy as np
    >>> proba = np.array([[0.5, 0.5, 0.0], [0.4, 0.3, 0.3]])
    >>> uncertainty_scores(proba, "margin")
    array([1. , 0.9])
    >>> uncertainty_scores(proba, "least_confidence")
    array([0.5, 0.6])
    """
    if measure not in MEASURES:
        raise ValueError(f"measure must be one of {MEASURES}, got {measure!r}.")
    return by_rows(_SCORES[measure], proba)


def _uncertainty_of_decisions(values, measure):
    """Score decision values (n, S) in (0, 1]; higher is more uncertain."""
    if measure == "least_confidence" or values.shape[1] == 1:
        return expit(-values.max(axis=1))
    top_two = np.partition(values, -2, axis=1)[:, -2:]  # (n, 2), ascending
    return 1 / (1 + top_two[:, 1] - top_two[:, 0])


def _entropy(proba):
    # entr(p) = -p log p with entr(0) = 0: no NaN where a class is ruled out
    return entr(proba).sum(axis=1)


def _least_confidence(proba):
    return 1 - proba.max(axis=1)


def _margin(proba):
    if proba.shape[1] == 1:
        return 1 - proba[:, 0]
    top_two = np.partition(proba, -2, axis=1)[:, -2:]  # (n, 2), ascending
    return 1 - (top_two[:, 1] - top_two[:, 0])


_SCORES = {
    "least_confidence": _least_confidence,
    "margin": _margin,
    "entropy": _entropy,
}


class UncertaintySampling(ScoreStrategy):
    """Pick the candidates that the model is least sure of.

    Parameters
    ----------
    measure : {"least_confidence", "margin", "entropy"}, default="margin"
        What "sure" means. With p1 >= p2 >= ... the class probabilities of a candidate:

        - ``"least_confidence"``: score ``1 - p1`` [1]_;
        - ``"margin"``: score ``1 - (p1 - p2)`` [2]_, in published comparisons as good
          as any method, and the cheapest;
        - ``"entropy"``: score ``-sum(p log p)`` in nats [3]_.

        An estimator without probabilities is asked for its decision values, see Notes.
    batch : {"top", "power", "softmax", "softrank"}, default="top"
        How scores become a batch: the largest ones (ties at random from the seed), or
        a stochastic batch [4]_.
    beta : float, default=1.0
        Coldness of a stochastic batch, at least 0: 0 is uniform sampling, large values
        approach ``"top"``. Unused with ``batch="top"``.

    See Also
    --------
    RandomSampling : The baseline.
    CoreSet : Covers the pool instead of asking the model.

    Notes
    -----
    An SVM, a perceptron or a RidgeClassifier has no ``predict_proba``. With the values
    of its ``decision_function``, ``"margin"`` scores ``1 / (1 + d)``: d is the absolute
    value with two classes, the distance to the hyperplane in units of the margin, and
    with more of them the gap between the two largest values. The least d comes first.
    ``"least_confidence"`` prefers the smallest largest value, which with two classes is
    the same order. ``"entropy"`` needs probabilities.

    References
    ----------
    .. [1] D. D. Lewis and W. A. Gale, "A Sequential Algorithm for Training Text
       Classifiers", SIGIR 1994. https://arxiv.org/abs/cmp-lg/9407020
    .. [2] T. Scheffer, C. Decomain and S. Wrobel, "Active Hidden Markov Models for
       Information Extraction", IDA 2001. https://doi.org/10.1007/3-540-44816-0_31
    .. [3] B. Settles, "Active Learning Literature Survey", University of
       Wisconsin-Madison, Technical Report 1648, 2009, section 3.1.
    .. [4] A. Kirsch, S. Farquhar, P. Atighehchian, A. Jesson, F. Branchaud-Charron and
       Y. Gal, "Stochastic Batch Acquisition: A Simple Baseline for Deep Active
       Learning", Transactions on Machine Learning Research, 2023.
       https://arxiv.org/abs/2106.12059

    Examples
    --------
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import UncertaintySampling
    >>> pool = Pool.from_arrays(proba=[[0.9, 0.1], [0.6, 0.4], [0.5, 0.5]])
    >>> UncertaintySampling(measure="entropy").query(pool, n=2)
    array([2, 1])
    """

    names = {
        "uncertainty_sampling": {},
        "margin_sampling": {"measure": "margin"},
        "entropy_sampling": {"measure": "entropy"},
        "least_confidence_sampling": {"measure": "least_confidence"},
    }
    category = "uncertainty"
    cost = "O(n·C)"

    _parameter_constraints = {
        **ScoreStrategy._parameter_constraints,
        "measure": [StrOptions(set(MEASURES))],
    }

    def __init__(self, measure="margin", batch="top", beta=1.0):
        self.measure = measure
        self.batch = batch
        self.beta = beta

    @property
    def requires(self):
        return ("proba",) if self.measure == "entropy" else ("proba|decision_values",)

    def _score(self, pool):
        if pool.can_give("proba"):
            return uncertainty_scores(pool.proba, self.measure)
        return _uncertainty_of_decisions(pool.decision_values, self.measure)
