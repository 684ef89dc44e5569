"""Figures as PDF and SVG files: one style, one warning for missing characters."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import matplotlib
from matplotlib.figure import Figure

from dalmax_sk._base.files import replacing

__all__ = ["FILE_STYLE", "save_figure", "write_pdf"]

logger = logging.getLogger("dalmax_sk")

# In force while a figure is drawn and saved. Type 42 embeds TrueType outlines, so that
# text stays text in every PDF reader; the salt makes one figure the same SVG each time.
# Class names such as "$5" are names, not formulas.
FILE_STYLE: dict[Any, Any] = {
    "pdf.fonttype": 42,
    "svg.hashsalt": "dalmax_sk",
    "text.parse_math": False,
}
# Without the date the same run gives the same file.
_METADATA: dict[str, dict[str, str | None]] = {
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}


def save_figure(
    figure: Figure, target: Path | IO[bytes], *, file_format: str, name: str
) -> None:
    """Write a figure; log one line for all characters its font lacks.

    Parameters
    ----------
    figure : matplotlib Figure
        The figure, drawn with :data:`FILE_STYLE` in force.
    target : pathlib.Path or binary file
        Where to write.
    file_format : {"pdf", "svg", "png"}
        The format.
    name : str
        Name of the figure in the log.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # A tight page cuts no label off.
        figure.savefig(
            target,
            format=file_format,
            bbox_inches="tight",
            pad_inches=0.08,
            metadata=_METADATA.get(file_format),
        )
    _pass_on(caught, name)


def write_pdf(display: Any, path: Path) -> Path:
    """Plot a display and write its figure as PDF, all or nothing."""
    with matplotlib.rc_context(FILE_STYLE), replacing(path) as part:
        figure = display.plot().figure_
        save_figure(figure, part, file_format="pdf", name=path.name)
    return path


def _pass_on(caught: Sequence[warnings.WarningMessage], name: str) -> None:
    """Log one line for all characters the font lacks; repeat any other warning."""
    n_glyphs = 0
    for item in caught:
        if "missing from font" in str(item.message):
            n_glyphs += 1
        else:
            warnings.warn_explicit(
                item.message, item.category, item.filename, item.lineno
            )
    if n_glyphs:
        logger.warning(
            "%s: matplotlib's font lacks characters of the class names; they are drawn "
            "as boxes. Name a font that has them in matplotlib's font.family.",
            name,
        )
