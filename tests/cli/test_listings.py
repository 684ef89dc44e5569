"""``dalmax strategies``, ``dalmax report``, and the program as a whole."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import dalmax_sk
from dalmax_sk.strategies import strategy_names

ROOT = Path(dalmax_sk.__file__).parent.parent


def in_a_process(*words, cwd):
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        env=env,
        cwd=cwd,
        check=False,
    )


# -------------------------------------------------------------------------- strategies


def test_the_table_and_json(dalmax):
    result = dalmax("strategies")
    assert result.exit_code == 0
    for name in strategy_names():
        assert name in result.stdout
    listed = json.loads(dalmax("strategies", "--json").stdout)
    assert listed[0]["name"] == "random_sampling"
    assert set(listed[0]) == {
        *("name", "aliases", "class_name", "category", "parameters"),
        *("description", "looks_at", "cost"),
    }


# ------------------------------------------------------------------------------ report


def test_report_of_a_results_folder(dalmax, own_run):
    # property: each run's page anew, and one that joins them
    page = own_run / "report.html"
    page.unlink()
    root = own_run.parent.parent
    result = dalmax("report", root)
    assert result.exit_code == 0, result.output
    assert f"Report: {root / 'report.html'}" in result.stdout
    assert "uncertainty_sampling" in (root / "report.html").read_text("utf-8")
    assert "<html" in page.read_text("utf-8")


def test_report_of_one_run(dalmax, own_run):
    sizes = []
    for flags in ([], ["--max-images-per-round", 0]):
        result = dalmax("report", own_run, *flags)
        assert result.exit_code == 0, result.output
        assert f"Report: {own_run / 'report.html'}" in result.stdout
        sizes.append((own_run / "report.html").stat().st_size)
    assert sizes[1] < sizes[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere is no folder"),
        (["."], "holds no run"),
        ([".", "--max-images", "-1", "--max_images_per_round", "-2"], "-1.*-2"),
    ],
)
def test_report_of_nothing(dalmax, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    result = dalmax("report", *words)
    assert result.exit_code == 2
    assert re.search(message, result.stderr), result.stderr
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------- as a whole


def test_help_lists_every_command_on_one_line(dalmax):
    lines = dalmax("--help").stdout.splitlines()
    for name in ("train-al", "train", "test", "compare", "report", "strategies"):
        line = next(text for text in lines if re.match(rf"│ {name} ", text))
        assert line.rstrip(" │").endswith((".", "?")), line


@pytest.mark.parametrize("command", ["train", "test", "compare", "report"])
def test_flags_have_two_spellings_everywhere(dalmax, command):
    # property: --dir_results and --dir-results are one flag in every command
    text = dalmax(command, "--help").stdout
    assert "--config" in text
    flag, wrong, message, given = (
        ("max-images", "-1", "--max-images must be", ["."])
        if command == "report"
        else ("on-bad-image", "x", "--on-bad-image must be one of error, skip", [])
    )
    assert f"--{flag}" in text
    for spelling in (flag, flag.replace("-", "_")):
        result = dalmax(command, *given, f"--{spelling}", wrong)
        assert message in result.stderr


def test_help_loads_nothing_heavy(tmp_path):
    # property: --help answers at once
    code = (
        "import sys; from dalmax_sk.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'sklearn', 'pandas', 'numpy', 'matplotlib'} "
        "& set(sys.modules)))"
    )
    result = in_a_process("-c", code, cwd=tmp_path)
    assert result.stdout.endswith("[]\n"), result.stdout + result.stderr


@pytest.mark.slow  # six processes, each of which loads torch
def test_a_walk_through_the_commands(images, tmp_path):
    # property: as a person would type it, one process a command
    def run(command, code=0):
        words = shlex.split(command)
        result = in_a_process("-m", "dalmax_sk", *words, cwd=tmp_path)
        assert result.returncode == code, result.stdout + result.stderr
        return result

    (tmp_path / "flags.toml").write_text(
        f'dir_test = "{images / "test"}"\ndir_train = "{images / "train"}"\n'
        "epochs = 1\nimage_size = 8\n[train-al]\nn_initial = 6\nquery_size = 4\n"
        "iterations = 2\n"
    )
    run("train_al --config flags.toml --type core_set_selection")
    selected = "results/active_learning/core_set_selection/selected_images/"
    run(f"train --type train --dir_train {selected}")
    run("train --type random --like results/active_learning/core_set_selection")
    run("test --dir_model results/train/random")
    result = run("test --model results/train/no_model", code=2)
    assert result.stderr.startswith("Error: ")
    run("report results")
    assert (tmp_path / "results" / "report.html").is_file()
    assert (tmp_path / "results" / "final_accuracy.txt").is_file()


def test_strategies_are_listed_when_quiet_too(dalmax):
    assert "margin_sampling" in dalmax("strategies", "--quiet").stdout
