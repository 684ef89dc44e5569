"""Pools that lie on the disk: the same picks, and memory that stays within bounds."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dalmax_sk._base.limits import limits
from dalmax_sk.pool import Pool
from dalmax_sk.selection import (
    ball_cover,
    greedy_coverage,
    k_means_clusters,
    k_means_select,
    typicality,
    unit_rows,
)
from dalmax_sk.strategies import (
    DiversitySampling,
    FacilityLocation,
    MaxHerding,
    ProbCover,
    TypiClust,
    UHerding,
)


def make_clusters(n, d, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((12, d))
    X = centers[rng.integers(0, 12, n)] + 0.3 * rng.standard_normal((n, d))
    return X.astype(dtype)


def mapped(X, path):
    np.save(path, X)
    return np.load(path, mmap_mode="r")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("max_memory", [100_000, 2**30])
def test_k_means_of_a_mapped_pool(tmp_path, dtype, max_memory):
    X = make_clusters(2000, 8, dtype=dtype)
    on_disk = mapped(X, tmp_path / "X.npy")
    given = {"random_state": 0, "max_memory": max_memory}
    expected = k_means_clusters(X, 20, **given)
    result = k_means_clusters(on_disk, 20, **given)
    assert_array_equal(result[0], expected[0])
    # the mean of what is on the disk is summed in float64
    assert_allclose(result[1], expected[1], rtol=1e-5, atol=1e-5)
    assert result[2] == pytest.approx(expected[2], rel=1e-5)
    weight = np.random.default_rng(0).random(2000)
    assert_array_equal(
        k_means_select(on_disk, 30, sample_weight=weight, **given),
        k_means_select(X, 30, sample_weight=weight, **given),
    )


@pytest.mark.parametrize("max_memory", [12_000, 30_000, 2**30])
def test_typicality_of_a_mapped_pool(tmp_path, max_memory):
    X = make_clusters(300, 8)
    labels = np.random.default_rng(0).integers(0, 4, 300)
    scores = typicality(mapped(X, tmp_path / "X.npy"), labels, max_memory=max_memory)
    assert_array_equal(scores, typicality(X, labels, max_memory=max_memory))


@pytest.mark.parametrize("max_memory", [200_000, 2**21, 2**30])
@pytest.mark.parametrize("kernel", ["rbf", "cosine"])
def test_coverage_of_a_mapped_pool(tmp_path, monkeypatch, max_memory, kernel):
    monkeypatch.setattr(limits, "group_rows", 20)
    monkeypatch.setattr(limits, "lazy_candidates", 50)
    X, centers = make_clusters(700, 6), make_clusters(15, 6, seed=1)
    given = {"kernel": kernel, "random_state": 0, "return_gains": True}
    expected = greedy_coverage(X, 60, centers, **given)
    on_disk = mapped(X, tmp_path / "X.npy")
    result = greedy_coverage(on_disk, 60, centers, max_memory=max_memory, **given)
    assert_array_equal(result[0], expected[0])
    assert_array_equal(result[1], expected[1])
    assert result[2] == expected[2]


def test_balls_of_a_mapped_pool(tmp_path):
    X = make_clusters(700, 6)
    on_disk = mapped(X, tmp_path / "X.npy")
    assert_array_equal(
        ball_cover(on_disk, 40, 1.0, max_memory=50_000), ball_cover(X, 40, 1.0)
    )


def test_unit_rows_on_the_disk(tmp_path):
    X = make_clusters(300, 6)
    on_disk = mapped(X, tmp_path / "X.npy")
    assert_array_equal(unit_rows(on_disk, max_memory=10), unit_rows(X))


@pytest.mark.parametrize(
    "strategy",
    [
        DiversitySampling(),
        FacilityLocation(),
        MaxHerding(),
        ProbCover(radius=0.5),
        TypiClust(),
        UHerding(temperature=1.0),
    ],
    ids=lambda strategy: type(strategy).__name__,
)
def test_strategies_on_mapped_pools(tmp_path, strategy):
    X, labeled = make_clusters(400, 6), make_clusters(20, 6, seed=1)
    proba = np.random.default_rng(0).dirichlet(np.ones(3), 400)
    y = np.arange(20) % 3
    given = {"proba": proba, "labeled_embeddings": labeled, "y_labeled": y}
    expected = strategy.query(
        Pool.from_arrays(embeddings=X, random_state=0, **given), 30
    )
    on_disk = mapped(X, tmp_path / "X.npy")
    pool = Pool.from_arrays(
        embeddings=on_disk, random_state=0, max_memory=20_000, **given
    )
    assert_array_equal(strategy.query(pool, 30), expected)


MEASURED = {
    "k_means": "k_means_select(X, 10, random_state=0, max_memory=2**23)",
    "typicality": "typicality(X, labels, max_memory=2**23)",
    "coverage": "greedy_coverage(X, 5, X[:40], sigma=4.0, max_memory=2**23)",
    "strategy": "TypiClust(max_clusters=30).query(pool, 15)",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with 120 MB of clustered embeddings and their clusters."""
    path = tmp_path_factory.mktemp("pool")
    shape = (30_000, 1024)
    X = np.lib.format.open_memmap(path / "X.npy", "w+", np.float32, shape)
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((40, 1024), dtype=np.float32)
    labels = rng.integers(0, 40, len(X))
    for start in range(0, len(X), 1000):
        rows = slice(start, start + 1000)
        X[rows] = centers[labels[rows]]
        X[rows] += 0.1 * rng.standard_normal((1000, 1024), dtype=np.float32)
    np.save(path / "labels.npy", labels)
    return path


# Pages of a mapped file count as resident until they are given back, and so do those of
# the temporary files that hold the points in another order.
@pytest.mark.parametrize(
    "name",
    [
        "k_means",
        pytest.param("typicality", marks=pytest.mark.slow),
        pytest.param("coverage", marks=pytest.mark.slow),
        "strategy",
    ],
)
def test_peak_memory_of_a_mapped_pool(peak_growth, folder, name):
    setup = f"""
import numpy as np
from dalmax_sk.pool import Pool
from dalmax_sk.selection import greedy_coverage, k_means_select, typicality
from dalmax_sk.strategies import TypiClust
small = np.random.default_rng(1).standard_normal((2000, 1024), dtype=np.float32)
k_means_select(small, 10, random_state=0, max_memory=2**23)
typicality(small[:500], max_memory=2**23)
greedy_coverage(small[:500], 5, small[:40], sigma=4.0, max_memory=2**23)
X = np.load({str(folder / "X.npy")!r}, mmap_mode="r")
labels = np.load({str(folder / "labels.npy")!r})
pool = Pool.from_arrays(
    embeddings=X, labeled_embeddings=small[:9], random_state=0, max_memory=2**23
)
"""
    # kB: blocks, and 32 to 48 MB of pages at a time; the file alone has 120,000
    assert peak_growth(setup, MEASURED[name]) < 85_000
