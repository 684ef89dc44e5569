"""What a page of a run shows, gathered from the run's files.

The pages are made from what this returns, and from nothing else.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dalmax_sk.reports.page.images import RunImages

__all__ = ["KIND", "as_written", "gather_run", "read_run_record", "share_of_images"]

#: What ``run.json`` of a run of active learning calls itself.
KIND = "active learning on image folders"
_FORMAT = 1
# What a page cannot do without, by the place in the record.
_EXPECTED = {
    "": "status config resolved classes data versions hardware sessions initial rounds "
    "command seed total_seconds",
    "config": "type iterations",
    "resolved": "device",
    "data": "train test",
    "data.train": "directory n_images skipped sha256",
    "data.test": "directory n_images skipped sha256",
}
_EXPECTED_OF_ROUNDS = "round n_labeled metrics seconds strategy training picked"
_EXPECTED_OF_PICKS = "row file class"

# Sides of the thumbnails, in pixels.
_SIDE, _SIDE_OF_NEIGHBOUR = 96, 48


def read_run_record(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Read ``run.json`` of a run.

    Parameters
    ----------
    directory : path-like
        The run's folder.

    Returns
    -------
    dict

    Raises
    ------
    FileNotFoundError
        If there is no ``run.json`` in the folder.
    ValueError
        If it is no JSON, or not that of a run of active learning in a format that this
        version reads.
    """
    file = Path(directory) / "run.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} does not exist: a page is made from the run.json that `dalmax "
            "train-al` writes to RESULTS/active_learning/TYPE/. Give the folder that "
            "holds it."
        )
    try:
        run = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{file} is not valid JSON ({error}); a run did not write it so."
        ) from error
    if not isinstance(run, dict) or run.get("kind") != KIND:
        kind = run.get("kind") if isinstance(run, dict) else type(run).__name__
        raise ValueError(
            f"{file} is of kind {kind!r}; a page can be made of {KIND!r} only."
        )
    if run.get("format") != _FORMAT:
        raise ValueError(
            f"{file} has format {run.get('format')!r}; this version of dalmax_sk reads "
            f"format {_FORMAT}."
        )
    lacking = _lacking(run)
    if lacking:
        raise ValueError(
            f"{file} lacks {', '.join(lacking)}; a run did not write it so."
        )
    return run


@contextmanager
def as_written(directory: str | os.PathLike[str]) -> Iterator[None]:
    """Tell of values that a run does not write where they are met.

    Parameters
    ----------
    directory : path-like
        The folder of the run whose record is worked on inside the block.

    Raises
    ------
    ValueError
        If a value in the record is of another type than a run writes there.
    """
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"{Path(directory) / 'run.json'} is not as a run writes it "
            f"({type(error).__name__}: {error}). Put an intact copy of it back, or "
            "move the folder away."
        ) from error


def _lacking(run: Mapping[str, Any]) -> list[str]:
    """Return the names of what a run's record does not hold, at most ten."""
    parts: list[tuple[str, Any, str]] = []
    for place, names in _EXPECTED.items():
        part: Any = run
        for key in place.split(".") if place else ():
            part = part.get(key) if isinstance(part, dict) else None
        parts.append((f"{place}." if place else "", part, names))
    entries = run.get("rounds")
    for i, entry in enumerate(entries if isinstance(entries, list) else ()):
        parts.append((f"rounds[{i}].", entry, _EXPECTED_OF_ROUNDS))
        picked = entry.get("picked") if isinstance(entry, dict) else None
        for j, pick in enumerate(picked if isinstance(picked, list) else ()):
            parts.append((f"rounds[{i}].picked[{j}].", pick, _EXPECTED_OF_PICKS))
    lacking = [
        place + name
        for place, part, names in parts
        for name in names.split()
        if not isinstance(part, dict) or name not in part
    ]
    return lacking[:10]


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
    >>> from dalmax_sk.reports.page.data import share_of_images
    >>> share_of_images([10, 10], 100, 1000), share_of_images([50] * 10, 100, 300)
    (10, 30)
    """
    most = min(max_images_per_round, max(n_picked, default=0))
    while most and sum(min(most, n) for n in n_picked) > max_images:
        most -= 1
    return most


def gather_run(
    directory: str | os.PathLike[str], *, max_images_per_round: int, max_images: int
) -> dict[str, Any]:
    """Gather all that the page of a run shows.

    Parameters
    ----------
    directory : path-like
        The run's folder.
    max_images_per_round, max_images : int
        See :func:`share_of_images`.

    Returns
    -------
    dict
        ``run`` (the record), ``strategy``, ``class_names``, ``metrics`` (name to one
        score a round), ``n_labeled``, ``sheets`` (one dict for each round with picks:
        ``round``, ``picks``, ``n_picked``, ``classes``, ``n_other``, ``n_predicted``,
        ``not_known``, ``own_words``) and ``n_thumbnails``, ``thumbnail_bytes``.
    """
    run = read_run_record(directory)
    rounds = run["rounds"]
    images = RunImages(Path(directory), run)
    most = share_of_images(
        [len(entry["picked"]) for entry in rounds], max_images_per_round, max_images
    )
    sheets = [_sheet(entry, images, most) for entry in rounds if entry["picked"]]
    names = list(dict.fromkeys(name for entry in rounds for name in entry["metrics"]))
    return {
        "run": run,
        "strategy": run["config"]["type"],
        "class_names": sorted(run["classes"], key=run["classes"].__getitem__),
        "n_labeled": [entry["n_labeled"] for entry in rounds],
        "metrics": {
            name: [entry["metrics"].get(name) for entry in rounds] for name in names
        },
        "sheets": sheets,
        "n_thumbnails": images.n_loaded,
        "thumbnail_bytes": images.n_bytes,
    }


def _sheet(entry: Mapping[str, Any], images: RunImages, most: int) -> dict[str, Any]:
    """Return what the contact sheet of one round shows."""
    picked = entry["picked"]
    predicted = [pick for pick in picked if "predicted" in pick]
    return {
        "round": entry["round"],
        "n_picked": len(picked),
        "n_predicted": len(predicted),
        "n_other": sum(_is_other(pick) for pick in predicted),
        "classes": Counter(pick["class"] for pick in picked).most_common(),
        "not_known": entry.get("not_known", {}),
        "own_words": entry["strategy"],
        "picks": [
            _card(rank, pick, images) for rank, pick in enumerate(picked[:most], 1)
        ],
    }


def _is_other(pick: Mapping[str, Any]) -> bool:
    return pick["predicted"] != pick["class"]


def _card(rank: int, pick: Mapping[str, Any], images: RunImages) -> dict[str, Any]:
    """Return what is shown of one pick."""
    nearest = pick.get("nearest")
    return {
        "rank": rank,
        "file": pick["file"],
        "class": pick["class"],
        "score": pick.get("score"),
        "predicted": pick.get("predicted"),
        "is_other": "predicted" in pick and _is_other(pick),
        "probability": pick.get("probability"),
        "image": images.pick(pick, _SIDE),
        "nearest": None
        if nearest is None
        else {
            "file": nearest["file"],
            "class": nearest["file"].split("/", 1)[0],
            "distance": nearest["distance"],
            "image": images.labelled(nearest, _SIDE_OF_NEIGHBOUR),
        },
    }
