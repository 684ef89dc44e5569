"""Counts and lists as words."""

import pytest

from dalmax_sk._base.words import counted, listed


@pytest.mark.parametrize(
    ("n", "noun", "words"),
    [
        (1, "strategy", "1 strategy"),
        (2, "strategy", "2 strategies"),
        (0, "class", "0 classes"),
        (12345, "test image", "12,345 test images"),
    ],
)
def test_counts(n, noun, words):
    assert counted(n, noun) == words


def test_lists():
    # property: as many items as the limit are shown, and the others are counted
    assert listed(range(10)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert listed(range(11)).endswith("9 and 1 more")
    assert listed(["a", 1], limit=1) == "a and 1 more"
    assert listed([]) == "none"
