"""``run.json``: the entries of its rounds, and the file."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dalmax_sk._base.files import write_text
from dalmax_sk._base.history import round_scores
from dalmax_sk.reports.record.strict_json import to_json

__all__ = ["describe_picks", "describe_round", "write_run_json"]

# keys of a record with places of their own in the entry; a strategy reports the rest
_KNOWN = (
    "round",
    "n_labeled",
    "n_requested",
    "queried",
    "query_scores",
    "fit_seconds",
    "query_seconds",
    "eval_seconds",
    "observe_seconds",
    "peak_bytes",
    "fit_history",
    "stop_reason",
    "picks",
)


def describe_picks(
    rows: Sequence[int],
    *,
    files: Sequence[str],
    scores: Sequence[float] | None = None,
    copies: Sequence[str] | None = None,
    picks: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Return the picked images, one dict each, in pick order.

    Parameters
    ----------
    rows : sequence of int
        Picked rows.
    files : sequence of str
        File of every row of X, relative to the training folder, with forward slashes;
        the first part is the class.
    scores : sequence of float, default=None
        The strategy's score of each pick, if it has any.
    copies : sequence of str, default=None
        Where the copy of each pick is kept.
    picks : dict, default=None
        The answer of :func:`describe_query`.

    Returns
    -------
    list of dict
        ``row``, ``file``, ``class`` and, where given, ``score``, ``copy``,
        ``predicted`` (class when it was picked), ``probability`` (of that class) and
        ``nearest``, the nearest labelled image: a dict of ``row``, ``file`` and
        ``distance`` (Euclidean, of embeddings).

    Examples
    --------
    >>> from dalmax_sk.reports import describe_picks
    >>> describe_picks([1], files=["cat/1.png", "dog/2.png"], scores=[0.5])
    [{'row': 1, 'file': 'dog/2.png', 'class': 'dog', 'score': 0.5}]
    """
    described: list[dict[str, Any]] = []
    for position, row in enumerate(rows):
        file = files[row]
        pick = {"row": int(row), "file": file, "class": file.split("/", 1)[0]}
        if scores is not None:
            pick["score"] = scores[position]
        if copies is not None:
            pick["copy"] = copies[position]
        for key in ("predicted", "probability"):
            if picks is not None and key in picks:
                pick[key] = picks[key][position]
        if picks is not None and "nearest_row" in picks:
            nearest = picks["nearest_row"][position]
            pick["nearest"] = {
                "row": int(nearest),
                "file": files[nearest],
                "distance": picks["nearest_distance"][position],
            }
        described.append(pick)
    return described


def describe_round(
    record: Mapping[str, Any],
    *,
    files: Sequence[str],
    copies: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Return the entry of one round in ``run.json``.

    Parameters
    ----------
    record : dict
        The round's record in ``history_`` of an active learner.
    files : sequence of str
        File of every row of X; see :func:`describe_picks`.
    copies : sequence of str, default=None
        Where the copies of the picked images are kept.

    Returns
    -------
    dict
        ``round``, ``n_labeled``, ``n_requested``, ``metrics`` (on the test images, as
        fractions), ``seconds`` (``fit``, ``query``, ``eval`` and, where it was asked
        for, ``describe``: of the picks), ``peak_bytes``, ``strategy`` (the
        strategy's own report), ``training`` (one list a quantity, one value an
        epoch), ``picked`` and ``not_known``: why something is missing in ``picked``.

    Examples
    --------
    >>> from dalmax_sk.reports import describe_round
    >>> record = {
    ...     "round": 1,
    ...     "n_labeled": 2,
    ...     "n_requested": 1,
    ...     "queried": [0],
    ...     "query_scores": None,
    ...     "fit_seconds": 0.5,
    ...     "query_seconds": 0.1,
    ...     "eval_seconds": 0.1,
    ...     "eval_accuracy": 0.9,
    ... }
    >>> entry = describe_round(record, files=["cat/1.png"])
    >>> entry["metrics"], entry["picked"]
    ({'accuracy': 0.9}, [{'row': 0, 'file': 'cat/1.png', 'class': 'cat'}])
    """
    seconds = {
        key: record[f"{key}_seconds"]
        for key in ("fit", "query", "eval", "observe")
        if f"{key}_seconds" in record
    }
    picks = record.get("picks")
    if picks is not None:
        seconds["describe"] = picks["seconds"]
    reported = {
        key: value
        for key, value in record.items()
        if key not in _KNOWN and not key.startswith("eval_")
    }
    return {
        "round": record["round"],
        "n_labeled": record["n_labeled"],
        "n_requested": record["n_requested"],
        "metrics": round_scores(record),
        "seconds": seconds,
        "peak_bytes": record.get("peak_bytes"),
        "strategy": reported,
        "training": _columns(record.get("fit_history", [])),
        "picked": describe_picks(
            record["queried"],
            files=files,
            scores=record["query_scores"],
            copies=copies,
            picks=picks,
        ),
        "not_known": {} if picks is None else picks["missing"],
    }


def write_run_json(
    record: Mapping[str, Any], directory: str | os.PathLike[str]
) -> Path:
    """Write ``run.json``: everything about a run, in strict JSON.

    Parameters
    ----------
    record : dict
        The content; :func:`~dalmax_sk.reports.to_plain` states the allowed types.
    directory : path-like
        The run's folder.

    Returns
    -------
    pathlib.Path
        The file.
    """
    return write_text(Path(directory) / "run.json", to_json(record))


def _columns(epochs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Turn a list of dicts into a dict of lists; a missing value becomes None."""
    names = dict.fromkeys(key for epoch in epochs for key in epoch)
    return {name: [epoch.get(name) for epoch in epochs] for name in names}
