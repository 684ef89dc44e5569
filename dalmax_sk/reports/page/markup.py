"""HTML in which plain text is always escaped, because there is no other way in.

Pages are built of :func:`element` only. It escapes every string, in content and in
attributes. Finished HTML is of another type, :class:`Markup`, which only this module's
functions make, and the package's own style and script are.
"""

import base64
from collections.abc import Iterable
from html import escape
from typing import TypeAlias

__all__ = ["BREAK", "Content", "Markup", "data_uri", "element", "legible"]

# Elements that have no content and no closing tag.
_VOID = frozenset({"br", "hr", "img", "link", "meta"})


class Markup:
    """Finished HTML.

    Parameters
    ----------
    html : str
        The text, escaped where it has to be.
    """

    __slots__ = ("html",)

    def __init__(self, html: str) -> None:
        self.html = html

    def __str__(self) -> str:
        return self.html


#: A line break of the file, where the reader sees none.
BREAK = Markup("\n")

Content: TypeAlias = "Markup | str | int | float | Iterable[Content] | None"


def element(name: str, /, *children: Content, **attributes: str | int | bool) -> Markup:
    """Return one element with its content.

    Parameters
    ----------
    name : str
        Name of the element; from the code, never from data.
    *children : Markup, str, number, None, or an iterable of these
        The content. Strings are escaped, None is left out.
    **attributes : str, int or bool
        Attributes; a trailing underscore is dropped and other underscores become
        dashes. True gives the attribute without a value, False leaves it out.

    Returns
    -------
    Markup

    Examples
    --------
    >>> from dalmax_sk.reports.page.markup import element
    >>> print(element("p", "a < b", element("br"), class_='"x"'))
    <p class="&quot;x&quot;">a &lt; b<br></p>
    """
    words = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(key)
        elif value is not False:
            words.append(f'{key}="{escape(legible(str(value)), quote=True)}"')
    opening = f"<{' '.join(words)}>"
    if name in _VOID:
        return Markup(opening)
    return Markup(f"{opening}{_joined(children)}</{name}>")


def data_uri(media_type: str, content: bytes) -> str:
    """Return the ``data:`` address of a file inside the page.

    Parameters
    ----------
    media_type : str
        Type of the file, such as ``"image/png"``.
    content : bytes
        The file.

    Returns
    -------
    str

    Examples
    --------
    >>> from dalmax_sk.reports.page.markup import data_uri
    >>> data_uri("text/csv", b"a,b")
    'data:text/csv;base64,YSxi'
    """
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def legible(text: str) -> str:
    """Return `text` with the characters replaced that HTML cannot hold or show.

    Control characters become their pictures (a line break in a file name ``␊``), halves
    of surrogate pairs, as in file names of another encoding, the replacement character.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str

    Examples
    --------
    >>> from dalmax_sk.reports.page.markup import legible
    >>> legible("a\\nb\\udcff")
    'a␊b\ufffd'
    """
    pictured = text.translate(_PICTURES)
    return pictured.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


# The pictures of the control characters begin at U+2400; DEL has one of its own, those
# of the second control block have none.
_PICTURES: dict[int, int] = {
    **{code: 0x2400 + code for code in range(0x20)},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
    **dict.fromkeys((0xFFFE, 0xFFFF), 0xFFFD),
}


def _joined(children: Iterable[Content]) -> str:
    parts = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            parts.append(child.html)
        elif isinstance(child, str | int | float):
            parts.append(escape(legible(str(child)), quote=True))
        else:
            parts.append(_joined(child))
    return "".join(parts)
