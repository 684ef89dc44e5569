"""The start of the program: it speaks before it loads what is heavy."""

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "sklearn", "pandas", "matplotlib", "scipy", "torchvision", "skorch"}


def loaded_by(statement):
    """Return the heavy packages that a statement loads in a fresh process."""
    code = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return HEAVY & set(done.stdout.split())


def run(*words):
    """Run a command that fails before its work; return its code, output, error."""
    done = subprocess.run(
        [sys.executable, "-m", "dalmax_sk", *words], capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


def test_the_commands_load_nothing_heavy():
    assert loaded_by("import dalmax_sk.cli") == set()


def test_a_run_loads_no_drawing_and_no_torchvision_at_its_start():
    loaded = loaded_by("import dalmax_sk.cli.train_al")
    assert loaded <= {"torch", "sklearn", "pandas", "scipy", "skorch"}
    assert "torch" in loaded


@pytest.mark.parametrize("quiet", [False, True])
def test_the_first_line_says_what_is_loaded(tmp_path, quiet):
    # a strategy that does not exist is found out once the strategies are loaded
    words = ["train-al", "--type", "xyz", "--dir-results", str(tmp_path)]
    code, out, err = run(*words, *["--quiet"] * quiet)
    assert code == 2
    assert out.splitlines()[:1] == ([] if quiet else ["loading PyTorch …"])
    assert err.startswith("Error: Unknown strategy 'xyz'")


def test_json_is_not_preceded_by_anything():
    code, out, err = run("strategies", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)


def test_wrong_flags_are_told_before_anything_is_loaded():
    code, out, err = run("train-al", "--epochs", "0")
    assert (code, out) == (2, "")
    assert err.startswith("Error: --epochs must be at least 1")
