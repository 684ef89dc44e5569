"""Average linkage equals SciPy's and the definition; picks in turn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from dalmax_sk._base.limits import limits
from dalmax_sk.selection import average_linkage, round_robin


def brute_force(X, n_clusters, metric="sqeuclidean"):
    """Merge the pair with the smallest mean over all pairs of points, in loops."""

    def distance(x, y):
        if metric == "sqeuclidean":
            return ((x - y) ** 2).sum()
        return 1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y)

    clusters, heights = [[i] for i in range(len(X))], []
    while len(clusters) > n_clusters:
        pairs = [
            (np.mean([distance(X[i], X[j]) for i in one for j in other]), a, b)
            for a, one in enumerate(clusters)
            for b, other in enumerate(clusters)
            if a < b
        ]
        height, a, b = min(pairs)
        heights.append(height)
        clusters[a] = clusters[a] + clusters.pop(b)
    return clusters, heights


def partition(labels):
    labels = np.asarray(labels)
    return {frozenset(np.flatnonzero(labels == c).tolist()) for c in np.unique(labels)}


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine"])
@pytest.mark.parametrize("n_clusters", [1, 4, 11, 20])
@pytest.mark.parametrize("seed", range(3))
def test_definition(seed, n_clusters, metric):
    X = np.random.default_rng(seed).standard_normal((20, 3))
    clusters, heights = brute_force(X, n_clusters, metric)
    labels, found = average_linkage(X, n_clusters=n_clusters, metric=metric)
    assert labels.dtype == np.int64
    assert partition(labels) == {frozenset(c) for c in clusters}
    assert_allclose(found, heights, rtol=1e-9)
    # Numbered by their lowest positions.
    firsts = [int(np.flatnonzero(labels == c)[0]) for c in range(n_clusters)]
    assert firsts == sorted(firsts)


# With small arrays of its own the search looks up, and drops rows, very often.
@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine"])
@pytest.mark.parametrize("kind", ["gauss", "blobs", "heavy", "chain"])
@pytest.mark.parametrize(("scan_rows", "compact"), [(64, 0.7), (1, 1.1), (3, 0.2)])
def test_scipy(kind, metric, scan_rows, compact, monkeypatch):
    monkeypatch.setattr(limits, "scan_rows", scan_rows)
    monkeypatch.setattr(limits, "compact_share", compact)
    rng = np.random.default_rng(0)
    X = {
        "gauss": rng.standard_normal((250, 5)) + 3.0,
        "blobs": rng.standard_normal((250, 4)) + 8 * rng.integers(0, 4, (250, 4)),
        "heavy": rng.standard_t(1.5, (250, 3)),
        "chain": np.cumsum(rng.random((250, 2)), axis=0),
    }[kind]
    tree = linkage(pdist(X, metric), "average")
    for n_clusters in (1, 7, 60, 249):
        labels, heights = average_linkage(X, n_clusters=n_clusters, metric=metric)
        assert_allclose(heights, tree[: 250 - n_clusters, 2], rtol=1e-7, atol=1e-12)
        expected = fcluster(tree, n_clusters, "maxclust")
        assert partition(labels) == partition(expected)


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine"])
def test_threshold(metric):
    X = np.random.default_rng(1).standard_normal((120, 3))
    tree = linkage(pdist(X, metric), "average")
    for threshold in (0.0, tree[40, 2] * 1.0001, tree[100, 2] * 0.9999, 1e9):
        labels, heights = average_linkage(X, threshold=threshold, metric=metric)
        assert partition(labels) == partition(fcluster(tree, threshold, "distance"))
        assert len(heights) == (tree[:, 2] <= threshold).sum()
    # Whichever limit comes first.
    threshold = tree[40, 2] * 1.0001
    labels, _ = average_linkage(X, n_clusters=100, threshold=threshold, metric=metric)
    assert len(set(labels)) == 100
    labels, _ = average_linkage(X, n_clusters=10, threshold=threshold, metric=metric)
    assert len(set(labels)) == 120 - 41


# Few distinct points, many copies: copies are together before anything else is merged.
@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.integers(0, 4), min_size=1, max_size=40),
    dtype=st.sampled_from([np.float32, np.float64, np.int64]),
    data=st.data(),
)
def test_copies(values, dtype, data):
    X = np.array(values, dtype=dtype)[:, None]
    n_clusters = data.draw(st.integers(1, len(X)))
    labels, heights = average_linkage(X, n_clusters=n_clusters)
    assert len(set(labels)) == n_clusters
    assert len(heights) == len(X) - n_clusters
    assert (heights >= 0).all()
    distinct = len(set(values))
    if n_clusters >= distinct:
        assert_array_equal(heights, 0.0)
        assert all(len(set(X[labels == c, 0])) == 1 for c in range(n_clusters))
    else:
        assert all(len(set(labels[X[:, 0] == v])) == 1 for v in set(values))


def test_everything_equal():
    labels, heights = average_linkage(np.full((3000, 5), 7.1), n_clusters=2)
    assert len(set(labels)) == 2
    assert_array_equal(heights, 0.0)
    labels, _ = average_linkage(np.zeros((50, 5)), threshold=0.0, metric="cosine")
    assert_array_equal(labels, 0)


def test_offset_and_scale():
    X = np.random.default_rng(2).standard_normal((150, 4))
    expected = average_linkage(X, n_clusters=12)[0]
    assert_array_equal(average_linkage(1e4 * X + 1e7, n_clusters=12)[0], expected)
    _, cosine = average_linkage(X, n_clusters=12, metric="cosine")
    assert_allclose(average_linkage(5 * X, n_clusters=12, metric="cosine")[1], cosine)


def test_points_at_zero_have_no_angle():
    X = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [-1.0, 0.0]])
    labels, heights = average_linkage(X, n_clusters=1, metric="cosine")
    # The two of one direction; then zero with one of the directions at 1/2.
    assert heights[0] == pytest.approx(0.0, abs=1e-12)
    assert heights[1] == pytest.approx(0.5)
    assert_array_equal(labels, 0)


def test_memory_does_not_change_the_clusters():
    X = np.random.default_rng(3).standard_normal((150, 4))
    expected, heights = average_linkage(X, n_clusters=9)
    for max_memory in (1, 5000):
        labels, found = average_linkage(X, n_clusters=9, max_memory=max_memory)
        assert_array_equal(labels, expected)
        assert_allclose(found, heights)


def test_input_is_left_alone_and_tensors_give_tensors():
    X = np.random.default_rng(4).standard_normal((40, 3))
    before = X.copy()
    for metric in ("sqeuclidean", "cosine"):
        expected, _ = average_linkage(X, n_clusters=5, metric=metric)
        assert_array_equal(X, before)
        labels, heights = average_linkage(
            torch.from_numpy(X), n_clusters=5, metric=metric
        )
        assert labels.dtype == torch.int64
        assert isinstance(heights, np.ndarray)
        assert_array_equal(labels.numpy(), expected)


@pytest.mark.gpu
def test_gpu():
    X = np.random.default_rng(5).standard_normal((2000, 16))
    labels, heights = average_linkage(torch.from_numpy(X).cuda(), n_clusters=200)
    expected, on_cpu = average_linkage(X, n_clusters=200)
    assert labels.is_cuda
    assert_array_equal(labels.cpu().numpy(), expected)
    assert_allclose(heights, on_cpu, rtol=1e-9)


# Measured in a process of its own, because the peak of a process never falls. All
# distances of 8,000 points would take 512 MB, their upper half 256 MB.
@pytest.mark.slow
def test_peak_memory(peak_growth):
    setup = """
import numpy as np
from dalmax_sk.selection import average_linkage
rng = np.random.default_rng(0)
X = rng.standard_normal((8_000, 32)) + 6 * rng.integers(0, 9, (8_000, 1))
average_linkage(X[:500], n_clusters=50, max_memory=2**22)
"""
    measured = """
average_linkage(X, n_clusters=7_000, max_memory=2**22)
"""
    # 2 MB of points, held twice while rows are dropped, and 4 MB of blocks.
    assert peak_growth(setup, measured) < 16_000


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "Give n_clusters, threshold, or both"),
        ({"n_clusters": 0}, "n_clusters must be an integer from 1 to 4.*got 0"),
        ({"n_clusters": 5}, "from 1 to 4, the number of points in X, got 5"),
        ({"n_clusters": True}, "n_clusters must be an integer"),
        ({"n_clusters": 2.0}, "n_clusters must be an integer"),
        ({"threshold": -1.0}, r"threshold must be a number of at least 0, got -1\.0"),
        ({"threshold": np.nan}, "threshold must be a number of at least 0, got nan"),
        ({"threshold": "1"}, "threshold must be a number"),
        ({"n_clusters": 2, "metric": "l1"}, "metric must be one of"),
        ({"n_clusters": 2, "max_memory": 0}, "max_memory must be a positive integer"),
        ({"X": np.full((4, 2), np.inf), "n_clusters": 2}, "4 of its 4 rows hold NaN"),
        ({"X": np.full((4, 2), 1e160), "n_clusters": 2}, "overflow float64"),
    ],
)
def test_wrong_arguments(given, message):
    with pytest.raises(ValueError, match=message):
        average_linkage(**{"X": np.eye(4), **given})


# ------------------------------------------------------------------------ round robin


def check_turns(labels, picks):
    """Walk through the picks as the definition does."""
    left = {c: int((labels == c).sum()) for c in set(labels.tolist())}
    sizes = dict(left)
    turn = []
    for pick in picks.tolist():
        if not turn:
            turn = sorted((c for c in left if left[c]), key=lambda c: sizes[c])
        c = int(labels[pick])
        # Any cluster of the smallest size whose turn it is.
        assert sizes[c] == sizes[turn[0]]
        turn.remove(c)
        left[c] -= 1


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.integers(-3, 5), min_size=1, max_size=40),
    seed=st.integers(0, 50),
    data=st.data(),
)
def test_round_robin_is_the_definition(labels, seed, data):
    labels = np.array(labels)
    n = data.draw(st.integers(1, len(labels)))
    picks = round_robin(labels, n, random_state=seed)
    assert picks.dtype == np.int64
    assert len(set(picks)) == n
    check_turns(labels, picks)
    assert_array_equal(picks, round_robin(labels, n, random_state=seed))


def test_round_robin_is_random_within_clusters_and_sizes():
    labels = np.array([0, 0, 1, 1, 2, 2, 2, 2])
    draws = np.array([round_robin(labels, 3, random_state=s) for s in range(400)])
    assert set(labels[draws[:, 0]]) == set(labels[draws[:, 1]]) == {0, 1}
    counts = np.bincount(draws[:, 2], minlength=8)
    assert_array_equal(counts[:4], 0)
    assert abs(counts[4:] - 100).max() < 4 * np.sqrt(400 * 3 / 16)
    assert abs((draws[:, 0] < 2).sum() - 200) < 4 * np.sqrt(100)


def test_round_robin_errors():
    with pytest.raises(ValueError, match="n must be an integer from 1 to 3"):
        round_robin([0, 1, 1], 4)
    with pytest.raises(ValueError, match="labels must be one-dimensional"):
        round_robin([[0, 1, 1]], 1)
