"""The base of all displays: axes to draw on, showing in a notebook, colours, styles.

The displays follow scikit-learn's: build one with ``from_...``, then ``plot(ax=None)``;
``ax_`` and ``figure_`` hold what was drawn. Figures are made without pyplot, so drawing
needs no screen and leaves no global state; in a notebook a display shows itself when it
is the last line of a cell.
"""

import io
from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, MaxNLocator
from numpy.typing import ArrayLike

__all__ = [
    "BASELINE_STYLE",
    "BLUE",
    "ORANGE",
    "FigureDisplay",
    "label_axes",
    "line_style",
    "literal",
    "shorten",
]

# Okabe and Ito's colours, told apart by colour-blind readers and in grey print. Their
# yellow is left out, which does not show on white paper; black is the baseline's.
BLUE, ORANGE = "#0072B2", "#D55E00"
_COLORS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 2)),
    (0, (1.5, 1.5)),
    (0, (5, 2, 1.5, 2)),
    (0, (8, 2, 1.5, 2, 1.5, 2)),
)
_MARKERS = "os^DvP*X<>h"

# The strategy that all others are compared with looks the same in every figure.
BASELINE_STYLE: dict[str, Any] = {"color": "black", "linestyle": (0, (6, 3))}


class FigureDisplay:
    """A display that draws on given axes or makes its own."""

    ax_: Axes
    figure_: Figure

    def _set_axes(self, ax: Axes | None, figsize: tuple[float, float]) -> Axes:
        if ax is None:
            ax = Figure(figsize=figsize, layout="constrained").add_subplot()
        figure = ax.get_figure(root=True)
        if figure is None:
            raise ValueError(
                f"{type(self).__name__}.plot: the given ax is part of no figure."
            )
        self.ax_, self.figure_ = ax, figure
        return ax

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the display."""
        raise NotImplementedError

    def _repr_png_(self) -> bytes:
        if not hasattr(self, "figure_"):
            self.plot()
        buffer = io.BytesIO()
        self.figure_.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
        return buffer.getvalue()


def line_style(number: int) -> dict[str, Any]:
    """Return colour, dashes and marker of a figure's line.

    The numbers of colours (6), dashes (5) and markers (11) have no common factor: the
    first thirty lines differ in colour or dashes, and neighbours in all three, so that
    they are told apart without colours as well.

    Parameters
    ----------
    number : int
        Place of the line, from 0.

    Returns
    -------
    dict
        Keyword arguments of ``Axes.plot``.

    Examples
    --------
    >>> from dalmax_sk.reports.displays.display_base import line_style
    >>> line_style(0)
    {'color': '#0072B2', 'linestyle': '-', 'marker': 'o'}
    """
    return {
        "color": _COLORS[number % len(_COLORS)],
        "linestyle": _DASHES[number % len(_DASHES)],
        "marker": _MARKERS[number % len(_MARKERS)],
    }


def label_axes(
    ax: Axes, x_label: str, y_label: str, ticks: ArrayLike | None = None
) -> None:
    """Name both axes; the x axis has whole numbers.

    Parameters
    ----------
    ax : matplotlib Axes
        The axes.
    x_label, y_label : str
        The names.
    ticks : array-like of int, default=None
        Numbers that the x axis may show, such as those of labels in the rounds: all of
        them, or every second, third and so on if they are more than ten.
    """
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    ax.xaxis.set_major_locator(
        MaxNLocator(integer=True, min_n_ticks=1)
        if ticks is None
        else FixedLocator(np.unique(ticks).tolist(), nbins=10)
    )


def literal(texts: Iterable[Text]) -> None:
    """Show texts as they are: a name such as ``$5`` is no formula.

    Parameters
    ----------
    texts : iterable of matplotlib Text
        Labels and legends that hold names.
    """
    for text in texts:
        text.set_parse_math(False)


def shorten(text: str, length: int) -> str:
    """Cut `text` to at most `length` characters, marking the cut.

    Parameters
    ----------
    text : str
        Any text.
    length : int
        Largest number of characters, at least 1.

    Returns
    -------
    str
    """
    return text if len(text) <= length else text[: length - 1] + "…"
