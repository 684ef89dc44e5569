"""ProbCover equals its definition, and its radius the purity rule."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.pool import Pool
from dalmax_sk.strategies import ProbCover, RandomSampling, get_strategy


def random_pool(n=40, m=6, d=3, seed=0, **params):
    rng = np.random.RandomState(seed)
    centers = 3 * rng.randn(4, d)
    codes = np.arange(n + m) % 4
    X = centers[codes] + rng.randn(n + m, d)
    return Pool.from_arrays(
        embeddings=X[m:],
        labeled_embeddings=X[:m],
        y_labeled=codes[:m],
        classes=np.arange(4),
        random_state=seed,
        **params,
    )


def unit(X):
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def gains_of(X, labeled, picks, radius):
    """What each of the picks and the best candidate cover, one after the other."""

    def ball(center):
        return set(np.flatnonzero(np.linalg.norm(X - center, axis=1) <= radius))

    covered = set().union(*(ball(c) for c in labeled))
    gains, best = [], []
    for t, pick in enumerate(picks):
        left = [j for j in range(len(X)) if j not in picks[:t]]
        best.append(max(len(ball(X[j]) - covered) for j in left))
        gains.append(len(ball(X[pick]) - covered))
        covered |= ball(X[pick])
    return np.array(gains), np.array(best), len(covered)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("radius", [0.2, 0.5, 1.2])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("m", [0, 6])
def test_equals_its_definition(seed, radius, normalize, m):
    # ties are many and broken by the seed: every pick covers as much as the best can
    pool = random_pool(m=m, seed=seed)
    strategy = ProbCover(radius, normalize=normalize)
    picks, scores = strategy.query(pool, 20, return_scores=True)
    X, labeled = pool.embeddings, pool.labeled_embeddings
    if normalize:
        X, labeled = unit(X), unit(labeled)
    gains, best, n_covered = gains_of(X, labeled, picks.tolist(), radius)
    assert_array_equal(gains, best)
    assert_allclose(scores, gains / 40)
    assert pool.info["coverage"] == pytest.approx(n_covered / 40)
    assert pool.info["radius"] == radius


def purity(X, labels, radius):
    pure = 0
    for x, label in zip(X, labels, strict=True):
        inside = np.linalg.norm(X - x, axis=1) <= radius
        pure += (labels[inside] == label).all()
    return pure / len(X)


@pytest.mark.parametrize("wanted", [0.95, 0.8])
@pytest.mark.parametrize("known", [True, False])
def test_the_radius_is_the_largest_pure_one(wanted, known):
    # k-means finds these clusters, so they are its labels
    rng = np.random.RandomState(0)
    codes = np.arange(90) % 3
    X = 4 * np.eye(3)[codes] + 0.8 * rng.randn(90, 3)
    pool = Pool.from_arrays(
        embeddings=X[9:],
        labeled_embeddings=X[:9],
        y_labeled=codes[:9],
        classes=np.arange(3) if known else None,
        random_state=0,
    )
    strategy = ProbCover(purity=wanted, n_classes=None if known else 3)
    strategy.set_params(normalize=False).query(pool, 3)
    radius = pool.info["radius"]
    nearest = [((X[j] - X) ** 2).sum(axis=1).argsort() for j in range(90)]
    assert all(codes[order[1]] == codes[order[0]] for order in nearest)
    assert purity(X, codes, radius) >= wanted
    assert purity(X, codes, radius * (1 + 1e-9)) < wanted


def test_covers_more_than_chance():
    pool = random_pool(n=100, m=4)
    picks = ProbCover(0.15).query(pool, 10)
    X, labeled = unit(pool.embeddings), unit(pool.labeled_embeddings)
    chosen = gains_of(X, labeled, picks.tolist(), 0.15)[2]
    for seed in range(5):
        rival = random_pool(n=100, m=4)
        rival._seed = seed
        random = RandomSampling().query(rival, 10).tolist()
        assert chosen > gains_of(X, labeled, random, 0.15)[2]


def test_picks_beyond_full_coverage_are_random():
    pool = random_pool()
    by_seed = set()
    for seed in range(5):
        pool._seed = seed
        picks, scores = ProbCover(radius=3.0).query(pool, 10, return_scores=True)
        assert_array_equal(scores, 0)  # the labelled ones cover the unit sphere
        by_seed.add(tuple(picks))
    assert len(by_seed) == 5


def test_unknown_number_of_classes():
    pool = Pool.from_arrays(embeddings=random_pool().embeddings, random_state=0)
    with pytest.raises(ValueError, match=r"nothing is labelled.*ProbCover\(n_classes="):
        ProbCover().query(pool, 2)
    assert len(ProbCover(n_classes=4).query(pool, 2)) == 2
    assert len(ProbCover(radius=0.4).query(pool, 2)) == 2


def test_more_classes_than_points():
    pool = random_pool(n=3, m=0)
    assert sorted(ProbCover().query(pool, 3)) == [0, 1, 2]
    lone = random_pool(n=1, m=0)
    assert ProbCover().query(lone, 1).tolist() == [0]


@pytest.mark.parametrize(
    "strategy",
    [
        ProbCover(radius=0),
        ProbCover(radius=-1.0),
        ProbCover(radius="purity"),
        ProbCover(purity=0.0),
        ProbCover(purity=1.5),
        ProbCover(n_classes=1),
        ProbCover(normalize="l2"),
    ],
)
def test_bad_parameters(strategy):
    with pytest.raises(ValueError, match="parameter of ProbCover"):
        strategy.query(random_pool(), 2)


def test_names():
    for name in ("prob_cover", "probcover", "prob-cover"):
        assert isinstance(get_strategy(name, radius=0.5), ProbCover)


def test_runs_in_the_learner_from_a_cold_start():
    rng = np.random.RandomState(0)
    y = np.arange(90) % 3
    X = 3 * np.eye(3)[y] + rng.randn(90, 3)
    learner = ActiveLearningClassifier(
        strategy=ProbCover(),
        initial_strategy=ProbCover(),
        n_initial=6,
        query_size=5,
        n_rounds=2,
        random_state=0,
    ).fit(X, y)
    assert len(learner.labeled_indices_) == 16
    assert learner.history_[-1]["radius"] > 0
    assert set(y[learner.labeled_indices_[:6]]) == {0, 1, 2}
