"""Scores of strategies against the number of labels, in one figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from dalmax_sk.evaluation.curves import BudgetCurves
from dalmax_sk.evaluation.experiment import budget_curve
from dalmax_sk.evaluation.statistics.resampling import mean_interval, resample_weights
from dalmax_sk.reports.displays.display_base import (
    BASELINE_STYLE,
    FigureDisplay,
    label_axes,
    line_style,
    literal,
    shorten,
)

__all__ = ["BudgetCurve", "BudgetCurveDisplay"]

# Shaded bands of more curves than that hide one another.
_MAX_BANDS = 5
# An interval of the mean of fewer seeds fills the figure.
_MIN_SEEDS = 4


@dataclass(frozen=True, eq=False)
class BudgetCurve:
    """One strategy's curve, ready to draw.

    Attributes
    ----------
    n_labeled : array-like of int of shape (n_budgets,)
        Numbers of labels.
    scores : array-like of float of shape (n_budgets,)
        Mean over the seeds: scores, or differences to the baseline.
    low, high : array-like of float of shape (n_budgets,) or None
        Ends of the shaded band.
    seeds : array-like of float of shape (n_seeds, n_budgets) or None
        Curves of the single seeds, drawn thin.
    """

    n_labeled: ArrayLike
    scores: ArrayLike
    low: ArrayLike | None = None
    high: ArrayLike | None = None
    seeds: ArrayLike | None = None


class BudgetCurveDisplay(FigureDisplay):
    """Mean scores of strategies against the number of labels.

    Up to thirty curves differ in colour or dashes, neighbours also in their markers, so
    that they are told apart in grey print and by colour-blind readers. The legend
    is next to the plot, in the order in which the curves end.

    Parameters
    ----------
    curves : mapping of str to BudgetCurve
        The curve of each strategy.
    score_name : str, default="accuracy"
        Name of the score on the axis.
    percent : bool, default=True
        Draw 100 times the values, as percent (points if they are differences).
    baseline : str, default=None
        Strategy drawn in black dashes, whatever its place.
    relative : bool, default=False
        The scores are differences to `baseline`, which is the line at 0.
    highlight : sequence of str, default=None
        Draw the others thin and grey, in one entry of the legend.
    band_name : str, default=None
        Meaning of the shaded bands, shown below the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn on.
    figure_ : matplotlib Figure
        The figure that holds them.
    lines_ : dict of str to matplotlib Line2D
        The curve of each strategy.

    See Also
    --------
    ActiveLearningCurveDisplay : The curve of a single run.

    Examples
    --------
    >>> import pandas as pd
    >>> from dalmax_sk.evaluation import BudgetCurves
    >>> from dalmax_sk.reports import BudgetCurveDisplay
    >>> curves = BudgetCurves(
    ...     pd.DataFrame(
    ...         {
    ...             "strategy": ["random_sampling"] * 4 + ["badge"] * 4,
    ...             "split": 0,
    ...             "seed": [0, 0, 1, 1] * 2,
    ...             "round": [0, 1] * 4,
    ...             "n_labeled": [10, 20] * 4,
    ...             "score_accuracy": [0.5, 0.7, 0.6, 0.8, 0.5, 0.8, 0.6, 0.8],
    ...         }
    ...     )
    ... )
    >>> display = BudgetCurveDisplay.from_curves(curves).plot()
    >>> display.lines_["random_sampling"].get_ydata().round(1)
    array([55., 75.])
    """

    def __init__(
        self,
        curves: Mapping[str, BudgetCurve],
        *,
        score_name: str = "accuracy",
        percent: bool = True,
        baseline: str | None = None,
        relative: bool = False,
        highlight: Sequence[str] | None = None,
        band_name: str | None = None,
    ) -> None:
        self.curves = curves
        self.score_name = score_name
        self.percent = percent
        self.baseline = baseline
        self.relative = relative
        self.highlight = highlight
        self.band_name = band_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        strategies: Any,
        metric: str | None = None,
        band: str | None = "auto",
        relative_to: str | None = None,
        highlight: Sequence[str] | None = None,
        **budget_curve_params: Any,
    ) -> Self:
        """Run an experiment and take its curves.

        Parameters
        ----------
        estimator : classifier
            Fitted anew at every budget.
        X : array-like of shape (n, ...)
            All data; labels are hidden inside.
        y : array-like of shape (n,)
            All labels.
        strategies : list or dict
            As in :func:`~dalmax_sk.evaluation.budget_curve`.
        metric, band, relative_to, highlight
            As in :meth:`from_curves`.
        **budget_curve_params
            Everything else that ``budget_curve`` takes: ``cv``, ``seeds``, ``scoring``,
            ``n_initial``, ``query_size``, ``n_rounds``, ``n_jobs`` …

        Returns
        -------
        BudgetCurveDisplay
        """
        curves = budget_curve(
            estimator, X, y, strategies=strategies, **budget_curve_params
        )
        return cls.from_curves(
            curves,
            metric=metric,
            band=band,
            relative_to=relative_to,
            highlight=highlight,
        )

    @classmethod
    def from_curves(
        cls,
        curves: BudgetCurves,
        *,
        metric: str | None = None,
        strategies: Sequence[str] | None = None,
        band: str | None = "auto",
        relative_to: str | None = None,
        highlight: Sequence[str] | None = None,
        confidence_level: float = 0.95,
    ) -> Self:
        """Average the curves of an experiment over splits and seeds.

        Parameters
        ----------
        curves : BudgetCurves
            The results.
        metric : str, default=None
            One of ``curves.metrics``; None takes the first.
        strategies : sequence of str, default=None
            The strategies to draw, in this order; None draws all.
        band : {"auto", "ci", "std", "seeds"} or None, default="auto"
            The shaded bands: the bootstrap interval of the mean over the seeds at each
            number of labels, the standard deviation over the seeds, a thin line for
            each seed in place of a band, or nothing. If at most five curves are drawn
            in colour, ``"auto"`` shades the interval with at least four seeds and
            draws two or three: an interval of so few is wider than all that the figure
            is to show.
        relative_to : str, default=None
            Draw the differences to this strategy, paired by seed, and their bands: what
            all strategies of a seed have in common drops out.
        highlight : sequence of str, default=None
            Draw only these in colour (and the baseline in black).
        confidence_level : float in (0, 1), default=0.95
            Of the interval, at each number of labels by itself.

        Returns
        -------
        BudgetCurveDisplay

        Raises
        ------
        ValueError
            If a name is not among the results, there is one seed and a band is asked
            for, or strategies do not pair with `relative_to`.
        """
        if band not in ("auto", "ci", "std", "seeds", None):
            raise ValueError(
                f'band must be "auto", "ci", "std", "seeds" or None, got {band!r}.'
            )
        wanted = list(curves.strategies if strategies is None else strategies)
        named = [*wanted, *(highlight or []), *([relative_to] if relative_to else [])]
        curves.select(strategies=named)  # raises for names that are not there
        shown = len(set(highlight or wanted) - {relative_to})
        fewest = min(len(curves.by_seed(name, metric)[0]) for name in wanted)
        if band == "auto":
            few = "seeds" if fewest > 1 else None
            band = (
                ("ci" if fewest >= _MIN_SEEDS else few) if shown <= _MAX_BANDS else None
            )
        if band is not None and fewest < 2:
            raise ValueError(
                f"There is one seed only, so there is no spread to shade: band={band!r}"
                " needs two at least. Pass band=None."
            )
        metric = curves.metrics[0] if metric is None else metric
        scores = curves.frame[f"score_{metric}"]
        is_fraction = bool(scores.min() >= 0 and scores.max() <= 1)
        lines = {}
        for name in wanted:
            if name == relative_to:
                continue
            seeds, budgets, values = curves.by_seed(name, metric)
            if relative_to is not None:
                values = values - _paired_with(
                    curves, name, relative_to, metric, seeds, budgets
                )
            low, high = _band(values, band, confidence_level)
            if is_fraction and low is not None and high is not None:
                # few seeds make wide bands; no mean of fractions lies outside of that
                floor = 0.0 if relative_to is None else -1.0
                low, high = np.clip(low, floor, 1.0), np.clip(high, floor, 1.0)
            seeds_of = values if band == "seeds" else None
            lines[name] = BudgetCurve(budgets, values.mean(axis=0), low, high, seeds_of)
        baseline = "random_sampling" if "random_sampling" in wanted else None
        names = {
            "ci": f"Band: {100 * confidence_level:g} % interval of the mean",
            "std": "Band: standard deviation",
            "seeds": "Thin: single seeds",
        }
        return cls(
            lines,
            score_name=metric.replace("_", " "),
            percent=is_fraction,
            baseline=baseline if relative_to is None else relative_to,
            relative=relative_to is not None,
            highlight=highlight,
            band_name=None
            if band is None
            else f"{names[band]},\n{len(curves.seeds)} seeds",
        )

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None. The legend is to its right.

        Returns
        -------
        BudgetCurveDisplay
            The display itself.
        """
        if not self.curves:
            raise ValueError("curves must hold at least one curve.")
        # A line of the legend takes 0.2 inches.
        n_entries = len(self.highlight or self.curves) + 3
        ax = self._set_axes(ax, (8.5, max(4.2, 0.2 * n_entries + 0.6)))
        scale = 100.0 if self.percent else 1.0
        self.lines_: dict[str, Line2D] = {}
        if self.relative:
            ax.axhline(0.0, **BASELINE_STYLE, linewidth=1.5, label=self.baseline)
        styles = self._styles()
        for name, curve in self.curves.items():
            style = styles[name]
            budgets = np.asarray(curve.n_labeled)
            if curve.low is not None and curve.high is not None and style["zorder"] > 2:
                ax.fill_between(
                    budgets,
                    scale * np.asarray(curve.low),
                    scale * np.asarray(curve.high),
                    color=style["color"],
                    alpha=0.15,
                    linewidth=0,
                )
            if curve.seeds is not None and style["zorder"] > 2:
                ax.plot(
                    budgets,
                    scale * np.asarray(curve.seeds).T,
                    color=style["color"],
                    linewidth=0.6,
                    alpha=0.5,
                    zorder=1,
                )
            (self.lines_[name],) = ax.plot(
                budgets, scale * np.asarray(curve.scores), label=name, **style
            )
        self._label(ax)
        self._add_legend(ax)
        return self

    def _styles(self) -> dict[str, dict[str, Any]]:
        """Return the style of each curve."""
        longest = max(len(np.asarray(c.n_labeled)) for c in self.curves.values())
        styles = {}
        number = 0
        for name in self.curves:
            if name == self.baseline:
                styles[name] = {**BASELINE_STYLE, "linewidth": 2.0, "zorder": 4}
            elif self.highlight is not None and name not in self.highlight:
                styles[name] = {"color": "0.78", "linewidth": 0.9, "zorder": 2}
            else:
                # some eight markers a line, at other places on each
                every = max(1, longest // 8)
                styles[name] = {
                    **line_style(number),
                    "markevery": (number % every, every),
                    "markersize": 5,
                    "linewidth": 1.5,
                    "zorder": 3,
                }
                number += 1
        return styles

    def _label(self, ax: Axes) -> None:
        if self.relative:
            unit = "points" if self.percent else "difference"
            text = f"Test {self.score_name} minus {self.baseline}'s ({unit})"
        else:
            text = f"Test {self.score_name}" + (" (%)" if self.percent else "")
        budgets = [np.asarray(curve.n_labeled) for curve in self.curves.values()]
        label_axes(ax, "Labels (number)", text, ticks=np.concatenate(budgets))
        literal([ax.yaxis.label])
        ax.grid(alpha=0.3)

    def _add_legend(self, ax: Axes) -> None:
        """Name the curves next to the plot, the one that ends highest first."""

        def ends_at(line: Line2D) -> float:
            return float(np.asarray(line.get_ydata())[-1])

        named = [line for line in ax.lines if line.get_zorder() != 1]
        bright = [line for line in named if line.get_zorder() > 2 or self.relative]
        grey = [line for line in self.lines_.values() if line.get_zorder() == 2]
        handles = sorted(
            (line for line in bright if line not in grey), key=ends_at, reverse=True
        )
        labels = [shorten(str(line.get_label()), 36) for line in handles]
        if grey:
            handles.append(grey[0])
            labels.append(f"{len(grey)} others")
        legend = ax.legend(
            handles,
            labels,
            loc="upper left",
            bbox_to_anchor=(1.01, 1.0),
            borderaxespad=0.0,
            frameon=False,
            handlelength=3.6,
            fontsize=9,
            title=self.band_name,
            title_fontsize=8,
            alignment="left",
        )
        literal(legend.get_texts())


def _paired_with(
    curves: BudgetCurves,
    name: str,
    baseline: str,
    metric: str | None,
    seeds: np.ndarray,
    budgets: np.ndarray,
) -> np.ndarray:
    """Return the baseline's scores at the same seeds and budgets, (S, B)."""
    own_seeds, own_budgets, values = curves.by_seed(baseline, metric)
    missing = {
        "seeds": sorted(set(seeds.tolist()) ^ set(own_seeds.tolist())),
        "numbers of labels": sorted(set(budgets.tolist()) ^ set(own_budgets.tolist())),
    }
    for what, of in missing.items():
        if of:
            raise ValueError(
                f"{name!r} and {baseline!r} do not have the same {what}, so their "
                f"differences are not paired: only one of them has {of[:10]}."
            )
    return values


def _band(
    values: np.ndarray, band: str | None, confidence_level: float
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the ends of the band around the mean of values (S, B)."""
    if band in (None, "seeds"):
        return None, None
    if band == "std":
        mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1)
        return mean - spread, mean + spread
    weights = resample_weights(len(values), 9999, check_random_state(0))
    return mean_interval(values, weights, confidence_level)
