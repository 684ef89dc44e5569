"""Rules that stop when the model is sure of the pool."""

from numbers import Real

import numpy as np

from dalmax_sk._base.sklearn_compat import Interval
from dalmax_sk.stopping.base import StoppingRule
from dalmax_sk.strategies.uncertainty import uncertainty_scores

__all__ = ["ExpectedError", "MaxUncertainty", "OverallUncertainty"]


class _PoolThreshold(StoppingRule):
    """Stops when a number computed from the pool falls to a threshold."""

    _key: str  # of the number in history_

    _parameter_constraints = {
        "threshold": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(self, threshold=0.05):
        self.threshold = threshold

    def observe(self, pool):
        """Return the number that is compared with the threshold.

        Raises
        ------
        MissingCapabilityError
            If the estimator has no probabilities.
        """
        pool.prepare(["proba"], type(self).__name__)
        return {self._key: float(self._measure(pool.proba))}

    def should_stop(self, history):
        """Return the reason to stop once the threshold is met, else None.

        A round that holds no observation, because the rule was added to a resumed run,
        is no reason to stop.
        """
        value = history[-1].get(self._key)
        if value is None or value > self.threshold:
            return None
        name = self._key.replace("_", " ")
        return (
            f"the pool has {name} {value:.3g}, at most the threshold {self.threshold:g}"
        )

    def _measure(self, proba):
        """Return the number, from the probabilities (n, C) of the candidates."""
        raise NotImplementedError


def _normalized_entropy(proba):
    """Return entropies (n,) as shares of log(C), the largest that there can be."""
    n_classes = proba.shape[1]
    if n_classes == 1:
        return np.zeros(len(proba))
    return uncertainty_scores(proba, "entropy") / np.log(n_classes)


class OverallUncertainty(_PoolThreshold):
    """Stop when the model is sure of the candidates on average [1]_ [2]_.

    The uncertainty of a candidate is the entropy of its class probabilities, divided
    by the logarithm of the number of classes: 0 for a sure prediction, 1 for equal
    probabilities. The rule stops when its mean over the candidates left is at most
    `threshold`. The history gets ``overall_uncertainty``.

    Parameters
    ----------
    threshold : float, default=0.05
        In [0, 1). What fits depends on model and data: a net that is overconfident
        falls below any threshold early, a calibrated one may never do.

    See Also
    --------
    MaxUncertainty : Asks for every candidate, not for the mean.
    ExpectedError : The mean probability of error instead of the entropy.

    Notes
    -----
    The whole pool is predicted in every round. A strategy that needs probabilities
    finds them computed; with others this is the price of the rule.

    References
    ----------
    .. [1] J. Zhu, H. Wang and E. Hovy, "Multi-Criteria-Based Strategy to Stop Active
       Learning for Data Annotation", COLING 2008, 1129-1136.
    .. [2] J. Zhu, H. Wang, E. Hovy and M. Ma, "Confidence-Based Stopping Criteria for
       Active Learning for Data Annotation", ACM Transactions on Speech and Language
       Processing 6(3), 2010. :doi:`10.1145/1753783.1753784`

    Examples
    --------
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.stopping import OverallUncertainty
    >>> pool = Pool.from_arrays(proba=[[0.5, 0.5], [1.0, 0.0]])
    >>> OverallUncertainty().observe(pool)
    {'overall_uncertainty': 0.5}
    >>> OverallUncertainty().should_stop([{"overall_uncertainty": 0.04}])
    'the pool has overall uncertainty 0.04, at most the threshold 0.05'
    """

    _key = "overall_uncertainty"

    def _measure(self, proba):
        return _normalized_entropy(proba).mean()


class MaxUncertainty(_PoolThreshold):
    """Stop when the model is sure of every single candidate [1]_.

    The largest normalized entropy in the pool (see :class:`OverallUncertainty`) must
    be at most `threshold`. One outlier that stays uncertain keeps the run going, so
    this is the more careful of the two. The history gets ``max_uncertainty``.

    Parameters
    ----------
    threshold : float, default=0.05
        In [0, 1).

    References
    ----------
    .. [1] J. Zhu, H. Wang, E. Hovy and M. Ma, "Confidence-Based Stopping Criteria for
       Active Learning for Data Annotation", ACM Transactions on Speech and Language
       Processing 6(3), 2010. :doi:`10.1145/1753783.1753784`

    Examples
    --------
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.stopping import MaxUncertainty
    >>> pool = Pool.from_arrays(proba=[[0.5, 0.5], [1.0, 0.0]])
    >>> MaxUncertainty().observe(pool)
    {'max_uncertainty': 1.0}
    """

    _key = "max_uncertainty"

    def _measure(self, proba):
        return _normalized_entropy(proba).max()


class ExpectedError(_PoolThreshold):
    """Stop when the model expects to err on few of the candidates [1]_.

    The expected error is the mean of ``1 - max(p)`` over the candidates: the share of
    them that the model, taken at its word, gets wrong. The history gets
    ``expected_error``.

    Parameters
    ----------
    threshold : float, default=0.05
        In [0, 1): the share of errors that is good enough. It means what it says only
        if the probabilities are calibrated.

    References
    ----------
    .. [1] J. Zhu, H. Wang, E. Hovy and M. Ma, "Confidence-Based Stopping Criteria for
       Active Learning for Data Annotation", ACM Transactions on Speech and Language
       Processing 6(3), 2010. :doi:`10.1145/1753783.1753784`

    Examples
    --------
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.stopping import ExpectedError
    >>> pool = Pool.from_arrays(proba=[[0.5, 0.5], [1.0, 0.0]])
    >>> ExpectedError().observe(pool)
    {'expected_error': 0.25}
    """

    _key = "expected_error"

    def _measure(self, proba):
        return uncertainty_scores(proba, "least_confidence").mean()
