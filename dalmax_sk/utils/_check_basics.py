"""Helpers of the checks of strategies: pools, picks, errors and peaks of memory."""

import ctypes
import gc
import re
import sys
from pathlib import Path
from unittest import SkipTest

import numpy as np
from sklearn.base import clone

from dalmax_sk._base.processes import status_bytes
from dalmax_sk.strategies import QueryStrategy
from dalmax_sk.utils._check_pools import KINDS, find_kind, make_pool

__all__ = [
    "assert_picks",
    "assert_raises",
    "learner_kind",
    "peak_added",
    "picks_of",
    "pool_for",
    "subclasses",
    "try_picks",
    "works_or_says_why",
]


def pool_for(strategy, *args, **kwargs):
    """Return a pool of the simplest kind that can give all that the strategy reads."""
    kind = find_kind(strategy)
    if kind is None:
        raise AssertionError(
            f"{strategy!r} needs what neither arrays nor LogisticRegression nor "
            "CNNClassifier on a table can give."
        )
    return make_pool(kind, *args, **kwargs)


def learner_kind(strategy):
    """Return the simplest kind of estimator that gives all that the strategy reads."""
    kind = find_kind(strategy, KINDS[1:])
    if kind is None:
        raise SkipTest(
            f"{type(strategy).__name__} needs what no estimator here can give."
        )
    return kind


def picks_of(strategy, pool, n):
    """Return the picks of a fresh clone."""
    return clone(strategy).query(pool, n)


def assert_picks(positions, n, n_candidates):
    """Check that these are n distinct positions."""
    assert isinstance(positions, np.ndarray), f"query returned a {type(positions)}"
    assert positions.dtype == np.int64, f"positions are of type {positions.dtype}"
    assert positions.shape == (n,), f"asked for {n} picks, got {positions.shape}"
    assert len(set(positions.tolist())) == n, f"a pick is repeated: {positions}"
    assert positions.min() >= 0, f"a position is negative: {positions}"
    assert positions.max() < n_candidates, f"a position is not in the pool: {positions}"


def try_picks(strategy, pool, n, errors=ValueError):
    """Return (picks, None), or (None, error) if one of `errors` is raised."""
    try:
        return picks_of(strategy, pool, n), None
    except errors as error:
        return None, error


def works_or_says_why(strategy, pool, n, situation):
    """Check that there are n picks or an error that a user understands."""
    positions, error = try_picks(strategy, pool, n)
    if error is None:
        assert_picks(positions, n, len(pool))
        return
    names = [cls.__name__ for cls in (type(strategy), *subclasses(QueryStrategy))]
    assert any(word in str(error) for word in ["label", *names]), (
        f"{situation}: the error must name the strategy or the labels, got "
        f"{type(error).__name__}: {error}"
    )


def subclasses(cls):
    """Yield all classes derived from a class."""
    for child in cls.__subclasses__():
        yield child
        yield from subclasses(child)


def assert_raises(error, pattern, strategy, pool, n):
    """Check that a query raises an error whose message has the pattern in it."""
    picks, raised = try_picks(strategy, pool, n, error)
    assert raised is not None, f"n={n!r} on {len(pool)} candidates gave {picks}"
    assert re.search(pattern, str(raised)), (
        f"expected {error.__name__} with {pattern!r} in it, got: {raised}"
    )


def peak_added(call):
    """Return by how many bytes resident memory rises at most during ``call()``.

    Raises SkipTest where the system cannot tell: it takes Linux, whose peak can be
    reset.
    """
    if sys.platform != "linux":
        raise SkipTest("Peak memory is measured on Linux only.")
    gc.collect()
    # give back what earlier calls freed, else a call that uses it seems to take nothing
    getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        raise SkipTest(f"The peak of memory cannot be reset: {error}.") from error
    before = status_bytes("VmRSS")
    call()
    peak = status_bytes("VmHWM")
    if before is None or peak is None:
        raise SkipTest("/proc/self/status does not tell the size of this process.")
    return max(0, peak - before)
