"""The list of classes: found, given, widened; labels that are none."""

import numpy as np
import pytest

from dalmax_sk.active_learning.classes import (
    check_classes,
    check_missing_label,
    find_classes,
    merged_classes,
)

NAMES = np.array(["ant", "bee"] * 5)


@pytest.mark.parametrize("text", ["None", "nan", "NaN", "<NA>", "NaT"])
def test_texts_that_were_missing_values_are_warned_of(text):
    y = NAMES.astype("<U5")
    y[3] = text
    with pytest.warns(UserWarning, match=f"'{text}'.* missing_label='{text}'"):
        assert find_classes(y, None, None).tolist() == sorted(["ant", "bee", text])
    assert find_classes(y, None, text).tolist() == ["ant", "bee"]
    assert len(find_classes(y, ["ant", "bee", text], None)) == 3


def test_a_text_that_was_cut_is_known():
    y = NAMES.copy()  # of three letters
    y[3] = None
    with pytest.warns(UserWarning, match="'Non'"):
        find_classes(y, None, None)
    # but yes and no, in two letters, are labels
    assert find_classes(np.array(["Ye", "No"]), None, None).tolist() == ["No", "Ye"]


def test_one_class_needs_the_others_named():
    y = np.array(["ant", None], dtype=object)
    with pytest.raises(ValueError, match=r"one class only, \['ant'\], .* classes=\["):
        find_classes(y, None, None)
    assert find_classes(y[:1], None, None).tolist() == ["ant"]  # a whole y


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([0, 1, 1], r"classes holds \[1\] more than once"),
        ([[0, 1]], "1-D sequence"),
        ([], "1-D sequence"),
        ([0, None], "none of them missing"),
        ([0.0, np.nan], "none of them missing"),
        ([0, "a"], "classes mixes labels of the types int, str"),
    ],
)
def test_bad_lists_of_classes(classes, message):
    with pytest.raises(ValueError, match=message):
        check_classes(classes)


def test_a_class_that_means_missing():
    with pytest.raises(ValueError, match="missing_label=-1 is one of the classes"):
        find_classes(np.array([0, 1]), [-1, 0, 1], -1)


@pytest.mark.parametrize("classes", [range(3), [2, 0, 1], np.arange(3), (0, 1, 2)])
def test_classes_are_sorted(classes):
    assert check_classes(classes).tolist() == [0, 1, 2]


def test_merged_classes():
    assert merged_classes(np.array([0, 2]), [1, 2]).tolist() == [0, 1, 2]
    longer = merged_classes(np.array(["a"]), ["longer"])
    assert longer.tolist() == ["a", "longer"]
    with pytest.raises(ValueError, match="labels of one type"):
        merged_classes(np.array(["a"]), [1])


@pytest.mark.parametrize(
    ("y", "missing_label", "error"),
    [
        (np.array([0, -1, 1]), "-1", TypeError),
        (np.array([0.0, 1.0]), "?", TypeError),
        (NAMES, -1, TypeError),
        (NAMES.astype(object), -1, TypeError),
        (np.array([0, 255], dtype=np.uint8), -1, ValueError),
        (np.array([0, 1]), 0.5, ValueError),
        (np.array([0, 1]), np.inf, ValueError),
        (np.array([True, False]), -1, ValueError),
        (np.array([0, 1]), [-1], TypeError),
    ],
)
def test_a_missing_label_that_no_label_can_equal(y, missing_label, error):
    with pytest.raises(error, match="missing_label="):
        check_missing_label(y, missing_label)


@pytest.mark.parametrize(
    ("y", "missing_label"),
    [
        (np.array([0, 1]), -1),
        (np.array([0, 1]), -1.0),
        (np.array([0.5, 1]), -1),
        (NAMES, "?"),
        (NAMES, None),
        (NAMES, np.nan),
        (np.array([0, 1, "?"], dtype=object), "?"),
        (np.array([True, False]), False),
        (np.array([None, None]), -1),
        (np.array([]), -1),
    ],
)
def test_a_missing_label_that_may_occur(y, missing_label):
    check_missing_label(y, missing_label)
