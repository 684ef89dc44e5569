"""BAIT hands the pool to the kernel, whose definition is tested with it."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.selection import bait
from dalmax_sk.strategies import BAIT


def make_pool(n=30, d=5, m=6, seed=0, **params):
    rng = np.random.RandomState(seed)
    arrays = {
        "proba": rng.dirichlet(np.ones(3), n),
        "embeddings": rng.randn(n, d),
        "labeled_embeddings": rng.randn(m, d),
        "labeled_proba": rng.dirichlet(np.ones(3), m),
    }
    return Pool.from_arrays(**arrays, **{"random_state": 0, **params})


def objective(pool, picks, lam=1.0):
    """tr((λ 1 + Σ labelled and picked I)⁻¹ mean I), with dense matrices."""

    def information(h, p):
        return np.kron(np.diag(p) - np.outer(p, p), np.outer(h, h))

    pairs = list(zip(pool.embeddings, pool.proba, strict=True))
    total = lam * np.eye(3 * pool.embeddings.shape[1])
    for h, p in zip(pool.labeled_embeddings, pool.labeled_proba, strict=True):
        total += information(h, p)
    for i in picks:
        total += information(*pairs[i])
    fisher = sum(information(h, p) for h, p in pairs) / len(pairs)
    return np.trace(np.linalg.solve(total, fisher))


@pytest.mark.parametrize("lam", [0.1, 2.0])
def test_picks_are_those_of_the_kernel_and_the_objective_is_reported(lam):
    pool = make_pool()
    picks, scores = BAIT(regularization=lam).query(pool, 6, return_scores=True)
    expected = bait(
        pool.embeddings,
        pool.proba,
        6,
        pool.labeled_embeddings,
        pool.labeled_proba,
        regularization=lam,
        return_scores=True,
    )
    assert_array_equal(picks, expected[0])
    assert_allclose(scores, expected[1])
    assert pool.info["fisher_objective"] == pytest.approx(objective(pool, picks, lam))


def test_batches_are_better_than_random():
    pool = make_pool(n=60)
    rng = np.random.RandomState(0)
    by_chance = [objective(pool, rng.choice(60, 8, replace=False)) for _ in range(200)]
    assert objective(pool, BAIT().query(pool, 8)) < min(by_chance)


def test_all_principal_directions_change_nothing():
    picks = BAIT().query(make_pool(), 6)
    assert_array_equal(BAIT(n_components=5).query(make_pool(), 6), picks)


def test_directions_without_length_are_not_missed():
    rng = np.random.RandomState(0)
    turn = np.linalg.qr(rng.randn(5, 5))[0][:2]  # everything lies in a plane
    flat, labeled = rng.randn(30, 2), rng.randn(6, 2)
    proba = {"proba": rng.dirichlet(np.ones(3), 30), "random_state": 0}
    proba["labeled_proba"] = rng.dirichlet(np.ones(3), 6)
    wide = Pool.from_arrays(
        embeddings=flat @ turn, labeled_embeddings=labeled @ turn, **proba
    )
    plane = Pool.from_arrays(embeddings=flat, labeled_embeddings=labeled, **proba)
    assert_array_equal(BAIT(n_components=2).query(wide, 6), BAIT().query(plane, 6))


def test_max_candidates():
    picks = BAIT(max_candidates=8).query(make_pool(), 6)
    assert len(set(picks.tolist())) == 6
    assert_array_equal(BAIT(max_candidates=8).query(make_pool(), 6), picks)
    some = {
        int(i)
        for seed in range(30)
        for i in BAIT(max_candidates=8).query(make_pool(random_state=seed), 6)
    }
    assert len(some) > 25
    assert_array_equal(
        BAIT(max_candidates=30).query(make_pool(), 6), BAIT().query(make_pool(), 6)
    )


def test_no_labelled_samples():
    rng = np.random.RandomState(0)
    pool = Pool.from_arrays(
        proba=rng.dirichlet(np.ones(3), 9), embeddings=rng.randn(9, 4)
    )
    assert len(set(BAIT().query(pool, 4).tolist())) == 4


def test_labelled_embeddings_without_probabilities_are_an_error():
    pool = Pool.from_arrays(
        proba=np.full((4, 2), 0.5),
        embeddings=np.eye(4),
        labeled_embeddings=np.eye(4)[:1],
    )
    with pytest.raises(MissingCapabilityError, match=r"from_arrays\(labeled_proba"):
        BAIT().query(pool, 2)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_components": 6}, "n_components=6 is more than the number of features, 5"),
        ({"max_candidates": 3}, "max_candidates=3 is less than the number of picks, 4"),
        ({"regularization": 0.0}, "parameter of BAIT"),
        ({"oversampling": 0.5}, "parameter of BAIT"),
        ({"approximation": "exp"}, "parameter of BAIT"),
    ],
)
def test_bad_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        BAIT(**params).query(make_pool(), 4)


def test_too_little_memory_says_what_would_help():
    pool = make_pool(max_memory=4_000)
    with pytest.raises(ValueError, match=r"n_components.*max_candidates.*'binary'"):
        BAIT().query(pool, 4)


def test_in_the_learner():
    X, y = load_iris(return_X_y=True)
    learner = ActiveLearningClassifier(
        LogisticRegression(max_iter=1000),
        BAIT(),
        n_initial=6,
        query_size=4,
        n_rounds=3,
        random_state=0,
    ).fit(X, y)
    assert len(learner.labeled_indices_) == 18
    values = [record["fisher_objective"] for record in learner.history_[1:]]
    assert all(value > 0 for value in values)
