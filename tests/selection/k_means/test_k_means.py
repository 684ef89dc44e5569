import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.cluster import KMeans

from dalmax_sk._base.limits import limits
from dalmax_sk.selection import k_means_clusters, k_means_select
from dalmax_sk.selection.k_means import k_means
from dalmax_sk.selection.k_means.lloyd import Lloyd


def make_blobs(n, k, d, dtype=np.float64, seed=0):
    """n points around k centres in turn, far apart: point i belongs to blob i % k."""
    rng = np.random.default_rng(seed)
    centers = 100 * rng.permutation(np.eye(max(k, d))[:k, :d] + np.arange(k)[:, None])
    return (centers[np.arange(n) % k] + rng.standard_normal((n, d))).astype(dtype)


def make_lloyd(X, weight=None, max_memory=2**30):
    pool = torch.from_numpy(X)
    weight = None if weight is None else torch.from_numpy(weight).double()
    return Lloyd(pool, max_memory, weight=weight)


# Well separated blobs have one optimal clustering, so that the picks are determined:
# the points nearest to the blobs' means.
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_blobs(definition, dtype, weighted):
    X = make_blobs(90, 6, 4, dtype)
    weight = np.random.default_rng(1).random(90) if weighted else np.ones(90)
    picks, distances, inertia = k_means_select(
        X,
        6,
        sample_weight=weight if weighted else None,
        random_state=0,
        return_distances=True,
    )
    blob = np.arange(90) % 6
    mass = np.bincount(blob, weights=weight)
    means = [
        np.average(X[blob == b], axis=0, weights=weight[blob == b]) for b in range(6)
    ]
    nearest = [int(definition.squares(X, mean).argmin()) for mean in means]
    assert picks.dtype == np.int64
    assert sorted(picks) == sorted(nearest)
    # The heaviest cluster first.
    assert (np.diff(mass[picks % 6]) <= 1e-9).all()
    total = sum(
        (weight[blob == b] * definition.squares(X[blob == b], means[b])).sum()
        for b in range(6)
    )
    assert inertia == pytest.approx(total, rel=1e-3)
    expected = [np.linalg.norm(X[p] - means[p % 6]) for p in picks]
    assert_allclose(distances, expected, rtol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_offset_and_scale_do_not_change_the_picks(dtype):
    X = make_blobs(80, 5, 3)
    expected = k_means_select(X, 5, random_state=0)
    moved = (X * 2.0**-10 + 1000).astype(dtype)
    assert set(k_means_select(moved, 5, random_state=0) % 5) == set(expected % 5)
    if dtype is np.float64:
        assert_array_equal(k_means_select(moved, 5, random_state=0), expected)


# Inertia within 2 % of scikit-learn's, on average over seeds, on data without clusters,
# on clustered data and on data with heavy tails.
@pytest.mark.parametrize("kind", ["uniform", "blobs", "heavy"])
@pytest.mark.parametrize("k", [5, 60])
def test_inertia_matches_sklearn(kind, k):
    rng = np.random.default_rng(0)
    X = rng.random((1500, 6))
    if kind == "blobs":
        X = rng.standard_normal((40, 6))[rng.integers(0, 40, 1500)] * 4 + X
    elif kind == "heavy":
        X = rng.standard_t(3, (1500, 6))
    weight = rng.random(1500)
    ours, theirs = [], []
    for seed in range(4):
        *_, inertia = k_means_select(
            X, k, sample_weight=weight, random_state=seed, return_distances=True
        )
        ours.append(inertia)
        reference = KMeans(k, n_init=1, random_state=seed).fit(X, sample_weight=weight)
        theirs.append(reference.inertia_)
    assert np.mean(ours) <= 1.02 * np.mean(theirs)


# The centres are means of their clusters (up to the last step), the labels nearest.
def test_lloyd_step_is_the_definition(definition):
    rng = np.random.default_rng(0)
    X, weight = rng.standard_normal((200, 3)), rng.random(200)
    lloyd = make_lloyd(X, weight)
    centers, labels, inertia = lloyd.run(lloyd.plus_plus(7, np.random.RandomState(0)))
    centers = centers.numpy() + X.mean(axis=0)
    table = np.stack([definition.squares(X, center) for center in centers])
    assert_array_equal(labels.numpy(), table.argmin(axis=0))
    assert inertia == pytest.approx((weight * table.min(axis=0)).sum())


# The clusters behind the picks: labels are the nearest centres, which are means.
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_clusters(definition, dtype, weighted):
    X = make_blobs(90, 6, 4, dtype)
    weight = np.random.default_rng(1).random(90) + 0.1
    labels, centers, inertia = k_means_clusters(
        X, 6, sample_weight=weight if weighted else None, random_state=0
    )
    assert labels.dtype == np.int64
    assert centers.dtype == dtype
    table = np.stack([definition.squares(X, center) for center in centers])
    assert_array_equal(labels, table.argmin(axis=0))
    assert len(set(zip(labels.tolist(), np.arange(90) % 6, strict=True))) == 6
    weight = weight if weighted else np.ones(90)
    assert inertia == pytest.approx((weight * table.min(axis=0)).sum(), rel=1e-3)
    *_, expected = k_means_select(
        X,
        6,
        sample_weight=weight if weighted else None,
        random_state=0,
        return_distances=True,
    )
    assert inertia == expected
    tensor_labels, tensor_centers, _ = k_means_clusters(
        torch.from_numpy(X), 6, sample_weight=weight, random_state=0
    )
    assert tensor_labels.dtype == torch.int64
    assert tensor_centers.shape == (6, 4)


def test_more_clusters_than_points():
    with pytest.raises(ValueError, match="n must be an integer from 1 to 3"):
        k_means_clusters(np.eye(3), 4)


# A centre far from all points is moved to where it helps.
def test_empty_clusters_are_filled():
    X = make_blobs(60, 4, 3)
    lloyd = make_lloyd(X)
    start = torch.from_numpy(X[[0, 1, 2, 3]] - X.mean(axis=0))
    start[3] = 1e4
    _, labels, inertia = lloyd.run(start)
    *_, best = k_means_select(X, 4, random_state=0, return_distances=True)
    assert len(labels.unique()) == 4
    assert inertia == pytest.approx(best)


# Each first centre is drawn by weight, each candidate by weight times squared distance.
def test_draws_follow_the_masses():
    lloyd = make_lloyd(np.zeros((5, 1)))
    mass = torch.tensor([0.0, 1.0, 0.0, 3.0, 0.0], dtype=torch.float64)
    draws = lloyd._draw(mass, 4000, np.random.RandomState(0))
    counts = np.bincount(draws, minlength=5)
    assert_array_equal(counts[[0, 2, 4]], 0)
    assert abs(counts[3] - 3000) < 4 * np.sqrt(4000 * 3 / 16)


# The greedy start keeps, of all candidates, the one that lowers the inertia most.
def test_start_is_greedy(definition, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 2))
    lloyd = make_lloyd(X)
    monkeypatch.setattr(lloyd, "_draw", lambda mass, n, rng: np.arange(60)[: max(1, n)])
    monkeypatch.setattr(limits, "seeding_candidates", 60)
    centers = lloyd.plus_plus(6, np.random.RandomState(0)).numpy() + X.mean(axis=0)
    cost, expected = definition.squares(X, X[0]), [0]
    table = np.stack([definition.squares(X, x) for x in X])
    for _ in range(5):
        best = int(np.minimum(cost, table).sum(axis=1).argmin())
        expected.append(best)
        cost = np.minimum(cost, table[best])
    assert_allclose(centers, X[expected])


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(3, 30),
    d=st.integers(1, 3),
    seed=st.integers(0, 1000),
    shortlist=st.integers(1, 4),
    data=st.data(),
)
def test_nearest_distinct_is_greedy_by_distance(
    definition, n, d, seed, shortlist, data
):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    k = data.draw(st.integers(1, n))
    # Centres crowd, so that many want the same candidates.
    centers = 0.2 * rng.standard_normal((k, d))
    eligible = np.ones(n, dtype=bool)
    eligible[rng.permutation(n)[: (n - k) // 2]] = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "shortlist", (1, shortlist))
        match, squares = k_means._nearest_distinct(
            torch.from_numpy(X),
            torch.from_numpy(centers),
            torch.zeros(d, dtype=torch.float64),
            torch.from_numpy(eligible),
            data.draw(st.sampled_from([1, 2**30])),
        )
    expected = definition.nearest_distinct(X, centers, eligible)
    assert_array_equal(match.numpy(), expected)
    assert_allclose(squares.numpy(), ((X[expected] - centers) ** 2).sum(axis=1))


# Exactly n distinct positions, however the points coincide, and no warning.
@settings(max_examples=40, deadline=None)
@given(
    X=st.lists(st.integers(0, 3), min_size=1, max_size=25),
    dtype=st.sampled_from([np.float32, np.float64, np.int64]),
    seed=st.integers(0, 50),
    data=st.data(),
)
def test_duplicates(X, dtype, seed, data):
    X = np.array(X, dtype=dtype)[:, None]
    n = data.draw(st.integers(1, len(X)))
    picks = k_means_select(X, n, random_state=seed)
    assert len(set(picks)) == n
    assert min(picks) >= 0
    assert max(picks) < len(X)
    # Every distinct value is picked if there are enough picks.
    if n >= len(np.unique(X)):
        assert set(X[picks, 0]) == set(X[:, 0])


def test_zero_weights():
    X = make_blobs(40, 4, 3)
    weight = np.where(np.arange(40) % 4 == 0, 0.0, 1.0)
    picks = k_means_select(X, 3, sample_weight=weight, random_state=0)
    assert set(picks % 4) == {1, 2, 3}
    # Thirty have a weight: the thirty-first pick has none.
    picks = k_means_select(X, 30, sample_weight=weight, random_state=0)
    assert (weight[picks] > 0).all()
    picks = k_means_select(X, 31, sample_weight=weight, random_state=0)
    assert len(set(picks)) == 31


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_the_scale_of_the_weights_does_not_matter(factor):
    X = make_blobs(50, 4, 3, np.float32)
    weight = np.random.default_rng(0).random(50)
    expected, _, inertia = k_means_select(
        X, 8, sample_weight=weight, random_state=0, return_distances=True
    )
    picks, _, scaled = k_means_select(
        X, 8, sample_weight=weight * factor, random_state=0, return_distances=True
    )
    assert_array_equal(picks, expected)
    assert scaled / factor == pytest.approx(inertia)


def test_memory_does_not_change_the_picks():
    X = np.random.default_rng(0).standard_normal((120, 5))
    expected = k_means_select(X, 12, random_state=0)
    for max_memory in (1, 20_000):
        picks = k_means_select(X, 12, random_state=0, max_memory=max_memory)
        assert_array_equal(picks, expected)


def test_same_seed_same_picks():
    X = np.random.default_rng(0).standard_normal((300, 5)).astype(np.float32)
    first = k_means_select(X, 20, random_state=1)
    assert_array_equal(first, k_means_select(X, 20, random_state=1))
    assert set(first) != set(k_means_select(X, 20, random_state=2))


@pytest.mark.parametrize("n", [1, 25])
def test_one_and_all(definition, n):
    X = np.random.default_rng(0).standard_normal((25, 3))
    picks, distances, inertia = k_means_select(
        X, n, random_state=0, return_distances=True
    )
    if n == 1:
        assert picks[0] == definition.squares(X, X.mean(axis=0)).argmin()
        assert inertia == pytest.approx(definition.squares(X, X.mean(axis=0)).sum())
    else:
        assert sorted(picks) == list(range(25))
        assert inertia == pytest.approx(0.0, abs=1e-9)
        assert_allclose(distances, 0.0, atol=1e-6)


def test_tensors_in_tensors_out():
    X = make_blobs(60, 5, 3, np.float32)
    weight = np.arange(60.0)
    expected = k_means_select(X, 9, sample_weight=weight, random_state=0)
    picks = k_means_select(
        torch.from_numpy(X), 9, sample_weight=torch.from_numpy(weight), random_state=0
    )
    assert picks.dtype == torch.int64
    assert_array_equal(picks.numpy(), expected)


@pytest.mark.gpu
def test_gpu():
    X = make_blobs(3000, 30, 40, np.float64)
    on_gpu = torch.from_numpy(X).cuda()
    picks = k_means_select(on_gpu, 30, random_state=0)
    assert picks.is_cuda
    assert torch.equal(picks, k_means_select(on_gpu, 30, random_state=0))
    assert set((picks % 30).tolist()) == set(range(30))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0, 1.0], "sample_weight has 2 values for 3 rows of X"),
        ([1.0, -1.0, np.inf], "2 of 3 weights are not"),
        ([0.0, 0.0, 0.0], "sample_weight is 0 everywhere"),
        ([1.0, np.nan, 0.0], "sample_weight holds NaN in 1 of 3 places"),
    ],
)
def test_wrong_weights(weight, message):
    with pytest.raises(ValueError, match=message):
        k_means_select(np.eye(3), 2, sample_weight=weight)


@pytest.mark.parametrize(
    ("X", "n", "message"),
    [
        (np.zeros(3), 1, "X must be two-dimensional"),
        (np.eye(3), 4, "n must be an integer from 1 to 3"),
        ([[np.inf]], 1, "1 of its 1 rows hold NaN or infinity"),
    ],
)
def test_wrong_points(X, n, message):
    with pytest.raises(ValueError, match=message):
        k_means_select(X, n)
