"""Rules that look at the scores on the evaluation set."""

from numbers import Integral, Real

import numpy as np

from dalmax_sk._base.history import scores_of
from dalmax_sk._base.sklearn_compat import Interval
from dalmax_sk.stopping.base import StoppingRule

__all__ = ["PerformancePlateau", "TargetScore"]


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

    See Also
    --------
    ForecastRule : Stops as well when the target will not be reached.

    Examples
    --------
    >>> from dalmax_sk.stopping import TargetScore
    >>> TargetScore(0.9).should_stop([{"eval_accuracy": 0.93}])
    'accuracy 0.93 reached the target 0.9'
    """

    reads_scores = True

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
            If the last round holds no such score.
        """
        (score,) = scores_of(history[-1:], self.metric, type(self).__name__)
        if score >= self.target:
            return f"{self.metric} {score:.4g} reached the target {self.target:g}"
        return None


class PerformancePlateau(StoppingRule):
    """Stop when a score on the evaluation set no longer rises.

    The best score of the last `patience` rounds is compared with the best one before
    them. Needs ``fit(..., eval_set=(X_eval, y_eval))``.

    Parameters
    ----------
    metric : str, default="accuracy"
        Name of the score, as in ``history_`` without the leading ``eval_``; higher is
        better.
    patience : int, default=3
        Rounds without a rise that are waited for; at least 1.
    min_delta : float, default=0.005
        A rise of this much or less counts as none; at least 0, in units of the score.

    Notes
    -----
    Scores are noisy: of 500 test images, an accuracy of 90 % has a standard error of
    1.3 points. A `min_delta` far below that stops late, by chance. A plateau may also
    be a stage: classes not found yet raise the score later.

    Examples
    --------
    >>> from dalmax_sk.stopping import PerformancePlateau
    >>> history = [{"eval_accuracy": s} for s in (0.6, 0.8, 0.803, 0.79, 0.804)]
    >>> PerformancePlateau(patience=3).should_stop(history)
    'accuracy rose by 0.004 in 3 rounds, not more than 0.005'
    >>> PerformancePlateau(patience=4).should_stop(history)
    """

    reads_scores = True

    _parameter_constraints = {
        "metric": [str],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "min_delta": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, metric="accuracy", patience=3, min_delta=0.005):
        self.metric = metric
        self.patience = patience
        self.min_delta = min_delta

    def should_stop(self, history):
        """Return the reason to stop if the last rounds brought no rise, else None.

        Raises
        ------
        ValueError
            If a round holds no such score.
        """
        scores = scores_of(history, self.metric, type(self).__name__)
        if len(scores) <= self.patience:
            return None
        # a score that is not a number says nothing: no rise, and no lack of one
        latest = [score for score in scores[-self.patience :] if np.isfinite(score)]
        earlier = [score for score in scores[: -self.patience] if np.isfinite(score)]
        if len(latest) < self.patience or not earlier:
            return None
        rise = max(latest) - max(earlier)
        if rise > self.min_delta:
            return None
        change = "rose by" if rise >= 0 else "fell by"
        return (
            f"{self.metric} {change} {abs(rise):.3g} in {self.patience} rounds, not "
            f"more than {self.min_delta:g}"
        )
