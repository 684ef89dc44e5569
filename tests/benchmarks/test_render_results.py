"""The pages hold what the files of the benchmarks hold."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dalmax_sk.evaluation import BudgetCurves

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(benchmark_module):
    return benchmark_module("render_results")


@pytest.fixture
def folders(benchmark_module, tmp_path):
    """A page and the results of an experiment with two strategies and three seeds."""
    docs, results = tmp_path / "docs", tmp_path / "results"
    (docs / "images").mkdir(parents=True)
    rng = np.random.RandomState(0)
    rows = [
        {
            "strategy": strategy,
            "split": 0,
            "seed": seed,
            "round": number,
            "n_labeled": 10 + 10 * number,
            "fit_seconds": 2.0,
            "query_seconds": 0.5,
            "score_seconds": 1.0,
            "peak_bytes": 2.0**30,
            "score_accuracy": 0.5 + number * (0.1 + 0.1 * better) + 0.01 * rng.rand(),
        }
        for better, strategy in enumerate(["random_sampling", "badge"])
        for seed in range(3)
        for number in range(3)
    ]
    benchmark_module("_outputs").write_outputs(
        BudgetCurves(pd.DataFrame(rows)), "frozen_features", results, {"n_pool": 50000}
    )
    text = (
        "# Page\n\nTyped.\n\n<!-- generated: frozen_features -->\nold\n<!-- end -->\n\n"
        "More.\n\n<!-- generated: cifar10_small_cnn -->\n<!-- end -->\nLast.\n"
    )
    (docs / "page.md").write_text(text, encoding="utf-8")
    return docs, results


def main(script, folders, *words):
    docs, results = folders
    script.main(["--docs", str(docs), "--results", str(results), *words])


def test_committed_pages_are_up_to_date(script):
    script.main(["--check"])


def test_blocks_are_written_and_prose_is_kept(script, folders):
    main(script, folders)
    text = (folders[0] / "page.md").read_text(encoding="utf-8")
    assert script.BLOCK.sub("BLOCK", text) == (
        "# Page\n\nTyped.\n\nBLOCK\n\nMore.\n\nBLOCK\nLast.\n"
    )
    assert "old" not in text
    assert "n_pool 50,000; seeds 0, 1, 2" in text
    assert "| badge | better | +" in text
    assert "- badge is better than random_sampling" in text
    # fits 3 x 2, queries 3 x .5, scores 3 x 1
    assert "| badge | 6.0 | 1.5 | 3.0 | 10.5 | 0.50 |" in text
    assert "All 6 runs together took 1 minutes." in text
    assert (
        "Not run yet: there is no `benchmarks/results/cifar10_small_cnn.json`" in text
    )
    for file in re.findall(r"\]\((images/[^)]+)\)", text):
        assert (folders[0] / file).stat().st_size > 5000


def test_check_sees_a_stale_page_and_a_stale_figure(script, folders, capsys):
    with pytest.raises(SystemExit, match="Run python benchmarks"):
        main(script, folders, "--check")
    assert "old" in (folders[0] / "page.md").read_text(encoding="utf-8")
    main(script, folders)
    main(script, folders, "--check")

    docs, results = folders
    path = results / "frozen_features_curves.csv"
    figure = docs / "images" / "frozen_features_curves.png"
    before = figure.read_bytes()
    curves = BudgetCurves.from_csv(path)
    curves.frame.loc[0, "score_accuracy"] += 1e-6
    curves.to_csv(path)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(script, folders, "--check")
    printed = capsys.readouterr().out
    assert "frozen_features_curves.png" in printed
    assert "page.md" not in printed
    assert figure.read_bytes() == before
    main(script, folders)
    main(script, folders, "--check")


def test_broken_blocks_are_refused(script, folders):
    page = folders[0] / "page.md"
    page.write_text("<!-- generated: nothing -->\n<!-- end -->\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no generated block 'nothing'; there are dig"):
        main(script, folders)
    page.write_text("<!-- generated: loop -->\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"1 blocks begin with .* 0 of them end"):
        main(script, folders)


def test_every_block_stands_on_a_page(script):
    text = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")
    )
    names = re.findall(r"<!-- generated: (\w+) -->", text)
    assert sorted(names) == sorted(script.BLOCKS)


def test_numbers_of_an_experiment(benchmark_module, folders):
    tables = benchmark_module("_result_tables")
    results = folders[1]
    found = pd.read_csv(results / "frozen_features_comparison.csv", index_col=0)
    shown = tables.comparison_table(found, "random_sampling")
    row = found.loc["badge"]
    column = shown.loc["badge", "difference"]
    assert column == (
        f"{100 * row['aubc_difference']:+.1f} [{100 * row['difference_low']:+.1f}, "
        f"{100 * row['difference_high']:+.1f}]"
    )
    found.loc["badge", ["labels_to_target", "p_adjusted"]] = np.inf, 0.0123
    shown = tables.comparison_table(found, "random_sampling").loc["badge"]
    assert shown["labels needed"] == "more"
    assert shown["p"] == "0.012"


def test_ours_beside_published(benchmark_module):
    tables = benchmark_module("_result_tables")
    ours = {
        "here": {
            "random_sampling": np.array([0.4, 0.6]),
            "badge": np.array([0.5, 0.53]),
            "galaxy": np.array([0.9, 0.9]),
            "typi_clust_10k": np.array([0.4, 0.5]),
        }
    }
    published = {"there": {"random": (0.6, 0.1), "BADGE": (0.58, 0.1)}}
    shown = tables.beside_published_table(ours, published)
    assert shown.loc["BADGE"].tolist() == ["+1.5", "−2.0"]
    assert shown.loc["margin"].tolist() == ["–", "–"]
    assert shown.loc["TypiClust"].tolist() == ["−5.0", "–"]
    assert "random" not in shown.index

    areas = {"low": {"random": np.array([0.4, 0.5])}}
    shown = tables.published_table({"low": {"random": (0.47, 0.01)}, "med": {}}, areas)
    assert shown.loc["random", "low, published"] == "0.4700 ± 0.0100"
    assert shown.loc["random", "low, ours"] == "0.4500 ± 0.0707"


def test_speed_tables(benchmark_module):
    tables = benchmark_module("_result_tables")
    row = {
        "runs_by": "budget_curve",
        "fit_query_score_seconds": 12.345,
        "own_seconds": 0.1234,
        "own_percent": 1.004,
    }
    shown = tables.budget_curve_table(pd.DataFrame([row]))
    assert shown.loc["budget_curve"].tolist() == ["12.3", "0.123", "1.00 %"]


def test_published_figures_are_whole(benchmark_module):
    published = benchmark_module("_published")
    for table in (published.LUETH_SCRATCH, published.LUETH_SIMCLR):
        assert set(table) == {"low", "med", "high"}
        for methods in table.values():
            assert list(methods) == ["random", "entropy", "k-center", "BALD", "BADGE"]
            assert all(0 < sd < mean < 1 for mean, sd in methods.values())
    for methods in published.DISTIL.values():
        assert {len(row) for row in methods.values()} == {len(published.DISTIL_LABELS)}


def test_sidecar_names_no_folder(benchmark_module):
    command_line = benchmark_module("_outputs").command_line
    words = ["/some/where/script.py", "--dir-train", "/home/me/train", "--seeds", "5"]
    assert command_line(words) == (
        "python benchmarks/script.py --dir-train train --seeds 5"
    )
    assert json.dumps(command_line(["x.py"])) == '"python benchmarks/x.py"'
