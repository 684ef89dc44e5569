"""The figures of the pages, as SVG images inside the page."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dalmax_sk.reports.displays.display_base import (
    label_axes,
    line_style,
    shorten,
)
from dalmax_sk.reports.displays.run_displays import TrainingHistoryDisplay
from dalmax_sk.reports.displays.saving import FILE_STYLE, save_figure
from dalmax_sk.reports.page.markup import Markup, data_uri, element

__all__ = [
    "cost_figure",
    "curves_figure",
    "display_figure",
    "training_display",
]

# With these, the parts of a bar are told apart in grey print.
_HATCHES = ("", "//", "..", "xx")


class _Drawable(Protocol):
    figure_: Figure

    def plot(self) -> Self: ...


def display_figure(display: _Drawable, *, alt: str, wide: bool = False) -> Markup:
    """Return the picture of a display.

    Parameters
    ----------
    display : display of :mod:`dalmax_sk.reports`
        Not drawn yet.
    alt : str
        Description of the picture for readers who do not see it.
    wide : bool, default=False
        Keep the size at which its letters can be read, and let the reader scroll.

    Returns
    -------
    Markup
    """
    return _as_image(lambda: display.plot().figure_, alt=alt, wide=wide)


def curves_figure(
    curves: Mapping[str, tuple[Sequence[int], Sequence[float | None]]],
    *,
    score_name: str,
    alt: str,
) -> Markup:
    """Return scores against numbers of labels, one line a name.

    Parameters
    ----------
    curves : dict of str to (n_labeled, scores)
        The curves; a score may be missing.
    score_name : str
        Name of the scores.
    alt : str
        Description of the picture.

    Returns
    -------
    Markup
    """
    return _as_image(lambda: _draw_curves(curves, score_name), alt=alt)


def _draw_curves(
    curves: Mapping[str, tuple[Sequence[int], Sequence[float | None]]], score_name: str
) -> Figure:
    figure = Figure(figsize=(7.5, 4), layout="constrained")
    ax = figure.add_subplot()
    series = {
        name: (np.asarray(x), np.array(y, dtype=float))
        for name, (x, y) in curves.items()
    }
    every = np.concatenate([y for _, y in series.values()])
    in_percent = bool(np.all((every >= 0) & (every <= 1) | np.isnan(every)))
    for place, (name, (x, y)) in enumerate(series.items()):
        ax.plot(
            x,
            100 * y if in_percent else y,
            markersize=5,
            label=shorten(name, 40),
            **line_style(place),
        )
    ax.grid(alpha=0.3)
    _label(
        ax,
        "Labelled training images (number)",
        f"Test {score_name} (%)" if in_percent else f"Test {score_name}",
        ticks=np.concatenate([x for x, _ in series.values()]),
    )
    return figure


def cost_figure(rounds: Sequence[int], parts: Mapping[str, Sequence[float]]) -> Markup:
    """Return the seconds of each round as stacked bars.

    Parameters
    ----------
    rounds : sequence of int of length n_rounds
        Numbers of the rounds.
    parts : dict of str to sequence of float of length n_rounds
        Seconds of each part of the work.

    Returns
    -------
    Markup
    """
    return _as_image(
        lambda: _draw_cost(rounds, parts),
        alt="Seconds of each round: " + ", ".join(parts),
    )


def _draw_cost(rounds: Sequence[int], parts: Mapping[str, Sequence[float]]) -> Figure:
    figure = Figure(figsize=(7.5, 3.2), layout="constrained")
    ax = figure.add_subplot()
    below = np.zeros(len(rounds))
    for place, (name, values) in enumerate(parts.items()):
        heights = np.array(values, dtype=float)
        ax.bar(
            rounds,
            heights,
            bottom=below,
            color=line_style(place)["color"],
            edgecolor="white",
            hatch=_HATCHES[place % len(_HATCHES)],
            linewidth=0.5,
            label=name,
        )
        below += heights
    ax.grid(axis="y", alpha=0.3)
    ax.set_axisbelow(True)
    _label(ax, "Round", "Time (seconds)")
    return figure


def _label(
    ax: Axes, x_label: str, y_label: str, ticks: np.ndarray | None = None
) -> None:
    """Name the axes, and the curves next to the plot, where none can run under it."""
    label_axes(ax, x_label, y_label, ticks)
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)


def _as_image(draw: Callable[[], Figure], *, alt: str, wide: bool = False) -> Markup:
    """Draw, and return the picture: as an image, in which no script could run."""
    with matplotlib.rc_context(FILE_STYLE):
        buffer = io.BytesIO()
        save_figure(draw(), buffer, file_format="svg", name="report.html")
    picture = element(
        "img",
        src=data_uri("image/svg+xml", buffer.getvalue()),
        alt=alt,
        class_="wide" if wide else "figure",
    )
    return element("div", picture, class_="scroll")


def training_display(
    rounds: Sequence[Mapping[str, Any]], quantity: str
) -> TrainingHistoryDisplay | None:
    """Return the display of the epochs of all rounds, or None if they were not kept.

    Parameters
    ----------
    rounds : list of dict
        Entries of ``run.json``.
    quantity : {"loss", "accuracy"}
        Which values.

    Returns
    -------
    TrainingHistoryDisplay or None
    """
    columns = [entry["training"] for entry in rounds]
    key = f"train_{quantity}"
    if not columns or any(not column.get(key) for column in columns):
        return None
    valid = None
    if all(f"valid_{quantity}" in column for column in columns):
        valid = [column[f"valid_{quantity}"] for column in columns]
    return TrainingHistoryDisplay(
        [column[key] for column in columns],
        valid=valid,
        rounds=[entry["round"] for entry in rounds],
        quantity=quantity,
    )
