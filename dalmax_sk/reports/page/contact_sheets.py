"""Contact sheets: the picked images of a round, and the model's word on them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dalmax_sk._base.words import counted
from dalmax_sk.reports.page.markup import BREAK, Content, Markup, element
from dalmax_sk.reports.page.number_format import fraction, number
from dalmax_sk.reports.page.thumbnails import MissingImage, RunImages, Thumbnail

__all__ = ["contact_sheet", "share_of_images"]

# classes named in the line above a sheet
_MOST_CLASSES = 5
# sides of the thumbnails, in pixels
_SIDE, _SIDE_OF_NEIGHBOUR = 96, 48


def share_of_images(
    n_picked: Sequence[int], max_images_per_round: int, max_images: int
) -> int:
    """Return how many picks of each round are shown as images.

    Parameters
    ----------
    n_picked : sequence of int
        Picks of each round.
    max_images_per_round : int
        The most in a round.
    max_images : int
        The most in all rounds together.

    Returns
    -------
    int
        The largest number that keeps both; as many of each round, the first picks.

    Examples
    --------
    >>> from dalmax_sk.reports.page.contact_sheets import share_of_images
    >>> share_of_images([10, 10], 100, 1000), share_of_images([50] * 10, 100, 300)
    (10, 30)
    """
    most = min(max_images_per_round, max(n_picked, default=0))
    while most and sum(min(most, n) for n in n_picked) > max_images:
        most -= 1
    return most


def contact_sheet(entry: Mapping[str, Any], images: RunImages, most: int) -> Markup:
    """Return the picks of one round.

    Parameters
    ----------
    entry : dict
        The round in ``run.json``.
    images : RunImages
        The images of the run.
    most : int
        Largest number of picks that are shown as images, the first ones.

    Returns
    -------
    Markup
    """
    reasons = dict.fromkeys(entry.get("not_known", {}).values())
    cards = [
        [_card(rank, pick, images), BREAK]
        for rank, pick in enumerate(entry["picked"][:most], 1)
    ]
    return element(
        "section",
        element("h3", f"Round {entry['round']}"),
        element("p", _in_words(entry["picked"], most)),
        [element("p", "Not known: ", reason, class_="note") for reason in reasons],
        _strategy_words(entry["strategy"]),
        element("ul", cards, class_="picks"),
        id=f"round-{entry['round']}",
    )


def _in_words(picked: Sequence[Mapping[str, Any]], most: int) -> Content:
    n, classes = len(picked), Counter(pick["class"] for pick in picked).most_common()
    named: list[Content] = []
    for name, count in classes[:_MOST_CLASSES]:
        named += [", " if named else None, element("bdi", name), f" ({count})"]
    rest = len(classes) - _MOST_CLASSES
    if rest > 0:
        named.append(f" and {counted(rest, 'other class')}")
    words: list[Content] = [f"{counted(n, 'pick')} of class ", named, ". "]
    predicted = [pick for pick in picked if "predicted" in pick]
    if predicted:
        words.append(
            "The model predicted another class than the true one for "
            f"{sum(map(_is_other, predicted))} of {len(predicted)}. "
        )
    if most < n:
        words.append(
            f"The first {most} are shown; {n - most} more are in run.json and "
            "selected_images/."
        )
    return words


def _is_other(pick: Mapping[str, Any]) -> bool:
    return pick["predicted"] != pick["class"]


def _strategy_words(reported: Mapping[str, Any]) -> Markup | None:
    """Return the scalars that the strategy reports."""
    parts = [
        f"{key.replace('_', ' ')} {number(value)}"
        if isinstance(value, int | float) and not isinstance(value, bool)
        else f"{key.replace('_', ' ')} {value}"
        for key, value in reported.items()
        if isinstance(value, str | int | float)
    ]
    if not parts:
        return None
    return element("p", "Strategy: ", ", ".join(parts), ".", class_="note")


def _card(rank: int, pick: Mapping[str, Any], images: RunImages) -> Markup:
    kind = "unknown"
    if pick.get("predicted") is not None:
        kind = "other" if _is_other(pick) else "same"
    score = pick.get("score")
    return element(
        "li",
        _image(
            images,
            images.pick(pick, _SIDE),
            f"pick {rank}: {pick['class']}, {pick['file']}",
        ),
        element("p", f"{rank}", None if score is None else f", score {number(score)}"),
        element("p", "true ", element("bdi", pick["class"]), class_="name"),
        _prediction(pick),
        _nearest(pick.get("nearest"), images),
        element("p", element("bdi", pick["file"]), class_="name file"),
        class_=kind,
    )


def _prediction(pick: Mapping[str, Any]) -> Markup | None:
    if pick.get("predicted") is None:
        return None
    probability = pick.get("probability")
    sure = "" if probability is None else f" ({fraction(probability)})"
    word: Content = element("span", "predicted the same", class_="word")
    if _is_other(pick):
        word = [
            element("span", "predicted ", class_="word"),
            element("bdi", pick["predicted"]),
        ]
    return element("p", word, sure, class_="name")


def _nearest(nearest: Mapping[str, Any] | None, images: RunImages) -> Markup | None:
    if nearest is None:
        return None
    class_name = nearest["file"].split("/", 1)[0]
    alt = f"nearest labelled: {class_name}, {nearest['file']}"
    name = element("bdi", class_name)
    return element(
        "div",
        _image(images, images.labelled(nearest, _SIDE_OF_NEIGHBOUR), alt),
        element(
            "div",
            element("div", "nearest labelled: ", name, class_="name"),
            element("div", f"distance {number(nearest['distance'])}"),
        ),
        class_="near",
    )


def _image(images: RunImages, image: Thumbnail | MissingImage, alt: str) -> Markup:
    if isinstance(image, MissingImage):
        image = images.shown_before(alt) or image
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
