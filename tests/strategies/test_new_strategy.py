"""A new strategy is one new module: nothing else has to name it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import dalmax_sk

PACKAGE = Path(dalmax_sk.__file__).parent
ROOT = Path(__file__).parents[2]

MODULE = '''"""A strategy that this package does not have."""

from dalmax_sk.strategies.base import ScoreStrategy

__all__ = ["FirstClass"]


class FirstClass(ScoreStrategy):
    """Pick the candidates that are surest to be of the first class."""

    names = {"first_class": {}, "first_class_power": {"batch": "power"}}
    category = "uncertainty"
    requires = ("proba",)
    cost = "O(n)"

    def __init__(self, batch="top", beta=1.0):
        self.batch = batch
        self.beta = beta

    def _score(self, pool):
        return pool.proba[:, 0]
'''

SCRIPT = """
import runpy
import sys

import dalmax_sk.strategies
from dalmax_sk.cli import app
from dalmax_sk.strategies import FirstClass, get_strategy
from dalmax_sk.utils.estimator_checks import check_strategy

assert "FirstClass" in dalmax_sk.strategies.__all__
assert repr(get_strategy("first_class_power")) == "FirstClass(batch='power')"
for words in (["strategies"], ["train-al", "--type", "first_clas"]):
    try:
        app(words)
    except SystemExit as end:
        print("exit", end.code)
sys.path.insert(0, "tests")
from test_conformance import instances

mine = [strategy for strategy in instances() if isinstance(strategy, FirstClass)]
print("in the battery:", mine)
print({result["status"] for result in check_strategy(mine[0])})
sys.path.insert(0, "benchmarks")
from bench_round import strategies
from plot_strategies_toy import NAMES

print("timed:", [name for name in strategies() if "first" in name])
print("drawn:", [name for name in NAMES if "first" in name])
runpy.run_path("docs/strategy_lists.py", run_name="__main__")
"""


def test_a_new_module_is_all_it_takes(tmp_path):
    # property: registry, command line, battery, benchmarks, tables and stub have it
    shutil.copytree(PACKAGE, tmp_path / "dalmax_sk")
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks")
    for name in (
        *("README.md", "docs/strategy_lists.py", "docs/user_guide/strategies.md"),
        "docs/api/strategies.rst",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "tests").mkdir()
    shutil.copy(Path(__file__).with_name("test_conformance.py"), tmp_path / "tests")
    home = tmp_path / "dalmax_sk" / "strategies"
    (home / "first_class.py").write_text(MODULE, "utf-8")
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "surest to be of the first class" in result.stdout
    assert "batch='power'" in result.stdout
    assert "Unknown strategy 'first_clas'. Did you mean 'first_class'?" in result.stderr
    assert "in the battery: [FirstClass(), FirstClass(batch='power')]" in result.stdout
    assert "{'passed'}" in result.stdout
    both = "['first_class', 'first_class_power']"
    assert f"timed: {both}" in result.stdout
    assert "drawn: ['first_class']" in result.stdout
    for name, text in {
        "README.md": "strategies/first_class.md), `first_class_power` | Pick the cand",
        "docs/user_guide/strategies.md": "`FirstClass` | probabilities | O(n) |",
        "docs/api/strategies.rst": "   FirstClass\n",
        "dalmax_sk/strategies/__init__.pyi": "first_class import FirstClass\n",
    }.items():
        assert text in (tmp_path / name).read_text("utf-8"), name
