"""k-means++ seeding: the distribution, the factorised distances, the edges."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from dalmax_sk._base.limits import limits
from dalmax_sk.selection import k_means_plus_plus
from dalmax_sk.selection.k_means import seeding as k_means_pp


def outer(X, coefficients, bias=False):
    """The points (n, C·d) that are never formed, one at a time."""
    rows = [np.append(x, 1.0) if bias else x for x in np.asarray(X, dtype=np.float64)]
    return np.array(
        [np.outer(a, x).ravel() for a, x in zip(coefficients, rows, strict=True)]
    )


def sequential(points, n, seed, first="uniform"):
    """The definition with dense points: draw by inversion, one number a pick."""
    rng = np.random.RandomState(seed)
    if first == "uniform":
        picks = [rng.randint(len(points))]
    else:
        picks = [int(np.linalg.norm(points, axis=1).argmax())]
        rng.randint(1)
    while len(picks) < n:
        squares = [min(((x - points[c]) ** 2).sum() for c in picks) for x in points]
        edges = np.cumsum(squares)
        picks.append(int(np.searchsorted(edges, rng.random_sample() * edges[-1])))
    return np.array(picks)


def probabilities(points, first):
    """P(first pick), P(second | first), as the definition has them."""
    table = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    return table / table.sum(axis=1, keepdims=True)


def make(n, d, n_classes, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.full(n_classes, 0.4), n)
    coefficients = proba - np.eye(n_classes)[proba.argmax(axis=1)]
    return rng.standard_normal((n, d)).astype(dtype), coefficients


# ------------------------------------------------------------------ the definition


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("first", ["uniform", "largest"])
@pytest.mark.parametrize("seed", range(5))
def test_sequential_draws_are_the_definition(seed, first, bias):
    X, coefficients = make(40, 5, 3, seed)
    picks = k_means_plus_plus(
        X,
        12,
        coefficients=coefficients,
        bias=bias,
        first=first,
        method="sequential",
        random_state=seed,
    )
    points = outer(X, coefficients, bias)
    assert_array_equal(picks, sequential(points, 12, seed, first))


@pytest.mark.parametrize("seed", range(5))
def test_points_without_factors(seed):
    X = make(40, 3, 2, seed)[0] + 100.0
    picks = k_means_plus_plus(X, 10, method="sequential", random_state=seed)
    assert_array_equal(picks, sequential(X, 10, seed))
    picks = k_means_plus_plus(X, 1, first="largest", random_state=seed)
    assert picks[0] == np.linalg.norm(X, axis=1).argmax()


# The factorised distances are those of the dense points, whatever the draws.
@pytest.mark.parametrize("method", ["rejection", "sequential"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bias", [False, True])
def test_distances_are_those_of_dense_points(method, dtype, bias):
    X, coefficients = make(150, 6, 4, 3, dtype)
    picks, distances = k_means_plus_plus(
        X,
        140,
        coefficients=coefficients,
        bias=bias,
        method=method,
        random_state=1,
        return_distances=True,
    )
    points = outer(X, coefficients, bias)
    expected = [np.linalg.norm(points[picks[0]])] + [
        np.linalg.norm(points[picks[:i]] - points[pick], axis=1).min()
        for i, pick in enumerate(picks.tolist())
        if i
    ]
    rtol = 1e-9 if dtype is np.float64 else 1e-3
    assert_allclose(distances, expected, rtol=rtol, atol=1e-12)


# Ordered triples from 5 points: 5 · 4 · 3 = 60 outcomes with known probabilities. Small
# limits make the sampler refresh, and propose from old masses, many times.
@pytest.mark.parametrize(
    "sizes",
    [(64, 64, 256), pytest.param((1, 2, 1), marks=pytest.mark.slow), (2, 3, 4)],
)
def test_rejection_has_the_distribution_of_the_definition(sizes, monkeypatch):
    proposals, per_refresh, proposed = sizes
    monkeypatch.setattr(limits, "proposals", proposals)
    monkeypatch.setattr(limits, "picks_per_refresh", per_refresh)
    monkeypatch.setattr(limits, "proposals_per_refresh", proposed)
    X, coefficients = make(5, 2, 3, 4)
    points = outer(X, coefficients)
    table = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    expected = {}
    for a in range(5):
        second = table[a] / table[a].sum()
        for b in range(5):
            nearest = np.minimum(table[a], table[b])
            for c in range(5):
                if len({a, b, c}) == 3:
                    third = nearest[c] / nearest.sum()
                    expected[a, b, c] = second[b] * third / 5
    n_runs = 1500
    rng = np.random.RandomState(0)
    counts = dict.fromkeys(expected, 0)
    for _ in range(n_runs):
        picks = k_means_plus_plus(X, 3, coefficients=coefficients, random_state=rng)
        counts[tuple(picks.tolist())] += 1
    assert sum(expected.values()) == pytest.approx(1.0)
    p = np.array(list(expected.values()))
    observed = np.array(list(counts.values()))
    common = p * n_runs > 5  # rare outcomes are pooled
    p = np.append(p[common], p[~common].sum())
    observed = np.append(observed[common], observed[~common].sum())
    chi_square = ((observed - n_runs * p) ** 2 / (n_runs * p)).sum()
    degrees = len(p) - 1
    # A chi-square variable has mean k and variance 2k; four deviations.
    assert chi_square < degrees + 4 * np.sqrt(2 * degrees)


# Differences instead of products: right for any pair, exactly zero for copies, good to
# many digits for points so close that products in float32 see no difference.
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exact_distances(bias, dtype):
    X, coefficients = make(30, 6, 3, 5, np.float64)
    rng = np.random.default_rng(0)
    X[10:20] = X[:10]
    X[20:] = X[:10] * (1 + 1e-5 * rng.standard_normal((10, 1)))
    coefficients[10:20] = coefficients[20:] = coefficients[:10]
    X, coefficients = X.astype(dtype), coefficients.astype(dtype)
    largest = max(1.0, float(np.abs(X).max())) * float(np.abs(coefficients).max())
    points = k_means_pp._Points(
        torch.from_numpy(X), torch.from_numpy(coefficients), bias, largest, 2**30
    )
    one = torch.arange(30).repeat_interleave(30)
    other = torch.arange(30).repeat(30)
    dense = outer(X, coefficients, bias)
    expected = ((dense[one] - dense[other]) ** 2).sum(axis=1)
    assert_allclose(points.pairs(one, other), expected, rtol=1e-6, atol=1e-24)
    table = points.pairwise_squares(torch.arange(30), torch.arange(30))
    assert_allclose(table.ravel(), expected, rtol=2e-3, atol=1e-24)
    assert_array_equal(table[np.arange(10), np.arange(10, 20)], 0.0)
    assert_array_equal(np.diag(table), 0.0)
    nearest = torch.full((30,), torch.inf, dtype=torch.float64)
    points.update_distances(nearest, torch.arange(10))
    expected = expected.reshape(30, 30)[:10].min(axis=0)
    assert_allclose(nearest, expected, rtol=1e-3, atol=1e-24)
    assert_array_equal(nearest[:20], 0.0)


# How often each point is in a batch of 12, by both methods, over many seeds.
def test_both_methods_include_points_equally_often():
    X, coefficients = make(60, 3, 3, 7)
    counts = {}
    n_runs = 400
    for method in ("rejection", "sequential"):
        rng = np.random.RandomState(5)
        picks = [
            k_means_plus_plus(
                X, 12, coefficients=coefficients, method=method, random_state=rng
            )
            for _ in range(n_runs)
        ]
        counts[method] = np.bincount(np.concatenate(picks), minlength=60)
    one, other = counts["rejection"] / n_runs, counts["sequential"] / n_runs
    p = (one + other) / 2
    z = (one - other) / np.sqrt(np.maximum(2 * p * (1 - p), 1e-9) / n_runs)
    assert abs(z).max() < 4.0
    assert z.std() < 1.4


# ------------------------------------------------------------------ memory and edges


@pytest.mark.parametrize("method", ["rejection", "sequential"])
@pytest.mark.parametrize("with_factors", [False, True])
def test_memory_does_not_change_the_picks(method, with_factors):
    X, coefficients = make(200, 5, 3, 1)
    given = {"coefficients": coefficients} if with_factors else {}
    expected = k_means_plus_plus(X, 90, method=method, random_state=0, **given)
    for max_memory in (1, 20_000):
        picks = k_means_plus_plus(
            X, 90, method=method, random_state=0, max_memory=max_memory, **given
        )
        assert_array_equal(picks, expected)


def test_first_picks_do_not_depend_on_how_many_are_wanted():
    X, coefficients = make(300, 4, 3)
    longest = k_means_plus_plus(X, 200, coefficients=coefficients, random_state=0)
    for n in (1, 2, 65, 130):
        picks = k_means_plus_plus(X, n, coefficients=coefficients, random_state=0)
        assert_array_equal(picks, longest[:n])


# A peer picks copies of a pick again and again; here they are the last resort.
@pytest.mark.parametrize("method", ["rejection", "sequential"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e6])
def test_copies_are_a_last_resort(method, dtype, scale):
    X, coefficients = make(20, 6, 3, 2, dtype)
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(20), 10))
    X, coefficients = (scale * X[order]).astype(dtype), coefficients[order]
    for seed in range(5):
        picks, distances = k_means_plus_plus(
            X,
            200,
            coefficients=coefficients,
            method=method,
            random_state=seed,
            return_distances=True,
        )
        assert sorted(picks) == list(range(200))
        assert len(set(order[picks[:20]])) == 20
        assert_array_equal(distances[20:], 0.0)
        assert (distances[1:20] > 0).all()


# Certain predictions have no gradient; all of them coincide in the origin.
@pytest.mark.parametrize("method", ["rejection", "sequential"])
@pytest.mark.parametrize("n", [1, 3, 30])
def test_no_gradients_at_all(method, n):
    X = np.random.default_rng(0).standard_normal((30, 4))
    draws = [
        k_means_plus_plus(
            X, n, coefficients=np.zeros((30, 3)), method=method, random_state=seed
        )
        for seed in range(40)
    ]
    assert {len(set(draw)) for draw in draws} == {n}
    assert len({draw[0] for draw in draws}) > 10  # uniform, not by position


# The origin is no centre of its own: one of two equal clusters far from it is not
# preferred for being near or far.
def test_the_origin_is_no_center():
    X = np.array([[1.0], [1.1], [9.0]])
    seconds = [
        k_means_plus_plus(
            X, 2, coefficients=np.ones((3, 1)), first="largest", random_state=seed
        )[1]
        for seed in range(300)
    ]
    # D² = 64 and 62.4: with the origin as a centre it would be 1 and 1.2.
    assert abs(np.mean(np.array(seconds) == 0) - 64 / 126.41) < 0.12


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.integers(-2, 2), min_size=1, max_size=30),
    dtype=st.sampled_from([np.float32, np.float64, np.int64]),
    method=st.sampled_from(["rejection", "sequential"]),
    first=st.sampled_from(["uniform", "largest"]),
    seed=st.integers(0, 50),
    with_factors=st.booleans(),
    data=st.data(),
)
def test_exactly_n_distinct(values, dtype, method, first, seed, with_factors, data):
    X = np.array(values, dtype=dtype)[:, None]
    n = data.draw(st.integers(1, len(X)))
    given = {"coefficients": np.resize([1.0, -0.5, 0.0], (len(X), 1))}
    picks = k_means_plus_plus(
        X,
        n,
        method=method,
        first=first,
        random_state=seed,
        **(given if with_factors else {}),
    )
    assert picks.dtype == np.int64
    assert len(set(picks)) == n
    assert min(picks) >= 0
    assert max(picks) < len(X)
    if not with_factors and n >= len(np.unique(X)):
        assert set(X[picks, 0]) == set(X[:, 0])


def test_largest_first_breaks_ties_at_random():
    X = np.array([[1.0], [-3.0], [3.0], [3.0]])
    firsts = {
        k_means_plus_plus(X, 1, first="largest", random_state=seed)[0]
        for seed in range(40)
    }
    assert firsts == {1, 2, 3}


def test_far_from_zero():
    X, _ = make(60, 4, 3)
    expected = k_means_plus_plus(X, 20, method="sequential", random_state=0)
    moved = k_means_plus_plus(X + 1e6, 20, method="sequential", random_state=0)
    assert_array_equal(moved, expected)


@pytest.mark.parametrize("factor", [1e-30, 1e12, 1e100])
def test_scale_does_not_matter(factor):
    X, coefficients = make(60, 4, 3)
    expected = k_means_plus_plus(X, 20, coefficients=coefficients, random_state=0)
    picks = k_means_plus_plus(X * factor, 20, coefficients=coefficients, random_state=0)
    assert_array_equal(picks, expected)


def test_seeds_and_tensors():
    X, coefficients = make(100, 4, 3, dtype=np.float32)
    expected = k_means_plus_plus(X, 20, coefficients=coefficients, random_state=3)
    other = k_means_plus_plus(X, 20, coefficients=coefficients, random_state=4)
    assert set(expected) != set(other)
    picks, distances = k_means_plus_plus(
        torch.from_numpy(X),
        20,
        coefficients=torch.from_numpy(coefficients),
        random_state=3,
        return_distances=True,
    )
    assert picks.dtype == torch.int64
    assert distances.dtype == torch.float64
    assert_array_equal(picks.numpy(), expected)


@pytest.mark.gpu
def test_gpu():
    X, coefficients = make(3000, 30, 5, dtype=np.float32)
    on_gpu = torch.from_numpy(X).cuda()
    picks, distances = k_means_plus_plus(
        on_gpu, 300, coefficients=coefficients, random_state=0, return_distances=True
    )
    assert picks.is_cuda
    assert distances.is_cuda
    assert len(set(picks.tolist())) == 300
    again = k_means_plus_plus(
        on_gpu, 300, coefficients=coefficients, random_state=0, return_distances=True
    )
    assert torch.equal(picks, again[0])


# Measured in a process of its own, because the peak of a process never falls. The
# points would take 77 MB, their distances to all picks 24 MB.
def test_peak_memory(peak_growth):
    setup = """
import numpy as np
from dalmax_sk.selection import k_means_plus_plus
rng = np.random.default_rng(0)
X = rng.standard_normal((30_000, 64), dtype=np.float32)
A = rng.standard_normal((30_000, 10), dtype=np.float32)
k_means_plus_plus(X[:3000], 20, coefficients=A[:3000], max_memory=2**22)
"""
    measured = """
k_means_plus_plus(X, 200, coefficients=A, random_state=0, max_memory=2**22)
"""
    assert (
        peak_growth(setup, measured) < 12_000
    )  # 4 MB of blocks, a few numbers a point


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n": 5}, "n must be an integer from 1 to 4"),
        ({"X": np.zeros(4)}, "X must be two-dimensional"),
        ({"X": np.full((4, 2), np.nan)}, "4 of its 4 rows hold NaN"),
        ({"coefficients": np.ones((3, 2))}, "coefficients has 3 rows for 4 rows of X"),
        ({"coefficients": np.ones(4)}, "coefficients must be two-dimensional"),
        ({"first": "random"}, "first must be one of"),
        ({"method": "greedy"}, "method must be one of"),
        ({"max_memory": 0}, "max_memory must be a positive integer"),
        ({"X": np.full((4, 2), 1e160)}, "overflow float64"),
    ],
)
def test_wrong_arguments(given, message):
    with pytest.raises(ValueError, match=message):
        k_means_plus_plus(**{"X": np.eye(4), "n": 2, **given})
