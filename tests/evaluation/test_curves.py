"""The table of curves: what it holds, refuses, and computes."""

import json

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dalmax_sk.evaluation import BudgetCurves


def make_frame(strategies=("random_sampling", "badge"), splits=2, seeds=3, rounds=4):
    rng = np.random.RandomState(0)
    rows = [
        (strategy, split, seed, r, 10 + 5 * r, rng.rand())
        for strategy in strategies
        for split in range(splits)
        for seed in range(seeds)
        for r in range(rounds)
    ]
    names = ["strategy", "split", "seed", "round", "n_labeled", "score_accuracy"]
    frame = pd.DataFrame(rows, columns=names)
    frame["score_f1"] = frame["score_accuracy"] / 2
    frame["fit_seconds"] = 0.5
    return frame


def test_what_it_holds():
    curves = BudgetCurves(make_frame())
    assert curves.strategies == ["random_sampling", "badge"]
    assert curves.metrics == ["accuracy", "f1"]
    assert curves.seeds == [0, 1, 2]
    assert curves.splits == [0, 1]
    assert len(curves) == 2 * 2 * 3 * 4
    assert_array_equal(curves.budgets(), [10, 15, 20, 25])
    # costs that were not measured are there and NaN
    assert curves.frame["peak_bytes"].isna().all()
    assert (curves.frame["fit_seconds"] == 0.5).all()


def test_order_of_rows_does_not_matter():
    frame = make_frame()
    # the strategies' order is that of first appearance, so keep one row in front
    others = frame.iloc[1:].sample(frac=1, random_state=0)
    shuffled = BudgetCurves(pd.concat([frame.iloc[:1], others]))
    pd.testing.assert_frame_equal(shuffled.frame, BudgetCurves(frame).frame)


def test_score_seconds_is_no_metric():
    curves = BudgetCurves(make_frame().assign(score_seconds=1.0))
    assert curves.metrics == ["accuracy", "f1"]


def test_matrix_and_by_seed_against_loops():
    frame = make_frame()
    curves = BudgetCurves(frame)
    runs, budgets, values = curves.matrix("badge", "f1")
    assert runs == [(split, seed) for split in range(2) for seed in range(3)]
    for (split, seed), row in zip(runs, values, strict=True):
        for budget, value in zip(budgets, row, strict=True):
            here = frame[
                (frame.strategy == "badge")
                & (frame.split == split)
                & (frame.seed == seed)
                & (frame.n_labeled == budget)
            ]
            assert value == here["score_f1"].item()
    seeds, _, means = curves.by_seed("badge", "f1")
    assert_array_equal(seeds, [0, 1, 2])
    assert_allclose(means, (values[:3] + values[3:]) / 2)


def test_summary_is_over_seeds_not_runs():
    curves = BudgetCurves(make_frame())
    _, _, values = curves.by_seed("badge")
    table = curves.summary()
    assert list(table.index) == ["random_sampling", "badge"]
    assert_allclose(table.loc["badge", "mean"], values.mean(axis=0))
    assert_allclose(table.loc["badge", "std"], values.std(axis=0, ddof=1))


def test_summary_of_one_seed_has_no_spread():
    table = BudgetCurves(make_frame(seeds=1)).summary()
    assert table["std"].isna().all(axis=None)


def test_select():
    curves = BudgetCurves(make_frame())
    part = curves.select(["badge"], seeds=[2, 0], max_labels=15)
    assert part.strategies == ["badge"]
    assert part.seeds == [0, 2]
    assert_array_equal(part.budgets(), [10, 15])
    assert curves.select(["badge", "random_sampling"]).strategies[0] == "badge"
    assert len(curves.select()) == len(curves)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"strategies": ["bald"]}, "strategies: 'bald' not among the results"),
        ({"strategies": []}, "strategies is empty.* one of 'random_sampling', 'badge'"),
        ({"seeds": []}, "seeds is empty.* one of 0, 1, 2, or None to keep all"),
        ({"seeds": [7]}, "seeds: 7 not among the results, which have 0, 1, 2"),
        ({"max_labels": 3}, "max_labels=3 leaves nothing: the curves begin at 10"),
    ],
)
def test_select_refuses(choice, message):
    with pytest.raises(ValueError, match=message):
        BudgetCurves(make_frame()).select(**choice)


def test_csv_gives_the_same_back(tmp_path):
    curves = BudgetCurves(make_frame(("NA", 'null, "x"')))
    path = curves.to_csv(tmp_path / "curves.csv")
    pd.testing.assert_frame_equal(BudgetCurves.from_csv(path).frame, curves.frame)


def test_csv_that_is_none(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"x\.csv: .* lacks the columns strategy, spl"):
        BudgetCurves.from_csv(path)
    path.write_text("")
    with pytest.raises(ValueError, match="is not a table of curves"):
        BudgetCurves.from_csv(path)


def test_missing_columns_are_named():
    frame = make_frame().drop(columns=["seed", "score_accuracy", "score_f1"])
    with pytest.raises(ValueError, match="lacks the columns seed, score_<metric>; it"):
        BudgetCurves(frame)


def test_repeated_rows_are_named():
    frame = make_frame()
    chosen = (frame.seed == 1) & (frame["round"] == 2) & (frame.split == 0)
    twice = pd.concat([frame, frame[chosen]])
    with pytest.raises(ValueError, match=r"2 rows repeat .*\('badge', 0, 1, 2\)"):
        BudgetCurves(twice)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("n_labeled", np.nan, r"n_labeled must hold whole, finite numbers; rows 3 hol"),
        ("n_labeled", np.inf, r"n_labeled must hold whole, finite numbers; .*inf"),
        ("n_labeled", 11.5, r"n_labeled must hold whole, finite numbers; .*11\.5"),
        ("n_labeled", -1, r"n_labeled must not be negative; rows 3"),
        ("n_labeled", 10, r"n_labeled must grow .*\('random_sampling', 0, 0, 3\)"),
        ("seed", 0.5, r"seed must hold whole, finite numbers"),
        ("strategy", None, r"strategy must be a name in every row; rows 3"),
        ("score_accuracy", "high", r"score_accuracy must hold numbers: .*high"),
    ],
)
def test_entries_of_the_wrong_kind(column, value, message):
    frame = make_frame().astype({column: object})
    frame.loc[3, column] = value
    with pytest.raises(ValueError, match=message):
        BudgetCurves(frame)


def test_empty_and_no_frame():
    with pytest.raises(ValueError, match="has no rows"):
        BudgetCurves(make_frame().iloc[:0])
    with pytest.raises(ValueError, match="must be a DataFrame, got list"):
        BudgetCurves([1, 2])


def test_the_frame_given_is_left_alone():
    frame = make_frame()
    before = frame.copy()
    BudgetCurves(frame)
    pd.testing.assert_frame_equal(frame, before)


def test_runs_of_unequal_length():
    frame = make_frame()
    short = frame[~((frame.seed == 1) & (frame["round"] == 3))]
    curves = BudgetCurves(short)
    with pytest.raises(ValueError, match=r"'badge' do not have the same .*: 25 occur"):
        curves.matrix("badge")
    assert_array_equal(curves.budgets(), [10, 15, 20])
    assert curves.select(max_labels=20).matrix("badge")[2].shape == (6, 3)


def test_seeds_with_unequal_splits():
    frame = make_frame()
    part = BudgetCurves(frame[~((frame.seed == 1) & (frame.split == 0))])
    with pytest.raises(ValueError, match="same splits: seed 1 lacks 0"):
        part.by_seed("badge")
    assert part.select(seeds=[0, 2]).by_seed("badge")[2].shape == (2, 4)


def test_unknown_names():
    curves = BudgetCurves(make_frame())
    with pytest.raises(ValueError, match="strategy: 'bald' not among"):
        curves.matrix("bald")
    with pytest.raises(ValueError, match="metric: 'auc' not among"):
        curves.matrix("badge", "auc")


def test_html_is_escaped():
    html = BudgetCurves(make_frame(("<b>x</b>",)))._repr_html_()
    assert "<b>" not in html
    assert "&lt;b&gt;" in html


# ----------------------------------------------------------------- folders of train-al


def write_run(folder, strategy, seed, **config):
    path = folder / "active_learning" / strategy
    path.mkdir(parents=True)
    run = {
        "kind": "active learning on image folders",
        "format": 1,
        "seed": seed,
        "config": {"type": strategy, "seed": seed, "epochs": 5, **config},
        "data": {"train": {"sha256": "a"}, "test": {"sha256": "b"}},
    }
    (path / "run.json").write_text(json.dumps(run))
    (path / "history.csv").write_text(
        "round,n_labeled,query_seconds,fit_seconds,eval_accuracy,eval_seconds\n"
        f"0,10,0.0,1.5,0.5,0.25\n1,20,0.5,1.0,0.{6 + seed},0.25\n"
    )
    return path


def test_from_runs(tmp_path):
    first = write_run(tmp_path / "one", "badge", 0)
    write_run(tmp_path / "one", "random_sampling", 0)
    write_run(tmp_path / "two", "badge", 1)
    curves = BudgetCurves.from_runs([tmp_path / "one", tmp_path / "two"])
    assert curves.strategies == ["badge", "random_sampling"]
    assert curves.metrics == ["accuracy"]
    assert_allclose(curves.matrix("badge")[2], [[0.5, 0.6], [0.5, 0.7]])
    assert curves.frame["score_seconds"].eq(0.25).all()
    assert curves.splits == [0]
    assert len(BudgetCurves.from_runs(first)) == 2


def test_from_runs_refuses_what_does_not_compare(tmp_path):
    first = write_run(tmp_path / "one", "badge", 0)
    other = write_run(tmp_path / "two", "random_sampling", 0, epochs=9)
    with pytest.raises(ValueError, match=r"they differ in: epochs \(9 and 5\)"):
        BudgetCurves.from_runs([first, other])
    twin = write_run(tmp_path / "three", "badge", 0)
    with pytest.raises(ValueError, match="hold runs of one strategy and seed"):
        BudgetCurves.from_runs([first, twin])
    with pytest.raises(ValueError, match=r"holds no run of `dalmax train-al`"):
        BudgetCurves.from_runs([tmp_path])
    (other / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json is not valid JSON"):
        BudgetCurves.from_runs([other])
    with pytest.raises(ValueError, match="directories is empty"):
        BudgetCurves.from_runs([])


def test_history_csv_has_to_fit_run_json(tmp_path):
    # property: a number that changed in one of the two files is not compared
    path = write_run(tmp_path, "badge", 0)
    run = json.loads((path / "run.json").read_text())
    run["rounds"] = [
        {"round": r, "n_labeled": 10 + 10 * r, "metrics": {"accuracy": 0.5 + r / 10}}
        for r in range(3)  # killed before the last line of the table
    ]
    (path / "run.json").write_text(json.dumps(run))
    assert len(BudgetCurves.from_runs(path)) == 2
    table = (path / "history.csv").read_text()
    for old, new, words in (
        ("0.6", "0.9", "differ in eval_accuracy of round 1"),
        ("20", "21", "differ in n_labeled of round 1"),
        ("n_labeled", "n", "do not tell of the same rounds"),
        ("0.5,", "x,", "do not tell of the same rounds"),
    ):
        (path / "history.csv").write_text(table.replace(old, new))
        with pytest.raises(ValueError, match=words):
            BudgetCurves.from_runs(path)
