"""When to stop asking for labels."""

from numbers import Integral, Real

from sklearn.base import BaseEstimator

from dalmax_sk._sklearn_compat import Interval

__all__ = ["Budget", "StoppingRule", "TargetScore"]


class StoppingRule(BaseEstimator):
    """Base class of stopping rules.

    A rule sees the history so far and nothing else. Subclasses override
    :meth:`should_stop`, and :meth:`limit` if they bound the size of a query.
    """

    _parameter_constraints: dict = {}

    def should_stop(self, history):
        """Return a sentence that says why to stop, or None to go on.

        Parameters
        ----------
        history : list of dict
            ``history_`` of the learner; the last entry is the round just finished.

        Returns
        -------
        str or None
        """
        raise NotImplementedError

    def limit(self, history, n):
        """Return how many of the next `n` labels may be asked for."""
        return n


class Budget(StoppingRule):
    """Stop when a number of labels is reached; the last query is cut to fit.

    Parameters
    ----------
    n_labels : int
        Labels to spend in all, the initial set included; at least 1.

    Examples
    --------
    >>> from dalmax_sk.stopping import Budget
    >>> Budget(100).should_stop([{"n_labeled": 100}])
    'the budget of 100 labels is spent'
    >>> Budget(100).limit([{"n_labeled": 95}], n=10)
    5
    """

    _parameter_constraints = {"n_labels": [Interval(Integral, 1, None, closed="left")]}

    def __init__(self, n_labels):
        self.n_labels = n_labels

    def should_stop(self, history):
        """Return the reason to stop once the budget is spent, else None."""
        if history[-1]["n_labeled"] >= self.n_labels:
            return f"the budget of {self.n_labels} labels is spent"
        return None

    def limit(self, history, n):
        """Return how many of the next `n` labels the budget still pays."""
        return min(n, self.n_labels - history[-1]["n_labeled"])


class TargetScore(StoppingRule):
    """Stop when a score on the evaluation set reaches a target.

    Needs ``fit(..., eval_set=(X_eval, y_eval))``. Choose an evaluation set that is not
    the one you report on: stopping looks at it every round.

    Parameters
    ----------
    target : float
        Score to reach.
    metric : str, default="accuracy"
        Name of the score, as in ``history_`` without the leading ``eval_``.

    Examples
    --------
    >>> from dalmax_sk.stopping import TargetScore
    >>> TargetScore(0.9).should_stop([{"eval_accuracy": 0.93}])
    'accuracy 0.93 reached the target 0.9'
    """

    _parameter_constraints = {
        "target": [Interval(Real, None, None, closed="neither")],
        "metric": [str],
    }

    def __init__(self, target, metric="accuracy"):
        self.target = target
        self.metric = metric

    def should_stop(self, history):
        """Return the reason to stop once the score is reached, else None.

        Raises
        ------
        ValueError
            If the history holds no such score.
        """
        record = history[-1]
        key = f"eval_{self.metric}"
        if key not in record:
            scores = [name[5:] for name in record if name.startswith("eval_")]
            raise ValueError(
                f"TargetScore needs the score {self.metric!r} in every round; this run "
                f"records {scores or 'none'}. Pass eval_set=(X, y) to fit, and "
                "scoring= for other scores."
            )
        if record[key] >= self.target:
            return f"{self.metric} {record[key]:.4g} reached the target {self.target:g}"
        return None
