"""Context that is added to exceptions."""

import pytest

from dalmax_sk._base.errors import error_context


def test_the_context_is_added_to_the_message():
    with pytest.raises(KeyError) as caught, error_context("round 3"):
        raise KeyError("row")
    # a KeyError shows its argument quoted, so the context is a note
    assert caught.value.args == ("row",)
    assert caught.value.__notes__ == ["[round 3]"]
    with (
        pytest.raises(ValueError, match=r"^No rows\. \[round 3\]$"),
        error_context("round 3"),
    ):
        raise ValueError("No rows.")


def test_other_arguments_are_kept():
    # property: an error whose first argument is not its message gets a note
    with pytest.raises(OSError, match="No space") as caught, error_context("split 0"):
        raise OSError(28, "No space left on device")
    assert caught.value.errno == 28
    assert caught.value.__notes__ == ["[split 0]"]
