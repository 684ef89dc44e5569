"""Figure of a forecast: the scores so far, their forecast, and the target."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from dalmax_sk.evaluation.forecasting import Forecast, forecast
from dalmax_sk.reports.displays.display_base import BLUE, ORANGE, FigureDisplay, literal

__all__ = ["ForecastDisplay"]

# The figure goes no further than this multiple of the labels so far: beyond, the points
# that were measured would shrink to a corner.
_FURTHEST = 6.0
_N_POINTS = 200


class ForecastDisplay(FigureDisplay):
    """The scores so far, their forecast, and where the target is reached.

    The line is the median of the forecast, the band its interval for a score measured
    there. A horizontal line marks the target; the bar on it is the interval of the
    labels needed, the diamond its median. An arrow says that the bar continues beyond
    the figure, or for ever.

    Parameters
    ----------
    forecast : Forecast
        Result of :func:`~dalmax_sk.evaluation.forecast`.
    name : str, default=None
        Name of the curve, usually the strategy.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn on.
    figure_ : matplotlib Figure
        The figure that holds them.
    line_ : matplotlib Line2D
        The median of the forecast.

    Examples
    --------
    >>> from dalmax_sk.evaluation import forecast
    >>> from dalmax_sk.reports import ForecastDisplay
    >>> n_labeled = [50, 100, 150, 200, 250, 300]
    >>> scores = [0.60, 0.70, 0.745, 0.77, 0.79, 0.80]
    >>> display = ForecastDisplay.from_forecast(forecast((n_labeled, scores), 0.85))
    >>> display.plot().ax_.get_ylabel()
    'Test accuracy (%)'
    """

    def __init__(self, forecast: Forecast, *, name: str | None = None) -> None:
        self.forecast = forecast
        self.name = name

    @classmethod
    def from_forecast(cls, forecast: Forecast, *, name: str | None = None) -> Self:
        """Take a forecast.

        Parameters
        ----------
        forecast : Forecast
            Result of :func:`~dalmax_sk.evaluation.forecast`.
        name : str, default=None
            Name of the curve.

        Returns
        -------
        ForecastDisplay
        """
        return cls(forecast, name=name)

    @classmethod
    def from_history(
        cls,
        history: Sequence[Mapping[str, Any]],
        target: float,
        *,
        name: str | None = None,
        **options: Any,
    ) -> Self:
        """Make the forecast from ``history_`` of an active learner.

        Parameters
        ----------
        history : list of dict
            One record a round.
        target : float
            Score to reach.
        name : str, default=None
            Name of the curve.
        **options : dict
            More of :func:`~dalmax_sk.evaluation.forecast`.

        Returns
        -------
        ForecastDisplay

        Raises
        ------
        ValueError
            If the history allows no forecast.
        """
        return cls(forecast(list(history), target, **options), name=name)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the forecast.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.

        Returns
        -------
        ForecastDisplay
            The display itself.
        """
        found = self.forecast
        ax = self._set_axes(ax, (6.5, 4.2))
        end = self._end()
        n = np.unique(np.linspace(found.n_labeled[0], end, _N_POINTS).round())
        expected = found.predict(n)
        # fractions are shown in per cent, as everywhere; other scores as they are
        unit = 100.0 if found.max_score == 1 else 1.0
        level = f"{100 * found.confidence_level:g} %"
        ax.fill_between(
            n,
            unit * expected["low"],
            unit * expected["high"],
            color=BLUE,
            alpha=0.18,
            linewidth=0,
            label=f"{level} interval of a measured score",
        )
        (self.line_,) = ax.plot(
            n, unit * expected["score"], color=BLUE, label="forecast (median)"
        )
        measured = "measured" if self.name is None else self.name
        if found.n_seeds > 1:
            measured = f"{measured} (mean of {found.n_seeds} seeds)"
        ax.plot(
            found.n_labeled,
            unit * found.scores,
            linestyle="none",
            marker="o",
            color="black",
            label=measured,
        )
        self._draw_target(ax, end, unit, level)
        ax.set_xlabel("Labels (number)")
        name = found.metric.replace("_", " ")
        ax.set_ylabel(f"Test {name} (%)" if unit == 100 else f"Test {name}")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        ax.set_xlim(0, end * 1.02)
        ax.grid(alpha=0.3)
        # below the axes, where it hides nothing
        legend = ax.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False
        )
        literal([ax.yaxis.label, *legend.get_texts()])
        return self

    def _end(self) -> float:
        """Return the largest number of labels shown."""
        found = self.forecast
        so_far = float(found.n_labeled[-1])
        wanted = [3.0 * so_far]
        if found.reached_at is None:
            wanted += [1.15 * x for x in (*found.interval, found.n_labels)]
        else:
            wanted = [1.5 * so_far]
        if found.max_labels is not None:
            wanted = [float(max(found.max_labels, so_far))]
        finite = [x for x in wanted if math.isfinite(x)]
        return min(max(finite), _FURTHEST * so_far)

    def _draw_target(self, ax: Axes, end: float, unit: float, level: str) -> None:
        """Draw the target, the labels that it needs and their interval."""
        found = self.forecast
        height = unit * found.target
        shown = f"{height:g} %" if unit == 100 else f"{height:g}"
        ax.axhline(height, color=ORANGE, linestyle=(0, (6, 3)), label=f"target {shown}")
        low, high = found.interval
        if low <= end:
            ax.plot(
                [low, min(high, end)],
                [height, height],
                color=ORANGE,
                linewidth=5,
                alpha=0.55,
                solid_capstyle="butt",
                label=f"{level} interval of the labels needed",
            )
        if high > end:
            ax.annotate(
                "",
                xy=(end * 1.015, height),
                xytext=(end * 0.97, height),
                arrowprops={"arrowstyle": "-|>", "color": ORANGE, "linewidth": 2.5},
            )
        if found.n_labels <= end:
            ax.plot(
                [found.n_labels],
                [height],
                linestyle="none",
                marker="D",
                markersize=8,
                color=ORANGE,
                markeredgecolor="black",
                label=f"labels needed: {found.n_labels:,.0f}",
            )
