import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from dalmax_sk._base.limits import limits
from dalmax_sk.selection.coverage import groups as grouping
from dalmax_sk.selection.coverage.groups import GroupPairs, Groups
from dalmax_sk.selection.coverage.similarity import Similarity


def make_clusters(n, d, n_clusters, seed=0, noise=0.1, dtype=np.float64):
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((n_clusters, d))
    X = centers[rng.integers(0, n_clusters, n)] + noise * rng.standard_normal((n, d))
    return X.astype(dtype)


def make_groups(X, rows=6, max_memory=2**24):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "group_rows", rows)
        return Groups(torch.from_numpy(X), max_memory, 1024)


@settings(max_examples=100, deadline=None)
@given(counts=st.lists(st.integers(0, 40), min_size=1), rows=st.integers(1, 12))
def test_pieces_cut_everything_into_parts_of_a_size(counts, rows):
    cuts = grouping._pieces(np.array(counts), rows)
    sizes = np.diff(cuts)
    assert (cuts[0], cuts[-1]) == (0, sum(counts))
    assert (sizes > 0).all()
    assert (sizes <= rows).all()
    # but for the last and those before a cut, no piece is smaller than a third
    assert (sizes[:-1] >= rows // 3).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("max_memory", [1, 5000, 2**24])
def test_groups_hold_every_point_once(dtype, max_memory):
    X = make_clusters(200, 3, 9, dtype=dtype)
    groups = make_groups(X, max_memory=max_memory)
    assert_array_equal(np.sort(groups.order), np.arange(200))
    assert_array_equal(groups.pool.numpy(), X[groups.order])
    assert (groups.starts[0], groups.starts[-1]) == (0, 200)


def test_points_of_a_cluster_stand_together():
    X = make_clusters(400, 5, 8, noise=1e-3)
    groups = make_groups(X, rows=30)
    moved = np.linalg.norm(np.diff(X[groups.order], axis=0), axis=1) > 0.1
    assert moved.sum() == 7


def test_spans_join_neighbours_and_keep_to_their_size():
    groups = make_groups(make_clusters(120, 2, 5), rows=10)
    wanted = np.ones(len(groups), dtype=bool)
    wanted[2] = False
    spans = groups.spans(wanted, 30)
    covered = [g for first, last in spans for g in range(first, last + 1)]
    assert_array_equal(covered, np.flatnonzero(wanted))
    for first, last in spans:
        rows = groups.rows(first, last)
        assert rows.stop - rows.start <= 30
    assert spans == groups.spans(wanted, 30)


# What is left out must not matter: never a pair nearer than the reach of the point.
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    d=st.integers(1, 20),
    scale=st.sampled_from([1e-9, 1.0, 1e9]),
    offset=st.sampled_from([0.0, 1e3]),
    noise=st.sampled_from([0.01, 0.3, 3.0]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_no_pair_that_matters_is_left_out(seed, d, scale, offset, noise, dtype):
    X = make_clusters(90, d, 6, seed, noise)
    X = (scale * (X + offset)).astype(dtype)
    groups = make_groups(X)
    wide = X.astype(np.float64)[groups.order]
    squares = ((wide[:, None] - wide[None]) ** 2).sum(axis=2)  # (c, x)
    rng = np.random.default_rng(seed)
    # the reach of a point is often that of another point, where margins are thin
    reach = squares[rng.integers(0, 90, 90), np.arange(90)]
    group_pairs = GroupPairs(groups, groups.pool.mean(dim=0), 2**24)
    group_pairs.renew(reach)
    everyone = torch.arange(90)
    may = group_pairs.of_candidates(everyone)
    pairs = group_pairs.pairs()
    candidates, points = np.nonzero(squares < reach)
    group_of = group_pairs.group_of
    assert may[candidates, group_of[points]].all()
    assert pairs[group_of[candidates], group_of[points]].all()
    # and after some groups' reaches have shrunk
    reach = reach * rng.random(90)
    touched = np.unique(rng.integers(0, len(groups), 3))
    rows = np.concatenate(
        [np.arange(groups.starts[g], groups.starts[g + 1]) for g in touched]
    )
    group_pairs.shrink(touched, reach[rows])
    may = group_pairs.of_candidates(everyone)
    candidates, points = np.nonzero(squares < reach)
    inside = np.isin(points, rows)
    assert may[candidates[inside], group_of[points[inside]]].all()


def test_far_groups_are_left_out():
    X = make_clusters(600, 8, 10, noise=0.01)
    groups = make_groups(X, rows=60)
    group_pairs = GroupPairs(groups, groups.pool.mean(dim=0), 2**24)
    group_pairs.renew(np.full(600, 0.2))
    sizes = np.diff(groups.starts)
    share = (group_pairs.pairs() * sizes * sizes[:, None]).sum() / 600**2
    assert share < 0.2


# Beyond its reach no point is more similar to anything than its floor says.
@settings(max_examples=100, deadline=None)
@given(
    best=st.one_of(st.just(0.0), st.floats(1e-300, 1.0)),
    kind=st.sampled_from(["rbf", "linear"]),
    scale=st.sampled_from([1e-9, 1.0, 1e9]),
)
def test_reach(best, kind, scale):
    similarity = Similarity(kind, scale)
    square = similarity.reach_squares(np.array([best]))
    for factor in (1.0, 1.0 + 1e-12, 1.5):
        assert similarity.exact(torch.from_numpy(square * factor))[0] <= best
