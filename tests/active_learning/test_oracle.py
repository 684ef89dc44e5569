"""What counts as a missing label, and what an oracle may answer."""

import numpy as np
import pandas as pd
import pytest

from dalmax_sk.active_learning.oracle import (
    CallableOracle,
    SimulatedOracle,
    find_missing,
)


@pytest.mark.parametrize(
    ("y", "missing_label", "expected"),
    [
        (np.array([1, 2, 3]), None, [0, 0, 0]),
        (np.array([1, -1, 3]), -1, [0, 1, 0]),
        (np.array([1.0, np.nan]), None, [0, 1]),
        (np.array(["a", "?"]), "?", [0, 1]),
        (
            np.array(["a", None, np.nan, pd.NA, pd.NaT], dtype=object),
            None,
            [0, 1, 1, 1, 1],
        ),
        (np.array([True, False]), None, [0, 0]),
        (np.array(["a", None], dtype=object), "a", [1, 1]),
    ],
)
def test_find_missing(y, missing_label, expected):
    assert find_missing(y, missing_label).tolist() == [bool(e) for e in expected]


def test_simulated_oracle_reveals_what_is_asked():
    np.testing.assert_array_equal(
        SimulatedOracle(np.arange(5))(np.array([4, 0])), [4, 0]
    )


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series])
def test_callable_oracle_takes_any_sequence(kind):
    X = np.arange(6).reshape(3, 2)
    oracle = CallableOracle(lambda rows, i: kind(["x", "y"]), X)
    assert oracle(np.array([2, 0])).tolist() == ["x", "y"]
