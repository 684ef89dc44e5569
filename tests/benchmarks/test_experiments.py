"""The experiments on images run at toy size, go on, and leave what the pages read."""

import json

import numpy as np
import pandas as pd
import pytest

from dalmax_sk import CNNClassifier
from dalmax_sk.evaluation import BudgetCurves, area_under_budget_curve
from dalmax_sk.images import make_digits_folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return make_digits_folder(tmp_path_factory.mktemp("data") / "digits")


def arguments(digits, folder, *more):
    return [
        *("--dir-train", str(digits / "train"), "--dir-test", str(digits / "test")),
        *("--output", str(folder), "--per-class", "8", "--n-initial", "20"),
        *("--query-size", "5", "--rounds", "2", "--epochs", "1", *more),
    ]


def test_small_cnn_runs_and_goes_on(benchmark_module, digits, tmp_path, capsys):
    main = benchmark_module("cifar10_small_cnn").main
    words = arguments(
        digits, tmp_path, "--results", str(tmp_path / "records.jsonl"), "--name", "toy"
    )
    names = ["random_sampling", "badge"]
    main([*words, "--seeds", "1", "--strategies", *names])
    assert "nothing to compare" in capsys.readouterr().out
    assert not (tmp_path / "toy_comparison.csv").exists()
    first = BudgetCurves.from_csv(tmp_path / "toy_curves.csv")

    main([*words, "--seeds", "3", "--strategies", *names])
    assert "badge is" in capsys.readouterr().out
    curves = BudgetCurves.from_csv(tmp_path / "toy_curves.csv")
    assert curves.strategies == names
    assert curves.budgets().tolist() == [20, 25, 30]
    # what was done is not done again: its seconds are the same
    kept = curves.select(seeds=[0]).frame
    pd.testing.assert_frame_equal(kept, first.frame)

    table = pd.read_csv(tmp_path / "toy_comparison.csv", index_col="strategy")
    assert set(table.index) == set(names)
    times = pd.read_csv(tmp_path / "toy_times.csv", index_col="strategy")
    of_badge = curves.frame[curves.frame["strategy"] == "badge"]
    assert times.loc["badge", "fit"] == pytest.approx(
        of_badge["fit_seconds"].sum() / 3, rel=1e-9
    )
    sidecar = json.loads((tmp_path / "toy.json").read_text(encoding="utf-8"))
    assert sidecar["seeds"] == [0, 1, 2]
    assert set(sidecar["verdicts"]) == set(names)
    assert sidecar["settings"]["n_pool"] == 80
    assert str(tmp_path) not in json.dumps(sidecar)


def test_strategies_see_a_part_of_the_candidates(benchmark_module):
    script = benchmark_module("cifar10_small_cnn")
    strategies = script.make_strategies(["random_sampling", "badge"], 7)
    assert type(strategies["random_sampling"]).__name__ == "RandomSampling"
    assert strategies["badge"].subsample == 7
    assert len(script.STRATEGIES) >= 10


def test_protocol_a_runs(benchmark_module, digits, tmp_path, capsys):
    script = benchmark_module("protocol_a")
    words = arguments(
        digits, tmp_path, "--results", str(tmp_path / "records"), "--held-out", "10"
    )
    script.main(
        [
            *words,
            *("--regime", "low", "--min-draws", "60", "--architecture", "small_cnn"),
            *("--device", "cpu", "--methods", "random", "BALD", "--seeds", "1", "2"),
        ]
    )
    printed = capsys.readouterr().out
    assert "| BALD |" in printed
    assert "0.4744 ± 0.0106" in printed
    assert "the net of the last epoch" in printed
    curves = BudgetCurves.from_csv(tmp_path / "protocol_a_low_toy_curves.csv")
    assert curves.strategies == ["random", "BALD"]
    assert curves.seeds == [1, 2]
    # nets differ, initial sets do not
    _, budgets, values = curves.by_seed("random")
    assert f"{area_under_budget_curve(budgets, values).mean():.4f}" in printed
    records = [
        json.loads(line)
        for path in sorted((tmp_path / "records").glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    first = {
        (r["strategy"], r["seed"]): sorted(r["queried"])
        for r in records
        if r.get("round") == 0
    }
    assert first["random", 1] == first["BALD", 1] != first["random", 2]


def test_protocol_b_ends_a_fit_that_has_learned_enough(
    benchmark_module, digits, tmp_path, capsys, monkeypatch
):
    script = benchmark_module("protocol_b")
    monkeypatch.setattr(script, "DISTIL_LABELS", (20, 25, 30))
    script.main(
        [
            *arguments(digits, tmp_path, "--results", str(tmp_path / "records")),
            *("--query-size-of", "3000", "--architecture", "small_cnn"),
            *("--methods", "random", "--device", "cpu", "--seeds", "1"),
        ]
    )
    printed = capsys.readouterr().out
    assert "| method | accuracy (%) at 25, ours | published |" in printed
    assert "| random |" in printed

    net = script.make_protocol(3000).net | {"architecture": "small_cnn", "amp": False}
    stop = script.StopAtAccuracy(0.05)
    clf = CNNClassifier(**net | {"callbacks": [stop], "augment": False})
    X, y, (rows, _) = benchmark_module("_image_data").load_image_arrays(
        digits / "train", digits / "test", per_class=5
    )
    assert clf.fit(X[rows], y[rows]).n_iter_ < 300
    assert clf.history_[-1]["train_accuracy"] >= 0.05


def test_protocol_c_runs(benchmark_module, digits, tmp_path, capsys):
    script = benchmark_module("protocol_c")
    words = arguments(digits, tmp_path, "--results", str(tmp_path / "records"))
    script.main(
        [
            *(*words, "--held-out", "0", "--architecture", "small_cnn"),
            *("--methods", "random", "margin", "--device", "cpu", "--seeds", "1", "2"),
        ]
    )
    printed = capsys.readouterr().out
    assert "91.3300 ± 0.2300" in printed
    assert "margin is" in printed
    assert script.PROTOCOL.n_initial + 5 * script.PROTOCOL.query_size == 30000
    sidecar = (tmp_path / "protocol_c_toy.json").read_text(encoding="utf-8")
    assert " at 0x" not in sidecar


def test_protocol_a_is_the_published_one(benchmark_module):
    script = benchmark_module("protocol_a")
    for regime, size in (("low", 50), ("med", 250), ("high", 1000)):
        protocol = script.make_protocol(regime)
        assert (protocol.n_initial, protocol.query_size) == (size, size)
        assert protocol.n_rounds == 9  # ten trainings
        assert set(protocol.methods) == set(script.LUETH_SCRATCH[regime])
    groups = protocol.strategies_by_net(["random", "BALD", "BADGE"])
    assert [methods for methods, _ in groups] == [["random", "BADGE"], ["BALD"]]
    assert "dropout" not in groups[0][1]
    assert groups[1][1]["dropout"] == 0.5


def test_warm_up_then_cosine(benchmark_module):
    factor = benchmark_module("protocol_a").warm_up_then_cosine
    assert factor(0.0) == 0
    assert factor(0.025) == pytest.approx(0.5)
    assert factor(0.05) == pytest.approx(1)
    assert factor(0.525) == pytest.approx(0.5)
    assert factor(1.0) == pytest.approx(0, abs=1e-12)


def test_long_epochs_repeat_every_row_alike(benchmark_module, monkeypatch):
    script = benchmark_module("protocol_a")
    seen = {}

    def fit(self, X, y):
        seen.update(X=X, y=y)
        return self

    monkeypatch.setattr(script.CNNClassifier, "fit", fit)
    monkeypatch.setattr(script.LongEpochs, "MIN_DRAWS", 25)
    X = np.arange(10).reshape(10, 1)
    script.LongEpochs(max_epochs=3).fit(X, X[:, 0])
    assert np.bincount(seen["y"]).tolist() == [3] * 5 + [2] * 5
    np.testing.assert_array_equal(seen["X"][:, 0], seen["y"])
    assert script.LongEpochs(max_epochs=3).get_params()["max_epochs"] == 3


def test_held_out_images_are_nobodys(benchmark_module, digits):
    load = benchmark_module("_image_data").load_image_arrays
    X, y, (train, test) = load(digits / "train", digits / "test", per_class=5)
    assert X.shape == (100, 8, 8, 3)
    assert np.unique(y[train], return_counts=True)[1].tolist() == [5] * 10
    assert np.unique(y[test], return_counts=True)[1].tolist() == [5] * 10
    fewer, _, (rows, _) = load(digits / "train", digits / "test", 5, n_held_out=20)
    assert len(rows) == 30
    known = {image.tobytes() for image in X[train]}
    assert all(image.tobytes() in known for image in fewer[rows])
    with pytest.raises(ValueError, match="50 of 50 training images cannot be held out"):
        load(digits / "train", digits / "test", 5, n_held_out=50)
