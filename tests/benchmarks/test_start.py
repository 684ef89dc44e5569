"""The start of commands: lines are timed as they come, and the file holds medians."""

import pandas as pd
import pytest

import dalmax_sk


@pytest.fixture
def module(benchmark_module):
    return benchmark_module("bench_start")


def test_lines_are_timed(module):
    seconds, lines = module.seconds_to_lines(["--version"], 1)
    assert lines == [f"dalmax_sk {dalmax_sk.__version__}\n"]
    assert len(seconds) == 1
    assert 0 < seconds[0] < 60


def test_medians_are_written(module, tmp_path, monkeypatch):
    calls = []
    imports = iter([9.0, 2.0, 3.0, 4.0])  # the first of each is not counted
    firsts = iter([9.0, 0.1, 0.3, 0.2])

    def seconds_to_lines(words):
        calls.append(words)
        first = next(firsts)
        return [first, first + 3.2], ["loading PyTorch …\n", "then\n"]

    monkeypatch.setattr(module, "seconds_of_imports", lambda: next(imports))
    monkeypatch.setattr(module, "seconds_to_lines", seconds_to_lines)
    output = tmp_path / "start.csv"
    words = ["--repeats", "3", "--commands", "train-al", "--output", str(output)]
    module.main(words)
    (row,) = pd.read_csv(output, comment="#").to_dict("records")
    assert row == {
        "command": "train-al",
        "first_line_seconds": 0.2,
        "second_line_seconds": 3.4,
        "imports_seconds": 3.0,
        "beyond_imports_seconds": 0.4,
    }
    folders = [words[words.index("--dir-results") + 1] for words in calls]
    assert len(set(folders)) == 4


def test_another_first_line_is_an_error(module, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "seconds_of_imports", lambda: 1.0)
    monkeypatch.setattr(
        module, "seconds_to_lines", lambda words: ([1.0, 2.0], ["Error\n", ""])
    )
    with pytest.raises(RuntimeError, match=r"train began with 'Error"):
        module.measure(["train"], 1, tmp_path)
