"""Checks of how strategies deal with what they are given."""

import re
from unittest import SkipTest

import numpy as np
from sklearn.base import clone

from dalmax_sk.pool import MissingCapabilityError
from dalmax_sk.strategies import QueryStrategy
from dalmax_sk.utils._check_basics import (
    assert_picks,
    picks_of,
    pool_for,
    subclasses,
    try_picks,
    works_or_says_why,
)
from dalmax_sk.utils._check_pools import (
    KINDS,
    Problem,
    TracingPool,
    find_kind,
    find_kinds,
    fitted_estimator,
    make_pool,
)


def check_label_names(strategy):
    """Names of classes make no difference."""
    picks = [
        picks_of(strategy, pool_for(strategy, Problem(names=names)), 7)
        for names in (False, True)
    ]
    np.testing.assert_array_equal(*picks)


def check_unseen_class(strategy):
    """A class without labels, or labels of one class only, can be dealt with."""
    for kind in find_kinds(strategy):
        for n_seen in (2, 1):
            if (kind, n_seen) == ("linear", 1):
                continue  # LogisticRegression refuses one class
            pool = make_pool(kind, Problem(n_seen=n_seen))
            situation = f"{n_seen} of 3 classes are labelled, {kind}"
            works_or_says_why(strategy, pool, 7, situation)


def check_few_labels(strategy):
    """One label, or none at all, gives picks or an error that says what is missing."""
    if find_kind(strategy) == "arrays":
        pool = pool_for(strategy, Problem(n_labeled=1))
        works_or_says_why(strategy, pool, 7, "one sample is labelled")
    pool = pool_for(strategy, Problem(n_labeled=0))
    works_or_says_why(strategy, pool, 7, "nothing is labelled")


def check_missing_capability(strategy):
    """A quantity that cannot be had is one error that says what would work."""
    full = make_pool("arrays")
    bare = {
        "probabilities": TracingPool.from_arrays(proba=full.proba),
        "embeddings": TracingPool.from_arrays(embeddings=full.embeddings),
        "posterior samples": TracingPool.from_arrays(
            posterior_proba=full.posterior_proba()
        ),
    }
    names = {cls.__name__ for cls in subclasses(QueryStrategy)}
    for what, pool in bare.items():
        positions, error = try_picks(strategy, pool, 5)
        message = str(error)
        if error is None:
            assert_picks(positions, 5, 30)
        elif isinstance(error, MissingCapabilityError):
            assert "What works:" in message, f"no remedy in: {message}"
            assert any(name in message for name in names), f"no strategy in: {message}"
        else:  # what it needs is there, but no label
            assert "label" in message, f"a pool of {what} gave: {message}"


def check_nan(strategy):
    """A model or data with NaN never lead to picks."""
    kind = find_kind(strategy, KINDS[1:]) or find_kind(strategy)
    pool = make_pool(kind)
    clone(strategy).query(pool, 5)
    used = pool.used
    if not used:
        raise SkipTest(f"{type(strategy).__name__} looks at nothing.")
    if kind == "arrays":
        raise SkipTest("Pool.from_arrays refuses NaN itself.")
    poisoned = []
    if used & {"embeddings", "rows", "network", "proba", "posterior_proba"}:
        X = Problem().X.copy()
        X[12::3, 1] = np.nan  # a subsample meets some
        poisoned.append(("the data", {"X": X}))
    if used & {"proba", "head", "decision", "network", "posterior_proba"}:
        poisoned.append(("the model", {"estimator": _diverged(kind)}))
    for what, changes in poisoned:
        picks, error = try_picks(strategy, make_pool(kind, **changes), 5)
        assert error is not None, f"{what} holds NaN, and {picks} were picked"
        assert re.search("NaN|nan|finite|infinity", str(error)), (
            f"{what} holds NaN, and the error does not say so: {error}"
        )


def _diverged(kind):
    """Return a fitted estimator one of whose weights is NaN."""
    estimator = fitted_estimator(kind, Problem())
    if kind == "linear":
        estimator.coef_[0, 0] = np.nan
    else:
        estimator.module_.get_classifier().weight.data[0, 0] = np.nan
    return estimator


def check_inputs_unchanged(strategy):
    """Neither arrays, nor data, nor the model are written to."""
    for kind in find_kinds(strategy):
        pool = make_pool(kind)
        pool.prepare(["proba", "embeddings", "labeled_embeddings", "labeled_proba"])
        X = Problem().X
        before = X.copy(), _snapshot(pool)
        clone(strategy).query(pool, 9)
        np.testing.assert_array_equal(X, before[0], "the data were changed")
        after = _snapshot(pool)
        for name, value in before[1].items():
            np.testing.assert_array_equal(after[name], value, f"{name} was changed")


def _snapshot(pool):
    """Return copies of all that a strategy could write to."""
    found = {
        str(key): np.array(value)
        for key, value in pool._cache.items()
        if isinstance(value, np.ndarray)
    }
    found |= {"indices": pool.indices.copy(), "y_labeled": pool.y_labeled.copy()}
    model = pool.estimator
    if hasattr(model, "coef_"):
        found |= {"coef_": model.coef_.copy(), "intercept_": model.intercept_.copy()}
    if hasattr(model, "module_"):
        state = model.module_.state_dict()
        found |= {name: value.clone().numpy() for name, value in state.items()}
        parameters = model.module_.parameters()
        found["requires_grad"] = np.array([p.requires_grad for p in parameters])
        found["training"] = np.array([m.training for m in model.module_.modules()])
    return found
