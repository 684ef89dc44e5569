"""The lists of strategies in the pages are those that the classes give."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location(
        "strategy_lists", ROOT / "docs" / "strategy_lists.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_committed_lists_are_those_of_the_classes(script):
    for name, text in script.lists().items():
        committed = (ROOT / name).read_text("utf-8")
        assert committed == text, f"run docs/strategy_lists.py: {name} is out of date"


def test_a_page_without_its_marks_is_an_error(script):
    with pytest.raises(ValueError, match="must hold 'strategies: begin'"):
        script.with_list("no marks", "a list")


def test_what_stands_around_a_list_is_kept(script):
    page = "before\n<!-- strategies: begin -->\nold\n<!-- strategies: end -->\nafter\n"
    written = script.with_list(page, "new")
    assert written.startswith("before\n<!-- strategies: begin -->\n")
    assert written.endswith("\nnew\n\n<!-- strategies: end -->\nafter\n")
    assert script.with_list(written, "new") == written
