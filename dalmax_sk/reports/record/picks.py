"""What the model said of the rows that a strategy picked, before their labels came."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import pairwise_distances_argmin_min

from dalmax_sk.pool import MissingCapabilityError, Pool

__all__ = ["describe_query"]


def describe_query(pool: Pool, positions: Sequence[int]) -> dict[str, Any]:
    """Return what the model of the round knew of the picks.

    The model sees the picks and the labelled rows only, and what the strategy had it
    compute already is taken from the pool.

    Parameters
    ----------
    pool : Pool
        The pool of the query, with the model that the picks were made with.
    positions : sequence of int of length n
        The picks, as positions in `pool`.

    Returns
    -------
    dict
        Plain lists of length n in the order of `positions`:

        - ``predicted``: the class that the model predicts;
        - ``probability``: its probability, in [0, 1];
        - ``nearest_row``: the labelled row (of the pool's X) whose embedding is nearest
          in Euclidean distance, one of them among equals;
        - ``nearest_distance``: that distance, at least 0.

        What cannot be known is left out and ``missing`` says why: a dict from
        ``"predicted"``, ``"probability"`` or ``"nearest"`` to a sentence. ``seconds``
        is the time that this took.

    Raises
    ------
    IndexError
        If a position lies outside the pool.

    Notes
    -----
    A model that cannot give probabilities or embeddings stops no run here, for nothing
    depends on the answer; the reason is kept in its place.

    Examples
    --------
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.reports import describe_query
    >>> pool = Pool.from_arrays(
    ...     proba=[[0.25, 0.75], [1.0, 0.0]],
    ...     embeddings=[[0.0, 0.0], [3.0, 4.0]],
    ...     labeled_embeddings=[[0.0, 0.0], [9.0, 9.0]],
    ...     y_labeled=[0, 1],
    ... )
    >>> told = describe_query(pool, [1])
    >>> told["predicted"], told["probability"]
    ([0], [1.0])
    >>> told["nearest_row"], told["nearest_distance"]
    ([0], [5.0])
    """
    started = time.perf_counter()
    picks = pool.subset(positions)
    told: dict[str, Any] = {}
    missing: dict[str, str] = {}
    told |= _predictions(picks, missing)
    told |= _neighbours(picks, missing)
    told["missing"] = missing
    told["seconds"] = time.perf_counter() - started
    return told


def _predictions(picks: Pool, missing: dict[str, str]) -> dict[str, Any]:
    """Return predicted classes and, where there are any, their probabilities."""
    if not len(picks):
        return {"predicted": [], "probability": []}
    try:
        proba = picks.proba  # (n, C)
    except ValueError as error:
        missing["probability"] = str(error)
        # without probabilities, and not because what they gave is unusable
        if isinstance(error, MissingCapabilityError) and picks.estimator is not None:
            return {"predicted": np.asarray(picks.predict()).tolist()}
        missing["predicted"] = str(error)
        return {}
    best = proba.argmax(axis=1)
    return {
        "predicted": picks.classes[best].tolist(),
        "probability": proba[np.arange(len(best)), best].tolist(),
    }


def _neighbours(picks: Pool, missing: dict[str, str]) -> dict[str, Any]:
    """Return the nearest labelled row of each pick, and how far it is."""
    if not picks.n_labeled:
        missing["nearest"] = "Nothing was labelled yet."
        return {}
    if not len(picks):
        return {"nearest_row": [], "nearest_distance": []}
    try:
        own, others = picks.embeddings, picks.labeled_embeddings  # (n, d), (m, d)
    except ValueError as error:
        missing["nearest"] = str(error)
        return {}
    # Around their own mean: matrix products of points far from zero tell no distances.
    own = np.asarray(own, dtype=np.float64)
    origin = own.mean(axis=0)
    own, others = own - origin, np.asarray(others, dtype=np.float64) - origin
    # the matrix of distances is made in blocks there
    nearest, _ = pairwise_distances_argmin_min(own, others)
    distance = np.linalg.norm(own - others[nearest], axis=1)
    return {
        "nearest_row": picks.labeled_indices[nearest].tolist(),
        "nearest_distance": distance.tolist(),
    }
