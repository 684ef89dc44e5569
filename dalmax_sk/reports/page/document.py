"""The frame of every page: head, style, script and safety rules; sections and tables.

A page loads nothing from the network. Its Content-Security-Policy forbids it, and
allows ``page.css`` and ``page.js`` only, by their hashes: a script that came in by a
class name would not run even if it were not escaped.
"""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import TypeAlias

from dalmax_sk._version import __version__
from dalmax_sk.reports.page.markup import BREAK, Content, Markup, element

__all__ = ["Cell", "contents", "document", "facts", "section", "table"]

#: Content, or a number with the text that shows it.
Cell: TypeAlias = "Content | tuple[float | None, str]"

# Text longer than this may be broken anywhere, shorter text at spaces only.
_LONG = 24

_FOLDER = files("dalmax_sk.reports.page")
_STYLE = (_FOLDER / "page.css").read_text(encoding="utf-8")
_SCRIPT = (_FOLDER / "page.js").read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


_POLICY = (
    f"default-src 'none'; img-src data:; style-src {_hash(_STYLE)}; "
    f"script-src {_hash(_SCRIPT)}; base-uri 'none'; form-action 'none'"
)


def document(title: str, sections: Sequence[Markup], *, head: Content = None) -> str:
    """Return a whole page.

    Parameters
    ----------
    title : str
        Title of the page.
    sections : list of Markup
        Results of :func:`section`.
    head : content, default=None
        Content between the title and the sections.

    Returns
    -------
    str
    """
    page = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            element(
                "meta", name="viewport", content="width=device-width, initial-scale=1"
            ),
            element("meta", name="referrer", content="no-referrer"),
            element("title", title),
            element("style", Markup(_STYLE)),
        ),
        element(
            "body",
            element("header", element("h1", title), head),
            element("main", sections),
            element("footer", element("p", f"Written by dalmax_sk {__version__}.")),
            element("script", Markup(_SCRIPT)),
        ),
        lang="en",
    )
    return f"<!DOCTYPE html>\n{page}\n"


def section(anchor: str, title: str, *content: Content) -> Markup:
    """Return a section with a heading that can be linked to.

    Parameters
    ----------
    anchor : str
        Its id.
    title : str
        Its heading.
    *content : content
        Content below the heading.

    Returns
    -------
    Markup
    """
    return element("section", element("h2", title), BREAK, content, BREAK, id=anchor)


def contents(entries: Sequence[tuple[str, str]]) -> Markup:
    """Return links to the sections.

    Parameters
    ----------
    entries : list of (str, str)
        Id and title of each.

    Returns
    -------
    Markup
    """
    return element(
        "nav",
        element(
            "ul",
            [
                element("li", element("a", title, href=f"#{anchor}"))
                for anchor, title in entries
            ],
        ),
        aria_label="Contents",
    )


def facts(entries: Sequence[tuple[str, str]]) -> Markup:
    """Return the few numbers that a reader looks for first.

    Parameters
    ----------
    entries : list of (str, str)
        Name and value of each.

    Returns
    -------
    Markup
    """
    return element(
        "dl",
        [
            element("div", element("dt", name), element("dd", value))
            for name, value in entries
        ],
        class_="facts",
    )


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    sortable: bool = False,
) -> Markup:
    """Return a table.

    Parameters
    ----------
    columns : sequence of str
        Headings.
    rows : list of sequences
        Cells. A pair (value, text) is a number: aligned to the right, and sorted by
        the value, None last.
    sortable : bool, default=False
        Let readers with a script engine sort by a click on a heading.

    Returns
    -------
    Markup
    """
    is_number = [
        any(isinstance(row[i], tuple) for row in rows) for i in range(len(columns))
    ]
    head = element(
        "tr",
        [
            element("th", name, scope="col", class_="n" if right else "t")
            for name, right in zip(columns, is_number, strict=True)
        ],
    )
    body = [element("tr", [_cell(cell) for cell in row]) for row in rows]
    whole = element(
        "table",
        element("thead", head),
        element("tbody", [[row, BREAK] for row in body]),
        class_="sortable" if sortable else "plain",
    )
    return element("div", whole, class_="scroll")


def _cell(cell: Cell) -> Markup:
    if isinstance(cell, tuple):
        value, text = cell
        shown = "" if value is None else repr(float(value))
        return element("td", text, class_="n", data_value=shown)
    is_long = isinstance(cell, str) and len(cell) > _LONG
    return element("td", cell, class_="long" if is_long else False)
