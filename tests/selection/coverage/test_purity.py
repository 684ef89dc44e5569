import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from dalmax_sk.selection import min_distance, pure_ball_radius
from dalmax_sk.selection.coverage import purity
from dalmax_sk.selection.k_means.lloyd import Lloyd
from dalmax_sk.selection.kit.tie_order import TieOrder


def share_of_pure_balls(X, labels, radius):
    """The definition of the purity of a radius, in plain loops."""
    X = np.asarray(X, dtype=np.float64)
    n_pure = 0
    for x, label in zip(X, labels, strict=True):
        inside = ((X - x) ** 2).sum(axis=1) <= radius**2
        n_pure += (labels[inside] == label).all()
    return n_pure / len(X)


# The largest radius that is pure enough: one float more is not.
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(4, 60),
    d=st.integers(1, 4),
    n_labels=st.integers(2, 4),
    wanted=st.sampled_from([0.01, 0.5, 0.9, 0.95, 1.0]),
    dtype=st.sampled_from([np.float32, np.float64]),
    offset=st.sampled_from([0.0, 1000.0]),
    whole=st.booleans(),
    memory=st.sampled_from([5000, 2**30]),
)
def test_radius_is_the_largest_pure_one(
    seed, n, d, n_labels, wanted, dtype, offset, whole, memory
):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * 3
    X = ((np.round(X) if whole else X) + offset).astype(dtype)
    labels = rng.integers(0, n_labels, n)
    labels[:2] = [0, 1]
    if whole:  # equal points have equal labels
        _, first, group = np.unique(X, axis=0, return_index=True, return_inverse=True)
        labels = labels[first[group.ravel()]]
    pool = torch.from_numpy(X)
    if len(np.unique(labels)) == 1:
        assert purity._radius(pool, labels, wanted, memory) == math.inf
        return
    radius = purity._radius(pool, labels, wanted, memory)
    assert share_of_pure_balls(X, labels, radius) >= wanted - 1e-9
    above = math.nextafter(radius, math.inf)
    while above**2 <= radius**2:
        above = math.nextafter(above, math.inf)
    # squares near the gap may round: go on until the next float that matters
    assert share_of_pure_balls(X, labels, above * (1 + 1e-15)) < wanted


def test_two_clusters():
    X = np.array([[0.0], [1.0], [4.0], [5.0]])
    assert pure_ball_radius(X, 2, random_state=0) == math.nextafter(3.0, 0)
    assert pure_ball_radius(X, 2, purity=0.5, random_state=0) == math.nextafter(4, 0)
    assert pure_ball_radius(X.astype(np.float32), 2, random_state=0) < 3


def test_many_points_in_blobs():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 60)
    X = 10 * np.eye(5)[labels] + 0.1 * rng.standard_normal((300, 5))
    radius = pure_ball_radius(X.astype(np.float32), 5, random_state=0, max_memory=10**5)
    assert share_of_pure_balls(X, labels, radius * 0.999) >= 0.95
    assert share_of_pure_balls(X, labels, radius * 1.001) < 0.95


def test_equal_points_are_in_one_cluster():
    X = np.repeat([[0.0, 0.0], [1.0, 0.0]], 40, axis=0)
    # more clusters than distinct points
    assert pure_ball_radius(X, 7, random_state=0) == pytest.approx(1.0)
    assert pure_ball_radius(X[:40], 3, random_state=0) == math.inf
    assert pure_ball_radius(X, 1, random_state=0) == math.inf


# k-means may put equal points that lie between two centres into either cluster.
def test_rounding_does_not_part_equal_points(monkeypatch):
    X = np.repeat([[0.0], [1.0], [3.0]], 2, axis=0)
    labels = torch.tensor([0, 1, 0, 0, 1, 1])
    monkeypatch.setattr(Lloyd, "run", lambda self, start: (start, labels, 0.0))
    assert pure_ball_radius(X, 2) == math.nextafter(2.0, 0)


def test_no_radius_is_pure_enough():
    X = torch.zeros((10, 1), dtype=torch.float64)
    with pytest.raises(ValueError, match=r"No positive radius has a purity of 0.95"):
        purity._radius(X, np.arange(10) % 2, 0.95, 2**30)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"purity": 0.0}, r"purity must be a number in \(0, 1\], got 0.0"),
        ({"purity": 1.1}, "purity must be a number"),
        ({"n_clusters": 6}, "n must be an integer from 1 to 5"),
        ({"max_memory": 0}, "max_memory must be a positive integer"),
    ],
)
def test_wrong_input(params, message):
    with pytest.raises(ValueError, match=message):
        pure_ball_radius(**{"X": np.zeros((5, 2)), "n_clusters": 2, **params})


@pytest.mark.gpu
def test_gpu_gives_the_same_radius():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 8)).astype(np.float32)
    labels = rng.integers(0, 3, 3000)
    on_gpu = purity._radius(torch.from_numpy(X).cuda(), labels, 0.9, 2**30)
    expected = purity._radius(torch.from_numpy(X), labels, 0.9, 2**30)
    assert on_gpu == pytest.approx(expected, rel=1e-12)


# ------------------------------------------------------------------- smallest distance


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 40),
    d=st.integers(1, 4),
    dtype=st.sampled_from([np.float32, np.float64]),
    scale=st.sampled_from([1e-4, 1.0]),
    offset=st.sampled_from([0.0, 100.0]),
    memory=st.sampled_from([1, 2**30]),
)
def test_smallest_distance_equals_its_definition(
    seed, n, d, dtype, scale, offset, memory
):
    X = np.random.default_rng(seed).standard_normal((n, d)) * scale + offset
    X = np.concatenate([X, X[: n // 2]]).astype(dtype)
    wide = X.astype(np.float64)
    squares = ((wide[:, None] - wide[None]) ** 2).sum(axis=2)
    expected = np.sqrt(squares[squares > 0].min()) if (squares > 0).any() else np.inf
    assert min_distance(X, max_memory=memory) == expected


def test_smallest_distance_of_no_pair():
    assert min_distance(np.empty((0, 3))) == np.inf
    assert min_distance(np.ones((9, 3))) == np.inf


# ----------------------------------------------------------------------- order of ties


def test_tie_order_moves_with_the_points():
    X = torch.from_numpy(np.random.default_rng(0).standard_normal((50, 3)))
    shuffle = np.random.default_rng(1).permutation(50)
    order = TieOrder(X, np.random.RandomState(0)).order
    moved = TieOrder(X[torch.from_numpy(shuffle)], np.random.RandomState(0)).order
    assert_array_equal(moved, order[shuffle])
    assert sorted(order) == list(range(50))
    other = TieOrder(X, np.random.RandomState(1)).order
    assert (other != order).any()
    assert_array_equal(TieOrder(X, None).order, np.arange(50))


@pytest.mark.parametrize("seed", [None, 0])
def test_tie_order_knows_equal_points(seed):
    X = torch.tensor([[0.0], [1.0], [-0.0], [1.0], [2.0]])
    rng = None if seed is None else np.random.RandomState(seed)
    ties = TieOrder(X, rng)
    assert ties.is_first.sum() == 3
    assert ties.group[0] == ties.group[2] != ties.group[1] == ties.group[3]
    for group in range(3):
        members = np.flatnonzero(ties.group == group)
        first = members[ties.order[members].argmin()]
        assert_array_equal(ties.is_first[members], members == first)
