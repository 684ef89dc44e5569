"""RowCache: rows come back as they were, within the budget, while their keys hold."""

import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from dalmax_sk._base.row_cache import RowCache, file_key

ROWS = np.arange(24.0, dtype=np.float32).reshape(6, 4)  # 16 bytes each


def keys(names):
    return [(name, (0, 0)) for name in names]


def keep(cache, group, names, rows=ROWS):
    cache.keep(group, keys(names), rows, range(len(names)))


def test_the_budget_is_kept_and_the_group_used_longest_ago_goes_first():
    cache = RowCache(10 * 16)
    keep(cache, "a", "abcdef")
    keep(cache, "b", "ab")
    found, missing = cache.find("a", keys("cx"))  # used last
    assert missing == [1]
    assert_array_equal(found[0], ROWS[2])
    keep(cache, "c", "abc")
    assert cache.find("b", keys("a")) == (None, [0])
    assert cache.find("a", keys("a"))[1] == []
    # one group alone keeps what it has and takes no more
    keep(cache, "c", list(map(str, range(20))), np.zeros((20, 4), np.float32))
    assert cache.nbytes <= 160
    assert_array_equal(cache.find("c", keys("b"))[0][0], ROWS[1])
    cache.max_bytes = 10
    assert cache.nbytes == 0


@given(
    max_rows=st.integers(0, 9),
    calls=st.lists(
        st.tuples(st.sampled_from("ab"), st.sets(st.integers(0, 9), min_size=1)),
        max_size=8,
    ),
)
@settings(max_examples=50, deadline=None)
def test_rows_that_are_found_are_the_ones_kept(max_rows, calls):
    cache = RowCache(max_rows * 16)
    for group, chosen in calls:
        names = sorted(chosen)
        rows = np.repeat(np.array(names, np.float32)[:, None], 4, axis=1)
        rows += 100 * (group == "b")
        found, missing = cache.find(group, keys(map(str, names)))
        here = np.setdiff1d(np.arange(len(names)), missing)
        if found is not None:
            assert_array_equal(found[here], rows[here])
        cache.keep(group, keys(map(str, names)), rows, missing)
        assert cache.nbytes <= cache.max_bytes
        n_kept = len(names) - len(cache.find(group, keys(map(str, names)))[1])
        assert n_kept >= len(here)


def test_a_row_with_another_stamp_takes_the_place_of_the_older_one():
    cache = RowCache(2 * 16)
    keep(cache, "a", "xy")
    new = [("x", (1, 0))]
    assert cache.find("a", new)[1] == [0]
    cache.keep("a", new, ROWS[5:], [0])
    assert_array_equal(cache.find("a", new)[0][0], ROWS[5])
    assert cache.find("a", keys("xy"))[1] == [0]
    # without a stamp nothing could tell a later version from this one
    cache.clear()
    cache.keep("a", [("x", None)], ROWS, [0])
    assert cache.find("a", [("x", None)])[1] == [0]


def test_the_key_of_a_file(tmp_path, monkeypatch):
    file = tmp_path / "a.txt"
    file.write_text("one")
    os.utime(file, ns=(5, 7))
    monkeypatch.chdir(tmp_path)
    assert file_key("a.txt") == file_key(file) == (str(file), (7, 3))
    assert file_key("no such file")[1] is None
    assert file_key("\0")[1] is None


def test_a_pickled_cache_arrives_empty():
    cache = RowCache(1000)
    keep(cache, "a", "ab")
    again = pickle.loads(pickle.dumps(cache))
    assert (again.nbytes, again.max_bytes) == (0, 1000)


@pytest.mark.parametrize("max_bytes", [-1, 1.5, "1GB", None, True])
def test_wrong_budgets(max_bytes):
    with pytest.raises(ValueError, match=r"max_bytes must be an int .* Got"):
        RowCache(max_bytes)
    with pytest.raises(ValueError, match=r"max_bytes must be an int .* Got"):
        RowCache(5).max_bytes = max_bytes
