"""The report that scikit-learn's own tools make holds what it says."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedKFold, cross_val_predict


@pytest.fixture
def script(benchmark_module):
    return benchmark_module("label_efficiency")


def test_report_of_a_table(script, tmp_path):
    script.main(["--quick", "--data", "wine", "--jobs", "1", "--output", str(tmp_path)])
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    for word in ("## wine", "| all labels |", "| core_set_selection |", "margin"):
        assert word in report
    for line in report.splitlines():
        if line.startswith("!["):
            assert (tmp_path / line.split("(")[1].rstrip(")")).stat().st_size > 1000

    scores = pd.read_csv(tmp_path / "accuracy.csv")
    assert scores.groupby("strategy")["fold"].nunique().eq(3).all()
    search = pd.read_csv(tmp_path / "wine" / "grid_search.csv")
    assert set(search["param_strategy__measure"].dropna()) == {
        "margin",
        "entropy",
        "least_confidence",
    }
    # the search scores what cross_val_score scores
    mean = scores[scores["strategy"] == "random_sampling"]["accuracy"].mean()
    of_random = search["param_strategy"].str.startswith("RandomSampling")
    assert search.loc[of_random, "mean_test_score"].item() == pytest.approx(mean)


def test_files_of_a_strategy_are_of_its_predictions(script, tmp_path):
    task = script.load_task("wine", tmp_path)
    model = script.make_model(task, "random_sampling", epochs=1)
    cv = StratifiedKFold(3, shuffle=True, random_state=0)
    _, predicted = script.evaluate(task, model, cv, 1)
    np.testing.assert_array_equal(
        predicted, cross_val_predict(model, task.X, task.y, cv=cv)
    )
    script.write_strategy(task, predicted, "random_sampling", tmp_path)
    table = pd.read_csv(
        tmp_path / "classification_report_random_sampling.csv", index_col="class"
    )
    assert table.loc["accuracy", "f1-score"] == pytest.approx(
        (predicted == task.y).mean(), abs=1e-6
    )
    recall = (predicted[task.y == 0] == 0).mean()
    assert table.loc["class_0", "recall"] == pytest.approx(recall, abs=1e-6)
    pdf = tmp_path / "confusion_matrix_random_sampling.pdf"
    assert pdf.read_bytes().startswith(b"%PDF")


def test_image_files_go_through_the_cnn(script, tmp_path):
    task = script.load_task("digits_images", tmp_path)
    assert not task.is_table
    assert len(task.X) == len(task.y) == 1797
    rows = np.random.RandomState(0).permutation(1797)[:150]
    small = script.Task(task.X[rows], task.y[rows], task.names, 20, 10, 1)
    cv = StratifiedKFold(2)
    scores, predicted = script.evaluate(
        small, script.make_model(small, "uncertainty_sampling", 1), cv, 1
    )
    assert len(scores) == 2
    assert set(predicted) <= set(task.names)
    # written once, read again
    again = script.load_task("digits_images", tmp_path)
    assert again.X.tolist() == task.X.tolist()


def test_baseline_is_needed(script, capsys):
    with pytest.raises(SystemExit):
        script.parse(["--strategies", "badge"])
    assert "must name random_sampling" in capsys.readouterr().err
