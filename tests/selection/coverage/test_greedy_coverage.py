import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as array_strategy
from numpy.testing import assert_allclose, assert_array_equal

from dalmax_sk._base.limits import limits
from dalmax_sk.selection import greedy_coverage
from dalmax_sk.selection.coverage import lazy_greedy
from dalmax_sk.selection.coverage.similarity import (
    BoundedFeatures,
    Similarity,
    unit_rows,
)
from dalmax_sk.selection.coverage.similarity_cache import SimilarityListCache
from dalmax_sk.selection.kit.tie_order import TieOrder

KERNELS = [("rbf", 1.0), ("rbf", 0.3), ("rbf", 8.0), ("cosine", 1.0)]


def make_points(n, d, dtype=np.float64, seed=0, scale=1.0, offset=0.0):
    rng = np.random.default_rng(seed)
    return (scale * rng.standard_normal((n, d)) + offset).astype(dtype)


def similarity(x, s, kernel, sigma):
    """k(x, s), by its formula."""
    squares = ((x - s) ** 2).sum()
    if kernel == "rbf":
        return np.exp(-np.array([squares / sigma**2]))[0]
    return max(1 - squares / 4, 0)


def definition(X, n, centers=(), kernel="rbf", sigma=1.0, weight=None):
    """The greedy algorithm in plain loops; ties to the lowest position."""
    X = np.asarray(X, dtype=np.float64)
    centers = np.asarray(centers, dtype=np.float64).reshape(-1, X.shape[1])
    weight = np.ones(len(X)) if weight is None else weight / np.max(weight)
    if kernel == "cosine":
        X, centers = (unit_rows(torch.tensor(Z)).numpy() for Z in (X, centers))
    K = np.array([[similarity(x, s, kernel, sigma) for s in X] for x in X])
    best = np.array(
        [max([similarity(x, s, kernel, sigma) for s in centers], default=0) for x in X]
    )
    picks, gains = [], []
    for _ in range(n):
        gain = [
            -1 if j in picks else math.fsum(weight * np.maximum(K[:, j] - best, 0))
            for j in range(len(X))
        ]
        picks.append(int(np.argmax(gain)))
        gains.append(max(gain) / math.fsum(weight))
        best = np.maximum(best, K[:, picks[-1]])
    return picks, gains, math.fsum(weight * best) / math.fsum(weight)


# Patches that make small pools use every path: tiny batches and tiles, nothing kept.
SMALL = {"renewed_candidates": (2, 8), "tile_rows": 8, "group_rows": 4}


@pytest.fixture(params=["plain", "small", "lists kept", "nothing kept"])
def path(request, monkeypatch):
    if request.param != "plain":
        for name, value in SMALL.items():
            monkeypatch.setattr(limits, name, value)
    if request.param == "lists kept":
        monkeypatch.setattr(
            lazy_greedy.LazyGreedy,
            "_make_cache",
            lambda self: SimilarityListCache(3000, self._floor, self._weight),
        )
        monkeypatch.setattr(limits, "lazy_candidates", 3)
        monkeypatch.setattr(limits, "similarity_entries", 7)
    if request.param == "nothing kept":
        monkeypatch.setattr(limits, "similarity_share", 0.0)


@pytest.mark.parametrize(("kernel", "sigma"), KERNELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("m", [0, 4])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_its_definition(path, kernel, sigma, dtype, m, weighted):
    for seed in range(2):
        X = make_points(45, 3, dtype, seed)
        if kernel == "cosine":  # rounded to float32 once, as the kernel does
            X = unit_rows(torch.tensor(X)).numpy()
        centers = make_points(m, 3, dtype, seed + 9)
        if kernel == "cosine":
            centers = unit_rows(torch.tensor(centers)).numpy()
        weight = np.random.default_rng(seed).random(45) ** 3 if weighted else None
        expected = definition(X, 20, centers, kernel, sigma, weight)
        result = greedy_coverage(
            X,
            20,
            centers,
            kernel=kernel,
            sigma=sigma,
            sample_weight=weight,
            return_gains=True,
        )
        if kernel == "cosine" and dtype == np.float32:
            # unit vectors in float32 change in their last digit when made unit again
            assert_allclose(result[1], expected[1], atol=1e-6)
            continue
        assert_array_equal(result[0], expected[0])
        assert_allclose(result[1], expected[1], rtol=1e-12, atol=1e-15)
        assert result[2] == pytest.approx(expected[2], rel=1e-12)


# Far from zero, in wide and in narrow clusters, the float32 margins are too wide and
# float64 takes over.
@pytest.mark.parametrize(
    ("scale", "offset", "sigma"),
    [(1, 1e3, 1), (1e-3, 1, 1e-3), (1e-20, 0, 1e-20), (1e20, 0, 1e20), (50, 0, 0.5)],
)
def test_scale_and_offset_do_not_matter(path, scale, offset, sigma):
    X = make_points(60, 4, scale=scale, offset=offset)
    X[::7] = X[3]
    expected = definition(X, 25, X[:2], sigma=sigma)
    result = greedy_coverage(X, 25, X[:2], sigma=sigma, return_gains=True)
    assert_array_equal(result[0], expected[0])
    assert_allclose(result[1], expected[1], rtol=1e-9, atol=1e-15)


# Small integers have exact distances, so that ties are exact, and many.
@settings(max_examples=40, deadline=None)
@given(
    X=array_strategy(
        np.float64,
        st.tuples(st.integers(1, 12), st.integers(1, 3)),
        elements=st.integers(-2, 2).map(float),
    ),
    n_centers=st.integers(0, 2),
    sigma=st.sampled_from([0.05, 1.0, 3.0]),
    data=st.data(),
)
def test_ties_and_duplicates_go_to_the_lowest_position(X, n_centers, sigma, data):
    n = data.draw(st.integers(1, len(X)))
    expected = definition(X, n, X[:n_centers], sigma=sigma)
    for limit in (2**30, 3000):
        with limits.override(**SMALL):
            result = greedy_coverage(
                X, n, X[:n_centers], sigma=sigma, max_memory=limit, return_gains=True
            )
        assert_array_equal(result[0], expected[0])
        assert_allclose(result[1], expected[1], rtol=1e-12, atol=1e-15)


# Ties are common: two points that only cover each other add the same.
@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(2, 40),
    d=st.integers(1, 5),
    seed=st.integers(0, 1000),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_permuting_the_pool_permutes_the_picks(n, d, seed, dtype):
    X = make_points(n, d, dtype, seed)
    order = np.random.default_rng(seed).permutation(n)
    picks = greedy_coverage(X, n // 2, X[:1], random_state=seed)
    permuted = greedy_coverage(X[order], n // 2, X[:1], random_state=seed)
    assert_array_equal(order[permuted], picks)


# The bounds that everything rests on: never below the exact similarity.
@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    d=st.integers(1, 600),
    dtype=st.sampled_from([np.float32, np.float64]),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    offset=st.sampled_from([0.0, 1.0, 100.0]),
    kind=st.sampled_from(["rbf", "linear"]),
    sigma=st.sampled_from([0.3, 1.0, 20.0]),
    memory=st.sampled_from([1, 2**30]),
)
def test_bounds_are_bounds(seed, d, dtype, scale, offset, kind, sigma, memory):
    X = make_points(30, d, dtype, seed, scale / math.sqrt(d), offset)
    wanted = Similarity(kind, sigma)
    data = BoundedFeatures(torch.from_numpy(X), wanted, memory)
    tile = torch.empty((30, 30), dtype=data.dtype)
    data.bound_into(tile, data.features(slice(None)), data.offset, slice(None))
    wide = X.astype(np.float64)
    for i in range(30):
        exact = wanted.exact(torch.from_numpy(((wide - wide[i]) ** 2).sum(axis=1)))
        assert (tile[i].double().numpy() >= exact).all()


def test_float32_bounds_are_close_enough_to_be_of_use():
    X = unit_rows(torch.from_numpy(make_points(200, 512, np.float32, offset=0.5)))
    data = BoundedFeatures(X, Similarity("rbf", 1.0), 2**30)
    assert data.dtype == torch.float32
    tile = torch.empty((200, 200))
    data.bound_into(tile, data.features(slice(None)), data.offset, slice(None))
    squares = torch.cdist(X.double(), X.double()).square()
    assert_allclose(tile.numpy(), torch.exp(-squares).numpy(), atol=2e-4)


def test_identical_points_are_picked_once_each():
    X = np.ones((30, 4), dtype=np.float32)
    for seed in (None, 0):
        picks, gains, covered = greedy_coverage(
            X, 30, random_state=seed, return_gains=True
        )
        assert sorted(picks) == list(range(30))
        assert gains[0] == pytest.approx(1)
        assert_array_equal(gains[1:], 0)
        assert covered == 1
    assert_array_equal(greedy_coverage(X, 30), np.arange(30))


# Each of the tied points must be picked with the same probability: 300 draws of one of
# six, chi-square with 5 degrees of freedom stays below 20.5 in 99.9 % of seeds.
def test_seed_breaks_ties_evenly():
    first = [greedy_coverage(np.eye(6), 1, random_state=s)[0] for s in range(300)]
    counts = np.bincount(first, minlength=6)
    assert ((counts - 50) ** 2 / 50).sum() < 20.5


# In every step, also among those whose gain is known exactly from the step before.
def test_tied_candidates_come_in_the_order_of_ties():
    X = 10 * np.eye(12)
    for seed in range(3):
        order = TieOrder(torch.from_numpy(X), np.random.RandomState(seed)).order
        picks = greedy_coverage(X, 12, random_state=seed)
        assert_array_equal(picks, order.argsort())


def test_weights_say_what_is_worth_covering():
    X = np.array([[0.0], [0.1], [0.2], [9.0]])
    assert_array_equal(greedy_coverage(X, 1), [1])
    assert_array_equal(greedy_coverage(X, 1, sample_weight=[1, 1, 1, 9]), [3])
    # any scale of the weights gives the same gains
    weight = np.array([1e-300, 3e-300, 2e-300, 1e-310])
    one = greedy_coverage(X, 4, sample_weight=weight, return_gains=True)
    other = greedy_coverage(X, 4, sample_weight=weight * 1e300, return_gains=True)
    assert_array_equal(one[0], other[0])
    assert_allclose(one[1], other[1])


def test_points_of_no_weight_come_last_unless_they_cover():
    X = np.array([[0.0], [5.0], [5.1], [5.2]])
    picks, gains, _ = greedy_coverage(
        X, 4, sigma=0.05, sample_weight=[0, 1, 0, 1], return_gains=True
    )
    assert set(picks[:2]) == {1, 3}
    assert_array_equal(gains[2:], 0)


@pytest.mark.parametrize("max_memory", [20_000, 200_000])
def test_memory_does_not_change_the_picks(max_memory):
    X, centers = make_points(90, 16, np.float32), make_points(20, 16, np.float32, 1)
    expected = greedy_coverage(X, 30, centers, sigma=4.0, return_gains=True)
    result = greedy_coverage(
        X, 30, centers, sigma=4.0, return_gains=True, max_memory=max_memory
    )
    assert_array_equal(result[0], expected[0])
    assert_array_equal(result[1], expected[1])
    assert result[2] == expected[2]


def test_a_larger_pool_equals_the_dense_definition():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((10, 8))[rng.integers(0, 10, 700)]
    X = (X + 0.3 * rng.standard_normal(X.shape)).astype(np.float32)
    wide = X.astype(np.float64)
    K = np.exp(-((wide[:, None] - wide[None]) ** 2).sum(axis=2))
    best, expected = np.zeros(700), []
    for _ in range(150):
        expected.append(int(np.maximum(K - best[:, None], 0).sum(axis=0).argmax()))
        best = np.maximum(best, K[:, expected[-1]])
    assert_array_equal(greedy_coverage(X, 150), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_reduced_precision_does_not_change_the_picks(monkeypatch, dtype):
    def rounded_mm(a, b, *, out):
        return out.copy_(a.to(dtype).double() @ b.to(dtype).double())

    X = make_points(120, 20, np.float32, offset=0.3)
    expected = greedy_coverage(X, 40, sigma=4.0)
    monkeypatch.setattr(
        torch,
        "mm",
        lambda a, b, *, out: (
            rounded_mm(a, b, out=out) if a.dtype == torch.float32 else out.copy_(a @ b)
        ),
    )
    assert_array_equal(greedy_coverage(X, 40, sigma=4.0), expected)


def test_one_byte_of_memory_is_enough():
    X = make_points(9, 2)
    assert_array_equal(greedy_coverage(X, 5, max_memory=1), greedy_coverage(X, 5))


def test_tensors_in_tensors_out():
    X, centers = make_points(50, 4, np.float32), make_points(5, 4)
    expected = greedy_coverage(X, 9, centers, return_gains=True)
    picks, gains, covered = greedy_coverage(
        torch.from_numpy(X).requires_grad_(),
        9,
        torch.from_numpy(centers),
        return_gains=True,
    )
    assert picks.dtype == torch.int64
    assert_array_equal(picks.numpy(), expected[0])
    assert_array_equal(gains.numpy(), expected[1])
    assert covered == expected[2]


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", ["rbf", "cosine"])
def test_gpu_gives_the_same_picks(kernel):
    X, centers = make_points(4000, 32, np.float32), make_points(100, 32, np.float32, 1)
    picks, gains, _ = greedy_coverage(
        torch.from_numpy(X).cuda(),
        200,
        centers,
        kernel=kernel,
        sigma=5.0,
        return_gains=True,
    )
    expected = greedy_coverage(
        X, 200, centers, kernel=kernel, sigma=5.0, return_gains=True
    )
    assert picks.is_cuda
    # A GPU sums in another order, which decides between candidates that add the same.
    assert_allclose(gains.cpu().numpy(), expected[1], rtol=1e-9)
    assert_array_equal(picks[:50].cpu().numpy(), expected[0][:50])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"sigma": 0}, r"sigma must be a number in \(0, inf\), got 0"),
        ({"sigma": np.nan}, "sigma must be a number"),
        ({"sigma": "auto"}, "sigma must be a number"),
        ({"kernel": "laplace"}, "kernel must be 'rbf' or 'cosine', got 'laplace'"),
        ({"sample_weight": [1, 1]}, "sample_weight has 2 values for 5 rows"),
        ({"sample_weight": [0] * 5}, "sample_weight is 0 everywhere"),
        ({"sample_weight": [1, 1, 1, 1, -1]}, "1 of 5 weights are not"),
        ({"centers": np.zeros((1, 3))}, "centers has 3 features, but X has 2"),
        ({"max_memory": 0}, "max_memory must be a positive integer"),
        ({"n": 6}, "n must be an integer from 1 to 5"),
    ],
)
def test_wrong_input(params, message):
    with pytest.raises(ValueError, match=message):
        greedy_coverage(**{"X": np.zeros((5, 2)), "n": 1, **params})


def test_values_whose_squares_overflow_are_refused():
    with pytest.raises(ValueError, match="overflow float64"):
        greedy_coverage(np.full((5, 2), 1e200), 1)


def test_unit_rows():
    X = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e30, 1e30], [1e-30, 0.0]])
    half = math.sqrt(0.5)
    expected = [[0.6, 0.8], [0, 0], [half, half], [1, 0]]
    assert_allclose(unit_rows(X).numpy(), expected, rtol=1e-6)
    assert unit_rows(X).dtype == torch.float32


# Measured in a process of its own, because the peak of a process never falls. The
# matrix of all similarities would take 144 MB in float32.
def test_peak_memory(peak_growth):
    setup = """
import numpy as np
from dalmax_sk.selection import greedy_coverage
rng = np.random.default_rng(0)
X = rng.standard_normal((6_000, 64), dtype=np.float32)
greedy_coverage(X[:2000], 5, X[:500], sigma=3.0, max_memory=2**22)
"""
    measured = """
greedy_coverage(X, 20, X[:100], sigma=3.0, max_memory=2**22)
"""
    # 4 MB of blocks, and about 15 numbers a point: 2 MB
    assert peak_growth(setup, measured) < 12_000
