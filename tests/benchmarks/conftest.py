"""The scripts of benchmarks/ as modules."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark_module(monkeypatch):
    """Return a function that imports a script of benchmarks/ by its name.

    The scripts import one another by their bare names, as they do when run.
    """
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module
    ours = {path.stem for path in BENCHMARKS.glob("*.py")}
    for name in (set(sys.modules) - before) & ours:
        del sys.modules[name]
