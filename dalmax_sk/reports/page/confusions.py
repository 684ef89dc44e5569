"""The test images on the page: confusion matrix, largest confusions, every class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dalmax_sk._base.words import counted
from dalmax_sk.reports.displays.run_displays import ConfusionHeatmapDisplay
from dalmax_sk.reports.page.document import Cell, table
from dalmax_sk.reports.page.markup import BREAK, Content, Markup, element
from dalmax_sk.reports.page.number_format import fraction, number
from dalmax_sk.reports.page.svg_figures import display_figure

__all__ = ["class_content", "confusion_content"]

# Up to this number of classes the counts are a table; beyond, a picture.
_MOST_IN_TABLE = 30
_LARGEST = 20
_N_SHADES = 10


def confusion_content(test: Mapping[str, Any], names: Sequence[str]) -> list[Content]:
    """Return the confusion matrix and its largest entries off the diagonal.

    Parameters
    ----------
    test : dict
        The counts, as :func:`~dalmax_sk.reports.describe_test` returns them.
    names : sequence of str of length n_classes
        The classes in the order of rows and columns.

    Returns
    -------
    list of content
    """
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
    return [element("p", lead, shade), matrix, _largest(counts, names)]


def class_content(test: Mapping[str, Any]) -> list[Content]:
    """Return precision, recall and F1 of every class.

    Parameters
    ----------
    test : dict
        As in :func:`confusion_content`.

    Returns
    -------
    list of content
    """
    rows: list[list[Cell]] = [
        [
            element("bdi", entry["class"]),
            *(
                (entry[key], fraction(entry[key]))
                for key in ("precision", "recall", "f1")
            ),
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
    return [table(columns, rows, sortable=True), note]


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
                    element("td", str(count) if count else None, class_=f"h{shade}")
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
                share := float(off[true, predicted] / totals[true]),
                fraction(share),
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
