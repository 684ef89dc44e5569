"""FacilityLocation equals its definition."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import entr, softmax

from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.strategies import FacilityLocation, UncertaintySampling


def random_pool(n=30, m=5, seed=0):
    rng = np.random.RandomState(seed)
    return Pool.from_arrays(
        proba=softmax(2 * rng.randn(n, 3), axis=1),
        embeddings=rng.randn(n, 4),
        labeled_embeddings=rng.randn(m, 4),
        random_state=0,
    )


def cosine(x, s):
    return (1 + x @ s / np.linalg.norm(x) / np.linalg.norm(s)) / 2


def rbf(x, s, sigma):
    return np.exp(-((x - s) ** 2).sum() / sigma**2)


def follow(X, labeled, picks, similarity):
    """What each pick adds to the mean similarity to the nearest, what the best adds.

    Two points that nobody else serves add the same, so there are ties.
    """

    def value(facilities):
        served = [max([similarity(x, s) for s in facilities], default=0) for x in X]
        return np.mean(served)

    facilities, gains, best = list(labeled), [], []
    for t, pick in enumerate(picks):
        now = value(facilities)
        left = [j for j in range(len(X)) if j not in picks[:t]]
        best.append(max(value([*facilities, X[j]]) - now for j in left))
        facilities.append(X[pick])
        gains.append(value(facilities) - now)
    return gains, best, value(facilities)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("m", [0, 5])
@pytest.mark.parametrize("sigma", [None, 1.5])
def test_equals_its_definition(seed, m, sigma):
    pool = random_pool(m=m, seed=seed)
    strategy, similarity = FacilityLocation(), cosine
    if sigma is not None:
        strategy = FacilityLocation("rbf", sigma=sigma)

        def similarity(x, s):
            return rbf(x, s, sigma)

    picks, scores = strategy.query(pool, 9, return_scores=True)
    gains, best, served = follow(
        pool.embeddings, pool.labeled_embeddings, picks.tolist(), similarity
    )
    assert_allclose(gains, best, atol=1e-12)
    assert_allclose(scores, gains, atol=1e-12)
    assert pool.info["coverage"] == pytest.approx(served)


@pytest.mark.parametrize("factor", [1.0, 2.5, 100.0])
def test_filter_keeps_the_most_uncertain(factor):
    pool = random_pool()
    picks = FacilityLocation(filter_factor=factor).query(pool, 6)
    entropy = entr(pool.proba).sum(axis=1)
    kept = np.argsort(-entropy)[: int(np.ceil(factor * 6))]
    at = [kept.tolist().index(pick) for pick in picks]
    X = pool.embeddings[kept]
    gains, best, _ = follow(X, pool.labeled_embeddings, at, cosine)
    assert_allclose(gains, best, atol=1e-12)
    if factor == 1.0:
        uncertain = UncertaintySampling("entropy").query(pool, 6)
        assert set(picks) == set(uncertain)


def test_only_the_filter_needs_probabilities():
    embeddings = random_pool().embeddings
    bare = Pool.from_arrays(embeddings=embeddings, random_state=0)
    assert len(FacilityLocation().query(bare, 4)) == 4
    with pytest.raises(MissingCapabilityError, match="FacilityLocation needs class"):
        FacilityLocation(filter_factor=2).query(bare, 4)


def test_rows_of_zeros_are_dealt_with():
    X = np.vstack([np.zeros((5, 3)), np.eye(3)])
    pool = Pool.from_arrays(embeddings=X, random_state=0)
    assert sorted(FacilityLocation().query(pool, 8)) == list(range(8))


@pytest.mark.parametrize(
    "strategy",
    [
        FacilityLocation("dot"),
        FacilityLocation(sigma=0),
        FacilityLocation(filter_factor=0.5),
        FacilityLocation(measure="bald"),
    ],
)
def test_bad_parameters(strategy):
    with pytest.raises(ValueError, match="parameter of FacilityLocation"):
        strategy.query(random_pool(), 2)
