import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from dalmax_sk._base.limits import limits
from dalmax_sk.selection.coverage.similarity_cache import (
    SimilarityListCache,
    SimilarityRowCache,
)

SIZE = 50


@pytest.fixture(params=["rows", "lists", "short parts"])
def store(request, monkeypatch):
    floor = torch.rand(SIZE, generator=torch.Generator().manual_seed(1))
    weight = torch.rand(SIZE, generator=torch.Generator().manual_seed(2))
    if request.param == "rows":
        return SimilarityRowCache(8, floor, weight)
    if request.param == "short parts":
        monkeypatch.setattr(limits, "similarity_entries", 20)
    return SimilarityListCache(16 * 4 * SIZE * 8, floor, weight)


def fill(store, index, table):
    """Keep the candidates, whose similarities (k, n) are 0 outside of two blocks."""
    store.begin(np.array(index))
    store.add(torch.arange(len(index)), slice(10, 20), table[index, 10:20])
    some = torch.tensor([i for i, c in enumerate(index) if c % 2])
    if len(some):
        odd = torch.tensor([c for c in index if c % 2])
        store.add(some, slice(30, 45), table[odd, 30:45])
    store.end()


def expected(store, index, table):
    known = torch.zeros_like(table)
    known[:, 10:20] = table[:, 10:20]
    known[1::2, 30:45] = table[1::2, 30:45]
    added = (known[index] - store.floor).clamp_min(0).double()
    return known, (added * store.weight).sum(dim=1)


def test_what_is_kept_is_what_was_given(store):
    table = torch.rand((SIZE, SIZE), generator=torch.Generator().manual_seed(0))
    index = [3, 0, 7, 12]
    fill(store, index, table)
    assert_array_equal(store.has(np.array([3, 4, 12])), [True, False, True])
    for _ in range(3):
        known, gains = expected(store, index, table)
        found = store.gains(np.array(index))
        assert_allclose(found.numpy(), gains.numpy(), rtol=1e-5)
        for candidate in index:
            near = (known[candidate] > store.floor).nonzero().squeeze(1)
            assert_array_equal(np.sort(store.near(candidate)), near)
        # the floor rises, and lists become shorter
        store.floor[::3] = 1.0
        store.floor[1::3] += 0.3


def test_the_oldest_give_way(store):
    table = torch.rand((SIZE, SIZE), generator=torch.Generator().manual_seed(0))
    if isinstance(store, SimilarityListCache):
        store.capacity = 60
    for start in range(0, 24, 4):
        index = list(range(start, start + 4))
        fill(store, index, table)
    kept_now = np.flatnonzero(store.has(np.arange(SIZE)))
    assert 20 in kept_now
    assert 0 not in kept_now
    _, gains = expected(store, kept_now, table)
    assert_allclose(store.gains(kept_now).numpy(), gains.numpy(), rtol=1e-5)


def test_lists_stay_within_their_capacity():
    store = SimilarityListCache(16 * 30, torch.zeros(SIZE), torch.ones(SIZE))
    table = torch.rand((SIZE, SIZE), generator=torch.Generator().manual_seed(0))
    for start in range(0, 40, 4):
        fill(store, list(range(start, start + 4)), table)
        lengths = [len(points) for points, _ in store.lists.values()]
        assert store.n_entries == sum(lengths)
        assert sum(lengths) <= 30 or len(lengths) == 1


def test_a_candidate_near_nothing_is_kept_too(store):
    store.floor[:] = 2.0
    fill(store, [1, 2], torch.rand(SIZE, SIZE))
    assert store.has(np.array([1, 2])).all()
    assert_array_equal(store.gains(np.array([1, 2])), [0, 0])
    assert len(store.near(1)) == 0
