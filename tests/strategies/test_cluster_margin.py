"""Cluster-Margin equals its definition, up to its random choices."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist
from scipy.special import softmax

from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.strategies import ClusterMargin, get_strategy


def make_pool(n=150, n_classes=4, d=5, seed=0, dtype=np.float64, **params):
    rng = np.random.RandomState(seed)
    centers = 3 * rng.randn(12, d)
    return Pool.from_arrays(
        proba=softmax(2 * rng.randn(n, n_classes), axis=1),
        embeddings=(centers[rng.randint(12, size=n)] + rng.randn(n, d)).astype(dtype),
        **{"random_state": seed, **params},
    )


def margins(pool):
    rows = [sorted(p, reverse=True) for p in pool.proba]
    return np.array([row[0] - row[1] for row in rows])


def check_walk(picks, candidates, clusters):
    """Walk through the picks in turns from the smallest cluster to the largest."""
    cluster_of = dict(zip(candidates.tolist(), clusters.tolist(), strict=True))
    sizes = {c: list(cluster_of.values()).count(c) for c in set(cluster_of.values())}
    left, turn = dict(sizes), []
    for pick in picks.tolist():
        if not turn:
            turn = sorted((c for c in left if left[c]), key=sizes.get)
        c = cluster_of[pick]
        assert sizes[c] == sizes[turn[0]]
        turn.remove(c)
        left[c] -= 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scope", ["candidates", "pool"])
@pytest.mark.parametrize("metric", ["cosine", "sqeuclidean"])
@pytest.mark.parametrize(
    "params",
    [{}, {"margin_factor": 2.5, "mean_cluster_size": 3.3}, {"threshold": 0.4}],
    ids=str,
)
def test_definition(params, metric, scope, dtype):
    strategy = ClusterMargin(metric=metric, scope=scope, **params)
    for seed in range(3):
        pool = make_pool(seed=seed, dtype=dtype)
        picks, scores = strategy.query(pool, 12, return_scores=True)
        n_candidates = int(np.ceil(12 * strategy.margin_factor))
        candidates = np.argsort(margins(pool))[:n_candidates]
        clustered = candidates if scope == "candidates" else np.arange(150)
        X = pool.embeddings[clustered].astype(np.float64)
        tree = linkage(pdist(X, metric), "average")
        if strategy.threshold is None:
            n_clusters = int(np.ceil(len(X) / strategy.mean_cluster_size))
            clusters = fcluster(tree, n_clusters, "maxclust")
        else:
            clusters = fcluster(tree, strategy.threshold, "distance")
        if scope == "pool":
            clusters = clusters[candidates]
        assert set(picks.tolist()) <= set(candidates.tolist())
        check_walk(picks, candidates, clusters)
        assert_allclose(scores, 1 - margins(pool)[picks])
        assert pool.info["n_candidates"] == n_candidates
        assert pool.info["n_clusters"] == len(set(clusters.tolist()))


# Many copies of the hardest point: margins alone would pick nothing else.
def test_batches_are_spread():
    rng = np.random.RandomState(0)
    embeddings = np.concatenate([np.tile([5.0, 0.0], (50, 1)), rng.randn(50, 2)])
    proba = np.concatenate([np.tile([0.5, 0.5], (50, 1)), np.tile([0.6, 0.4], (50, 1))])
    pool = Pool.from_arrays(proba=proba, embeddings=embeddings, random_state=0)
    assert (get_strategy("margin_sampling").query(pool, 10) < 50).all()
    assert (ClusterMargin().query(pool, 10) < 50).sum() <= 1


def test_random_choices_come_from_the_seed():
    pool = make_pool()
    first = ClusterMargin().query(pool, 12)
    assert_array_equal(ClusterMargin().query(pool, 12), first)
    other = ClusterMargin().query(make_pool(seed=0, random_state=9), 12)
    assert first.tolist() != other.tolist()


@pytest.mark.parametrize("n", [1, 149, 150])
@pytest.mark.parametrize("scope", ["candidates", "pool"])
def test_distinct(n, scope):
    picks = ClusterMargin(scope=scope).query(make_pool(), n)
    assert len(set(picks.tolist())) == n


@pytest.mark.parametrize("metric", ["cosine", "sqeuclidean"])
@pytest.mark.parametrize("n", [1, 7, 30])
def test_everything_equal(metric, n):
    for embeddings in (np.zeros((30, 3)), np.ones((30, 3), np.float32)):
        for proba in (np.ones((30, 1)), np.tile([1.0, 0.0], (30, 1))):
            pool = Pool.from_arrays(proba=proba, embeddings=embeddings, random_state=0)
            picks = ClusterMargin(metric=metric).query(pool, n)
            assert len(set(picks.tolist())) == n


def test_blocks_do_not_change_the_picks():
    expected = ClusterMargin().query(make_pool(), 10)
    for max_memory in (1, 20_000):
        picks = ClusterMargin().query(make_pool(max_memory=max_memory), 10)
        assert_array_equal(picks, expected)


def test_errors():
    with pytest.raises(MissingCapabilityError, match="ClusterMargin needs class prob"):
        ClusterMargin().query(Pool.from_arrays(embeddings=np.eye(3)), 1)
    for name, value in [
        ("margin_factor", 0.5),
        ("mean_cluster_size", 0),
        ("threshold", -1.0),
        ("metric", "l1"),
        ("scope", "all"),
    ]:
        message = f"The '{name}' parameter of ClusterMargin must be"
        with pytest.raises(ValueError, match=message):
            ClusterMargin(**{name: value}).query(make_pool(), 1)
