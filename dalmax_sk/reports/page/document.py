"""The frame of every page: head, style, the few lines of script, and the safety rules.

A page asks the network for nothing. Its Content-Security-Policy forbids the browser to,
and lets it run this module's script and style only, by their hashes: a script that came
in by a class name would not run even if it were not escaped.
"""

import base64
import hashlib
from collections.abc import Sequence
from typing import TypeAlias

from dalmax_sk._version import __version__
from dalmax_sk.reports.page.markup import BREAK, Content, Markup, element, trusted

__all__ = ["Cell", "contents", "document", "facts", "section", "table"]

#: Content, or a number with the text that shows it.
Cell: TypeAlias = "Content | tuple[float | None, str]"

# Text longer than this may be broken anywhere, shorter text at spaces only.
_LONG = 24

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem 1.25rem 3rem; color: #1a1a1a;
  background: #fff; font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .75rem; padding-top: .5rem;
  border-top: 1px solid #d4d4d4; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .5rem; }
a { color: #005a96; }
nav ul { list-style: none; padding: 0; margin: 1rem 0; display: flex; flex-wrap: wrap;
  gap: .25rem 1.25rem; }
p, ul, pre { margin: .5rem 0; }
.note { color: #555; font-size: .9rem; }
.status { border-left: .35rem solid #767676; background: #f4f4f4;
  padding: .6rem 1rem; margin: 1rem 0; }
.status.finished { border-color: #00795a; }
.status.stopped { border-color: #b34700; background: #fff4ea; }
.status pre { white-space: pre-wrap; font-size: .85rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr));
  gap: .75rem; margin: 1rem 0; padding: 0; }
.facts div { border: 1px solid #d4d4d4; border-radius: .25rem; padding: .5rem .75rem; }
.facts dt { color: #555; font-size: .85rem; }
.facts dd { margin: 0; font-size: 1.15rem; font-weight: 600; }
.scroll { overflow-x: auto; margin: .75rem 0; }
img.figure { max-width: 100%; height: auto; }
img.wide { max-width: none; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #e2e2e2; text-align: left;
  vertical-align: top; }
thead th { border-bottom: 2px solid #767676; background: #fff; vertical-align: bottom; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td.n { white-space: nowrap; }
td, th { overflow-wrap: normal; }
td.long { min-width: 14rem; overflow-wrap: anywhere; }
td bdi, td code { display: inline-block; max-width: 22rem; overflow-wrap: break-word; }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid #005a96; }
th[aria-sort=ascending] button::after { content: "\\a0\\25B2"; }
th[aria-sort=descending] button::after { content: "\\a0\\25BC"; }
th button::after { content: "\\a0\\25BD"; color: #767676; font-size: .75em; }
code, pre { font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: .88em; }
pre.command { background: #f4f4f4; padding: .6rem 1rem; white-space: pre-wrap; }
table.matrix { font-size: .8rem; }
table.matrix th, table.matrix td { border: 1px solid #fff; padding: .2rem .35rem; }
table.matrix td { text-align: right; font-variant-numeric: tabular-nums;
  min-width: 2.2rem; }
table.matrix th.side { max-width: 12rem; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; text-align: right; font-weight: 400; }
table.matrix th.short { text-align: right; font-weight: 400; }
table.matrix th.top { writing-mode: vertical-rl; transform: rotate(180deg);
  max-height: 9rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
  font-weight: 400; vertical-align: middle; }
.picks { list-style: none; padding: 0; display: grid; gap: .6rem;
  grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); }
.picks li { border: 1px solid #d4d4d4; border-top: .3rem solid #767676;
  border-radius: .2rem; padding: .4rem .5rem; font-size: .8rem; line-height: 1.35;
  min-width: 0; }
.picks li.same { border-top-color: #00795a; }
.picks li.other { border-top-color: #b34700; }
.picks p { margin: .15rem 0; }
.picks img, .gone { display: block; width: 96px; height: 96px; object-fit: contain;
  background: #f4f4f4; }
.near { display: flex; gap: .4rem; align-items: flex-start; }
.near img, .near .gone { flex: none; width: 40px; height: 40px; }
.near > div { min-width: 0; }
img.tiny { image-rendering: pixelated; }
.gone { font-size: .7rem; line-height: 1.2; color: #555; padding: .25rem;
  border: 1px dashed #767676; overflow: hidden; }
.near .gone { font-size: .5rem; padding: .1rem; }
.name { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3;
  overflow: hidden; }
.file { color: #555; font-size: .72rem; }
.word { font-weight: 600; }
.same .word { color: #00694e; }
.other .word { color: #9c3d00; }
.better { color: #00694e; } .worse { color: #9c3d00; }
footer { margin-top: 3rem; color: #555; font-size: .85rem; }
@media print {
  body { max-width: none; font-size: 10pt; padding: 0; }
  nav, th button::after { display: none; }
  .picks li, tr, figure, .facts div, img { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; }
  table { font-size: 8pt; }
  img.wide { max-width: 100%; height: auto; }
  * { print-color-adjust: exact; }
}
"""

# Shades of the confusion matrix, from none to all of a row; the light ones carry black
# text, the dark ones white (seaborn's "Blues" comes close).
_SHADES = (
    "#f7fbff #e6f0f9 #d6e5f4 #c3daee #abcfe5 #8cbfdd #6baed6 #4a98c9 #2f7ebc #1764ab"
).split()
_STYLE += "\n".join(
    f"td.h{i} {{ background: {shade}; color: {'#fff' if i > 6 else '#000'}; }}"
    for i, shade in enumerate(_SHADES)
)

_SCRIPT = """
"use strict";
document.querySelectorAll("table.sortable").forEach(function (table) {
  var body = table.tBodies[0];
  var heads = Array.from(table.tHead.rows[0].cells);
  function key(row, column) {
    var cell = row.cells[column];
    return cell.hasAttribute("data-value")
      ? parseFloat(cell.getAttribute("data-value")) : cell.textContent;
  }
  function compare(a, b) {
    return typeof a === "number" ? a - b : a.localeCompare(b, undefined,
      {numeric: true});
  }
  heads.forEach(function (head, column) {
    var button = document.createElement("button");
    button.type = "button";
    button.title = "sort by this column";
    while (head.firstChild) { button.appendChild(head.firstChild); }
    head.appendChild(button);
    button.addEventListener("click", function () {
      var up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      Array.from(body.rows).map(function (row) {
        return [key(row, column), row];
      }).sort(function (a, b) {
        var lacks = Number.isNaN(a[0]), other = Number.isNaN(b[0]);
        if (lacks || other) { return lacks - other; }
        return up ? compare(a[0], b[0]) : compare(b[0], a[0]);
      }).forEach(function (pair) { body.appendChild(pair[1]); });
    });
  });
});
"""


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
        What :func:`section` returns.
    head : content, default=None
        What stands between the title and the sections.

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
            element("style", trusted(_STYLE)),
        ),
        element(
            "body",
            element("header", element("h1", title), head),
            element("main", sections),
            element("footer", element("p", f"Written by dalmax_sk {__version__}.")),
            element("script", trusted(_SCRIPT)),
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
        What stands in it.

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
