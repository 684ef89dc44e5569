"""The back-test of forecasts and the benchmark of stopping rules."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "user_guide"


def test_block_is_written_between_its_marks(benchmark_module):
    with_block = benchmark_module("_page_blocks").with_block
    text = "a\n<!-- table: x -->\nold\n<!-- end -->\nb <!-- end -->\n"
    new = with_block(text, "x", "| new |")
    assert new == "a\n<!-- table: x -->\n\n| new |\n\n<!-- end -->\nb <!-- end -->\n"
    assert with_block(new, "x", "| new |") == new
    with pytest.raises(ValueError, match="holds it 0 times"):
        with_block(text, "y", "| new |")


def test_pages_show_the_results_that_there_are(benchmark_module):
    with_block = benchmark_module("_page_blocks").with_block
    stopping = benchmark_module("bench_stopping")
    page = (GUIDE / "stopping.md").read_text(encoding="utf-8")
    table = stopping.page_table(pd.read_csv(stopping.RESULTS / "stopping.csv"))
    assert with_block(page, "stopping", table) == page
    backtest = benchmark_module("backtest_forecast")
    page = (GUIDE / "forecast.md").read_text(encoding="utf-8")
    results = pd.read_csv(backtest.RESULTS / "forecast_backtest.csv")
    for kind, name in (("run", "backtest_runs"), ("mean of seeds", "backtest_means")):
        table = backtest.page_table(results[results["kind"] == kind])
        assert with_block(page, name, table) == page


def test_cut_curve_is_forecast_from_what_is_before_the_cut(benchmark_module):
    backtest = benchmark_module("backtest_forecast")
    n = np.arange(50, 1050, 50)
    scores = 0.95 - 1.2 * n**-0.45
    row = backtest.check("run", n, scores[None], "1/2")
    assert row["n_points"] == 10
    assert not row["reached"]
    assert row["ratio"] == pytest.approx(1, abs=0.1)
    assert row["inside"]
    assert row["score_difference"] == pytest.approx(0, abs=0.5)
    # what comes after the cut is no part of the forecast
    other = scores.copy()
    other[15:19] -= 0.01
    assert backtest.check("run", n, other[None], "1/2")["ratio"] == row["ratio"]


def test_curve_that_is_at_its_end_before_the_cut_is_left_out(benchmark_module):
    backtest = benchmark_module("backtest_forecast")
    n = np.arange(50, 1050, 50)
    scores = np.minimum(0.5 + 0.05 * np.arange(20), 0.8)
    assert backtest.check("run", n, scores[None], "1/2")["reached"]
    assert backtest.check("run", n, np.full((1, 20), 0.5), "1/2") is None


def test_summary_counts(benchmark_module):
    backtest = benchmark_module("backtest_forecast")
    made = {
        "kind": "run",
        "cut": "1/2",
        "reached": False,
        "too_low": False,
        "seconds": 0.1,
    }
    rows = pd.DataFrame(
        [
            made
            | {
                "ratio": ratio,
                "inside": inside,
                "too_high": not inside,
                "never": np.isinf(ratio),
                "score_difference": difference,
                "score_inside": True,
            }
            for ratio, inside, difference in (
                (1.5, True, 1.0),
                (0.8, True, -2.0),
                (np.inf, False, -2.0),
            )
        ]
        + [{"kind": "run", "cut": "1/2", "reached": True}]
    )
    (row,) = backtest.summarize("x", rows).to_dict("records")
    assert (row["n_curves"], row["n_reached"]) == (3, 1)
    assert row["median_ratio"] == 1.5
    assert row["median_relative_error"] == 0.5
    assert row["coverage"] == pytest.approx(2 / 3)
    assert row["never"] == row["too_high"] == pytest.approx(1 / 3)
    assert row["score_bias"] == -1
    assert row["score_error"] == pytest.approx(5 / 3)


def test_a_rule_is_timed_and_stops_as_it_would(benchmark_module):
    stopping = benchmark_module("bench_stopping")
    row = stopping.one_run("StabilizingPredictions(0.97)", 0)
    assert row["n_labels"] < row["n_pool"] == 898
    assert row["reason"].startswith("kappa of successive predictions")
    assert 0 < row["rule_seconds"] < row["run_seconds"]
