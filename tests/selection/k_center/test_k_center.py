from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as array_strategy
from numpy.testing import assert_allclose, assert_array_equal

from dalmax_sk._base.limits import limits
from dalmax_sk.selection import k_center_greedy
from dalmax_sk.selection.k_center import k_center
from dalmax_sk.selection.k_center.k_center import distance_bounds

SMALL_WORKING_SET = mock.patch.object(limits, "working_set", (2, 8))


def make_points(n, d, dtype=np.float64, seed=0, scale=1.0, offset=0.0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, d)) * scale + offset).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n_features", "n_picks"), [(1, 40), (3, 60), (64, 25)])
@pytest.mark.parametrize("n_centers", [0, 1, 30])
def test_picks_are_those_of_the_definition(
    definition, dtype, n_features, n_picks, n_centers
):
    X = make_points(120, n_features, dtype)
    centers = make_points(n_centers, n_features, dtype, seed=1)
    first = None
    if n_centers == 0:
        first = int(definition.squares(X, X.astype(np.float64).mean(axis=0)).argmin())
    picks, distances, radius = k_center_greedy(
        X, n_picks, centers, return_distances=True
    )
    expected, expected_distances, expected_radius = definition.k_center(
        X, n_picks, centers, first
    )
    assert picks.dtype == np.int64
    assert_array_equal(picks, expected)
    assert_array_equal(distances, expected_distances)
    assert radius == expected_radius


# A working set far smaller than the pool forces many rebuilds, with bounds in float32
# and, where those are too loose, with exact values.
@pytest.mark.parametrize(
    ("scale", "offset"), [(1.0, 0.0), (1e-3, 1e3), (1e-30, 0.0), (1e30, 0.0), (1, 1e8)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_features", [1, 8])
def test_small_working_set(definition, scale, offset, dtype, n_features):
    X = make_points(150, n_features, dtype, scale=scale, offset=offset)
    centers = make_points(5, n_features, dtype, 1, scale, offset)
    with SMALL_WORKING_SET:
        result = k_center_greedy(X, 60, centers, return_distances=True)
    expected = definition.k_center(X, 60, centers)
    assert_array_equal(result[0], expected[0])
    assert_array_equal(result[1], expected[1])
    assert result[2] == expected[2]


# Tight clusters far apart: their inner distances drown in float32 and nearly drown in
# the float64 expansion.
def test_clusters_far_apart(definition):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 4, (200, 1)) * 1e6 + rng.standard_normal((200, 6)) * 1e-3
    with SMALL_WORKING_SET:
        picks = k_center_greedy(X, 80, X[:1])
    assert_array_equal(picks, definition.k_center(X, 80, X[:1])[0])


# Small integers have exact distances, so that ties are exact, and many.
@settings(max_examples=30, deadline=None)
@given(
    X=array_strategy(
        np.float64,
        st.tuples(st.integers(1, 15), st.integers(1, 3)),
        elements=st.integers(-2, 2).map(float),
    ),
    n_centers=st.integers(1, 3),
    data=st.data(),
)
def test_ties_and_duplicates_go_to_the_lowest_position(definition, X, n_centers, data):
    n = data.draw(st.integers(1, len(X)))
    centers = X[:n_centers]
    expected, distances, radius = definition.k_center(X, n, centers)
    for limit in (2**30, 2000):
        with SMALL_WORKING_SET:
            result = k_center_greedy(
                X, n, centers, max_memory=limit, return_distances=True
            )
        assert_array_equal(result[0], expected)
        assert_array_equal(result[1], distances)
        assert result[2] == radius


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(2, 40),
    d=st.integers(1, 5),
    seed=st.integers(0, 1000),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_permuting_the_pool_permutes_the_picks(n, d, seed, dtype):
    X = make_points(n, d, dtype, seed)
    order = np.random.default_rng(seed).permutation(n)
    picks = k_center_greedy(X, n // 2, X[:1])
    assert_array_equal(order[k_center_greedy(X[order], n // 2, X[:1])], picks)


@pytest.mark.parametrize("random_state", [None, 0])
def test_identical_points_are_picked_once_each(random_state):
    X = np.ones((30, 4), dtype=np.float32)
    picks, distances, radius = k_center_greedy(
        X, 30, X[:2], random_state=random_state, return_distances=True
    )
    assert sorted(picks) == list(range(30))
    assert_array_equal(distances, 0.0)
    assert radius == 0.0
    if random_state is None:
        assert_array_equal(picks, np.arange(30))


# Each of the tied points must be picked with the same probability: 600 draws of one of
# six, chi-square with 5 degrees of freedom stays below 20.5 in 99.9 % of seeds.
def test_seed_breaks_ties_evenly():
    X = np.vstack([np.eye(6), np.zeros((3, 6))])
    first = [
        k_center_greedy(X, 1, np.zeros((1, 6)), random_state=seed)[0]
        for seed in range(600)
    ]
    counts = np.bincount(first, minlength=9)
    assert_array_equal(counts[6:], 0)
    assert ((counts[:6] - 100) ** 2 / 100).sum() < 20.5


def test_first_pick_without_centers(definition):
    X = make_points(40, 3)
    by_seed = {int(k_center_greedy(X, 1, random_state=s)[0]) for s in range(200)}
    assert len(by_seed) > 30
    picks, distances, _ = k_center_greedy(X, 10, random_state=3, return_distances=True)
    assert distances[0] == np.inf
    assert_array_equal(picks, definition.k_center(X, 10, first=picks[0])[0])
    assert_array_equal(picks, k_center_greedy(X, 10, X[:0], random_state=3))


@pytest.mark.parametrize("max_memory", [1, 10_000, 1_000_000])
def test_memory_does_not_change_the_picks(max_memory):
    X, centers = make_points(90, 16, np.float32), make_points(20, 16, np.float32, 1)
    picks = k_center_greedy(X, 30, centers, max_memory=max_memory)
    assert_array_equal(picks, k_center_greedy(X, 30, centers))


# The steps for a GPU run on the CPU's tensors as well.
@pytest.mark.parametrize("working_set", [(2, 8), (64, 64), (512, 2048)])
def test_device_steps_give_the_same_picks(monkeypatch, working_set):
    X, centers = make_points(400, 5, np.float32), make_points(20, 5, np.float32, 1)
    X[::3] = np.round(X[::3])
    expected = k_center_greedy(X, 390, centers, return_distances=True)
    monkeypatch.setattr(k_center, "greedy_on_cpu", k_center.greedy_on_device)
    monkeypatch.setattr(limits, "working_set", working_set)
    result = k_center_greedy(X, 390, centers, return_distances=True)
    assert_array_equal(result[0], expected[0])
    assert_array_equal(result[1], expected[1])
    assert result[2] == expected[2]


# Whatever makes torch's float32 products less precise, a setting of its user or the
# hardware, is noticed, and the picks stay those of the definition.
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_reduced_precision_does_not_change_the_picks(definition, monkeypatch, dtype):
    def rounded_mm(a, b, *, out):
        return out.copy_(a.to(dtype).double() @ b.to(dtype).double())

    X = make_points(300, 40, np.float32, offset=0.3)
    centers = make_points(100, 40, np.float32, 1)
    expected = definition.k_center(X, 100, centers)[0]
    monkeypatch.setattr(limits, "working_set", (2, 8))
    monkeypatch.setattr(torch, "mm", rounded_mm)
    assert not k_center.products_are_float32(torch.device("cpu"))
    assert_array_equal(k_center_greedy(X, 100, centers), expected)


def test_precision_settings_do_not_change_the_picks():
    X, centers = make_points(300, 40, np.float32), make_points(200, 40, np.float32, 1)
    with SMALL_WORKING_SET:
        expected = k_center_greedy(X, 100, centers)
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("medium")
        try:
            picks = k_center_greedy(X, 100, centers)
        finally:
            torch.set_float32_matmul_precision(before)
        with torch.autocast("cpu", torch.bfloat16):
            under_autocast = k_center_greedy(X, 100, centers)
    assert_array_equal(picks, expected)
    assert_array_equal(under_autocast, expected)


def test_tensors_in_tensors_out():
    X, centers = make_points(50, 4, np.float32), make_points(5, 4)
    expected = k_center_greedy(X, 9, centers, return_distances=True)
    picks, distances, radius = k_center_greedy(
        torch.from_numpy(X).requires_grad_(),
        9,
        torch.from_numpy(centers),
        return_distances=True,
    )
    assert picks.dtype == torch.int64
    assert_array_equal(picks.numpy(), expected[0])
    assert_array_equal(distances.numpy(), expected[1])
    assert radius == expected[2]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gpu_gives_the_same_picks(dtype):
    X, centers = make_points(5000, 32, dtype), make_points(100, 32, dtype, 1)
    picks, distances, radius = k_center_greedy(
        torch.from_numpy(X).cuda(), 500, centers, return_distances=True
    )
    expected = k_center_greedy(X, 500, centers, return_distances=True)
    assert picks.is_cuda
    assert_array_equal(picks.cpu().numpy(), expected[0])
    assert_allclose(distances.cpu().numpy(), expected[1], rtol=1e-12)
    assert radius == pytest.approx(expected[2], rel=1e-12)


@pytest.mark.parametrize(
    "convert",
    [
        np.asfortranarray,
        lambda X: X[::-1][::-1],
        lambda X: X.astype(">f8"),
        lambda X: X.astype(np.int16),
        lambda X: X.astype(np.float16),
        lambda X: X.tolist(),
        lambda X: torch.from_numpy(X).to(torch.bfloat16),
    ],
)
def test_any_memory_layout_and_number_type(convert):
    X = np.random.default_rng(0).integers(-9, 9, (40, 3)).astype(np.float64)
    picks = k_center_greedy(convert(X), 7, X[:1])
    assert_array_equal(np.asarray(picks), k_center_greedy(X, 7, X[:1]))


def test_input_is_neither_written_nor_has_to_be_writable():
    X = make_points(60, 3)
    X.flags.writeable = False
    k_center_greedy(X, 5, X[:2])


@pytest.mark.parametrize("n", [0, -1, 6, 2.0, True, "2", None])
def test_wrong_n(n):
    with pytest.raises(ValueError, match=r"n must be an integer from 1 to 5.*in X"):
        k_center_greedy(np.zeros((5, 2)), n)


@pytest.mark.parametrize(
    ("X", "centers", "message"),
    [
        (np.zeros(5), None, r"X must be two-dimensional.*\(5,\)"),
        (np.zeros((5, 0)), None, "X has no features"),
        ([[np.nan], [1.0], [np.inf]], None, "2 of its 3 rows hold NaN"),
        (np.zeros((5, 2)), [[np.nan, 0]], "centers must be finite"),
        (np.zeros((5, 2)), np.zeros((1, 3)), "centers has 3 features, but X has 2"),
        (np.array([["a"]]), None, "X must hold real numbers in a dense array"),
        (torch.zeros(5, 2, dtype=torch.complex64), None, "X must hold real numbers"),
        (np.full((5, 2), 1e200), None, "overflow float64"),
    ],
)
def test_wrong_points(X, centers, message):
    with pytest.raises(ValueError, match=message):
        k_center_greedy(X, 1, centers)


# A finite pool whose sum overflows is not mistaken for an infinite one.
def test_large_float32_values(definition):
    X = make_points(50, 3, np.float32, scale=1e37)
    X = np.abs(X)
    assert_array_equal(
        k_center_greedy(X, 9, X[:1]), definition.k_center(X, 9, X[:1])[0]
    )


@pytest.mark.parametrize("max_memory", [0, -5, 1.5, None])
def test_wrong_max_memory(max_memory):
    with pytest.raises(ValueError, match="max_memory must be a positive integer"):
        k_center_greedy(np.zeros((5, 2)), 1, max_memory=max_memory)


# Measured in a process of its own, because the peak of a process never falls. The
# matrix of all distances would take 60 MB in float32.
def test_peak_memory(peak_growth):
    setup = """
import numpy as np
from dalmax_sk.selection import k_center_greedy
rng = np.random.default_rng(0)
X = rng.standard_normal((30_000, 64), dtype=np.float32)
centers = rng.standard_normal((500, 64), dtype=np.float32)
k_center_greedy(X[:3000], 20, centers[:100], max_memory=2**22)
"""
    measured = """
k_center_greedy(X, 100, centers, max_memory=2**22)
"""
    assert (
        peak_growth(setup, measured) < 12_000
    )  # 4 MB of blocks, a few numbers a point


def mapped(X, path):
    np.save(path, X)
    return np.load(path, mmap_mode="r")


# The first pick without centres hangs on a mean, the others on exact distances only.
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("n_centers", [0, 40])
@pytest.mark.parametrize("random_state", [None, 3])
def test_mapped_pool_gives_the_same_picks(tmp_path, dtype, n_centers, random_state):
    X = make_points(3000, 6, dtype)
    X[::7] = X[:3000:7][0]
    centers = make_points(n_centers, 6, dtype, 1)
    expected = k_center_greedy(
        X, 200, centers, random_state=random_state, return_distances=True
    )
    result = k_center_greedy(
        mapped(X, tmp_path / "X.npy"),
        200,
        mapped(centers, tmp_path / "centers.npy") if n_centers else None,
        random_state=random_state,
        return_distances=True,
        max_memory=50_000,
    )
    assert_array_equal(result[0], expected[0])
    assert_array_equal(result[1], expected[1])
    assert result[2] == expected[2]


# Pages of a mapped file count as resident until they are given back.
def test_peak_memory_of_a_mapped_pool(peak_growth, tmp_path):
    path = tmp_path / "X.npy"
    X = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.float32, shape=(150_000, 256)
    )
    rng = np.random.default_rng(0)
    for start in range(0, len(X), 1000):
        X[start : start + 1000] = rng.standard_normal((1000, 256), dtype=np.float32)
    setup = f"""
import numpy as np
from dalmax_sk.selection import k_center_greedy
rng = np.random.default_rng(1)
k_center_greedy(rng.standard_normal((3000, 256)), 20, max_memory=2**22)
X = np.load({str(path)!r}, mmap_mode="r")
"""
    measured = """
k_center_greedy(X, 50, rng.standard_normal((30, 256)), max_memory=2**22)
"""
    growth = peak_growth(setup, measured)
    assert growth < 125_000  # kB: blocks of 16 MB; the file alone has 150,000


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
def test_distance_bounds_spare_the_first_pass_and_change_nothing(convert, monkeypatch):
    rng = np.random.default_rng(0)
    X, centers = rng.standard_normal((4000, 8)), rng.standard_normal((300, 8))
    expected = k_center_greedy(X, 40, centers, return_distances=True)
    nearest = distance_bounds(convert(X), convert(centers))
    some = distance_bounds(X, centers, np.array([7, 3]))
    np.testing.assert_allclose(nearest[[7, 3]], some, rtol=1e-5)
    assert np.isinf(distance_bounds(X, centers[:0])).all()
    seen = []
    monkeypatch.setattr(k_center, "bound_nearest", lambda *args: seen.append(args))
    found = k_center_greedy(X, 40, centers, return_distances=True, nearest=nearest)
    assert not seen
    for now, then in zip(found, expected, strict=True):
        assert_array_equal(now, then)
    # a distance that is too large is a bound as well
    found = k_center_greedy(X[:9], 3, centers, nearest=np.full(9, np.inf))
    assert_array_equal(found, k_center_greedy(X[:9], 3, centers))


def test_distances_of_other_points_are_refused():
    with pytest.raises(ValueError, match=r"each row of X, 5; got the shape \(4,\)"):
        k_center_greedy(np.zeros((5, 2)), 1, np.ones((2, 2)), nearest=np.ones(4))
