"""Mixture: fixed shares of every batch."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin, clone

from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.strategies import (
    CoreSet,
    Mixture,
    QueryStrategy,
    RandomSampling,
    Switch,
    TypiClust,
    UncertaintySampling,
)
from dalmax_sk.strategies.mixture import split_batch


def make_pool(n=40, seed=0, **params):
    rng = np.random.RandomState(seed)
    return Pool.from_arrays(
        proba=rng.dirichlet(np.ones(3), size=n),
        embeddings=rng.randn(n, 4),
        labeled_embeddings=rng.randn(6, 4),
        y_labeled=np.arange(6) % 3,
        **{"random_state": 0, **params},
    )


@settings(max_examples=200, deadline=None)
@given(
    n=st.integers(1, 2000),
    weights=st.lists(st.integers(0, 30), min_size=1, max_size=6).filter(sum),
)
def test_split_is_by_largest_remainder(n, weights):
    # in integers, where nothing is rounded: n * w = quotient * total + remainder
    parts = split_batch(n, weights)
    total = sum(weights)
    quotients = [n * w // total for w in weights]
    remainders = [n * w % total for w in weights]
    left = n - sum(quotients)
    first = sorted(range(len(weights)), key=lambda i: (-remainders[i], i))[:left]
    expected = [q + (i in first) for i, q in enumerate(quotients)]
    assert parts.tolist() == expected
    assert split_batch(n, np.array(weights) / 7).tolist() == expected
    assert all(part == 0 for part, w in zip(parts, weights, strict=True) if w == 0)


def brute_force(pool, strategies, sizes):
    """Each in turn on what is left; then the picks by their place in the batch."""
    left, rest, placed = list(range(len(pool))), pool, []
    for rank, (strategy, size) in enumerate(zip(strategies, sizes, strict=True)):
        if size == 0:
            continue
        positions = strategy.query(rest, size).tolist()
        for j, position in enumerate(positions):
            placed.append(((j + 0.5) / size, rank, left[position]))
        keep = [i for i in range(len(left)) if i not in positions]
        left, rest = [left[i] for i in keep], rest.subset(keep)
    return [position for _, _, position in sorted(placed)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("n", "weights", "sizes"),
    [
        (1, None, [1, 0, 0]),
        (7, None, [3, 2, 2]),
        (12, [0.5, 0.25, 0.25], [6, 3, 3]),
        (10, [1, 0, 3], [3, 0, 7]),
        (40, [1, 2, 1], [10, 20, 10]),
    ],
)
def test_batches_are_their_definition(seed, n, weights, sizes):
    strategies = [UncertaintySampling(), CoreSet(), RandomSampling()]
    picks = Mixture(strategies, weights).query(make_pool(seed=seed), n)
    assert picks.tolist() == brute_force(make_pool(seed=seed), strategies, sizes)


def test_every_beginning_has_nearly_the_right_shares():
    uncertain = UncertaintySampling().query(make_pool(100), 30).tolist()
    picks = Mixture([UncertaintySampling(), CoreSet()], [3, 2]).query(
        make_pool(100), 50
    )
    for k in range(1, 51):
        assert abs(np.isin(picks[:k], uncertain).sum() - 0.6 * k) <= 1
    assert [p for p in picks if p in uncertain] == uncertain


def test_a_strategy_sees_what_is_left():
    # both want the same: the second gets the next best
    picks = Mixture([UncertaintySampling(), UncertaintySampling()]).query(
        make_pool(), 6
    )
    best = UncertaintySampling().query(make_pool(), 6)
    assert picks.tolist() == best[[0, 3, 1, 4, 2, 5]].tolist()


def test_random_parts_draw_other_numbers():
    # two random strategies must not draw the same places twice over
    counts = np.zeros(20)
    for seed in range(1000):
        pool = make_pool(20, random_state=seed)
        counts[Mixture([RandomSampling(), RandomSampling()]).query(pool, 4)] += 1
    assert ((counts - 200) ** 2 / 200).sum() < 43.8  # 99.9 % of chi-square(19)


def test_the_model_sees_the_pool_once():
    class Counts(ClassifierMixin, BaseEstimator):
        classes_ = np.arange(2)
        passes = 0

        def predict_proba_and_embeddings(self, X):
            self.passes += 1
            return np.full((len(X), 2), 0.5), X

        def predict_proba(self, X):
            raise AssertionError("a second pass")

        transform = predict_proba

    model = Counts()
    X = np.random.RandomState(0).randn(30, 3)
    pool = Pool(model, X, [], [], random_state=0)
    pool._cache["labeled_embeddings"] = X[:0]
    Mixture([UncertaintySampling(), CoreSet(), UncertaintySampling()]).query(pool, 9)
    assert model.passes == 1


def test_a_strategy_without_a_share_needs_nothing():
    pool = Pool.from_arrays(embeddings=np.eye(5), random_state=0)
    strategy = Mixture([UncertaintySampling(), CoreSet()], [0, 1])
    assert len(strategy.query(pool, 5)) == 5
    with pytest.raises(
        MissingCapabilityError, match=r"Mixture of UncertaintySampling \+ CoreSet needs"
    ):
        Mixture([UncertaintySampling(), CoreSet()]).query(pool, 2)


def test_the_default():
    expected = Mixture([UncertaintySampling(), TypiClust()]).query(make_pool(), 8)
    np.testing.assert_array_equal(Mixture().query(make_pool(), 8), expected)


def test_info_is_kept_by_name():
    pool = make_pool()
    pool.info["old"] = 1
    Mixture([("wide", CoreSet()), Switch(CoreSet(), CoreSet())]).query(pool, 4)
    radius = CoreSet()
    radius.query(other := make_pool(), 2)
    assert pool.info["wide_covering_radius"] == other.info["covering_radius"]
    assert pool.info["switch_strategy"] == "CoreSet"
    assert "old" not in pool.info
    assert "covering_radius" not in pool.info


def test_names():
    strategy = Mixture(
        [CoreSet(), ("doubt", UncertaintySampling()), CoreSet(), RandomSampling()]
    )
    params = strategy.get_params()
    assert params["coreset-1"] is strategy.strategies[0]
    assert params["coreset-2"] is strategy.strategies[2]
    assert params["doubt__measure"] == "margin"
    assert params["randomsampling"] is strategy.strategies[3]
    assert set(strategy.get_params(deep=False)) == {"strategies", "weights"}


def test_set_params_replaces_and_reaches_into():
    shared = [CoreSet(), ("doubt", UncertaintySampling())]
    strategy = Mixture(shared)
    strategy.set_params(coreset=RandomSampling(), doubt__measure="entropy")
    assert isinstance(strategy.strategies[0], RandomSampling)
    assert strategy.strategies[1][1].measure == "entropy"
    assert isinstance(shared[0], CoreSet)  # the caller's list is the caller's
    strategy.set_params(doubt=CoreSet(), weights=[1, 3])
    assert strategy.strategies[1][0] == "doubt"
    assert repr(strategy.strategies[1][1]) == "CoreSet()"
    assert strategy.weights == [1, 3]
    with pytest.raises(ValueError, match="Invalid parameter 'nobody'"):
        strategy.set_params(nobody=1)
    copy = clone(strategy)
    assert copy.strategies[1][1] is not strategy.strategies[1][1]


class Learns(QueryStrategy):
    def _query(self, pool, n):
        self.seen_ = n
        return np.arange(n)

    def get_state(self):
        return {"seen": self.seen_} if hasattr(self, "seen_") else {}

    def set_state(self, state):
        if state:
            self.seen_ = state["seen"]


def test_state():
    strategy = Mixture([CoreSet(), ("bandit", Learns())])
    strategy.query(make_pool(), 8)
    state = json.loads(json.dumps(strategy.get_state()))
    assert state == {"bandit": {"seen": 4}}
    other = clone(strategy)
    other.set_state(state)
    assert other.get_state() == state
    with pytest.raises(ValueError, match=r"Mixture: the state is of .*'bandit'"):
        Mixture([CoreSet()]).set_state(state)
    assert Mixture().get_state() == {}


@pytest.mark.parametrize(
    ("strategies", "weights", "message"),
    [
        ([], None, "must be a list of at least one QueryStrategy"),
        (["core_set"], None, "must be a list of at least one QueryStrategy"),
        ([("a", CoreSet)], None, "must be a list of at least one QueryStrategy"),
        ([("a", CoreSet()), ("a", CoreSet())], None, "names of strategies must differ"),
        ([("a__b", CoreSet())], None, "hold no double underscore"),
        ([("weights", CoreSet())], None, "not be 'strategies' or 'weights'"),
        ([CoreSet()], [1, 2], "one number for each of the 1 strategies"),
        ([CoreSet(), CoreSet()], [1, -1], "at least 0 and not all 0"),
        ([CoreSet(), CoreSet()], [0, 0], "at least 0 and not all 0"),
        ([CoreSet(), CoreSet()], [1, np.nan], "must be finite"),
        ((CoreSet(),), None, "parameter of Mixture must be"),
        ([CoreSet()], 3, "parameter of Mixture must be"),
    ],
)
def test_wrong_parameters(strategies, weights, message):
    with pytest.raises(ValueError, match=message):
        Mixture(strategies, weights).query(make_pool(), 2)
