"""Filtered: what a guard forbids is not picked, and everything else is untouched."""

import json
import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin, clone

from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.strategies import (
    CoreSet,
    DiversitySampling,
    Filtered,
    QueryStrategy,
    RandomSampling,
    UncertaintySampling,
)
from dalmax_sk.strategies.filtered import balanced_quotas


def make_pool(n=60, m=8, seed=0, copies=1, **params):
    rng = np.random.RandomState(seed)
    embeddings = rng.randn(n // copies, 4).repeat(copies, axis=0)
    return Pool.from_arrays(
        proba=rng.dirichlet(np.ones(3), size=n),
        embeddings=embeddings,
        labeled_embeddings=np.concatenate([embeddings[:2], rng.randn(m - 2, 4)]),
        y_labeled=[0] * (m - 2) + [1, 2],
        **{"random_state": 0, **params},
    )


def cosine(u, v):
    return 1 - u @ v / np.linalg.norm(u) / np.linalg.norm(v)


def euclidean(u, v):
    return np.linalg.norm(u - v)


DISTANCES = {"cosine": cosine, "euclidean": euclidean}


# ------------------------------------------------------------------ no guard, no change


@pytest.mark.parametrize(
    "strategy", [UncertaintySampling(), CoreSet(), DiversitySampling()], ids=repr
)
@pytest.mark.parametrize(
    "guards",
    [
        {},
        {"near_duplicates": 1e-9, "metric": "euclidean"},
        {"out_of_distribution": 0.999},
        {"subsample": 1.0},
        {"subsample": 1000},
    ],
)
def test_guards_that_hold_nothing_back_change_nothing(strategy, guards):
    pool, other = make_pool(), make_pool()
    if "near_duplicates" in guards:
        pool, other = (
            Pool.from_arrays(
                embeddings=p.embeddings[2:],
                proba=p.proba[2:],
                labeled_embeddings=p.labeled_embeddings,
                random_state=0,
            )
            for p in (pool, other)
        )
    picks, scores = Filtered(strategy, **guards).query(pool, 9, return_scores=True)
    expected = strategy.query(other, 9, return_scores=True)
    np.testing.assert_array_equal(picks, expected[0])
    np.testing.assert_array_equal(scores, expected[1])
    assert pool.info.items() >= other.info.items()
    assert pool.info["n_relaxed"] == 0
    assert pool.info["n_queries"] == 1


# -------------------------------------------------------------------------- near copies


def brute_force(pool, n, threshold, metric):
    """Margin without near-duplicates: down the ranking, in plain loops."""
    distance = DISTANCES[metric]
    everyone = UncertaintySampling().query(pool, len(pool)).tolist()
    taken = []
    for i in everyone:
        x = pool.embeddings[i]
        others = [*pool.labeled_embeddings, *(pool.embeddings[j] for j in taken)]
        if all(distance(x, other) > threshold for other in others):
            taken.append(i)
    return taken[:n]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("threshold", [1e-6, 0.05, 0.3, 1.0])
def test_near_duplicates_are_their_definition(seed, metric, threshold):
    strategy = Filtered(near_duplicates=threshold, metric=metric)
    for copies in (1, 5):
        pool = make_pool(seed=seed, copies=copies)
        allowed = brute_force(pool, 60, threshold, metric)
        for n in {1, 6, len(allowed)} & set(range(1, len(allowed) + 1)):
            picks = strategy.query(pool, n)
            assert picks.tolist() == allowed[:n]
            assert pool.info["n_relaxed"] == 0


def test_a_pool_full_of_copies_takes_few_queries():
    # 4 distinct points, 100 copies of each; 4 picks must be one of each
    pool = Pool.from_arrays(
        proba=np.repeat([[0.5, 0.5], [0.6, 0.4], [0.7, 0.3], [0.8, 0.2]], 100, axis=0),
        embeddings=np.eye(4).repeat(100, axis=0),
        random_state=0,
    )
    picks = Filtered(near_duplicates=0.0).query(pool, 4)
    assert (picks // 100).tolist() == [0, 1, 2, 3]
    assert pool.info["n_queries"] == 4
    assert pool.info["n_near_duplicates"] == 3 * 99  # nobody looked for the last's


def test_a_strategy_asked_again_is_asked_for_more_and_more():
    asked = []

    class Asks(QueryStrategy):
        def _query(self, pool, n):
            asked.append((n, len(pool)))
            return np.arange(n)

    embeddings = np.repeat(np.arange(8.0), [50, 1, 20, 1, 1, 1, 1, 1])[:, None]
    pool = Pool.from_arrays(embeddings=embeddings, random_state=0)
    strategy = Filtered(Asks(), near_duplicates=0.5, metric="euclidean")
    picks = strategy.query(pool, 5)
    assert embeddings[picks, 0].tolist() == [0, 1, 2, 3, 4]
    # 5 of 76 give a 0; then 2 * 4 of the 26 give a 1 and a 2; then 4 * 2 of the 5 left
    assert asked == [(5, 76), (8, 26), (5, 5)]


# ------------------------------------------------------------------------ class balance


@settings(max_examples=100, deadline=None)
@given(
    classes=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1),
    share=st.floats(0, 1),
)
def test_quotas_are_as_equal_as_they_can_be(classes, share):
    labeled, available = np.array(classes).T
    n = int(share * available.sum())
    order = np.random.RandomState(0).permutation(len(labeled))
    quotas = balanced_quotas(labeled, available, n, order)
    assert quotas.sum() == n
    assert (quotas >= 0).all()
    assert (quotas <= available).all()
    totals = labeled + quotas
    for c in np.flatnonzero(quotas > 0):
        # one that was picked from is no fuller than one that could have been instead
        for other in np.flatnonzero(quotas < available):
            assert totals[c] - 1 <= totals[other]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("strategy", [UncertaintySampling(), CoreSet()], ids=repr)
def test_predicted_classes_are_balanced_with_the_labels(seed, strategy):
    pool = make_pool(seed=seed)  # 6 labels of class 0, one of each other
    picks = Filtered(strategy, class_balance=True).query(pool, 14)
    counts = np.bincount(pool.proba.argmax(axis=1)[picks], minlength=3)
    assert (counts + [6, 1, 1]).max() - (counts + [6, 1, 1]).min() <= 1
    assert pool.info["n_relaxed"] == 0


def test_within_a_class_the_preference_stays():
    pool = make_pool()
    ranking = UncertaintySampling().query(pool, 60)
    predicted = pool.proba.argmax(axis=1)
    picks = Filtered(class_balance=True).query(pool, 14)
    for c in range(3):
        mine = picks[predicted[picks] == c]
        assert mine.tolist() == ranking[predicted[ranking] == c][: len(mine)].tolist()


def test_a_class_nobody_is_predicted_to_be_gets_nothing():
    proba = np.tile([0.6, 0.4, 0.0], (10, 1))
    proba[:3] = [0.3, 0.7, 0.0]
    pool = Pool.from_arrays(proba=proba, y_labeled=[0], random_state=0)
    picks = Filtered(class_balance=True).query(pool, 5)
    # the label is of class 0: three of class 1 and two of class 0 make it 3 to 3
    assert np.bincount(proba[picks].argmax(axis=1)).tolist() == [2, 3]
    assert len(Filtered(class_balance=True).query(pool, 10)) == 10
    assert pool.info["n_relaxed"] == 0


def test_ties_between_classes_are_the_seeds():
    firsts = set()
    for seed in range(30):
        pool = Pool.from_arrays(proba=np.eye(3), y_labeled=[], random_state=seed)
        firsts.add(int(Filtered(class_balance=True).query(pool, 1)[0]))
    assert firsts == {0, 1, 2}


# ------------------------------------------------------------------ out of distribution


@pytest.mark.parametrize("reference", ["pool", "labeled"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.9])
def test_isolated_candidates_are_dropped(reference, metric, quantile):
    pool = make_pool(n=40, m=12)
    k, kth = 3, []
    for i, x in enumerate(pool.embeddings):
        others = pool.labeled_embeddings
        if reference == "pool":
            others = np.delete(pool.embeddings, i, axis=0)
        kth.append(sorted(DISTANCES[metric](x, other) for other in others)[k - 1])
    limit = np.sort(kth)[round(quantile * 40) - 1]
    kept = np.flatnonzero(np.array(kth) <= limit + 1e-12)  # two may share a distance
    strategy = Filtered(
        out_of_distribution=quantile,
        reference=reference,
        metric=metric,
        n_neighbors=k,
        shortage="raise",
    )
    picks = strategy.query(pool, len(kept))
    assert sorted(picks) == sorted(kept)
    assert pool.info["n_out_of_distribution"] == 40 - len(kept)
    with pytest.raises(ValueError, match=rf"allow only {len(kept)} of the 40 picks"):
        strategy.query(pool, 40)


def test_fewer_neighbours_than_wanted():
    # the third neighbours, for there is no tenth, are at 10, 9, 7 and 10
    pool = Pool.from_arrays(embeddings=[[0.0], [1.0], [3.0], [10.0]], random_state=0)
    guards = {"out_of_distribution": 0.5, "metric": "euclidean"}
    picks = Filtered(RandomSampling(), **guards).query(pool, 2)
    assert sorted(picks) == [1, 2]
    lone = Pool.from_arrays(embeddings=[[0.0]], random_state=0)
    assert Filtered(RandomSampling(), **guards).query(lone, 1).tolist() == [0]
    with pytest.raises(ValueError, match="nothing is labelled yet"):
        Filtered(RandomSampling(), reference="labeled", **guards).query(pool, 1)


# ---------------------------------------------------------------------------- subsample


def test_subsamples_are_uniform_and_drawn_by_the_seed():
    counts = np.zeros(20)
    for seed in range(1000):
        pool = make_pool(20, random_state=seed)
        picks = Filtered(RandomSampling(), subsample=5).query(pool, 2)
        counts[picks] += 1
    assert ((counts - 100) ** 2 / 100).sum() < 43.8  # 99.9 % of chi-square(19)
    one, same = (Filtered(subsample=5).query(make_pool(), 2) for _ in range(2))
    assert one.tolist() == same.tolist()


@pytest.mark.parametrize(
    ("subsample", "n", "size"), [(7, 3, 7), (7, 9, 9), (0.25, 3, 15), (0.26, 3, 16)]
)
def test_the_strategy_sees_the_subsample_only(subsample, n, size):
    seen = []

    class Looks(QueryStrategy):
        def _query(self, pool, n):
            seen.append(len(pool))
            return np.arange(n)

    Filtered(Looks(), subsample=subsample).query(make_pool(60), n)
    assert seen == [size]


def test_the_model_sees_the_subsample_only():
    class Counts(ClassifierMixin, BaseEstimator):
        classes_ = np.arange(2)

        def predict_proba(self, X):
            self.seen = len(X)
            return np.full((len(X), 2), 0.5)

    model = Counts()
    pool = Pool(model, np.zeros((50, 2)), [0, 1], [0, 1], random_state=0)
    Filtered(subsample=10).query(pool, 3)
    assert model.seen == 10


# ----------------------------------------------------------------------------- shortage


def test_guards_are_lifted_in_the_stated_order(caplog):
    # four groups: fine, a copy of a label, isolated, isolated copy; classes lopsided
    embeddings = np.array([[0.0], [0.1], [0.2], [0.2], [5.0], [5.1], [90.0], [90.0]])
    pool = Pool.from_arrays(
        proba=np.tile([0.6, 0.4], (8, 1)),
        embeddings=embeddings,
        labeled_embeddings=[[5.0]],
        y_labeled=[1],
        random_state=0,
    )
    strategy = Filtered(
        near_duplicates=0.12,
        metric="euclidean",
        out_of_distribution=0.75,
        reference="labeled",
        n_neighbors=1,
    )
    # 0 and 90 are the farther ones from the label: 90, 90 are dropped as isolated
    with caplog.at_level(logging.WARNING, logger="dalmax_sk"):
        picks = strategy.query(pool, 8)
    assert set(picks[:1]) <= {0, 1, 2, 3}
    near = picks.tolist().index(6), picks.tolist().index(7)
    assert min(near) == 6  # isolated ones come last of all
    n_relaxed = pool.info["n_relaxed"]
    assert f"the guards allow {8 - n_relaxed} of 8 picks" in caplog.text
    apart = embeddings[picks[: 8 - n_relaxed], 0]
    gaps = np.abs(apart[:, None] - apart) + 1e9 * np.eye(len(apart))
    assert gaps.min() > 0.12
    with pytest.raises(ValueError, match=rf"allow only {8 - n_relaxed} of the 8 picks"):
        clone(strategy).set_params(shortage="raise").query(pool, 8)


def test_no_warning_while_the_guards_hold(caplog):
    with caplog.at_level(logging.WARNING, logger="dalmax_sk"):
        Filtered(near_duplicates=0.01).query(make_pool(), 5)
    assert not caplog.records


def test_balance_is_lifted_before_near_duplicates():
    # class 1 is owed all three picks, and its candidates are copies: class 0 steps in
    proba = [[0.4, 0.6], [0.4, 0.6], [0.4, 0.6], [0.9, 0.1], [0.9, 0.1], [0.8, 0.2]]
    embeddings = np.array([[0.0], [0.0], [0.0], [3.0], [3.0], [6.0]])
    pool = Pool.from_arrays(
        proba=proba,
        embeddings=embeddings,
        labeled_embeddings=[[50.0], [60.0], [70.0]],
        y_labeled=[0, 0, 0],
        random_state=0,
    )
    strategy = Filtered(near_duplicates=0.5, metric="euclidean", class_balance=True)
    picks = strategy.query(pool, 3)
    assert embeddings[picks, 0].tolist() == [0, 6, 3]
    assert pool.info["n_relaxed"] == 2


# ----------------------------------------------------------------------------- the rest


def test_scores_are_those_of_the_strategy():
    pool = make_pool()
    picks, scores = Filtered(near_duplicates=0.3).query(pool, 8, return_scores=True)
    ranking, values = UncertaintySampling().query(pool, 60, return_scores=True)
    of = dict(zip(ranking.tolist(), values.tolist(), strict=True))
    assert scores.tolist() == [of[i] for i in picks.tolist()]
    strategy = Filtered(RandomSampling(), near_duplicates=0.3)
    assert strategy.query(pool, 8, return_scores=True)[1] is None


def test_missing_capabilities_name_the_wrapped_strategy():
    pool = Pool.from_arrays(proba=np.full((5, 2), 0.5))
    with pytest.raises(
        MissingCapabilityError, match="Filtered UncertaintySampling nee"
    ):
        Filtered(near_duplicates=0.1).query(pool, 2)


def test_parameters_and_state_go_through():
    class Learns(QueryStrategy):
        seen = None

        def _query(self, pool, n):
            self.seen = n
            return np.arange(n)

        def get_state(self):
            return {} if self.seen is None else {"seen": self.seen}

        def set_state(self, state):
            self.seen = state.get("seen")

    strategy = Filtered(Learns())
    strategy.query(make_pool(), 3)
    state = json.loads(json.dumps(strategy.get_state()))
    assert state == {"strategy": {"seen": 3}}
    other = clone(strategy)
    other.set_state(state)
    assert other.strategy.seen == 3
    with pytest.raises(ValueError, match="Filtered: the state is of"):
        Filtered().set_state(state)
    guarded = Filtered(UncertaintySampling()).set_params(strategy__measure="entropy")
    assert guarded.strategy.measure == "entropy"


@pytest.mark.parametrize(
    "params",
    [
        {"near_duplicates": -0.1},
        {"out_of_distribution": 1.0},
        {"out_of_distribution": 0.0},
        {"subsample": 0},
        {"subsample": 1.5},
        {"metric": "l1"},
        {"reference": "nobody"},
        {"n_neighbors": 0},
        {"class_balance": "yes"},
        {"shortage": "ignore"},
        {"strategy": "core_set"},
    ],
)
def test_wrong_parameters(params):
    with pytest.raises(ValueError, match="parameter of Filtered must be"):
        Filtered(**params).query(make_pool(), 2)
