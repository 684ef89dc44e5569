"""What is kept between rounds spares work and changes no pick."""

import copy
import pickle
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from dalmax_sk._kept import Kept, KeptDistances
from dalmax_sk.selection import k_center, k_center_greedy
from dalmax_sk.selection.k_center import NearestCenters


def points(kind, n, d, dtype, seed):
    rng = np.random.default_rng(seed)
    if kind == "ties":
        return rng.integers(-2, 3, (n, d)).astype(dtype)
    if kind == "duplicates":
        return np.repeat(rng.standard_normal((-(-n // 3), d)), 3, axis=0)[:n].astype(
            dtype
        )
    if kind == "loose":  # float32 bounds say nothing of distances so small
        return (rng.standard_normal((n, d)) * 1e-4 + 1e4).astype(dtype)
    return rng.standard_normal((n, d)).astype(dtype)


def select(X, rows, centers, n, seed, kept=None):
    nearest = None if kept is None else kept.take(rows, centers)
    result = k_center_greedy(
        X[rows],
        n,
        X[centers] if len(centers) else None,
        random_state=seed,
        return_distances=True,
        nearest=nearest,
    )
    if kept is not None:
        kept.put(rows, centers, nearest)
    return result


# property: rounds that keep distances pick, in order and distance, what rounds that
# do not keep them pick, whatever the candidates are and whichever picks get labelled
@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["normal", "ties", "duplicates", "loose"]),
    dtype=st.sampled_from([np.float32, np.float64]),
    n=st.integers(30, 120),
    d=st.integers(1, 6),
    n_initial=st.integers(0, 12),
    seed=st.integers(0, 10_000),
    working_set=st.sampled_from([(2, 8), (512, 2048)]),
)
def test_picks_do_not_depend_on_what_is_kept(
    kind, dtype, n, d, n_initial, seed, working_set
):
    X = points(kind, n, d, dtype, seed)
    rng = np.random.default_rng(seed)
    labeled = rng.permutation(n)[:n_initial]
    kept = KeptDistances(n)
    with mock.patch.object(k_center, "_WORKING_SET", working_set):
        for round_number in range(5):
            rows = np.setdiff1d(np.arange(n), labeled)
            if round_number % 2:  # a filtered pool, in an order of its own
                rows = rng.permutation(rows)[: max(1, len(rows) * 2 // 3)]
            n_picks = int(rng.integers(1, min(10, len(rows)) + 1))
            found = select(X, rows, labeled, n_picks, round_number, kept)
            expected = select(X, rows, labeled, n_picks, round_number)
            assert_array_equal(found[0], expected[0])
            assert_array_equal(found[1], expected[1])
            assert found[2] == expected[2]
            # some are answered, in another order
            answered = rng.permutation(rows[found[0]])[: max(1, n_picks - 1)]
            labeled = np.concatenate([labeled, answered])


# Every bound is one, and every distance called exact is the definition's.
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_kept_is_true(definition_of_nearest, dtype):
    X = points("normal", 300, 5, dtype, 0)
    kept, labeled = KeptDistances(300), np.arange(20)
    with mock.patch.object(k_center, "_WORKING_SET", (16, 32)):
        for seed in range(4):
            rows = np.setdiff1d(np.arange(300), labeled)
            picks = select(X, rows, labeled, 10, seed, kept)[0]
            nearest = kept.nearest
            for row in rows:
                true = definition_of_nearest(X, row, labeled[: nearest.upto[row]])
                assert nearest.bound[row] >= true
                if nearest.exact[row]:
                    assert nearest.bound[row] == true
            assert nearest.exact[rows].sum() >= 16
            labeled = np.concatenate([labeled, rows[picks]])


@pytest.fixture
def definition_of_nearest():
    def nearest(X, row, centers):
        X = X.astype(np.float64)
        return ((X[centers] - X[row]) ** 2).sum(axis=1).min(initial=np.inf)

    return nearest


# A round after the first measures the distances to the new centres only.
def test_a_round_looks_at_new_centers_only(monkeypatch):
    seen = []
    original = k_center.bound_nearest

    def counting(pool, index, centers, *args):
        seen.append(len(index) * len(centers))
        return original(pool, index, centers, *args)

    monkeypatch.setattr(k_center, "bound_nearest", counting)
    X = points("normal", 4000, 8, np.float32, 0)
    kept, labeled, pairs = KeptDistances(4000), np.arange(500), []
    for seed in range(3):
        rows = np.setdiff1d(np.arange(4000), labeled)
        seen.clear()
        picks = select(X, rows, labeled, 10, seed, kept)[0]
        pairs.append(sum(seen))
        labeled = np.concatenate([labeled, rows[picks]])
    assert pairs[0] >= 3500 * 500
    assert max(pairs[1:]) <= 2 * 3500 * 10


def test_other_centers_start_afresh():
    X = points("normal", 60, 3, np.float64, 0)
    kept, rows = KeptDistances(60), np.arange(30, 60)
    select(X, rows, np.array([0, 1, 2]), 5, 0, kept)
    for centers in ([0, 2, 3], [0, 1], [5]):  # others, fewer, others and fewer
        centers = np.array(centers)
        found = select(X, rows, centers, 5, 0, kept)
        expected = select(X, rows, centers, 5, 0)
        assert_array_equal(found[0], expected[0])
        assert_array_equal(found[1], expected[1])


def test_an_entry_of_other_embeddings_is_dropped():
    kept = Kept(10)
    first = kept.of("distances", ("inputs", 1), KeptDistances)
    assert kept.of("distances", ("inputs", 1), KeptDistances) is first
    second = kept.of("distances", ("inputs", 2), KeptDistances)
    assert second is not first
    assert len(second.nearest.bound) == 10
    assert kept.of("distances", ("inputs", 1), KeptDistances) is not first


# A token may be the identity of an object, which is another object after a copy.
@pytest.mark.parametrize("copied", [lambda k: pickle.loads(pickle.dumps(k)), copy.copy])
def test_copies_hold_nothing(copied):
    kept = Kept(10)
    first = kept.of("distances", 1, KeptDistances)
    again = copied(kept)
    assert again.n_rows == 10
    assert again.of("distances", 1, KeptDistances) is not first
    assert kept.of("distances", 1, KeptDistances) is first


@pytest.mark.parametrize(
    ("n", "upto", "message"),
    [
        (4, 0, "nearest holds 4 points and up to 0 centres, but X has 5 rows"),
        (5, 3, "nearest holds 5 points and up to 3 centres.*there are 2 centers"),
    ],
)
def test_distances_of_other_points_are_refused(n, upto, message):
    nearest = NearestCenters.unknown(n)
    nearest.upto[:] = upto
    with pytest.raises(ValueError, match=message):
        k_center_greedy(np.zeros((5, 2)), 1, np.ones((2, 2)), nearest=nearest)
