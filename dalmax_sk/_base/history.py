"""Scores on the evaluation set in the records of ``history_``."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["round_scores", "scores_of"]


def round_scores(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores of one round.

    Parameters
    ----------
    record : dict
        The round's record in ``history_`` of an active learner.

    Returns
    -------
    dict of str to float
        The scores by name, without the leading ``eval_``.

    Examples
    --------
    >>> from dalmax_sk._base.history import round_scores
    >>> round_scores({"round": 0, "eval_accuracy": 0.5, "eval_seconds": 0.1})
    {'accuracy': 0.5}
    """
    return {
        name.removeprefix("eval_"): value
        for name, value in record.items()
        if name.startswith("eval_") and name != "eval_seconds"
    }


def scores_of(
    history: Sequence[Mapping[str, Any]], metric: str, owner: str
) -> list[float]:
    """Return one score of all rounds.

    Parameters
    ----------
    history : list of dict
        ``history_`` of an active learner, or the last part of it.
    metric : str
        Name of the score, without the leading ``eval_``.
    owner : str
        Name of the caller, for the error message.

    Returns
    -------
    list of float

    Raises
    ------
    ValueError
        If a round does not hold the score.
    """
    values = []
    for number, record in enumerate(history):
        scores = round_scores(record)
        if metric not in scores:
            raise ValueError(
                f"{owner} needs the score {metric!r} in every round; round "
                f"{record.get('round', number)} has {list(scores) or 'none'}. Pass "
                "eval_set=(X, y) to fit, and scoring= for other scores."
            )
        values.append(scores[metric])
    return values
