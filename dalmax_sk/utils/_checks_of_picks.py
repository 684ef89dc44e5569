"""Checks of strategies as parameter objects, and of their picks."""

import json
import pickle
import random
import warnings

import numpy as np
from sklearn.base import clone

from dalmax_sk.strategies import ScoreStrategy
from dalmax_sk.utils._check_basics import (
    assert_picks,
    assert_raises,
    picks_of,
    pool_for,
    works_or_says_why,
)
from dalmax_sk.utils._check_pools import (
    Problem,
    find_kind,
    find_kinds,
    make_pool,
)

# ----------------------------------------------------------------- the parameter object


def check_parameters(strategy):
    """Parameters are constrained, and kept by get, set, clone, pickle and repr."""
    cls = type(strategy)
    own = strategy.get_params(deep=False)
    missing = set(own) - set(strategy._parameter_constraints)
    assert not missing, f"_parameter_constraints lacks {sorted(missing)}"
    for name, value in own.items():
        assert getattr(strategy, name) is value, f"__init__ must only assign {name}"
    extra = set(vars(strategy)) - set(own)
    assert not extra, f"__init__ sets {sorted(extra)}, which are no parameters"
    assert repr(clone(strategy)) == repr(strategy), "clone changes the parameters"
    assert cls.__name__ in repr(strategy), "repr does not name the class"
    again = pickle.loads(pickle.dumps(strategy))
    assert repr(again) == repr(strategy), "pickling changes the parameters"
    assert strategy.set_params(**own) is strategy, "set_params must return self"
    pool = pool_for(strategy)
    np.testing.assert_array_equal(again.query(pool, 5), picks_of(strategy, pool, 5))


def check_learner_parameters(strategy):
    """A learner reaches the strategy's parameters by double underscore."""
    from dalmax_sk.active_learning import ActiveLearningClassifier

    learner = ActiveLearningClassifier(strategy=clone(strategy))
    own = learner.strategy.get_params(deep=True)
    for name, value in own.items():
        assert f"strategy__{name}" in learner.get_params(), f"{name} is out of reach"
        learner.set_params(**{f"strategy__{name}": value})
        assert learner.get_params()[f"strategy__{name}"] is value


# ---------------------------------------------------------------------------- the picks


def check_number_of_picks(strategy):
    """There are exactly n distinct picks, from one to the whole pool."""
    for n in (1, 7, 30):
        assert_picks(picks_of(strategy, pool_for(strategy), n), n, 30)
    lone = pool_for(strategy, rows=[20])
    assert_picks(picks_of(strategy, lone, 1), 1, 1)


def check_kinds_of_pools(strategy):
    """On every kind of pool that has what it needs, it picks, and picks the same."""
    for kind in find_kinds(strategy):
        first = picks_of(strategy, make_pool(kind), 7)
        assert_picks(first, 7, 30)
        again = picks_of(strategy, make_pool(kind), 7)
        np.testing.assert_array_equal(again, first, f"picks differ, from {kind}")


def check_dtypes(strategy):
    """Single and double precision both work."""
    for dtype in ("float32", "float64"):
        pool = pool_for(strategy, Problem(dtype=dtype))
        assert_picks(picks_of(strategy, pool, 7), 7, 30)


def check_bad_n(strategy):
    """A number of picks that makes no sense is refused."""
    for n, error in ((0, ValueError), (31, ValueError), (-1, ValueError)):
        assert_raises(error, "n must be from 1 to 30", strategy, pool_for(strategy), n)
    for n in (2.0, True, None, "3"):
        assert_raises(TypeError, "n must be an int", strategy, pool_for(strategy), n)


def check_empty_pool(strategy):
    """A pool without candidates is an error that says so."""
    pool = pool_for(strategy, rows=np.empty(0, dtype=int))
    assert_raises(ValueError, "no candidates", strategy, pool, 1)


def check_same_pool_same_picks(strategy):
    """Picks depend on the pool alone, whatever was asked before."""
    pool, used = pool_for(strategy), clone(strategy)
    first = used.query(pool, 5)
    used.query(pool, 9)
    np.testing.assert_array_equal(used.query(pool, 5), first, "asked again")
    fresh = picks_of(strategy, pool_for(strategy), 5)
    np.testing.assert_array_equal(fresh, first, "asked afresh")
    if find_kind(strategy) != "arrays":
        return
    late = pool_for(strategy)
    for name in ("embeddings", "proba"):
        getattr(late, name)
    np.testing.assert_array_equal(picks_of(strategy, late, 5), first)


def check_global_state(strategy):
    """Global generators and settings are neither used nor changed."""
    import torch

    def settings():
        return {
            "grad mode": torch.is_grad_enabled(),
            "default dtype": torch.get_default_dtype(),
            "threads": torch.get_num_threads(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "numpy errors": np.geterr(),
            "warning filters": list(warnings.filters),
        }

    def generators():
        state = np.random.get_state()  # noqa: NPY002 (is it left alone?)
        return (
            (state[1].tolist(), state[2:]),
            random.getstate(),
            torch.get_rng_state().tolist(),
        )

    before, grad_mode = generators(), torch.is_grad_enabled()
    try:
        expected = picks_of(strategy, pool_for(strategy), 5)  # builds what it needs
        np.random.seed(5)  # noqa: NPY002
        random.seed(5)
        torch.manual_seed(5)
        torch.set_grad_enabled(True)
        seeded, set_before = generators(), settings()
        picks = picks_of(strategy, pool_for(strategy), 5)
        for name, was, now in zip(
            ("NumPy's", "Python's", "torch's"), seeded, generators(), strict=True
        ):
            assert now == was, f"{name} global generator was used or changed"
        for name, was in set_before.items():
            assert settings()[name] == was, f"a global setting was changed: {name}"
        np.testing.assert_array_equal(picks, expected, "picks follow a global seed")
    finally:
        torch.set_grad_enabled(grad_mode)
        keys, rest = before[0]
        np.random.set_state(("MT19937", keys, *rest))  # noqa: NPY002
        random.setstate(before[1])
        torch.set_rng_state(torch.tensor(before[2], dtype=torch.uint8))


def check_permutation(strategy):
    """Permuting the pool permutes the picks.

    Exactly so if the seed does not matter on a pool without ties. A strategy that draws
    must pick each candidate with the same probability wherever it stands: compared are
    how often each is picked over 16 seeds.
    """
    rows = np.arange(12, 42)
    orders = [rows[::-1], rows[np.random.RandomState(3).permutation(30)]]

    def picked(order, seed):
        pool = pool_for(strategy, rows=order, random_state=seed)
        return np.asarray(order)[picks_of(strategy, pool, 6)]

    expected = [picked(rows, seed) for seed in range(3)]
    if all((expected[0] == other).all() for other in expected):
        for order in orders:
            np.testing.assert_array_equal(picked(order, 0), expected[0])
        return
    n_seeds = 16
    counts = np.zeros((2, 42))
    for seed in range(n_seeds):
        counts[0, picked(rows, seed)] += 1
        counts[1, picked(orders[0], n_seeds + seed)] += 1
    counts = counts[:, 12:]
    share = counts.mean(axis=0) / n_seeds
    variance = 2 * n_seeds * share * (1 - share) + 0.5
    statistic = ((counts[0] - counts[1]) ** 2 / variance).sum()
    # chi-square with at most 30 degrees of freedom: mean 30, deviation 7.7
    assert statistic < 30 + 6 * np.sqrt(2 * 30), (
        f"where a candidate stands decides how often it is picked: {counts.tolist()}"
    )


def check_duplicates(strategy):
    """Copies in the pool never give a repeated row."""
    copies = Problem(seed=4)
    X = copies.X.copy()
    X[12:] = X[[12, 13, 14]].repeat(10, axis=0)
    for n in (4, 20, 30):
        positions = picks_of(strategy, pool_for(strategy, copies, X=X), n)
        assert_picks(positions, n, 30)


def check_constant_embeddings(strategy):
    """Candidates that are all the same can be picked, or the error says what is up."""
    X = np.ones_like(Problem().X)
    X[:12] = Problem().X[:12]
    pool = pool_for(strategy, X=X)
    works_or_says_why(strategy, pool, 7, "all candidates are equal")


def check_scores(strategy):
    """Scores, if there are any, are one number a pick; the top ones come in order."""
    pool = pool_for(strategy)
    positions, scores = clone(strategy).query(pool, 10, return_scores=True)
    assert_picks(positions, 10, 30)
    if scores is None:
        return
    scores = np.asarray(scores)
    assert scores.shape == (10,), f"10 picks have scores of shape {scores.shape}"
    assert scores.dtype.kind == "f", f"scores are of type {scores.dtype}"
    assert not np.isnan(scores).any(), f"scores are NaN: {scores}"
    if isinstance(strategy, ScoreStrategy) and strategy.batch == "top":
        assert (np.diff(scores) <= 0).all(), f"the best is not first: {scores}"
        if len(np.unique(scores)) == 10:
            fewer = picks_of(strategy, pool_for(strategy), 4)
            np.testing.assert_array_equal(fewer, positions[:4])


def check_info(strategy):
    """Notes in ``pool.info`` are scalars that a record can hold."""
    pool = pool_for(strategy)
    pool.info["of another query"] = 1
    clone(strategy).query(pool, 5)
    assert "of another query" not in pool.info, "pool.info keeps what was there before"
    for key, value in pool.info.items():
        assert isinstance(key, str), f"pool.info has the key {key!r}"
        plain = isinstance(value, bool | int | float | str)
        assert plain, f"pool.info[{key!r}] is {value!r}, not a plain scalar"


def check_state(strategy):
    """The state is JSON; a strategy that is given it picks the same."""
    used = clone(strategy)
    used.query(pool_for(strategy), 5)
    state = json.loads(json.dumps(used.get_state()))
    other = clone(strategy)
    other.set_state(state)
    assert json.loads(json.dumps(other.get_state())) == state, "the state is not kept"
    pool = pool_for(strategy, Problem(n=28, n_labeled=14))
    np.testing.assert_array_equal(other.query(pool, 5), used.query(pool, 5))
