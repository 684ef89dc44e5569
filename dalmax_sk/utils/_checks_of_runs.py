"""Checks of the memory that strategies take, and of runs of a learner."""

import tempfile

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from dalmax_sk.strategies import RandomSampling
from dalmax_sk.utils._check_basics import (
    learner_kind,
    peak_added,
    picks_of,
    pool_for,
)
from dalmax_sk.utils._check_pools import Problem, new_estimator

# The size at which memory is measured. A matrix of all distances would take 400 MB in
# float32, one row of gradients a candidate 61 MB.
_LARGE = Problem(n=10_000, n_labeled=96, n_features=64, n_classes=24, dtype="float32")
# Strategies may refuse the first, naming max_memory, but not the second.
_LIMITS = (2**24, 2**28)
# What is allowed above the limit: three numbers for each that describes a candidate,
# and what allocators round up.
_BESIDES = 3 * 8 * _LARGE.n * (_LARGE.n_features + _LARGE.n_classes) + 2**24


def check_max_memory_changes_nothing(strategy):
    """Blocks of any size give the same picks."""
    problem = Problem(n=80, n_features=6)
    picks = [
        picks_of(strategy, pool_for(strategy, problem, max_memory=limit), 12)
        for limit in (2**30, 2**17)
    ]
    np.testing.assert_array_equal(*picks, "a small max_memory changes the picks")


def check_max_memory(strategy):
    """Temporary blocks stay within `max_memory`, besides some numbers a candidate."""
    small = pool_for(strategy)
    clone(strategy).query(small, 5)  # loads what it needs
    used = small.used - {"rows"}
    refused = None
    for limit in _LIMITS:
        pool = pool_for(strategy, _LARGE, max_memory=limit)
        pool.prepare(used)  # what the model takes is not counted
        try:
            added = peak_added(lambda pool=pool: clone(strategy).query(pool, 20))
        except ValueError as error:
            if "max_memory" not in str(error):
                raise
            refused = error
        else:
            allowed = limit + _BESIDES
            assert added <= allowed, (
                f"a query with max_memory={limit / 2**20:.0f} MB took "
                f"{added / 2**20:.0f} MB at {_LARGE.n} candidates, "
                f"{_LARGE.n_features} features, {_LARGE.n_classes} classes; at most "
                f"{allowed / 2**20:.0f} MB are allowed"
            )
            return
    raise AssertionError(f"no query with {_LIMITS[-1]:,} bytes: {refused}")


# -------------------------------------------------------------------------- the learner


def _learner(strategy, **params):
    from dalmax_sk.active_learning import ActiveLearningClassifier

    return ActiveLearningClassifier(
        new_estimator(learner_kind(strategy)),
        clone(strategy),
        n_initial=12,
        query_size=4,
        n_rounds=1,
        random_state=0,
        classes=Problem().classes,
        **params,
    )


def check_hidden_labels(strategy):
    """Labels that were not revealed change nothing."""
    learner = _learner(strategy)
    X, y = Problem().X, Problem().y
    learner.fit(X, y)
    garbage = np.random.RandomState(1).permutation(y)
    garbage[learner.initial_indices_] = y[learner.initial_indices_]
    other = clone(learner).fit(X, garbage)
    np.testing.assert_array_equal(other.initial_indices_, learner.initial_indices_)
    np.testing.assert_array_equal(
        other.query_history_[0], learner.query_history_[0], "hidden labels were read"
    )


def check_resume(strategy):
    """A run resumed from its checkpoint picks what an uninterrupted one picks."""
    X, y = Problem().X, Problem().y
    whole = _learner(strategy).set_params(n_rounds=2).fit(X, y)
    with tempfile.TemporaryDirectory() as folder:
        _learner(strategy, checkpoint_dir=folder).fit(X, y)
        resumed = _learner(strategy, checkpoint_dir=folder).set_params(n_rounds=2)
        resumed.fit(X, y)
    for one, other in zip(whole.query_history_, resumed.query_history_, strict=True):
        np.testing.assert_array_equal(other, one, "the resumed run picks otherwise")


def check_grid_search(strategy):
    """A grid search over strategies runs and scores them."""
    search = GridSearchCV(
        _learner(strategy),
        {"strategy": [clone(strategy), RandomSampling()]},
        cv=2,
        refit=False,
        error_score="raise",
    )
    search.fit(Problem().X, Problem().y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
