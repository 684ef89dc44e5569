"""Stop when a number of labels is spent."""

from numbers import Integral

from dalmax_sk._base.sklearn_compat import Interval
from dalmax_sk.stopping.base import StoppingRule

__all__ = ["Budget"]


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
