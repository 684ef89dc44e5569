"""TypiClust equals its definition, given the clusters of k-means."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.selection import k_means_clusters
from dalmax_sk.strategies import TypiClust, get_strategy, typi_clust


def make_pool(n=80, m=10, d=4, seed=0, dtype=np.float64, **params):
    rng = np.random.RandomState(seed)
    centers = 6 * rng.randn(9, d)
    X = centers[rng.randint(9, size=n + m)] + rng.randn(n + m, d)
    return Pool.from_arrays(
        embeddings=X[:n].astype(dtype),
        labeled_embeddings=X[n:].astype(dtype),
        **{"random_state": seed, **params},
    )


def typicality_of(i, members, X, n_neighbors):
    """Of a candidate among those that its cluster has left, as the authors count K."""
    apart = sorted(np.linalg.norm(X[i] - X[j]) for j in members if j != i)
    apart = apart[: max(1, min(n_neighbors, len(members) // 2))]
    return 1 / np.mean(apart) if apart else np.inf


def check_walk(picks, scores, everyone, clusters, n_labeled, strategy):
    """Walk through the picks: each must be what the definition allows."""
    n_candidates = len(everyone) - n_labeled
    sizes = np.bincount(clusters)
    labels_in = np.bincount(clusters[n_candidates:], minlength=len(sizes))
    left = set(range(n_candidates))

    def rank(c):
        return sizes[c] < strategy.min_cluster_size, labels_in[c], -sizes[c]

    for pick, score in zip(picks.tolist(), scores.tolist(), strict=True):
        cluster = clusters[pick]
        assert rank(cluster) == min(rank(clusters[i]) for i in left)
        members = [i for i in left if clusters[i] == cluster]
        values = {
            i: typicality_of(i, members, everyone, strategy.n_neighbors)
            for i in members
        }
        assert score == pytest.approx(max(values.values()), rel=1e-9)
        assert score == pytest.approx(values[pick], rel=1e-9)
        left.remove(pick)
        labels_in[cluster] += 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("m", [0, 10])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"max_clusters": 4},
        {"max_clusters": 1, "n_neighbors": 3},
        {"max_clusters": 1, "n_neighbors": 50},
        {"n_neighbors": 1, "min_cluster_size": 12},
    ],
    ids=str,
)
def test_definition(m, params, dtype, monkeypatch):
    found = {}

    def spy(X, n, **kwargs):
        found["clusters"] = k_means_clusters(X, n, **kwargs)
        return found["clusters"]

    monkeypatch.setattr(typi_clust, "k_means_clusters", spy)
    strategy = TypiClust(**params)
    for seed in range(2):
        pool = make_pool(m=m, seed=seed, dtype=dtype)
        picks, scores = strategy.query(pool, 15, return_scores=True)
        clusters, _, inertia = found["clusters"]
        everyone = np.concatenate([pool.embeddings, pool.labeled_embeddings])
        assert len(clusters) == 80 + m
        check_walk(picks, scores, everyone.astype(float), clusters, m, strategy)
        assert pool.info["n_clusters"] == min(m + 15, strategy.max_clusters)
        assert pool.info["inertia"] == inertia


# Nine blobs, three of them with a label: the first six picks come one from each of the
# others, and none is an outlier.
def test_uncovered_clusters_come_first():
    rng = np.random.RandomState(0)
    centers = 100 * np.eye(9)
    X = np.concatenate([center + rng.randn(20, 9) for center in centers])
    X[::20] += 4.0  # an outlier in each
    blob = np.repeat(np.arange(9), 20)
    pool = Pool.from_arrays(
        embeddings=X, labeled_embeddings=centers[:3] + 0.1, random_state=0
    )
    picks = TypiClust().query(pool, 6)
    assert set(blob[picks]) == {3, 4, 5, 6, 7, 8}
    assert not set(picks) & set(range(0, 180, 20))


# A peer repeats rows, and a peer is not deterministic.
@pytest.mark.parametrize("n", [1, 50, 79, 80])
def test_distinct_and_deterministic(n):
    for seed in range(5):
        pool = make_pool(seed=seed)
        picks = TypiClust(n_neighbors=3).query(pool, n)
        assert len(set(picks.tolist())) == n
        assert_array_equal(picks, TypiClust(n_neighbors=3).query(pool, n))


def test_ties_go_by_the_seed():
    X = np.zeros((30, 2))
    firsts = set()
    for seed in range(40):
        pool = Pool.from_arrays(embeddings=X, random_state=seed)
        picks, scores = TypiClust().query(pool, 5, return_scores=True)
        firsts.add(int(picks[0]))
        assert len(set(picks.tolist())) == 5
        assert_array_equal(scores, np.inf)
    assert len(firsts) > 10


def test_blocks_do_not_change_the_picks():
    expected = TypiClust().query(make_pool(), 20)
    for max_memory in (1, 20_000):
        picks = TypiClust().query(make_pool(max_memory=max_memory), 20)
        assert_array_equal(picks, expected)


def test_small_clusters_are_a_last_resort():
    # clusters of 20, 6, 5 and 1: the authors take those of more than five
    X = np.concatenate(
        [np.arange(20.0), 1000 + np.arange(6.0), 5000 + np.arange(5.0), [9000.0]]
    )
    pool = Pool.from_arrays(embeddings=X[:, None], random_state=0)
    picks = TypiClust(max_clusters=4).query(pool, 32)
    assert max(picks[:26]) < 26
    assert sorted(picks[26:]) == list(range(26, 32))


# Labelled samples say which clusters are covered; they make no candidate typical.
def test_neighbours_are_candidates():
    candidates = np.array([0.0, 1.0, 2.0, 10.0, 10.5, 20.0, 30.0])
    labeled = np.full(8, 30.0)
    pool = Pool.from_arrays(
        embeddings=candidates[:, None],
        labeled_embeddings=labeled[:, None],
        random_state=0,
    )
    picks = TypiClust(max_clusters=1, n_neighbors=1).query(pool, 2)
    assert picks[0] in (3, 4)
    # its neighbour has none left within 8, so that the ones come next
    assert picks[1] in (0, 1, 2)


def test_names_and_errors():
    assert repr(get_strategy("typiclust")) == repr(get_strategy("typi_clust"))
    with pytest.raises(MissingCapabilityError, match="TypiClust needs embeddings"):
        TypiClust().query(Pool.from_arrays(proba=np.eye(3)), 1)
    for name in ("max_clusters", "n_neighbors", "min_cluster_size"):
        with pytest.raises(ValueError, match=f"The '{name}' parameter of TypiClust"):
            TypiClust(**{name: 0}).query(make_pool(), 1)
