"""The meter of the benchmarks, and that every script of theirs can be imported."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def meter(benchmark_module):
    return benchmark_module("_measure")


def test_measure_returns_result_seconds_and_memory(meter):
    def call():
        time.sleep(0.05)
        return np.ones(8 * 2**20 // 8).sum()

    result, seconds, added_mb = meter.measure(call)
    assert result == 2**20
    assert 0.05 <= seconds < 5
    if sys.platform == "linux":
        assert 7 <= added_mb <= 40


def test_repeated_calls_give_the_median(meter):
    seconds = iter([0.2, 0.01, 0.03, 0.02] + [0.02] * 100)
    repeated = meter.Repeated(lambda: time.sleep(next(seconds)))
    repeated.run()
    # the first call is not timed
    assert 0.02 <= repeated.seconds < 0.1


@pytest.mark.parametrize(
    "script", sorted(path.stem for path in BENCHMARKS.glob("*.py")), ids=str
)
def test_every_script_can_be_imported(benchmark_module, script):
    # what a script takes from another is there: found here, not by a reader
    benchmark_module(script)
