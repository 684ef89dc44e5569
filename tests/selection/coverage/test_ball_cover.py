import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as array_strategy
from numpy.testing import assert_allclose, assert_array_equal

from dalmax_sk._base.limits import limits
from dalmax_sk.selection import ball_cover


def make_points(n, d, dtype=np.float64, seed=0, scale=1.0, offset=0.0):
    rng = np.random.default_rng(seed)
    return (scale * rng.standard_normal((n, d)) + offset).astype(dtype)


def definition(X, n, radius, centers=()):
    """Greedy maximum coverage in plain loops; ties to the lowest position."""
    X = np.asarray(X, dtype=np.float64)
    centers = np.asarray(centers, dtype=np.float64).reshape(-1, X.shape[1])

    def inside(x, c):
        return ((x - c) ** 2).sum() <= radius**2

    covered = {i for i, x in enumerate(X) if any(inside(x, c) for c in centers)}
    ball = [{i for i, x in enumerate(X) if inside(x, c)} for c in X]
    picks, gains = [], []
    for _ in range(n):
        left = [j for j in range(len(X)) if j not in picks]
        pick = max(left, key=lambda j: (len(ball[j] - covered), -j))
        picks.append(pick)
        gains.append(len(ball[pick] - covered) / len(X))
        covered |= ball[pick]
    return picks, gains, len(covered) / len(X)


# With little memory nothing is kept, and balls are found again when needed.
@pytest.fixture(params=["lists", "no lists", "small tiles"])
def path(request, monkeypatch):
    if request.param == "no lists":
        monkeypatch.setattr(limits, "ball_list_share", 0.0)
    if request.param != "lists":
        monkeypatch.setattr(limits, "tile_rows", 8)


@pytest.mark.parametrize("radius", [0.05, 0.7, 1.5, 20.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("m", [0, 4])
def test_equals_its_definition(path, radius, dtype, m):
    for seed in range(3):
        X, centers = make_points(60, 3, dtype, seed), make_points(m, 3, dtype, seed + 9)
        picks, gains, share = ball_cover(X, 40, radius, centers, return_gains=True)
        expected = definition(X, 40, radius, centers)
        assert_array_equal(picks, expected[0])
        assert_allclose(gains, expected[1])
        assert share == pytest.approx(expected[2])


# Points exactly on the rim belong to the ball, those a rounding beyond do not; far from
# zero float32 products cannot tell.
@settings(max_examples=40, deadline=None)
@given(
    X=array_strategy(
        np.float64,
        st.tuples(st.integers(1, 14), st.integers(1, 3)),
        elements=st.integers(-3, 3).map(float),
    ),
    n_centers=st.integers(0, 2),
    radius=st.sampled_from([1.0, np.sqrt(2), np.nextafter(2, 0), 2.0, 3.0]),
    offset=st.sampled_from([0.0, 2.0**20]),
    dtype=st.sampled_from([np.float32, np.float64]),
    tile=st.sampled_from([3, 2048]),
    share=st.sampled_from([0.0, 0.5]),
    data=st.data(),
)
def test_rims_ties_and_duplicates(
    X, n_centers, radius, offset, dtype, tile, share, data
):
    n = data.draw(st.integers(1, len(X)))
    X = (X + offset).astype(dtype)
    expected = definition(X, n, radius, X[:n_centers])
    with limits.override(tile_rows=tile, ball_list_share=share):
        picks, gains, covered = ball_cover(
            X, n, radius, X[:n_centers], return_gains=True
        )
    assert_array_equal(picks, expected[0])
    assert_allclose(gains, expected[1])
    assert covered == pytest.approx(expected[2])


@settings(max_examples=20, deadline=None)
@given(n=st.integers(2, 40), seed=st.integers(0, 1000), radius=st.floats(0.1, 3))
def test_permuting_the_pool_permutes_the_picks(n, seed, radius):
    X = make_points(n, 2, seed=seed)
    order = np.random.default_rng(seed).permutation(n)
    picks = ball_cover(X, n, radius, X[:1], random_state=seed)
    permuted = ball_cover(X[order], n, radius, X[:1], random_state=seed)
    assert_array_equal(order[permuted], picks)


def test_wide_data_at_a_radius_near_most_distances():
    X = make_points(300, 200, np.float32, scale=200**-0.5)
    for radius in (1.3, 1.42, 1.6):
        assert_array_equal(ball_cover(X, 40, radius), definition(X, 40, radius)[0])


def test_what_is_covered_is_over_and_the_rest_is_random():
    X = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [9.0]])
    picks, gains, share = ball_cover(X, 6, 0.15, return_gains=True)
    assert_array_equal(picks, [1, 3, 5, 0, 2, 4])
    assert_allclose(gains, [1 / 2, 1 / 3, 1 / 6, 0, 0, 0])
    assert share == 1
    by_seed = {tuple(ball_cover(X, 6, 0.15, random_state=s)[3:]) for s in range(40)}
    assert len(by_seed) > 5


# 300 draws of one of six, chi-square with 5 degrees of freedom: 20.5 is its 99.9 %.
def test_seed_breaks_ties_evenly():
    first = [ball_cover(np.eye(6), 1, 0.5, random_state=s)[0] for s in range(300)]
    counts = np.bincount(first, minlength=6)
    assert ((counts - 50) ** 2 / 50).sum() < 20.5


@pytest.mark.parametrize("max_memory", [1000, 30_000, 10**6])
def test_memory_does_not_change_the_picks(max_memory):
    X, centers = make_points(60, 6, np.float32), make_points(9, 6, np.float32, 1)
    expected = ball_cover(X, 30, 2.0, centers, return_gains=True)
    result = ball_cover(X, 30, 2.0, centers, return_gains=True, max_memory=max_memory)
    assert_array_equal(result[0], expected[0])
    assert_array_equal(result[1], expected[1])
    assert result[2] == expected[2]


def test_tensors_in_tensors_out():
    X = make_points(50, 4, np.float32)
    expected = ball_cover(X, 9, 1.5, return_gains=True)
    picks, gains, share = ball_cover(torch.from_numpy(X), 9, 1.5, return_gains=True)
    assert picks.dtype == torch.int64
    assert_array_equal(picks.numpy(), expected[0])
    assert_array_equal(gains.numpy(), expected[1])
    assert share == expected[2]


@pytest.mark.gpu
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_gpu_gives_the_same_picks(monkeypatch, share):
    monkeypatch.setattr(limits, "ball_list_share", share)
    X = make_points(5000, 16, np.float32)
    picks = ball_cover(torch.from_numpy(X).cuda(), 200, 4.0)
    assert picks.is_cuda
    assert_array_equal(picks.cpu().numpy(), ball_cover(X, 200, 4.0))


@pytest.mark.parametrize("radius", [0, -1.0, np.nan, np.inf, "auto", None])
def test_wrong_radius(radius):
    with pytest.raises(ValueError, match=r"radius must be a number in \(0, inf\), got"):
        ball_cover(np.zeros((5, 2)), 1, radius)


def test_wrong_points():
    with pytest.raises(ValueError, match="centers has 3 features, but X has 2"):
        ball_cover(np.zeros((5, 2)), 1, 1.0, np.zeros((1, 3)))
    with pytest.raises(ValueError, match="1 of its 2 rows hold NaN"):
        ball_cover([[np.nan], [1.0]], 1, 1.0)


# Measured in a process of its own. Lists of all 25 million members would take 100 MB.
@pytest.mark.slow
def test_peak_memory(peak_growth):
    setup = """
import numpy as np
from dalmax_sk.selection import ball_cover
rng = np.random.default_rng(0)
X = rng.standard_normal((5_000, 32), dtype=np.float32)
ball_cover(X[:2000], 5, 3.0, X[:500], max_memory=2**22)
"""
    measured = """
ball_cover(X, 20, 20.0, X[:500], max_memory=2**22)
"""
    assert peak_growth(setup, measured) < 10_000
