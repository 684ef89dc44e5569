"""What counts as a missing label, and what an oracle may answer."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from dalmax_sk.active_learning.oracle import (
    CallableOracle,
    SimulatedOracle,
    as_labels,
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


KNOWN = np.arange(12) % 4 != 0
INTS, NAMES = np.arange(12) % 3, np.array(["ant", "bee", "cat"])[np.arange(12) % 3]


@pytest.mark.parametrize(
    "y",
    [
        np.ma.masked_array(INTS, mask=~KNOWN),
        np.ma.masked_array(INTS.astype(float), mask=~KNOWN),
        np.ma.masked_array(NAMES, mask=~KNOWN),
        np.ma.masked_array(INTS > 0, mask=~KNOWN),
        np.where(KNOWN, INTS, np.nan).astype(np.float16),
        pd.Series(INTS).astype("Int64").mask(~KNOWN),
        pd.Series(INTS > 0).astype("boolean").mask(~KNOWN),
        pd.Series(NAMES).astype("string").mask(~KNOWN),
        pd.Series(NAMES).astype("category").where(KNOWN),
        *[
            [label if known else missing for label, known in zip(y, KNOWN, strict=True)]
            for y in (INTS.tolist(), NAMES.tolist())
            for missing in (None, np.nan, pd.NA, pd.NaT, np.ma.masked, Decimal("NaN"))
        ],
    ],
)
def test_missing_labels_of_every_form_are_missing(y):
    labels = as_labels(y)
    np.testing.assert_array_equal(find_missing(labels), ~KNOWN)
    known = labels[KNOWN].tolist()
    expected = [NAMES, INTS, INTS > 0]
    assert known in [values[KNOWN].tolist() for values in expected]


def test_nothing_masked_is_nothing_missing():
    assert as_labels(np.ma.masked_array([0, 1])).dtype.kind == "i"


def test_simulated_oracle_reveals_what_is_asked():
    np.testing.assert_array_equal(
        SimulatedOracle(np.arange(5))(np.array([4, 0])), [4, 0]
    )


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series])
def test_callable_oracle_takes_any_sequence(kind):
    X = np.arange(6).reshape(3, 2)
    oracle = CallableOracle(lambda rows, i: kind(["x", "y"]), X)
    assert oracle(np.array([2, 0])).tolist() == ["x", "y"]


@pytest.mark.parametrize("answer", [{4: "a", 5: "b"}, "ab", b"ab", {"a", "b"}])
def test_an_answer_without_an_order_is_refused(answer):
    oracle = CallableOracle(lambda rows, indices: answer, np.zeros((9, 2)))
    with pytest.raises(TypeError, match=f"returned a {type(answer).__name__}"):
        oracle(np.array([4, 5]))
