"""Strategies pick the same from a pool on the disk as from one in memory."""

import numpy as np
import pytest
from sklearn.base import clone

from dalmax_sk._base.limits import limits
from dalmax_sk._base.storage import allocate, is_mapped
from dalmax_sk.pool import Pool
from dalmax_sk.pool import arrays as _pool_arrays
from dalmax_sk.pool import evaluation as _pool_evaluation
from dalmax_sk.strategies import get_strategy, strategy_names
from dalmax_sk.utils._check_pools import KINDS, Problem, find_kinds, make_pool

PROBLEM = Problem(n=60, n_labeled=15, n_features=6)
# quantities of all candidates, which go to the disk
LARGE = ("proba", "embeddings", "posterior_proba")


def instances():
    """One of each that the registry makes; several names may make the same."""
    made = [get_strategy(name) for name in strategy_names()]
    return list({repr(strategy): strategy for strategy in made}.values())


def on_disk(kind, folder, monkeypatch):
    """Return a pool whose quantities are all mapped from files, as its subsets' are."""

    class Spilled(_pool_evaluation._BlockBuffer):
        def __init__(self, need, n_rows, max_memory, *others):
            super().__init__(need, n_rows, 0, *others)

    def always(shape, dtype, *, max_memory, what):
        return allocate(shape, dtype, max_memory=0, what=what)

    monkeypatch.setattr(_pool_evaluation, "_BlockBuffer", Spilled)
    monkeypatch.setattr(_pool_arrays, "allocate", always)
    if kind != "arrays":
        np.save(folder / "X.npy", PROBLEM.X)
        X = np.load(folder / "X.npy", mmap_mode="r")
        return make_pool(kind, PROBLEM, X=X)
    pool, files = make_pool(kind, PROBLEM), {}
    for name in LARGE:
        found = getattr(pool, name)
        np.save(folder / f"{name}.npy", found() if callable(found) else found)
        files[name] = np.load(folder / f"{name}.npy", mmap_mode="r")
    return Pool.from_arrays(
        **files,
        labeled_embeddings=pool.labeled_embeddings,
        labeled_proba=pool.labeled_proba,
        y_labeled=pool.y_labeled,
        classes=pool.classes,
        head=PROBLEM.head(),
        random_state=0,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", instances(), ids=repr)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_picks_are_those_of_a_pool_in_memory(strategy, kind, tmp_path, monkeypatch):
    if kind not in find_kinds(strategy):
        pytest.skip("the strategy needs what such a pool cannot give")
    in_memory = make_pool(kind, PROBLEM)
    picks, scores = clone(strategy).query(in_memory, 7, return_scores=True)
    # several blocks, whose last is smaller, and pages given back after each
    monkeypatch.setattr(limits, "block_bytes", 1000)
    monkeypatch.setattr(limits, "release_bytes", 500)
    pool = on_disk(kind, tmp_path, monkeypatch)
    found, found_scores = clone(strategy).query(pool, 7, return_scores=True)
    np.testing.assert_array_equal(found, picks)
    if scores is not None:
        np.testing.assert_allclose(found_scores, scores, rtol=1e-9, atol=1e-12)
    for name in {"proba", "embeddings"} & pool._cache.keys():
        assert is_mapped(pool._cache[name]), name
        assert not is_mapped(in_memory._cache[name]), name
