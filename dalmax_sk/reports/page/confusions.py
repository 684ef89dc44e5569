"""The test images on the page: confusion matrix, largest confusions, every class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dalmax_sk.reports.displays.run_displays import ConfusionHeatmapDisplay
from dalmax_sk.reports.page.document import Cell, section, table
from dalmax_sk.reports.page.figures import display_figure
from dalmax_sk.reports.page.formats import counted, fraction, number
from dalmax_sk.reports.page.markup import BREAK, Content, Markup, element

__all__ = ["class_section", "confusion_section"]

# Up to so many classes every count can be read in a table; beyond, colours speak.
_MOST_IN_TABLE = 30
_LARGEST = 20
_N_SHADES = 10


def confusion_section(
    test: Mapping[str, Any] | None, names: Sequence[str], anchor: str, title: str
) -> Markup:
    """Return the confusion matrix and its largest entries off the diagonal.

    Parameters
    ----------
    test : dict or None
        What :func:`~dalmax_sk.reports.describe_test` counted.
    names : sequence of str of length n_classes
        The classes in the order of rows and columns.
    anchor, title : str
        Of the section.

    Returns
    -------
    Markup
    """
    if test is None:
        return section(anchor, title, element("p", _NOT_YET))
    counts = np.array(test["confusion"], dtype=int)  # (C, C)
    lead = (
        f"{counted(test['n_images'], 'test image')} after the last round: "
        f"{fraction(test['accuracy'])} of the predictions are right. A row is a true "
        "class, a column a predicted one."
    )
    if len(names) <= _MOST_IN_TABLE:
        shade = " The darker a cell, the larger its share of the row."
        matrix = _matrix(counts, names)
    else:
        shade = " Colours grow with the square root of the count."
        matrix = display_figure(
            ConfusionHeatmapDisplay(counts, list(names)),
            alt=f"Confusion matrix of {len(names)} classes",
            wide=True,
        )
    return section(
        anchor, title, element("p", lead, shade), matrix, _largest(counts, names)
    )


def class_section(test: Mapping[str, Any] | None, anchor: str, title: str) -> Markup:
    """Return precision, recall and F1 of every class.

    Parameters
    ----------
    test : dict or None
        What :func:`~dalmax_sk.reports.describe_test` counted.
    anchor, title : str
        Of the section.

    Returns
    -------
    Markup
    """
    if test is None:
        return section(anchor, title, element("p", _NOT_YET))
    rows: list[list[Cell]] = [
        [
            element("bdi", entry["class"]),
            *((entry[key], fraction(entry[key])) for key in _SCORES),
            (entry["support"], number(entry["support"])),
        ]
        for entry in test["per_class"]
    ]
    note = element(
        "p",
        "Precision is the share of the images predicted as a class that are of it, "
        "recall the share of the images of a class that are predicted as it. A dash "
        "stands where that is not defined.",
        class_="note",
    )
    columns = ["class", "precision", "recall", "F1", "test images"]
    return section(anchor, title, table(columns, rows, sortable=True), note)


_SCORES = ("precision", "recall", "f1")
_NOT_YET = "Not recorded: it is counted at the end of a run, after the last round."


def _matrix(counts: np.ndarray, names: Sequence[str]) -> Markup:
    """Return the heat map as a table: text that can be read, searched and copied."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shades = np.minimum((shares * _N_SHADES).astype(int), _N_SHADES - 1)
    shades[(counts > 0) & (shades == 0)] = 1  # a single confusion stays visible
    # short names need no turning on their side
    kind = "top" if max(map(len, names)) > 4 else "short"
    corner = element("th", "true ↓ predicted →", class_="side")
    head = element(
        "tr",
        corner,
        [
            element("th", element("bdi", name), class_=kind, scope="col", title=name)
            for name in names
        ],
    )
    body: list[Content] = [
        [
            element(
                "tr",
                element(
                    "th", element("bdi", name), class_="side", scope="row", title=name
                ),
                [
                    element("td", str(count), class_=f"h{shade}")
                    for count, shade in zip(
                        counts[i].tolist(), shades[i].tolist(), strict=True
                    )
                ],
            ),
            BREAK,
        ]
        for i, name in enumerate(names)
    ]
    matrix = element(
        "table", element("thead", head), element("tbody", body), class_="matrix"
    )
    return element("div", matrix, class_="scroll")


def _largest(counts: np.ndarray, names: Sequence[str]) -> list[Content]:
    """Return the table of the most frequent confusions."""
    off = counts.copy()
    np.fill_diagonal(off, 0)
    order = np.argsort(-off, axis=None, kind="stable")[:_LARGEST]
    pairs = [divmod(int(place), len(names)) for place in order]
    totals = counts.sum(axis=1)
    rows: list[list[Cell]] = [
        [
            element("bdi", names[true]),
            element("bdi", names[predicted]),
            (int(off[true, predicted]), number(int(off[true, predicted]))),
            (
                float(off[true, predicted] / totals[true]),
                fraction(float(off[true, predicted] / totals[true])),
            ),
        ]
        for true, predicted in pairs
        if off[true, predicted]
    ]
    if not rows:
        return [element("p", "No test image is confused with another class.")]
    n_pairs = int((off > 0).sum())
    title = "Most frequent confusions"
    if n_pairs > len(rows):
        title += f" ({len(rows)} of {n_pairs:,} pairs)"
    columns = ["true", "predicted", "test images", "share of the class"]
    return [element("h3", title), table(columns, rows, sortable=True)]
