import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from dalmax_sk._base import progress
from dalmax_sk.selection import bait
from dalmax_sk.selection.fisher_information import contrasts, fisher_factors


def make_pool(n=20, d=4, n_classes=3, m=6, seed=0, dtype=np.float64):
    rng = np.random.RandomState(seed)
    chances = [rng.dirichlet(np.full(n_classes, 0.7), k) for k in (n, m)]
    return (
        rng.randn(n, d).astype(dtype),
        chances[0],
        rng.randn(m, d).astype(dtype),
        chances[1],
    )


def information(h, p, approximation="full"):
    if approximation == "binary":
        return p.max() * (1 - p.max()) * np.outer(h, h)
    return np.kron(np.diag(p) - np.outer(p, p), np.outer(h, h))


# Greedy forward, greedy backward, with dense matrices of order C·d.
def definition(
    X, proba, n, labeled_X, labeled_proba, lam=1.0, oversampling=2.0, **options
):
    own = [information(h, p, **options) for h, p in zip(X, proba, strict=True)]
    fisher = sum(own) / len(own)
    total = lam * np.eye(len(fisher))
    for h, p in zip(labeled_X, labeled_proba, strict=True):
        total = total + information(h, p, **options)

    def objective(matrix):
        return np.trace(np.linalg.solve(matrix, fisher))

    picks, scores = [], []
    for _ in range(min(len(X), max(n, int(np.ceil(oversampling * n))))):
        left = [i for i in range(len(X)) if i not in picks]
        best = min(left, key=lambda i: objective(total + own[i]))
        scores.append(objective(total) - objective(total + own[best]))
        picks.append(best)
        total = total + own[best]
    while len(picks) > n:
        j = min(range(len(picks)), key=lambda j: objective(total - own[picks[j]]))
        total = total - own[picks.pop(j)]
        scores.pop(j)
    return picks, scores, objective(total)


def check(pool, n, lam=1.0, oversampling=2.0, max_memory=2**30, **options):
    picks, scores, objective = bait(
        pool[0],
        pool[1],
        n,
        pool[2],
        pool[3],
        regularization=lam,
        oversampling=oversampling,
        max_memory=max_memory,
        return_scores=True,
        **options,
    )
    expected = definition(
        *pool[:2], n, *pool[2:], lam=lam, oversampling=oversampling, **options
    )
    assert picks.dtype == np.int64
    assert_array_equal(picks, expected[0])
    assert_allclose(scores, expected[1], rtol=1e-8)
    assert_allclose(objective, expected[2], rtol=1e-8)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("m", [0, 6])
@pytest.mark.parametrize("n", [1, 4, 11])
def test_picks_are_those_of_the_definition(seed, n_classes, m, n):
    check(make_pool(n_classes=n_classes, m=m, seed=seed), n)


@pytest.mark.parametrize("lam", [1e-4, 0.1, 30.0])
@pytest.mark.parametrize("oversampling", [1.0, 1.5, 3.0])
@pytest.mark.parametrize("approximation", ["full", "binary"])
def test_parameters(lam, oversampling, approximation):
    check(make_pool(seed=5), 5, lam, oversampling, approximation=approximation)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 15),
    d=st.integers(1, 4),
    n_classes=st.integers(2, 4),
    m=st.integers(0, 5),
)
def test_any_shape(seed, n, d, n_classes, m):
    check(make_pool(15, d, n_classes, m, seed), n)


def test_small_blocks_change_nothing():
    pool = make_pool(n=60)
    # the matrices and factors of 60 candidates, and blocks of single rows
    needed = 16 * (2 * 4) ** 2 + 16 * 2 * 4**2 + 24 * 60 * 4
    check(pool, 6, max_memory=needed + 500)


def test_backward_search_improves_on_forward_search():
    gains = []
    for seed in range(20):
        pool = make_pool(n=30, seed=seed)
        forward, both = (
            bait(*pool[:2], 6, *pool[2:], oversampling=o, return_scores=True)[2]
            for o in (1.0, 2.0)
        )
        gains.append(forward - both)
    assert np.mean(gains) > 0
    assert max(gains) > 1e-3


@pytest.mark.parametrize("n_classes", [1, 2, 3, 10])
def test_factors_give_the_information_without_the_constant(n_classes):
    rng = np.random.RandomState(0)
    proba = rng.dirichlet(np.full(n_classes, 0.3), 8)
    proba[0] = np.eye(n_classes)[0]
    proba[1] = np.eye(n_classes)[-1]
    factors = fisher_factors(torch.from_numpy(proba)).numpy()
    assert factors.shape == (8, n_classes - 1, n_classes - 1)
    basis = contrasts(n_classes).numpy()
    assert_allclose(basis.T @ basis, np.eye(n_classes - 1), atol=1e-14)
    assert_allclose(basis.sum(axis=0), 0, atol=1e-14)
    for p, factor in zip(proba, factors, strict=True):
        full = basis @ factor @ factor.T @ basis.T
        assert_allclose(full, np.diag(p) - np.outer(p, p), atol=1e-14)


def test_copies_are_distinct_positions_by_the_seed():
    pool = make_pool(n=4)
    X, proba = np.repeat(pool[0], 5, axis=0), np.repeat(pool[1], 5, axis=0)
    firsts = set()
    for seed in range(40):
        picks = bait(X, proba, 12, random_state=seed)
        assert len(set(picks.tolist())) == 12
        firsts.add(int(picks[0]))
    assert len(firsts) == 5  # each of the five copies of the best


def test_all_and_nothing_to_learn():
    X, proba = make_pool(n=9)[:2]
    assert sorted(bait(X, proba, 9)) == list(range(9))
    certain = np.eye(3)[np.arange(9) % 3]
    for chances in (certain, np.ones((9, 1))):
        picks, scores, objective = bait(
            X, chances, 5, random_state=0, return_scores=True
        )
        assert len(set(picks.tolist())) == 5
        assert_allclose(scores, 0, atol=1e-12)
        assert objective == pytest.approx(0)


def test_zero_embeddings_are_no_error():
    picks = bait(np.zeros((6, 3)), make_pool(n=6)[1], 4, random_state=0)
    assert len(set(picks.tolist())) == 4


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_permuting_the_pool_permutes_the_picks(seed):
    pool = make_pool(seed=seed)
    order = np.random.RandomState(seed).permutation(20)
    picks = bait(*pool[:2], 5, *pool[2:], random_state=0)
    moved = bait(pool[0][order], pool[1][order], 5, *pool[2:], random_state=0)
    assert_array_equal(order[moved], picks)


def test_float32_tensors_and_progress():
    pool = make_pool(dtype=np.float32)
    expected = definition(*pool[:2], 4, *pool[2:])[0]
    seen = []
    with progress.listen(lambda stage, done, total, info: seen.append((done, total))):
        picks = bait(torch.from_numpy(pool[0]), pool[1], 4, *pool[2:])
    assert isinstance(picks, torch.Tensor)
    assert_array_equal(picks, expected)
    assert seen == [(i, 12) for i in range(1, 13)]


def test_inputs_are_not_changed():
    pool = make_pool()
    before = [array.copy() for array in pool]
    bait(*pool[:2], 4, *pool[2:])
    for array, copy in zip(pool, before, strict=True):
        assert_array_equal(array, copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 21}, "n must be an integer from 1 to 20"),
        ({"X": np.zeros(20)}, "X must be two-dimensional"),
        ({"proba": np.full((19, 3), 1 / 3)}, "proba has 19 rows, X has 20"),
        ({"proba": np.full((20, 3), 0.5)}, "proba must be probabilities"),
        ({"labeled_X": np.zeros((6, 5))}, r"labeled_X \(6, 5\) and labeled_proba"),
        ({"labeled_proba": np.full((6, 2), 0.5)}, "as many columns as X"),
        ({"labeled_proba": np.full((5, 3), 1 / 3)}, "labeled_proba has 5 rows"),
        ({"regularization": 0.0}, "regularization must be a positive number, got 0.0"),
        ({"oversampling": 0.5}, "oversampling must be at least 1, got 0.5"),
        ({"approximation": "exp"}, "must be 'full' or 'binary', got 'exp'"),
        (
            {"max_memory": 1000},
            r"20 candidates with 4 features and 3 classes needs .* max_memory is 1,000",
        ),
        ({"X": np.full((20, 4), 1e150)}, "singular in float64.*Standardise them"),
        ({"labeled_X": np.full((6, 4), 1e160)}, "labelled samples is singular"),
    ],
)
def test_wrong_arguments(changes, message):
    X, proba, labeled_X, labeled_proba = make_pool()
    arguments = {
        "X": X,
        "proba": proba,
        "n": 3,
        "labeled_X": labeled_X,
        "labeled_proba": labeled_proba,
    }
    with pytest.raises(ValueError, match=message):
        bait(**{**arguments, **changes})


# n × C·d alone would take 82 MB, and n × (C·d) × C more.
def test_peak_memory(peak_growth):
    setup = """
import numpy as np
from dalmax_sk.selection import bait
rng = np.random.default_rng(0)
X = rng.standard_normal((20_000, 128), dtype=np.float32)
proba = rng.dirichlet(np.full(4, 0.5), 20_000)
bait(X[:500], proba[:500], 2, X[:50], proba[:50])
"""
    measured = """
bait(X, proba, 2, X[:100], proba[:100], max_memory=12 * 2**20)
"""
    assert peak_growth(setup, measured) < 20_000
