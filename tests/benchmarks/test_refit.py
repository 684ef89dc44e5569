"""The ways to refit, at toy size: they are paired, go on, and leave their files."""

import json

import pandas as pd
import pytest

from dalmax_sk.evaluation import BudgetCurves
from dalmax_sk.images import make_digits_folder


def arguments(folder, *more):
    return [
        *("--results", str(folder / "runs"), "--output", str(folder), "--seeds", "2"),
        *("--rounds", "1", "--epochs", "2", "--fewer", "1", *more),
    ]


@pytest.mark.slow
def test_digits_and_going_on(benchmark_module, tmp_path, capsys, monkeypatch):
    module = benchmark_module("bench_refit")
    module.main(arguments(tmp_path))
    assert "scratch, 2 epochs is the baseline" in capsys.readouterr().out
    curves = BudgetCurves.from_csv(tmp_path / "refit_digits_curves.csv")
    assert curves.strategies == [
        f"{way}, {epochs} epoch{'s' * (epochs > 1)}"
        for epochs in (2, 1)
        for way in ("scratch", "continue", "shrink-perturb 0.4", "shrink-perturb 0.8")
    ]
    # before there are weights to go on from all ways are the same
    first = curves.frame[curves.frame["round"] == 0]
    first = first[first["strategy"].str.endswith("2 epochs")]
    assert (first.groupby("seed")["score_accuracy"].nunique() == 1).all()
    sidecar = json.loads((tmp_path / "refit_digits.json").read_text())
    assert sidecar["baseline"] == "scratch, 2 epochs"
    assert sidecar["settings"]["n_pool"] == 1300

    # what is there is not run again
    before = curves.frame["fit_seconds"].tolist()
    module.main(arguments(tmp_path))
    again = pd.read_csv(tmp_path / "refit_digits_curves.csv")
    assert again["fit_seconds"].tolist() == pytest.approx(before)


@pytest.mark.slow
def test_folders_of_images(benchmark_module, tmp_path):
    digits = make_digits_folder(tmp_path / "digits")
    module = benchmark_module("bench_refit")
    data = ("--dir-train", str(digits / "train"), "--dir-test", str(digits / "test"))
    module.main(arguments(tmp_path, *data, "--per-class", "45", "--name", "toy"))
    curves = BudgetCurves.from_csv(tmp_path / "toy_curves.csv")
    assert sorted(curves.frame["n_labeled"].unique()) == [200, 400]
