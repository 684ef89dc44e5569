"""How many labels to ask for: initial sets and query schedules in numbers."""

import math
from numbers import Integral, Real

import numpy as np

__all__ = [
    "balanced_indices",
    "check_schedule",
    "initial_size",
    "next_size",
    "query_size_for_round",
    "reason_of_rules",
    "resolve_size",
    "round_limit",
    "within_limits",
]


def resolve_size(size, n_samples, name):
    """Turn an int or a fraction of `n_samples` into a number of samples.

    Fractions round up, so that a fraction above 0 is at least one sample. Trailing
    binary dust is ignored: 0.1 of 30 is 3, not 4.

    Examples
    --------
    >>> resolve_size(0.1, 30, "n_initial"), resolve_size(7, 30, "n_initial")
    (3, 7)
    """
    if isinstance(size, Integral) and not isinstance(size, bool):
        return int(size)
    if not (isinstance(size, Real) and not isinstance(size, bool) and 0 < size <= 1):
        raise ValueError(
            f"{name}={size!r} must be an int of at least 1 or a fraction in (0, 1]."
        )
    return max(1, math.ceil(round(size * n_samples, 9)))


def _as_schedule(query_size):
    """Return an array-like `query_size` as a list, None for anything else."""
    return list(query_size) if hasattr(query_size, "__len__") else None


def query_size_for_round(query_size, round_number, n_samples):
    """Return how many labels round `round_number` (from 1) asks for.

    Parameters
    ----------
    query_size : int, float, sequence of these, or callable
        A sequence has one entry a round, the last one holding for all further rounds.
        A callable is called with the round number and returns an int or a fraction.
    round_number : int
        1 for the first query.
    n_samples : int
        Number of rows of X, which fractions refer to.

    Examples
    --------
    >>> [query_size_for_round([5, 10, 0.5], r, 100) for r in (1, 2, 3, 4)]
    [5, 10, 50, 50]
    """
    if callable(query_size):
        size = query_size(round_number)
    elif (schedule := _as_schedule(query_size)) is not None:
        if not schedule:
            raise ValueError("query_size is an empty schedule; give one entry a round.")
        size = schedule[min(round_number, len(schedule)) - 1]
    else:
        size = query_size
    n = resolve_size(size, n_samples, "query_size")
    if n < 1:
        raise ValueError(
            f"query_size gives {n} labels for round {round_number}; at least 1 is "
            "needed."
        )
    return n


def check_schedule(query_size, n_samples):
    """Raise ValueError now for an entry of a schedule that would fail in its round."""
    schedule = _as_schedule(query_size)
    if schedule is not None:
        for round_number in range(1, max(1, len(schedule)) + 1):
            query_size_for_round(query_size, round_number, n_samples)


def initial_size(n_initial, n_samples, rules):
    """Return the size of the initial set, after comparing it with X and the budget."""
    n = resolve_size(n_initial, n_samples, "n_initial")
    if n > n_samples:
        raise ValueError(
            f"n_initial={n_initial} is larger than the number of samples, {n_samples}."
        )
    for rule in rules:
        if (allowed := _limit(rule, [{"round": 0, "n_labeled": 0}], n)) < n:
            raise ValueError(
                f"n_initial={n_initial} asks for {n} labels at the start and the "
                f"budget of the stopping rule, {rule!r}, is smaller: {allowed}. Lower "
                "n_initial or raise the budget."
            )
    return n


def next_size(query_size, n_samples, rules, history):
    """Return how many rows the next round asks for, before the pool's limit."""
    n = query_size_for_round(query_size, max(1, len(history)), n_samples)
    return within_limits(rules, history, n)


def within_limits(rules, history, n):
    """Return how many of `n` labels the rules allow; `history` has a record or more."""
    for rule in rules:
        n = _limit(rule, history, n)
    return n


def _limit(rule, history, n):
    return rule.limit(history, n) if hasattr(rule, "limit") else n


def round_limit(n_rounds, query_size):
    """Return the number of rounds wanted, None for no limit."""
    schedule = _as_schedule(query_size)
    return len(schedule) if n_rounds is None and schedule is not None else n_rounds


def reason_of_rules(rules, history):
    """Return why the first rule that is met says stop, or None."""
    for rule in rules:
        found = getattr(rule, "should_stop", rule)(history)
        if found:
            return found if isinstance(found, str) else "the stopping rule says so"
    return None


def balanced_indices(codes, n_classes, n, rng):
    """Draw `n` rows with classes as even as their sizes allow.

    Uses the labels of all rows, as published protocols with balanced start sets do; a
    real labelling campaign cannot.

    Parameters
    ----------
    codes : ndarray of int of shape (n_samples,)
        Class number of every row.
    n_classes : int
    n : int
        Rows to draw.
    rng : RandomState

    Returns
    -------
    ndarray of int of shape (n,)
        One row of each class in turn, classes in random order.
    """
    members = [rng.permutation(np.flatnonzero(codes == c)) for c in range(n_classes)]
    order = rng.permutation(n_classes)
    longest = max(len(rows) for rows in members)
    in_turn = [
        members[c][turn]
        for turn in range(longest)
        for c in order
        if turn < len(members[c])
    ]
    return np.array(in_turn[:n], dtype=np.int64)
