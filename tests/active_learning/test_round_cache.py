"""What is kept between rounds spares work and changes no pick."""

import copy
import pickle
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk._base.limits import limits
from dalmax_sk.active_learning.round_cache import RoundCache
from dalmax_sk.cnn import CNNClassifier
from dalmax_sk.pool import Pool
from dalmax_sk.selection import k_center_greedy
from dalmax_sk.selection.k_center import k_center
from dalmax_sk.selection.k_center.center_distances import KeptDistances
from dalmax_sk.selection.k_center.k_center import NearestCenters
from dalmax_sk.strategies import (
    CoreSet,
    Filtered,
    Mixture,
    Switch,
    UncertaintySampling,
)


def points(kind, n, d, dtype, seed):
    rng = np.random.default_rng(seed)
    if kind == "ties":
        return rng.integers(-2, 3, (n, d)).astype(dtype)
    if kind == "duplicates":
        return np.repeat(rng.standard_normal((-(-n // 3), d)), 3, axis=0)[:n].astype(
            dtype
        )
    if kind == "loose":  # float32 bounds say nothing of distances so small
        return (rng.standard_normal((n, d)) * 1e-4 + 1e4).astype(dtype)
    return rng.standard_normal((n, d)).astype(dtype)


def select(X, rows, centers, n, seed, kept=None):
    nearest = None if kept is None else kept.take(rows, centers)
    result = k_center_greedy(
        X[rows],
        n,
        X[centers] if len(centers) else None,
        random_state=seed,
        return_distances=True,
        nearest=nearest,
    )
    if kept is not None:
        kept.put(rows, centers, nearest)
    return result


# property: rounds that keep distances pick, in order and distance, what rounds that
# do not keep them pick, whatever the candidates are and whichever picks get labelled
@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["normal", "ties", "duplicates", "loose"]),
    dtype=st.sampled_from([np.float32, np.float64]),
    n=st.integers(30, 120),
    d=st.integers(1, 6),
    n_initial=st.integers(0, 12),
    seed=st.integers(0, 10_000),
    working_set=st.sampled_from([(2, 8), (512, 2048)]),
)
def test_picks_do_not_depend_on_what_is_kept(
    kind, dtype, n, d, n_initial, seed, working_set
):
    X = points(kind, n, d, dtype, seed)
    rng = np.random.default_rng(seed)
    labeled = rng.permutation(n)[:n_initial]
    kept = KeptDistances(n)
    with mock.patch.object(limits, "working_set", working_set):
        for round_number in range(5):
            rows = np.setdiff1d(np.arange(n), labeled)
            if not len(rows):
                break
            if round_number % 2:  # a filtered pool, in an order of its own
                rows = rng.permutation(rows)[: max(1, len(rows) * 2 // 3)]
            n_picks = int(rng.integers(1, min(10, len(rows)) + 1))
            found = select(X, rows, labeled, n_picks, round_number, kept)
            expected = select(X, rows, labeled, n_picks, round_number)
            assert_array_equal(found[0], expected[0])
            assert_array_equal(found[1], expected[1])
            assert found[2] == expected[2]
            # some are answered, in another order
            answered = rng.permutation(rows[found[0]])[: max(1, n_picks - 1)]
            labeled = np.concatenate([labeled, answered])


# Every bound is one, and every distance called exact is the definition's.
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_kept_is_true(definition_of_nearest, dtype):
    X = points("normal", 300, 5, dtype, 0)
    kept, labeled = KeptDistances(300), np.arange(20)
    with mock.patch.object(limits, "working_set", (16, 32)):
        for seed in range(4):
            rows = np.setdiff1d(np.arange(300), labeled)
            picks = select(X, rows, labeled, 10, seed, kept)[0]
            nearest = kept.nearest
            for row in rows:
                true = definition_of_nearest(X, row, labeled[: nearest.upto[row]])
                assert nearest.bound[row] >= true
                if nearest.exact[row]:
                    assert nearest.bound[row] == true
            assert nearest.exact[rows].sum() >= 16
            labeled = np.concatenate([labeled, rows[picks]])


@pytest.fixture
def definition_of_nearest():
    def nearest(X, row, centers):
        X = X.astype(np.float64)
        return ((X[centers] - X[row]) ** 2).sum(axis=1).min(initial=np.inf)

    return nearest


# A round after the first measures the distances to the new centres only.
def test_a_round_looks_at_new_centers_only(monkeypatch):
    seen = []
    original = k_center.bound_nearest

    def counting(pool, index, centers, *args):
        seen.append(len(index) * len(centers))
        return original(pool, index, centers, *args)

    monkeypatch.setattr(k_center, "bound_nearest", counting)
    X = points("normal", 4000, 8, np.float32, 0)
    kept, labeled, pairs = KeptDistances(4000), np.arange(500), []
    for seed in range(3):
        rows = np.setdiff1d(np.arange(4000), labeled)
        seen.clear()
        picks = select(X, rows, labeled, 10, seed, kept)[0]
        pairs.append(sum(seen))
        labeled = np.concatenate([labeled, rows[picks]])
    assert pairs[0] >= 3500 * 500
    assert max(pairs[1:]) <= 2 * 3500 * 10


def test_other_centers_start_afresh():
    X = points("normal", 60, 3, np.float64, 0)
    kept, rows = KeptDistances(60), np.arange(30, 60)
    select(X, rows, np.array([0, 1, 2]), 5, 0, kept)
    for centers in ([0, 2, 3], [0, 1], [5]):  # others, fewer, others and fewer
        centers = np.array(centers)
        found = select(X, rows, centers, 5, 0, kept)
        expected = select(X, rows, centers, 5, 0)
        assert_array_equal(found[0], expected[0])
        assert_array_equal(found[1], expected[1])


def test_an_entry_of_other_embeddings_is_dropped():
    kept = RoundCache(10)
    first = kept.of("distances", ("inputs", 1), KeptDistances)
    assert kept.of("distances", ("inputs", 1), KeptDistances) is first
    second = kept.of("distances", ("inputs", 2), KeptDistances)
    assert second is not first
    assert len(second.nearest.bound) == 10
    assert kept.of("distances", ("inputs", 1), KeptDistances) is not first


# A token may be the identity of an object, which is another object after a copy.
@pytest.mark.parametrize("copied", [lambda k: pickle.loads(pickle.dumps(k)), copy.copy])
def test_copies_hold_nothing(copied):
    kept = RoundCache(10)
    first = kept.of("distances", 1, KeptDistances)
    again = copied(kept)
    assert again.n_rows == 10
    assert again.of("distances", 1, KeptDistances) is not first
    assert kept.of("distances", 1, KeptDistances) is first


@pytest.mark.parametrize(
    ("n", "upto", "message"),
    [
        (4, 0, "nearest holds 4 points and up to 0 centres, but X has 5 rows"),
        (5, 3, "nearest holds 5 points and up to 3 centres.*there are 2 centers"),
    ],
)
def test_distances_of_other_points_are_refused(n, upto, message):
    nearest = NearestCenters.unknown(n)
    nearest.upto[:] = upto
    with pytest.raises(ValueError, match=message):
        k_center_greedy(np.zeros((5, 2)), 1, np.ones((2, 2)), nearest=nearest)


# ---------------------------------------------------------------- in a learner's rounds


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 5)).round(1)  # ties
    return np.concatenate([X, X[:50]]), np.arange(450) % 3


def learner(strategy=None, **params):
    settings = {"n_initial": 20, "query_size": 8, "n_rounds": 5, "random_state": 0}
    return ActiveLearningClassifier(
        params.pop("estimator", LogisticRegression()),
        CoreSet() if strategy is None else strategy,
        **settings | params,
    )


@pytest.fixture
def forgetful(monkeypatch):
    """Let nothing be kept from here on."""

    def forget():
        monkeypatch.setattr(RoundCache, "of", lambda self, name, token, make: make(450))

    return forget


@pytest.mark.parametrize(
    "strategy",
    [
        CoreSet(),
        Filtered(CoreSet(), subsample=120),
        Filtered(CoreSet(), near_duplicates=0.05, metric="euclidean"),
        Mixture([("margin", UncertaintySampling()), ("core_set", CoreSet())]),
        Switch(CoreSet(), UncertaintySampling(), at=40, unit="labels"),
        Switch(UncertaintySampling(), CoreSet(), at=30, unit="labels"),
    ],
    ids=["alone", "subsample", "no near duplicates", "mixture", "first", "later"],
)
def test_rounds_pick_what_they_picked(table, forgetful, strategy):
    found = learner(strategy).fit(*table)
    forgetful()
    expected = learner(strategy).fit(*table)
    assert_array_equal(found.labeled_indices_, expected.labeled_indices_)
    for now, then in zip(found.history_, expected.history_, strict=True):
        assert now.get("covering_radius") == then.get("covering_radius")
        assert now["query_scores"] == then["query_scores"]


def count_pairs(monkeypatch):
    """Return a list that grows by the pairs of points and centres of each bounding."""
    pairs = []
    original = k_center.bound_nearest

    def counting(pool, index, centers, *args):
        pairs.append(len(index) * len(centers))
        return original(pool, index, centers, *args)

    monkeypatch.setattr(k_center, "bound_nearest", counting)
    monkeypatch.setattr(limits, "working_set", (16, 32))
    return pairs


# A scaler is fitted anew each round, and with it each row's embedding changes.
@pytest.mark.parametrize(
    ("estimator", "is_kept"),
    [
        (LogisticRegression(), True),
        (make_pipeline(Normalizer(), LogisticRegression()), True),
        (make_pipeline(StandardScaler(), LogisticRegression()), False),
    ],
)
def test_kept_only_while_embeddings_cannot_change(
    table, monkeypatch, forgetful, estimator, is_kept
):
    pairs = count_pairs(monkeypatch)
    found = learner(estimator=estimator, n_initial=200).fit(*table)
    spared = sum(pairs)
    pairs.clear()
    forgetful()
    expected = learner(estimator=estimator, n_initial=200).fit(*table)
    assert_array_equal(found.labeled_indices_, expected.labeled_indices_)
    if is_kept:
        assert spared < 0.5 * sum(pairs)
    else:
        assert spared == sum(pairs)


# A resumed run has nothing kept, a second fit nothing of the first.
def test_resumed_and_repeated_runs(table, tmp_path):
    X, y = table
    whole = learner().fit(X, y)
    learner(n_rounds=2, checkpoint_dir=tmp_path).fit(X, y)
    resumed = learner(checkpoint_dir=tmp_path).fit(X, y)
    assert_array_equal(resumed.labeled_indices_, whole.labeled_indices_)
    other = X[:, ::-1] * [1, 2, 3, 4, 5]
    expected = learner().fit(other, y).labeled_indices_
    assert_array_equal(whole.fit(other, y).labeled_indices_, expected)


# By hand: rows that are taught need not be those that were asked for, nor all of them.
def test_taught_by_hand(table, forgetful):
    X, y = table
    runs = []
    for run in range(2):
        if run:
            forgetful()
        partly = np.where(np.arange(450) < 30, y, -1)
        taught = learner(missing_label=-1).fit(X, partly)
        asked = []
        for _ in range(4):
            rows = taught.query(8)
            asked.append(rows)
            answers = np.where(np.arange(8) % 3 == 0, -1, y[rows])  # some set aside
            taught.teach([*rows, 449 - rows[0]], [*answers, y[449 - rows[0]]])
            taught = pickle.loads(pickle.dumps(taught))
        runs.append(np.concatenate(asked))
    assert_array_equal(*runs)


def test_pools_of_arrays_and_pools_without_a_learner_keep_nothing(table):
    X, y = table
    given = Pool.from_arrays(
        embeddings=X[20:], labeled_embeddings=X[:20], random_state=0
    )
    model = LogisticRegression().fit(X[:20], y[:20])
    made = Pool(model, X, np.arange(20), y[:20], random_state=0)
    assert given.kept is None
    assert made.kept is None
    assert_array_equal(CoreSet().query(given, 5), CoreSet().query(made, 5))


# A frozen body gives each image the same embedding in every round; a body that is
# trained does not.
@pytest.mark.parametrize("freeze", [None, "body"])
def test_a_frozen_net(freeze, monkeypatch):
    digits = load_digits(n_class=3)
    X, y = digits.images[:300] / 16, digits.target[:300]
    body = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Flatten()
    )
    net = CNNClassifier(
        torch.nn.Sequential(body, torch.nn.Linear(288, 3)),
        normalize="imagenet",
        freeze=freeze,
        max_epochs=1,
        device="cpu",
    )
    rounds = {"estimator": net, "n_initial": 100, "n_rounds": 3}
    pairs = count_pairs(monkeypatch)
    found = learner(**rounds).fit(X, y)
    spared = sum(pairs)
    assert (found.estimator_.embedding_fingerprint_ is None) == (freeze is None)
    pairs.clear()
    monkeypatch.setattr(RoundCache, "of", lambda self, name, token, make: make(300))
    expected = learner(**rounds).fit(X, y)
    assert_array_equal(found.labeled_indices_, expected.labeled_indices_)
    if freeze is None:
        assert spared == sum(pairs)
    else:
        assert spared < 0.7 * sum(pairs)
