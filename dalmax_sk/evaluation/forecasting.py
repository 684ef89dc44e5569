"""Forecasts of the labels that a target needs: learning curves, extrapolated."""

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from dalmax_sk._base.history import scores_of
from dalmax_sk._base.sklearn_compat import Interval, validate_params
from dalmax_sk.evaluation.curves import BudgetCurves
from dalmax_sk.evaluation.extrapolation.curve_draws import Draws, fit_all, labels_alone
from dalmax_sk.evaluation.extrapolation.curve_fits import FAMILIES, Floats, fit_weights

__all__ = ["Forecast", "forecast", "why_no_forecast"]

MODELS = ("power_law", "vanishing_error", "palm")
MIN_POINTS = 4


class Forecast:
    """Forecast of the number of labels that a target needs.

    Made by :func:`forecast`.

    Attributes
    ----------
    target : float
        Score to reach.
    metric : str
        Name of the score.
    n_labels : float
        Labels needed in all: the median of the forecast. ``inf`` if the target is more
        likely never reached.
    interval : tuple of float
        Lowest and highest number of labels at `confidence_level`; ``inf`` where some
        plausible curves never get there.
    reachable : float
        Probability, in [0, 1], that the target is reached; within `max_labels` if that
        was given.
    reached_at : int or None
        The number of labels at which a measured score first reached the target; then
        `n_labels` and both ends of `interval` are this number.
    ceiling : float
        Limit of the curve for ever more labels: the median of the forecast.
    ceiling_interval : tuple of float
        Interval of the limit at `confidence_level`.
    confidence_level : float
        In (0, 1).
    max_labels : int or None
        Labels that there are.
    max_score : float
        The highest score there can be.
    n_labeled : ndarray of shape (n_points,)
        Numbers of labels that were measured.
    scores : ndarray of shape (n_points,)
        The scores there, averaged over seeds.
    n_seeds : int
        Seeds that were averaged.
    models_ : pandas.DataFrame
        One row a model: its ``weight``; ``rolling_error``, the root mean squared error
        of its forecasts of the curve's own last points; ``ceiling`` and ``n_labels`` by
        this model alone; and ``parameters``, a dict.
    """

    def __init__(
        self,
        target: float,
        metric: str,
        n_labeled: Floats,
        seed_scores: Floats,
        draws: Draws,
        models: pd.DataFrame,
        confidence_level: float,
        max_labels: int | None,
    ) -> None:
        self.target, self.metric = target, metric
        self.n_labeled, self.scores = n_labeled, seed_scores.mean(axis=0)
        self.n_seeds = len(seed_scores)
        self.models_ = models
        self.confidence_level, self.max_labels = confidence_level, max_labels
        self.max_score = draws.highest
        self._draws = draws

        tail = (1 - confidence_level) / 2
        levels = (tail, 0.5, 1 - tail)
        low, middle, high = draws.quantiles(draws.ceilings(), levels)
        self.ceiling, self.ceiling_interval = float(middle), (float(low), float(high))
        needed = draws.labels_for(target) * n_labeled[-1]
        self.reached_at = _reached_at(n_labeled, self.scores, target)
        if self.reached_at is not None:
            needed = np.full_like(needed, self.reached_at)
        low, middle, high = (_whole(value) for value in draws.quantiles(needed, levels))
        self.n_labels, self.interval = middle, (low, high)
        limit = np.inf if max_labels is None else max_labels
        within = np.isfinite(needed) & (needed <= limit)
        # a sum of all the weights may miss 1 by rounding
        self.reachable = 1.0 if within.all() else float(draws.weights[within].sum())

    def predict(self, n_labeled: Any) -> pd.DataFrame:
        """Forecast the score at numbers of labels.

        Parameters
        ----------
        n_labeled : array-like of shape (n,)
            Numbers of labels, at least 1.

        Returns
        -------
        pandas.DataFrame
            Index `n_labeled`; columns ``score``, the median of the curves, and ``low``
            and ``high``: the interval, at `confidence_level`, in which a score measured
            there lies. It is that of one run if one was given, of a mean over as many
            seeds as were given otherwise.
        """
        n = np.atleast_1d(np.asarray(n_labeled, dtype=np.float64))
        if n.ndim != 1 or not (np.isfinite(n).all() and (n >= 1).all()):
            raise ValueError(
                f"n_labeled must be numbers of labels of at least 1, got {n_labeled!r}."
            )
        tail = (1 - self.confidence_level) / 2
        curves = self._draws.scores(n / self.n_labeled[-1])
        noisy = self._draws.scores(n / self.n_labeled[-1], noisy=True)
        rows = [
            [
                *self._draws.quantiles(curve, (0.5,)),
                *self._draws.quantiles(measured, (tail, 1 - tail)),
            ]
            for curve, measured in zip(curves.T, noisy.T, strict=True)
        ]
        index = pd.Index(np.atleast_1d(n_labeled), name="n_labeled")
        return pd.DataFrame(rows, index=index, columns=["score", "low", "high"])

    def summary(self) -> str:
        """Return the forecast as a sentence or two.

        Returns
        -------
        str
        """
        goal = f"{self.metric} {self.target:g}"
        so_far = int(self.n_labeled[-1])
        if self.reached_at is not None:
            fell = self.scores[-1] < self.target
            later = f" The last score is {self.scores[-1]:.4g}." if fell else ""
            return f"{goal} was reached at {self.reached_at:,} labels.{later}"
        level = f"{100 * self.confidence_level:g} % interval"
        if self.target > self.max_score:
            return (
                f"{goal} is not reachable: it is above {self.max_score:g}, the highest "
                f"score there can be. The curve levels off at {self._ceiling_text()}."
            )
        within = (
            "" if self.max_labels is None else f" within {self.max_labels:,} labels"
        )
        low, high = self.interval
        labels = f"{_count(self.n_labels)} labels ({level}: {_range(low, high)})"
        if self.reachable < 0.5:
            needs = (
                f"It would take about {labels}"
                if math.isfinite(self.n_labels)
                else f"The curve levels off at {self._ceiling_text()}"
            )
            surely = (
                "" if self.reachable < (1 - self.confidence_level) / 2 else "probably "
            )
            return (
                f"{goal} is {surely}not reachable{within}: the chance is "
                f"{100 * self.reachable:.0f} %. {needs}."
            )
        more = _count(self.n_labels - so_far)
        return (
            f"{goal} needs about {labels}, {more} more than the {so_far:,} so far. The "
            f"chance that it is reachable{within} is {100 * self.reachable:.0f} %."
        )

    def _ceiling_text(self) -> str:
        low, high = self.ceiling_interval
        level = f"{100 * self.confidence_level:g} % interval"
        return f"{self.ceiling:.3g} ({level}: {low:.3g} to {high:.3g})"

    def __repr__(self) -> str:
        return f"<Forecast: {self.summary()}>"


@validate_params(
    {
        "target": [Interval(Real, None, None, closed="neither")],
        "metric": [str, None],
        "models": [tuple, list],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
        "n_bootstrap": [Interval(Integral, 20, None, closed="left")],
        "max_labels": [Interval(Integral, 1, None, closed="left"), None],
        "max_score": [Interval(Real, None, None, closed="neither")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def forecast(
    curve: Any,
    target: float,
    *,
    metric: str | None = None,
    models: Sequence[str] = MODELS,
    confidence_level: float = 0.9,
    n_bootstrap: int = 200,
    max_labels: int | None = None,
    max_score: float = 1.0,
    random_state: Any = 0,
) -> Forecast:
    """Forecast how many labels a target score will need.

    Several families of rising curves are fitted to the scores so far by weighted least
    squares; each is weighted by how well it forecasts the curve's own last points. The
    interval comes from refits to resampled curves, from the differences between the
    families, and from a factor for the error that fits make in the gain to come.

    Parameters
    ----------
    curve : tuple of (n_labeled, scores), list of dict, or BudgetCurves
        The scores so far: numbers of labels of shape (n_points,), increasing, with
        scores of shape (n_points,) or (n_seeds, n_points); or ``history_`` of a learner
        that was fitted with an ``eval_set``; or curves of one strategy.
    target : float
        Score to reach, in the units of the scores.
    metric : str, default=None
        Name of the score. None takes ``"accuracy"`` of a history, and the first one of
        `BudgetCurves`; for arrays it is a name for the text only.
    models : sequence of str, default=("power_law", "vanishing_error", "palm")
        Families to fit, with n the number of labels:

        - ``"power_law"``: ``a - b n^-c`` [1]_;
        - ``"vanishing_error"``: the same with ``a = max_score``;
        - ``"palm"``: ``a (1 - (1 - delta)^((n / q + alpha)^beta))`` with q labels a
          round [2]_;
        - ``"exponential"``: ``a - b exp(-c n)``.

        A family with p parameters needs p + 1 points and is left out with fewer.
    confidence_level : float, default=0.9
        Of the intervals, in (0, 1).
    n_bootstrap : int, default=200
        Resampled curves; at least 20.
    max_labels : int, default=None
        Labels that there are, for instance the size of the pool; ``reachable`` then
        means: with no more than these.
    max_score : float, default=1.0
        The highest score there can be.
    random_state : int, RandomState instance or None, default=0
        Seed of the resampling.

    Returns
    -------
    Forecast

    Raises
    ------
    ValueError
        If the curve has fewer than four points or does not rise, so that nothing can
        be extrapolated; if it is no curve; or if curves of several strategies are
        given.

    See Also
    --------
    dalmax_sk.stopping.ForecastRule : Stops a run whose target is out of reach.
    dalmax_sk.reports.ForecastDisplay : Draws a forecast.

    Notes
    -----
    With three seeds or more the seeds are resampled and the forecast is that of their
    mean; else the residuals are. Points count with the square of their number, for the
    later ones say more of what follows (Figueroa et al. [1]_ take the number itself).

    A curve whose next point is a surprise cannot be forecast: a class found late, a
    change of the training schedule, labels from another annotator. The forecast also
    supposes that the same strategy continues with batches of the same kind.

    References
    ----------
    .. [1] R. L. Figueroa, Q. Zeng-Treitler, S. Kandula and L. H. Ngo, "Predicting
       sample size required for classification performance", BMC Medical Informatics
       and Decision Making 12:8, 2012. :doi:`10.1186/1472-6947-12-8`
    .. [2] J. Machnio, M. Nielsen and M. Mehdipour Ghazi, "To Label or Not to Label:
       PALM - A Predictive Model for Evaluating Sample Efficiency in Active Learning
       Models", ICCV 2025. arXiv:2507.15381
    .. [3] T. Viering and M. Loog, "The Shape of Learning Curves: a Review", IEEE TPAMI
       45(6), 2023. arXiv:2103.10948

    Examples
    --------
    >>> from dalmax_sk.evaluation import forecast
    >>> n_labeled = [50, 100, 150, 200, 250, 300]
    >>> scores = [0.60, 0.70, 0.745, 0.77, 0.79, 0.80]
    >>> found = forecast((n_labeled, scores), target=0.85)
    >>> found.interval[0] < found.n_labels < found.interval[1]
    True
    >>> forecast((n_labeled, scores), target=0.77).summary()
    'accuracy 0.77 was reached at 200 labels.'
    """
    n, seed_scores, metric = _read(curve, metric)
    families = _families(models)
    reason = why_no_forecast(n, seed_scores.mean(axis=0), max_score)
    if reason is not None:
        reached = _reached_at(n, seed_scores.mean(axis=0), target)
        hint = (
            "" if reached is None else f" {target:g} was reached at {reached} labels."
        )
        raise ValueError(f"No forecast of this curve: {reason}.{hint}")
    usable = [name for name in families if len(n) > FAMILIES[name].n_parameters]
    if not usable:
        needed = min(FAMILIES[name].n_parameters for name in families) + 1
        raise ValueError(
            f"{', '.join(families)}: needs at least {needed} points, the curve has "
            f"{len(n)}. Wait for more rounds, or choose a model with fewer "
            "parameters."
        )
    rng = check_random_state(random_state)
    draws, table = fit_all(n, seed_scores, usable, max_score, n_bootstrap, rng)
    table["n_labels"] = [
        _whole(float(x)) for x in labels_alone(table, target, n[-1], max_score)
    ]
    columns = ["weight", "rolling_error", "ceiling", "n_labels", "parameters"]
    return Forecast(
        float(target),
        metric,
        n,
        seed_scores,
        draws,
        table[columns],
        confidence_level,
        max_labels,
    )


def why_no_forecast(n_labeled: Any, scores: Any, max_score: float = 1.0) -> str | None:
    """Return why a curve cannot be extrapolated, or None if it can.

    Parameters
    ----------
    n_labeled : array-like of shape (n_points,)
        Increasing numbers of labels.
    scores : array-like of shape (n_points,)
        The scores there.
    max_score : float, default=1.0
        The highest score there can be.

    Returns
    -------
    str or None

    Examples
    --------
    >>> from dalmax_sk.evaluation.forecasting import why_no_forecast
    >>> why_no_forecast([10, 20, 30], [0.5, 0.6, 0.7])
    'it has 3 points and at least 4 are needed'
    """
    n, values = np.asarray(n_labeled, float), np.asarray(scores, float)
    if len(n) < MIN_POINTS:
        return f"it has {len(n)} points and at least {MIN_POINTS} are needed"
    if values.max() > max_score:
        return (
            f"its score {values.max():g} is above max_score={max_score:g}, the highest "
            "there can be (give fractions, or pass max_score=)"
        )
    if values.max() == values.min():
        return f"its scores are constant ({values[0]:g}); only a rising curve says more"
    weights = fit_weights(len(n))
    logs = np.log(n)
    slope = np.cov(logs, values, aweights=weights)[0, 1]
    if slope <= 0:
        return (
            f"its scores do not rise ({values[0]:.4g} at {n[0]:g} labels, "
            f"{values[-1]:.4g} at {n[-1]:g}); look for what is wrong with the run first"
        )
    return None


# ---------------------------------------------------------------------------- the input


def _read(curve: Any, metric: str | None) -> tuple[Floats, Floats, str]:
    """Return numbers of labels (m,), scores (seeds, m) and the name of the score."""
    if isinstance(curve, BudgetCurves):
        if len(curve.strategies) != 1:
            raise ValueError(
                "forecast takes the curve of one strategy, got "
                f"{', '.join(curve.strategies)}. Choose one with "
                "curves.select(strategies=[...])."
            )
        metric = curve.metrics[0] if metric is None else metric
        _, n, values = curve.by_seed(curve.strategies[0], metric)
    elif isinstance(curve, list) and curve and isinstance(curve[0], Mapping):
        metric = "accuracy" if metric is None else metric
        every = scores_of(curve, metric, "forecast")
        # a correction of labels fits again without new ones: the last score counts
        scores = {r["n_labeled"]: score for r, score in zip(curve, every, strict=True)}
        n, values = np.array(list(scores.items()), dtype=np.float64).T
    elif isinstance(curve, tuple | list) and len(curve) == 2:
        metric = "accuracy" if metric is None else metric
        n, values = (np.asarray(part, dtype=np.float64) for part in curve)
    else:
        raise ValueError(
            "curve must be a tuple (n_labeled, scores), the history_ of a learner, or "
            f"BudgetCurves, got {type(curve).__name__}."
        )
    return *_checked(np.asarray(n, dtype=np.float64), np.atleast_2d(values)), metric


def _checked(n: Floats, values: Floats) -> tuple[Floats, Floats]:
    if n.ndim != 1 or values.ndim != 2 or values.shape[1] != len(n):
        raise ValueError(
            "n_labeled must have shape (n_points,) and scores (n_points,) or (n_seeds, "
            f"n_points), got {n.shape} and {values.shape}."
        )
    if not (np.isfinite(n).all() and np.isfinite(values).all()):
        raise ValueError("The curve holds NaN or infinite numbers; leave them out.")
    if len(n) and (n[0] < 1 or (np.diff(n) <= 0).any()):
        raise ValueError(
            f"n_labeled must be increasing and at least 1, got {n.tolist()}."
        )
    return n, values


def _families(models: Sequence[str]) -> list[str]:
    names = list(dict.fromkeys(models))
    unknown = [name for name in names if name not in FAMILIES]
    if unknown or not names:
        raise ValueError(
            f"models must be some of {', '.join(FAMILIES)}, got {list(models)!r}."
        )
    return names


# ----------------------------------------------------------------------------- in words


def _reached_at(n: Floats, scores: Floats, target: float) -> int | None:
    reached = np.flatnonzero(scores >= target)
    return int(n[reached[0]]) if len(reached) else None


def _whole(value: float) -> float:
    """Return `value` rounded up to a whole label, or infinity."""
    return math.ceil(value - 1e-6) if math.isfinite(value) else math.inf


def _count(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else "no number of"


def _range(low: float, high: float) -> str:
    if not math.isfinite(low):
        return "never"
    if not math.isfinite(high):
        return f"{low:,.0f} or more, or never"
    return f"{low:,.0f} to {high:,.0f}"
