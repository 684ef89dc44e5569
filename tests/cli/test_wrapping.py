"""Messages on a terminal: lines end between words, and a path is never broken."""

import io
import itertools
import re

import pytest
import rich.console

from dalmax_sk.cli.console import Console
from dalmax_sk.cli.wrapping import wrap

TEXT = (
    "--n-initial 25 asks for more images than --dir-train holds: 24. Give --n-initial "
    "a number up to that, or choose another folder of training images."
)


def on_terminal(monkeypatch, columns, write):
    """Return what `write` leaves on a terminal of this width, without colours."""
    monkeypatch.setenv("COLUMNS", str(columns))
    screen, stream = Console(quiet=False), io.StringIO()
    screen.out = screen.err = rich.console.Console(
        file=stream, force_terminal=True, highlight=False, soft_wrap=True
    )
    write(screen)
    return re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())


@pytest.mark.parametrize("columns", [60, 200])
@pytest.mark.parametrize("kind", ["say", "warn", "fail"])
def test_sentences_wrap_at_words(monkeypatch, columns, kind):
    # property: lines as long as fit, all words whole and in their order
    text = on_terminal(monkeypatch, columns, lambda s: getattr(s, kind)(TEXT))
    lines = text.splitlines()
    label = {"say": "", "warn": "Note: ", "fail": "Error: "}[kind]
    assert " ".join(lines) == label + TEXT
    assert max(map(len, lines)) <= columns
    for line, following in itertools.pairwise(lines):
        assert len(f"{line} {following.split()[0]}") > columns


@pytest.mark.parametrize("columns", [60, 200])
@pytest.mark.parametrize(
    "path",
    [
        "/home/someone/" + "a_long_name/" * 20 + "results",
        "/home/some one/with a blank/in every/part of the/path",
        "/short",
    ],
)
def test_a_path_stays_whole(monkeypatch, columns, path):
    text = f"The run in {path} has no labelled images yet; there is nothing to be like."
    shown = on_terminal(monkeypatch, columns, lambda s: s.fail(text))
    assert path in shown
    assert " ".join(shown.split("\n")).strip() == f"Error: {text}"


@pytest.mark.parametrize("columns", [20, 60, 200])
def test_a_file_with_blanks_in_its_name_stays_whole(tmp_path, columns):
    file = tmp_path / "my images" / "a very long name of a file.png"
    file.parent.mkdir()
    file.touch()
    text = wrap(f"skipped {file}: it is empty, and '{file}' cannot be read", columns)
    assert text.count(str(file)) == 2


def test_commands_and_columns_stay_as_they_are():
    command = "  dalmax train-al --dir-results '/a b' --epochs 5 --resume"
    table = "strategy      accuracy   seeds that were run"
    assert wrap(f"go on with:\n{command}\n{table}", 20) == (
        f"go on with:\n{command}\n{table}"
    )


def test_words_with_slashes_do_not_hold_a_sentence_together():
    text = "Images under train/ and/or test/ are read, and labels of both are compared."
    assert max(map(len, wrap(text, 30).splitlines())) <= 30


def test_wide_characters_count_twice():
    assert wrap("図図図 図図図", 8) == "図図図\n図図図"


def test_a_pipe_gets_whole_lines(dalmax, monkeypatch):
    # property: programs and logs read one line a message, whatever the width
    monkeypatch.setenv("COLUMNS", "60")
    result = dalmax("train-al", "--lr", "x", "--epochs", "five", "--image-size", "0")
    assert result.stderr.count("\n") == 1


def test_a_terminal_gets_wrapped_lines(dalmax, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("FORCE_COLOR", "1")
    folder = tmp_path / ("x" * 70)
    words = "--lr", "x", "--epochs", "five", "--image-size", "0", "--dir-test", folder
    result = dalmax("train-al", *words, "--dir-train", folder)
    text = re.sub(r"\x1b\[[0-9;]*m", "", result.stderr)
    assert text.count(str(folder)) == 2
    assert all(len(t) <= 60 for t in text.splitlines() if str(folder) not in t)
    assert text.count("\n") > 3
