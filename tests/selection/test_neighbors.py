from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as array_strategy
from numpy.testing import assert_allclose, assert_array_equal

from dalmax_sk._base.limits import limits
from dalmax_sk.selection import (
    greedy_apart,
    kth_neighbor_distances,
    near_any,
)

METRICS = ["euclidean", "cosine"]


def distance(u, v, metric):
    """One pair, in float64."""
    u, v = np.asarray(u, dtype=np.float64), np.asarray(v, dtype=np.float64)
    if metric == "euclidean":
        return np.sqrt(((u - v) ** 2).sum())
    u, v = (x / np.linalg.norm(x) if x.any() else x for x in (u, v))
    return ((u - v) ** 2).sum() / 2


def table(X, others, metric):
    return np.array([[distance(u, v, metric) for v in others] for u in X])


def make(n, d=5, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("max_memory", [1, 20_000, 2**30])
def test_near_any_is_its_definition(metric, dtype, max_memory):
    X, others = make(60, dtype=dtype), make(25, dtype=dtype, seed=1)
    distances = table(X, others, metric)
    # a threshold in the midst of a gap, so that rounding decides nothing
    nearest = np.sort(distances.min(axis=1))
    for i in (0, 20, 58):
        threshold = (nearest[i] + nearest[i + 1]) / 2
        near = near_any(X, others, threshold, metric=metric, max_memory=max_memory)
        assert_array_equal(near, distances.min(axis=1) <= threshold)
        assert near.sum() == i + 1


def test_a_distance_that_equals_the_threshold_is_near():
    # exactly representable: 3-4-5 triangles, far from the origin
    X = np.array([[3.0, 4.0], [3.0, 4.5], [0.0, 0.0]]) + 1e6
    assert near_any(X, [[1e6, 1e6]], 5.0).tolist() == [True, False, True]
    assert near_any(X, X[2:], 0.0).tolist() == [False, False, True]
    # one that is larger by the last digit is not, although no bound can tell
    below = np.nextafter(5.0, 0.0)
    assert near_any(X, [[1e6, 1e6]], below).tolist() == [False, False, True]
    assert greedy_apart(X[[2, 0]], below).tolist() == [0, 1]
    assert greedy_apart(X[[2, 0]], 5.0).tolist() == [0]


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_copies_are_at_distance_0_at_any_scale(scale):
    X = make(40, dtype=np.float32) * np.float32(scale)
    assert near_any(X[::-1], X[:20], 0.0).sum() == 20
    assert near_any(X * 2, X[:20], 1e-12, metric="cosine").sum() == 20


def test_cosine_of_rows_of_zeros():
    X = [[0.0, 0.0], [1.0, 0.0]]
    assert near_any(X, [[0.0, 0.0]], 0.0, metric="cosine").tolist() == [True, False]
    assert near_any(X, [[0.0, 0.0]], 0.5, metric="cosine").tolist() == [True, True]


def test_nothing_is_near_nothing():
    assert not near_any(make(5), np.empty((0, 5)), 100.0).any()
    assert not near_any(make(5), [], 100.0).any()


def brute_force_apart(X, threshold, n, groups, quotas, metric):
    kept, room = [], list(quotas)
    for i in range(len(X)):
        if len(kept) < n and room[groups[i]] > 0:
            if all(distance(X[i], X[j], metric) > threshold for j in kept):
                kept.append(i)
                room[groups[i]] -= 1
    return kept


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("rows", [3, 256])
@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.3, 1.5])
@pytest.mark.parametrize("n", [4, 70])
def test_greedy_apart_is_its_definition(metric, rows, threshold, n):
    X = np.concatenate([make(40, 3), make(30, 3)])  # with copies
    groups = np.random.default_rng(2).integers(0, 3, 70)
    quotas = [5, 0, 40]
    with mock.patch.object(limits, "walk_rows", rows):
        kept = greedy_apart(
            X, threshold, n, groups=groups, quotas=quotas, metric=metric
        )
    assert kept.tolist() == brute_force_apart(X, threshold, n, groups, quotas, metric)
    assert quotas == [5, 0, 40]  # not used up


@settings(max_examples=30, deadline=None)
@given(
    X=array_strategy(
        np.float64,
        st.tuples(st.integers(1, 12), st.integers(1, 3)),
        elements=st.integers(-2, 2).map(float),
    ),
    threshold=st.sampled_from([0.0, 1.0, 2.0]),
)
def test_kept_rows_are_apart_and_all_others_near_one(X, threshold):
    # small integers: distances are exact, many equal the threshold
    kept = greedy_apart(X, threshold)
    among = table(X[kept], X[kept], "euclidean") + 1e9 * np.eye(len(kept))
    assert (among > threshold).all()
    assert (table(X, X[kept], "euclidean").min(axis=1) <= threshold).all()
    assert kept.tolist() == brute_force_apart(
        X, threshold, len(X), [0] * len(X), [len(X)], "euclidean"
    )


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("max_memory", [1, 2**30])
@pytest.mark.parametrize("k", [3, 29])
def test_kth_neighbor_is_its_definition(metric, dtype, max_memory, k):
    X, others = make(50, dtype=dtype), make(30, dtype=dtype, seed=1)
    params = {"metric": metric, "max_memory": max_memory}
    expected = np.sort(table(X, others, metric), axis=1)[:, k - 1]
    assert_allclose(kth_neighbor_distances(X, k, others, **params), expected)
    own = table(X, X, metric)
    np.fill_diagonal(own, np.inf)
    expected = np.sort(own, axis=1)[:, k - 1]
    assert_allclose(
        kth_neighbor_distances(X, k, **params), expected, rtol=1e-9, atol=1e-15
    )


# Tight clusters far apart: float32 bounds prove nothing there, and float64 takes over.
@pytest.mark.parametrize("k", [1, 4, 20])
def test_kth_neighbor_in_clusters_far_apart(k):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 4, (150, 1)) * 1e3 + rng.standard_normal((150, 6)) * 1e-3
    own = table(X, X, "euclidean")
    np.fill_diagonal(own, np.inf)
    found = kth_neighbor_distances(X, k)
    assert_allclose(found, np.sort(own, axis=1)[:, k - 1], rtol=1e-6)
    # of each row the value is the exact distance to some other row
    gaps = np.abs(own - found[:, None]) / found[:, None]
    assert (gaps.min(axis=1) < 1e-12).all()


def test_copies_are_neighbours_and_a_row_is_not_its_own():
    X = np.repeat(make(4), 10, axis=0)
    assert_array_equal(kth_neighbor_distances(X, 9), 0)
    assert (kth_neighbor_distances(X, 10) > 0.1).all()


def test_tensors_stay_tensors():
    X = torch.from_numpy(make(20))
    assert isinstance(kth_neighbor_distances(X, 2), torch.Tensor)
    kept = greedy_apart(X, 0.5)
    assert isinstance(kept, torch.Tensor)
    assert kept.tolist() == greedy_apart(X.numpy(), 0.5).tolist()
    assert near_any(X, X[:3], 0.0)[:3].all()


@pytest.mark.gpu
def test_on_the_gpu():
    X = torch.from_numpy(make(500))
    for metric in METRICS:
        assert_allclose(
            kth_neighbor_distances(X.cuda(), 3, metric=metric).cpu(),
            kth_neighbor_distances(X, 3, metric=metric),
        )
        assert_array_equal(
            greedy_apart(X.cuda(), 0.2, metric=metric).cpu(),
            greedy_apart(X, 0.2, metric=metric),
        )


def test_inputs_are_not_written_to():
    X = make(30)
    before = X.copy()
    kth_neighbor_distances(X, 2, metric="cosine")
    near_any(X, X[:5], 0.1, metric="cosine")
    greedy_apart(X, 0.1)
    assert_array_equal(X, before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X: near_any(X, X, -1.0), "threshold must be at least 0, got -1.0"),
        (lambda X: near_any(X, X, np.nan), "threshold must be at least 0, got nan"),
        (lambda X: near_any(X, X, 1.0, metric="l1"), "metric must be one of"),
        (lambda X: near_any(X, X[:, :2], 1.0), "others has 2 features, but X has 5"),
        (lambda X: near_any(X, X, 1.0, max_memory=0), "max_memory must be a positive"),
        (lambda X: kth_neighbor_distances(X, 0), "k must be from 1 to 9"),
        (lambda X: kth_neighbor_distances(X, 10), "k must be from 1 to 9, .* got 10"),
        (lambda X: kth_neighbor_distances(X, 11, X), "k must be from 1 to 10"),
        (lambda X: kth_neighbor_distances(X * np.nan, 1), "X must be finite"),
    ],
)
def test_wrong_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(make(10))


# In a process of its own, because the peak of a process never falls. The matrix of all
# distances would take 100 MB in float32.
def test_peak_memory(peak_growth):
    setup = """
import numpy as np
from dalmax_sk.selection import greedy_apart, kth_neighbor_distances, near_any
X = np.random.default_rng(0).standard_normal((5_000, 16), dtype=np.float32)
def run(X):
    kth_neighbor_distances(X, 5, max_memory=2**21, metric="cosine")
    near_any(X, X[:1000], 0.01, max_memory=2**21)
    greedy_apart(X[:3000], 0.01, max_memory=2**21)
run(X[:800])
"""
    measured = """
run(X)
"""
    assert (
        peak_growth(setup, measured) < 16_000
    )  # 2 MB of blocks, a few numbers a point


@pytest.mark.parametrize("n", [-1, 0, float("nan"), 2.5, True, "3"])
def test_counts_are_whole_numbers(n):
    X = np.arange(6.0)[:, np.newaxis]
    with pytest.raises(ValueError, match="n must be an integer of at least 1"):
        greedy_apart(X, 0.1, n)
    with pytest.raises(ValueError, match="k must be from 1 to 5"):
        kth_neighbor_distances(X, n)
