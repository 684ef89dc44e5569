"""Typicality and the order of clusters equal their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from dalmax_sk.selection import clusters_to_visit, most_typical, typicality


def brute_force_typicality(X, labels, n_neighbors):
    scores = []
    for i, x in enumerate(X):
        others = [
            np.linalg.norm(x - y)
            for j, y in enumerate(X)
            if j != i and labels[j] == labels[i]
        ]
        nearest = sorted(others)[:n_neighbors]
        mean = np.mean(nearest) if nearest else 0.0
        scores.append(1 / mean if mean > 0 else np.inf)
    return np.array(scores)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_neighbors", [1, 5, 20])
@pytest.mark.parametrize("seed", range(3))
def test_definition(seed, n_neighbors, dtype):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((90, 4)).astype(dtype)
    labels = rng.integers(-1, 5, 90)
    labels[17] = 99  # a cluster of one
    scores = typicality(X, labels, n_neighbors=n_neighbors)
    assert scores.dtype == np.float64
    expected = brute_force_typicality(X.astype(np.float64), labels, n_neighbors)
    assert_allclose(scores, expected, rtol=1e-9)
    assert scores[17] == np.inf


@pytest.mark.parametrize("max_memory", [1, 3000, 100_000])
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_memory_does_not_change_the_scores(max_memory, offset):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 3)) + offset
    labels = rng.integers(0, 2, 120)
    expected = brute_force_typicality(X, labels, 7)
    scores = typicality(X, labels, n_neighbors=7, max_memory=max_memory)
    assert_allclose(scores, expected, rtol=1e-8)


# Distances of copies are zero and not what rounding leaves of them.
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_copies(dtype):
    rng = np.random.default_rng(0)
    X = np.repeat(rng.standard_normal((10, 6)) + 1000, 5, axis=0).astype(dtype)
    assert_array_equal(typicality(X, n_neighbors=4), np.inf)
    assert_allclose(
        typicality(X, n_neighbors=5), brute_force_typicality(X, np.zeros(50), 5)
    )


def test_some_clusters_only():
    rng = np.random.default_rng(0)
    X, labels = rng.standard_normal((60, 3)), rng.integers(0, 4, 60)
    scores = typicality(X, labels, clusters=[1, 3])
    wanted = np.isin(labels, [1, 3])
    assert np.isnan(scores[~wanted]).all()
    assert_array_equal(scores[wanted], typicality(X, labels)[wanted])


def test_tensors_in_tensors_out():
    rng = np.random.default_rng(0)
    X, labels = rng.standard_normal((60, 3)), rng.integers(0, 4, 60)
    scores = typicality(torch.from_numpy(X), torch.from_numpy(labels))
    assert scores.dtype == torch.float64
    assert_array_equal(scores.numpy(), typicality(X, labels))


@pytest.mark.gpu
def test_gpu():
    rng = np.random.default_rng(0)
    X, labels = rng.standard_normal((2000, 30)), rng.integers(0, 4, 2000)
    scores = typicality(torch.from_numpy(X).cuda(), torch.from_numpy(labels).cuda())
    assert scores.is_cuda
    assert_allclose(scores.cpu().numpy(), typicality(X, labels), rtol=1e-9)


# Measured in a process of its own, because the peak of a process never falls. One
# cluster of 10,000 points has 800 MB of distances.
@pytest.mark.slow
def test_peak_memory(peak_growth):
    setup = """
import numpy as np
from dalmax_sk.selection import typicality
X = np.random.default_rng(0).standard_normal((10_000, 16), dtype=np.float32)
typicality(X[:500], max_memory=2**22)
"""
    measured = """
typicality(X, max_memory=2**22)
"""
    assert (
        peak_growth(setup, measured) < 12_000
    )  # 4 MB of blocks, a few numbers a point


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"X": np.zeros(4)}, "X must be two-dimensional"),
        ({"labels": [0, 1, 1]}, "labels has 3 values for 4 rows of X"),
        ({"labels": [0.0, 1.0, 1.0, 0.0]}, "labels must be one-dimensional integers"),
        ({"n_neighbors": 0}, "n_neighbors must be an integer of at least 1, got 0"),
        ({"n_neighbors": 2.5}, "n_neighbors must be an integer of at least 1"),
        ({"max_memory": -1}, "max_memory must be a positive integer"),
    ],
)
def test_wrong_arguments(given, message):
    with pytest.raises(ValueError, match=message):
        typicality(**{"X": np.eye(4), **given})


# ----------------------------------------------------------------- clusters to visit


@settings(max_examples=80, deadline=None)
@given(
    clusters=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 4)), min_size=1, max_size=12
    ).filter(lambda pairs: sum(free for free, _ in pairs)),
    min_size=st.integers(1, 8),
    seed=st.integers(0, 20),
    data=st.data(),
)
def test_each_visit_is_the_definition(clusters, min_size, seed, data):
    free, known = np.array(clusters).T.copy()
    sizes = free + known
    n = data.draw(st.integers(1, int(free.sum())))
    visits = clusters_to_visit(
        sizes, n, n_labeled=known, min_size=min_size, random_state=seed
    )
    assert visits.shape == (n,)
    for cluster in visits.tolist():
        open_ones = [c for c in range(len(free)) if free[c]]
        best = min((sizes[c] < min_size, known[c], -sizes[c]) for c in open_ones)
        assert free[cluster] > 0
        assert (sizes[cluster] < min_size, known[cluster], -sizes[cluster]) == best
        free[cluster] -= 1
        known[cluster] += 1


def test_ties_are_broken_by_the_seed():
    firsts = [clusters_to_visit([9, 9, 9], 1, random_state=s)[0] for s in range(300)]
    assert abs(np.bincount(firsts) - 100).max() < 4 * np.sqrt(300 * 2 / 9)


# Lazy bounds give the picks of scoring all points that are left anew for each.
@pytest.mark.parametrize("n_neighbors", [1, 4, 20])
@pytest.mark.parametrize("max_memory", [1, 2**30])
@pytest.mark.parametrize("seed", range(3))
def test_most_typical_equals_the_definition(n_neighbors, max_memory, seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((60, 3)) + 100
    labels = rng.integers(0, 3, 60)
    visits = rng.permutation(labels)[:50]
    positions, scores = most_typical(
        X,
        labels,
        visits,
        n_neighbors=n_neighbors,
        random_state=seed,
        max_memory=max_memory,
    )
    left = set(range(60))
    for cluster, pick, score in zip(visits, positions, scores, strict=True):
        members = [i for i in left if labels[i] == cluster]
        k = max(1, min(n_neighbors, len(members) // 2))
        values = brute_force_typicality(X[members], np.zeros(len(members)), k)
        # two points may be each other's nearest: they tie
        assert values[members.index(pick)] == pytest.approx(values.max(), rel=1e-8)
        assert score == pytest.approx(values.max(), rel=1e-8)
        left.remove(int(pick))


def test_ties_of_most_typical_go_by_the_seed():
    X, labels = np.zeros((9, 2)), np.zeros(9, int)
    firsts = [most_typical(X, labels, [0], random_state=s)[0][0] for s in range(300)]
    assert len(set(firsts)) == 9
    positions, scores = most_typical(X, labels, [0] * 9, random_state=0)
    assert sorted(positions) == list(range(9))
    assert_array_equal(scores, np.inf)


def test_wrong_visits():
    with pytest.raises(ValueError, match="names cluster 3 2 times, but it has 1 point"):
        most_typical(np.eye(3), [3, 4, 4], [3, 4, 3])
    with pytest.raises(
        ValueError, match="names cluster 7 1 times, but it has 0 points"
    ):
        most_typical(np.eye(3), [3, 4, 4], [7])
    with pytest.raises(ValueError, match="labels has 2 values for 3 rows of X"):
        most_typical(np.eye(3), [3, 4], [4])
    with pytest.raises(ValueError, match="n_neighbors must be an integer of at least"):
        most_typical(np.eye(3), [3, 4, 4], [4], n_neighbors=0)
    with pytest.raises(ValueError, match="n_labeled must have one number from 0"):
        clusters_to_visit([3, 4], 1, n_labeled=[4, 0])
    with pytest.raises(ValueError, match="n must be an integer from 1 to 6"):
        clusters_to_visit([3, 4], 7, n_labeled=[1, 0])
