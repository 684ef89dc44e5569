"""Contact sheets: the picked images of a round, and what the model said of them."""

from collections.abc import Mapping
from typing import Any

from dalmax_sk.reports.page.formats import counted, fraction, number
from dalmax_sk.reports.page.images import MissingImage, Thumbnail
from dalmax_sk.reports.page.markup import BREAK, Content, Markup, element

__all__ = ["contact_sheet"]

# Classes named in the line above a sheet.
_MOST_CLASSES = 5


def contact_sheet(sheet: Mapping[str, Any]) -> Markup:
    """Return the picks of one round.

    Parameters
    ----------
    sheet : dict
        One of the ``sheets`` of :func:`~dalmax_sk.reports.page.data.gather_run`.

    Returns
    -------
    Markup
    """
    reasons = dict.fromkeys(sheet["not_known"].values())
    return element(
        "section",
        element("h3", f"Round {sheet['round']}"),
        element("p", _in_words(sheet)),
        [element("p", "Not known: ", reason, class_="note") for reason in reasons],
        _own_words(sheet["own_words"]),
        element(
            "ul", [[_card(pick), BREAK] for pick in sheet["picks"]], class_="picks"
        ),
        id=f"round-{sheet['round']}",
    )


def _in_words(sheet: Mapping[str, Any]) -> Content:
    n, classes = sheet["n_picked"], sheet["classes"]
    named: list[Content] = []
    for name, count in classes[:_MOST_CLASSES]:
        named += [", " if named else None, element("bdi", name), f" ({count})"]
    rest = len(classes) - _MOST_CLASSES
    if rest > 0:
        named.append(f" and {counted(rest, 'other class', 'other classes')}")
    words: list[Content] = [f"{counted(n, 'pick')} of class ", named, ". "]
    if sheet["n_predicted"]:
        words.append(
            "The model predicted another class than the true one for "
            f"{sheet['n_other']} of {sheet['n_predicted']}. "
        )
    shown = len(sheet["picks"])
    if shown < n:
        words.append(
            f"The first {shown} are shown; {n - shown} more are in run.json and "
            "selected_images/."
        )
    return words


def _own_words(words: Mapping[str, Any]) -> Markup | None:
    """What the strategy reports of itself: its scalars."""
    parts = [
        f"{key.replace('_', ' ')} {number(value)}"
        if isinstance(value, int | float) and not isinstance(value, bool)
        else f"{key.replace('_', ' ')} {value}"
        for key, value in words.items()
        if isinstance(value, str | int | float)
    ]
    if not parts:
        return None
    return element("p", "Strategy: ", ", ".join(parts), ".", class_="note")


def _card(pick: Mapping[str, Any]) -> Markup:
    kind = "unknown"
    if pick["predicted"] is not None:
        kind = "other" if pick["is_other"] else "same"
    score = None if pick["score"] is None else f", score {number(pick['score'])}"
    return element(
        "li",
        _image(pick["image"], f"pick {pick['rank']}: {pick['class']}, {pick['file']}"),
        element("p", f"{pick['rank']}", score),
        element("p", "true ", element("bdi", pick["class"]), class_="name"),
        _prediction(pick),
        _nearest(pick["nearest"]),
        element("p", element("bdi", pick["file"]), class_="name file"),
        class_=kind,
    )


def _prediction(pick: Mapping[str, Any]) -> Markup | None:
    if pick["predicted"] is None:
        return None
    sure = "" if pick["probability"] is None else f" ({fraction(pick['probability'])})"
    if pick["is_other"]:
        word: Content = [
            element("span", "predicted other: ", class_="word"),
            element("bdi", pick["predicted"]),
        ]
    else:
        word = element("span", "predicted the same", class_="word")
    return element("p", word, sure, class_="name")


def _nearest(nearest: Mapping[str, Any] | None) -> Markup | None:
    if nearest is None:
        return None
    alt = f"nearest labelled: {nearest['class']}, {nearest['file']}"
    return element(
        "div",
        _image(nearest["image"], alt),
        element(
            "div",
            element(
                "div",
                "nearest labelled: ",
                element("bdi", nearest["class"]),
                class_="name",
            ),
            element("div", f"distance {number(nearest['distance'])}"),
        ),
        class_="near",
    )


def _image(image: Thumbnail | MissingImage, alt: str) -> Markup:
    if isinstance(image, MissingImage):
        return element("span", image.reason, class_="gone", title=alt)
    return element(
        "img",
        src=image.uri,
        alt=alt,
        width=image.width,
        height=image.height,
        class_="tiny" if image.is_tiny else False,
    )
