"""Distances that are kept between rounds spare work and change no pick."""

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
from dalmax_sk.cnn import CNNClassifier
from dalmax_sk.pool import Pool
from dalmax_sk.pool.distances import LabeledDistances
from dalmax_sk.selection import k_center_greedy
from dalmax_sk.selection.k_center import k_center
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
    if kind == "huge":  # whose squares overflow float32
        return (rng.standard_normal((n, d)) * 1e13).astype(dtype)
    return rng.standard_normal((n, d)).astype(dtype)


KINDS = ["normal", "ties", "duplicates", "loose", "huge"]


def distances_of(kept, X, rows, labeled, fingerprint="same"):
    return kept.update(fingerprint, rows, labeled, X[rows], X[labeled], 2**30)


def definition(X, rows, labeled):
    X = X.astype(np.float64)
    squares = ((X[rows][:, None] - X[labeled][None]) ** 2).sum(axis=2)
    return np.sqrt(squares.min(axis=1, initial=np.inf))


def select(X, rows, labeled, n, seed, nearest=None):
    return k_center_greedy(
        X[rows],
        n,
        X[labeled],
        random_state=seed,
        return_distances=True,
        nearest=nearest,
    )


# property: rounds that keep distances pick, in order and distance, what rounds that
# do not keep them pick, whatever the candidates are and whichever picks get labelled
@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    dtype=st.sampled_from([np.float32, np.float64]),
    n=st.integers(30, 120),
    d=st.integers(1, 6),
    n_initial=st.integers(0, 12),
    seed=st.integers(0, 10_000),
    working_set=st.sampled_from([(2, 8), (512, 2048)]),
)
@pytest.mark.slow
def test_picks_do_not_depend_on_what_is_kept(
    kind, dtype, n, d, n_initial, seed, working_set
):
    X = points(kind, n, d, dtype, seed)
    rng = np.random.default_rng(seed)
    labeled = rng.permutation(n)[:n_initial]
    kept = LabeledDistances()
    with mock.patch.object(limits, "working_set", working_set):
        for round_number in range(5):
            rows = np.setdiff1d(np.arange(n), labeled)
            if not len(rows):
                break
            if round_number % 2:  # a filtered pool, in an order of its own
                rows = rng.permutation(rows)[: max(1, len(rows) * 2 // 3)]
            n_picks = int(rng.integers(1, min(10, len(rows)) + 1))
            nearest = distances_of(kept, X, rows, labeled)
            found = select(X, rows, labeled, n_picks, round_number, nearest)
            expected = select(X, rows, labeled, n_picks, round_number)
            assert_array_equal(found[0], expected[0])
            assert_array_equal(found[1], expected[1])
            assert found[2] == expected[2]
            # some are answered, in another order
            answered = rng.permutation(rows[found[0]])[: max(1, n_picks - 1)]
            labeled = np.concatenate([labeled, answered])


# Never below the definition, and above it by the rounding of float32 only.
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["normal", "ties", "huge"])
def test_distances_are_those_of_the_definition_rounded_up(kind, dtype):
    X = points(kind, 300, 5, dtype, 0)
    kept = LabeledDistances()
    for n_labeled in (0, 20, 21, 60):
        rows, labeled = np.arange(n_labeled, 300), np.arange(n_labeled)[::-1]
        labeled = np.concatenate(
            [np.arange(min(20, n_labeled)), np.arange(20, n_labeled)]
        )
        found = distances_of(kept, X, rows, labeled)
        expected = definition(X, rows, labeled)
        assert (found >= expected * (1 - 1e-15)).all()
        assert (np.square(found) >= np.square(expected) * (1 - 1e-15)).all()
        if n_labeled:
            assert found.max() <= expected.max() + 0.01 * abs(X).max()
        else:
            assert np.isinf(found).all()


@pytest.fixture
def pairs(monkeypatch):
    """A list that grows by the pairs of points and centres of each bounding."""
    found = []
    original = k_center.bound_nearest

    def counting(pool, index, centers, *args):
        found.append(len(index) * len(centers))
        return original(pool, index, centers, *args)

    monkeypatch.setattr(k_center, "bound_nearest", counting)
    monkeypatch.setattr(limits, "working_set", (16, 32))
    return found


# A round after the first measures the distances to the new labels only.
def test_a_round_measures_new_labels_only(pairs):
    X = points("normal", 400, 8, np.float32, 0)
    kept, labeled = LabeledDistances(), np.arange(50)
    rows = np.arange(60, 400)
    distances_of(kept, X, rows, labeled)
    assert sum(pairs) == 340 * 50
    pairs.clear()
    distances_of(kept, X, rows, labeled)
    assert not pairs
    distances_of(kept, X, rows[40:], np.arange(55))
    assert sum(pairs) == 300 * 5
    # those that were no candidates are brought up to date
    pairs.clear()
    distances_of(kept, X, rows, np.arange(55))
    assert sum(pairs) == 40 * 5


@pytest.mark.parametrize(
    ("fingerprint", "labeled"),
    [("same", [0, 2, 3]), ("same", [0, 1]), ("same", [5]), ("other", [0, 1, 2])],
    ids=["others", "fewer", "others and fewer", "other embeddings"],
)
def test_other_labels_and_other_embeddings_start_afresh(pairs, fingerprint, labeled):
    X = points("normal", 60, 3, np.float64, 0)
    kept, rows = LabeledDistances(), np.arange(30, 60)
    distances_of(kept, X, rows, np.array([0, 1, 2]))
    pairs.clear()
    X = X if fingerprint == "same" else X + 1.5 * X**2
    labeled = np.array(labeled)
    found = distances_of(kept, X, rows, labeled, fingerprint)
    assert_array_equal(found, distances_of(LabeledDistances(), X, rows, labeled))
    assert sum(pairs) == 2 * 30 * len(labeled)


# A fingerprint may be the identity of an object, which is another one after a copy.
@pytest.mark.parametrize("copied", [lambda k: pickle.loads(pickle.dumps(k)), copy.copy])
def test_copies_hold_nothing(copied, pairs):
    X = points("normal", 60, 3, np.float64, 0)
    kept, rows, labeled = LabeledDistances(), np.arange(30, 60), np.arange(7)
    found = distances_of(kept, X, rows, labeled)
    again = copied(kept)
    pairs.clear()
    assert_array_equal(distances_of(again, X, rows, labeled), found)
    assert sum(pairs) == 30 * 7
    assert_array_equal(distances_of(kept, X, rows, labeled), found)
    assert sum(pairs) == 30 * 7


def test_a_subset_slices_the_distances(pairs):
    X = points("normal", 60, 3, np.float64, 0)
    pool = Pool.from_arrays(embeddings=X[9:], labeled_embeddings=X[:9])
    expected = pool.distance_to_labeled[[5, 2, 11]]
    n_pairs = sum(pairs)
    assert_array_equal(pool.subset([5, 2, 11]).distance_to_labeled, expected)
    assert sum(pairs) == n_pairs
    fresh = Pool.from_arrays(embeddings=X[9:], labeled_embeddings=X[:9])
    found = fresh.subset([5, 2, 11]).distance_to_labeled
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert np.isinf(Pool.from_arrays(embeddings=X).distance_to_labeled).all()


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


def fresh_update(kept, *args, update=LabeledDistances.update):
    return update(LabeledDistances(), *args)


@pytest.fixture
def forgetful(monkeypatch):
    """Let nothing be kept from here on."""

    def forget():
        monkeypatch.setattr(LabeledDistances, "update", fresh_update)

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
    table, pairs, forgetful, estimator, is_kept
):
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


def test_pools_without_a_learner_give_the_same(table):
    X, y = table
    given = Pool.from_arrays(
        embeddings=X[20:], labeled_embeddings=X[:20], random_state=0
    )
    model = LogisticRegression().fit(X[:20], y[:20])
    made = Pool(model, X, np.arange(20), y[:20], random_state=0)
    assert_array_equal(given.distance_to_labeled, made.distance_to_labeled)
    assert_array_equal(CoreSet().query(given, 5), CoreSet().query(made, 5))


# A frozen body gives each image the same embedding in every round; a body that is
# trained does not.
@pytest.mark.parametrize("freeze", [None, "body"])
def test_a_frozen_net(freeze, pairs, forgetful):
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
    found = learner(**rounds).fit(X, y)
    spared = sum(pairs)
    assert (found.estimator_.embedding_fingerprint_ is None) == (freeze is None)
    pairs.clear()
    forgetful()
    expected = learner(**rounds).fit(X, y)
    assert_array_equal(found.labeled_indices_, expected.labeled_indices_)
    if freeze is None:
        assert spared == sum(pairs)
    else:
        assert spared < 0.7 * sum(pairs)
