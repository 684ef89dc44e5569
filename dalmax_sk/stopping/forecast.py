"""Stop when a forecast says that a target is out of reach."""

import math
from numbers import Integral, Real

from dalmax_sk._base.history import scores_of
from dalmax_sk._base.sklearn_compat import Interval
from dalmax_sk.stopping.base import StoppingRule

__all__ = ["ForecastRule"]


class ForecastRule(StoppingRule):
    """Stop when a target score is reached, or will not be within the labels there are.

    After each round :func:`~dalmax_sk.evaluation.forecast` extrapolates the scores on
    the evaluation set. Needs ``fit(..., eval_set=(X_eval, y_eval))``; choose another
    set than the one you report on.

    Parameters
    ----------
    target : float
        Score to reach.
    max_labels : int, default=None
        Labels that there are. None asks whether the target can be reached with any
        number of labels.
    metric : str, default="accuracy"
        Name of the score, as in ``history_`` without the leading ``eval_``.
    min_chance : float, default=0.05
        The run stops when the forecast gives the target a smaller chance than this; in
        [0, 1). 0 never gives up.
    min_rounds : int, default=6
        Records in the history (the initial set is one) before a forecast is trusted to
        end the run; at least 4.
    max_score : float, default=1.0
        The highest score there can be.

    See Also
    --------
    TargetScore : Stops at the target only.

    Notes
    -----
    A run is not given up in a round whose scores allow no forecast, because they are
    constant or fall.

    Examples
    --------
    >>> from dalmax_sk.stopping import ForecastRule
    >>> scores = [0.60, 0.70, 0.745, 0.77, 0.785, 0.795]
    >>> history = [
    ...     {"n_labeled": 50 * (i + 1), "eval_accuracy": score}
    ...     for i, score in enumerate(scores)
    ... ]
    >>> ForecastRule(0.99, max_labels=400).should_stop(history)
    'accuracy 0.99 is not reachable within 400 labels: the chance is 0 %. ...'
    >>> ForecastRule(0.81, max_labels=400).should_stop(history)
    """

    reads_scores = True

    _parameter_constraints = {
        "target": [Interval(Real, None, None, closed="neither")],
        "max_labels": [Interval(Integral, 1, None, closed="left"), None],
        "metric": [str],
        "min_chance": [Interval(Real, 0, 1, closed="left")],
        "min_rounds": [Interval(Integral, 4, None, closed="left")],
        "max_score": [Interval(Real, None, None, closed="neither")],
    }

    def __init__(
        self,
        target,
        max_labels=None,
        *,
        metric="accuracy",
        min_chance=0.05,
        min_rounds=6,
        max_score=1.0,
    ):
        self.target = target
        self.max_labels = max_labels
        self.metric = metric
        self.min_chance = min_chance
        self.min_rounds = min_rounds
        self.max_score = max_score

    def _validate_params(self):
        super()._validate_params()
        if self.target > self.max_score:
            raise ValueError(
                f"ForecastRule: target={self.target:g} is above max_score="
                f"{self.max_score:g}, the highest score there can be. Give a target up "
                "to that, or another max_score."
            )

    def should_stop(self, history):
        """Return the reason to stop if the target is reached or given up, else None.

        Raises
        ------
        ValueError
            If a round holds no such score, or one above `max_score`.
        """
        scores = scores_of(history, self.metric, type(self).__name__)
        if scores[-1] >= self.target:
            return f"{self.metric} {scores[-1]:.4g} reached the target {self.target:g}"
        highest = max(filter(math.isfinite, scores), default=-math.inf)
        if highest > self.max_score:
            raise ValueError(
                f"{self.metric} {highest:g} is above max_score={self.max_score:g}, "
                "the highest there can be; pass max_score= to ForecastRule."
            )
        if len(history) < self.min_rounds:
            return None
        # scipy.optimize and pandas load only when a forecast is made
        from dalmax_sk.evaluation.forecasting import forecast, why_no_forecast

        # a correction of labels fits again without new ones: the last score counts
        curve = {
            record["n_labeled"]: score
            for record, score in zip(history, scores, strict=True)
            if math.isfinite(score)
        }
        n_labeled, values = list(curve), list(curve.values())
        if why_no_forecast(n_labeled, values, self.max_score) is not None:
            return None
        found = forecast(
            (n_labeled, values),
            self.target,
            metric=self.metric,
            max_labels=self.max_labels,
            max_score=self.max_score,
        )
        if found.reachable >= self.min_chance:
            return None
        return found.summary()
