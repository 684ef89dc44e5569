"""compare: what it finds, what it refuses, and how often it is wrong."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from dalmax_sk.evaluation import BudgetCurves, area_under_budget_curve, compare
from dalmax_sk.evaluation.statistics.comparison_columns import difference_columns
from dalmax_sk.evaluation.statistics.resampling import resample_weights
from dalmax_sk.evaluation.statistics.verdicts import Wording

WEIGHTS = resample_weights(5, 199, np.random.RandomState(0))
WORDING = Wording(
    metric="accuracy",
    is_fraction=True,
    baseline="random_sampling",
    target=0.8,
    target_is_final=True,
    first=100,
    last=600,
    confidence_level=0.95,
    power=0.8,
    test="t",
    correction="holm",
    n_comparisons=4,
)
NAMES = ["random_sampling", "badge", "core_set_selection", "typi_clust", "bait"]


def make_curves(gains=(0.0, 0.03), *, n_seeds=5, n_budgets=6, noise=0.01, seed=0):
    """Curves of strategies that differ by `gains` at the end, paired by seed."""
    return from_scores(make_scores(gains, n_seeds, n_budgets, noise, seed))


def make_scores(gains=(0.0, 0.03), n_seeds=5, n_budgets=6, noise=0.01, seed=0):
    rng = np.random.RandomState(seed)
    shape = (len(gains), n_seeds, n_budgets)
    rise = 1 - np.exp(-np.arange(n_budgets) / 2)  # (B,)
    scores = 0.5 + rise * (0.3 + np.array(gains)[:, None, None])
    scores = scores + rng.normal(0, 0.02, (n_seeds, 1))  # what a seed has in common
    scores = scores + rng.normal(0, noise, shape)
    scores[:, :, 0] = scores[:1, :, 0]  # one initial set
    return scores


def from_scores(scores, names=None, metric="accuracy"):
    names = NAMES[: len(scores)] if names is None else names
    grid = np.indices(scores.shape).reshape(3, -1)
    return BudgetCurves(
        pd.DataFrame(
            {
                "strategy": [names[i] for i in grid[0]],
                "split": 0,
                "seed": grid[1],
                "round": grid[2],
                "n_labeled": 100 * (grid[2] + 1),
                "fit_seconds": 1.0,
                "query_seconds": 0.5 * grid[0],
                f"score_{metric}": scores.ravel(),
            }
        )
    )


def row_of(comparison, strategy):
    return comparison.table.set_index("strategy").loc[strategy]


# ---------------------------------------------------------------------------- the table


def test_table_against_its_definitions():
    curves = make_curves((0.0, 0.03, -0.02, 0.001))
    comparison = compare(curves)
    areas = {}
    for name in curves.strategies:
        _, budgets, values = curves.by_seed(name)
        areas[name] = area_under_budget_curve(budgets, values)
        row = row_of(comparison, name)
        assert row["n_seeds"] == 5
        assert_allclose(row["aubc"], areas[name].mean())
        assert_allclose(row["final_score"], values[:, -1].mean())
        assert row["aubc_low"] < row["aubc"] < row["aubc_high"]
        assert row["fit_seconds"] == 1.0
    others = [name for name in curves.strategies if name != "random_sampling"]
    raw = []
    for name in others:
        row = row_of(comparison, name)
        test = stats.ttest_rel(areas[name], areas["random_sampling"])
        raw.append(test.pvalue)
        assert_allclose(row["p_value"], test.pvalue)
        difference = (areas[name] - areas["random_sampling"]).mean()
        assert_allclose(row["aubc_difference"], difference)
        assert row["difference_low"] < difference < row["difference_high"]
        # the bootstrap interval is near Student's, which it corrects towards
        student = test.confidence_interval(0.95)
        width = student.high - student.low
        assert 0.7 < (row["difference_high"] - row["difference_low"]) / width < 1.3
    wanted = np.empty(3)
    wanted[np.argsort(raw)] = np.maximum.accumulate(np.sort(raw) * [3, 2, 1])
    found = [row_of(comparison, name)["p_adjusted"] for name in others]
    assert_allclose(found, np.minimum(wanted, 1))
    assert comparison.table["aubc"].is_monotonic_decreasing
    verdicts = comparison.table.set_index("strategy")["verdict"].to_dict()
    assert verdicts == {
        "badge": "better",
        "random_sampling": "baseline",
        "core_set_selection": "worse",
        "typi_clust": "undecided",
    }


def test_baseline_row_compares_with_nothing():
    row = row_of(compare(make_curves()), "random_sampling")
    empty = [
        "aubc_difference",
        "difference_low",
        "difference_high",
        "p_value",
        "p_adjusted",
        "more_seeds",
        "label_saving",
        "saving_low",
        "saving_high",
        "saving_ratio",
    ]
    assert row[empty].isna().all()
    assert np.isfinite(row["labels_to_target"])


def test_labels_to_target_by_hand():
    # both rise in straight lines: random 0.5 -> 0.9 over 100 -> 500 labels, badge twice
    # as fast; the seeds differ by a constant, so every resample tells the same
    budgets = np.arange(5)
    curve = np.stack([0.5 + 0.1 * budgets, np.minimum(0.5 + 0.2 * budgets, 0.95)])
    scores = curve[:, None, :] + np.array([0, 0.005, 0.01, 0.015, 0.02])[:, None]
    comparison = compare(from_scores(scores))
    assert_allclose(comparison.target, 0.91)
    row = row_of(comparison, "badge")
    # 0.91 of the mean curve, which starts at 0.51: two steps of 0.2 of 100 labels
    assert_allclose(row["labels_to_target"], 300)
    assert_allclose(row["label_saving"], 200)
    assert_allclose(row["saving_ratio"], 0.4)
    assert_allclose([row["saving_low"], row["saving_high"]], 200)
    assert_allclose(row_of(comparison, "random_sampling")["labels_to_target"], 500)

    fixed = compare(from_scores(scores), target=0.61)
    assert_allclose(row_of(fixed, "badge")["labels_to_target"], 150)
    # seeds from 0.6 to 0.62 at 150 labels: the resamples spread around that
    assert row_of(fixed, "badge")["labels_low"] < 150
    assert row_of(fixed, "badge")["labels_high"] > 150


def test_few_seeds_have_no_interval_of_labels():
    comparison = compare(make_curves((0.0, 0.06), n_seeds=4))
    row = row_of(comparison, "badge")
    assert np.isfinite(row["label_saving"])
    ends = ["labels_low", "labels_high", "saving_low", "saving_high"]
    assert row[ends].isna().all()
    assert "%; too few seeds for an interval)" in comparison.verdicts["badge"]
    assert np.isfinite(row["difference_low"])
    lower = compare(make_curves((0.0, 0.06), n_seeds=4), confidence_level=0.8)
    assert np.isfinite(row_of(lower, "badge")["saving_low"])


def test_a_target_that_is_not_reached():
    comparison = compare(make_curves((0.0, 0.1)), target=0.85)
    badge, random = (row_of(comparison, n) for n in ("badge", "random_sampling"))
    assert np.isfinite(badge["labels_to_target"])
    assert random["labels_to_target"] == badge["label_saving"] == np.inf
    assert np.isnan(badge["saving_ratio"])
    assert "random_sampling does not within 600" in comparison.verdicts["badge"]

    comparison = compare(make_curves((0.0, -0.1)))
    assert row_of(comparison, "badge")["label_saving"] == -np.inf
    assert "It does not reach random_sampling's final" in comparison.verdicts["badge"]

    comparison = compare(make_curves(), target=0.99)
    assert np.isnan(row_of(comparison, "badge")["label_saving"])
    assert "Neither reaches 99.0 % within 600" in comparison.verdicts["badge"]


def test_splits_of_a_seed_are_averaged():
    # property: two splits a seed weigh as their mean, not as two observations
    scores = np.stack([s.reshape(2, 5, 6) for s in _two_by_five()])  # (2 splits, ...)
    frames = [from_scores(s).frame.assign(split=i) for i, s in enumerate(scores)]
    both = compare(BudgetCurves(pd.concat(frames)))
    mean = compare(from_scores(scores.mean(axis=0)))
    pd.testing.assert_frame_equal(both.table, mean.table)


def _two_by_five():
    rng = np.random.RandomState(1)
    return np.sort(rng.uniform(0.4, 0.9, size=(2, 2, 5, 6)), axis=-1)


def test_penalty_leaves_out_the_initial_set():
    scores = np.full((2, 3, 3), 0.5)
    scores[1] += np.array([0.1, 0.0, 0.1]) + np.array([0, 0.01, 0.02])[:, None]
    comparison = compare(from_scores(scores))
    # of the two budgets after the initial set, one is decided
    t = np.sqrt(3) * 0.01 / 0.01
    assert t < stats.t.isf(0.025, 2)
    assert comparison.penalty_matrix.loc["badge", "random_sampling"] == 0.5
    assert_allclose(comparison.penalty["random_sampling"], 0.5)
    assert_allclose(comparison.penalty["badge"], 0)


def test_penalty_keeps_a_first_budget_that_is_no_initial_set():
    scores = np.full((2, 3, 3), 0.5)
    scores[1] += np.array([0.1, 0.0, 0.0]) + np.array([0, 0.01, 0.02])[:, None]
    curves = from_scores(scores)
    assert compare(curves).penalty_matrix.loc["badge", "random_sampling"] == 0
    later = BudgetCurves(curves.frame.assign(round=curves.frame["round"] + 1))
    found = compare(later).penalty_matrix.loc["badge", "random_sampling"]
    assert_allclose(found, 1 / 3)
    # one run that was there a round later is enough
    mixed = curves.frame.copy()
    one = (mixed["strategy"] == "badge") & (mixed["seed"] == 2)
    mixed.loc[one, "round"] += 1
    found = compare(BudgetCurves(mixed)).penalty_matrix.loc["badge", "random_sampling"]
    assert_allclose(found, 1 / 3)


def test_ranks_and_groups():
    curves = make_curves((0.0, 0.1, 0.05, -0.1), noise=0.001)
    comparison = compare(curves)
    order = ["badge", "core_set_selection", "random_sampling", "typi_clust"]
    assert list(comparison.ranks.columns) == order
    assert comparison.ranks.index.tolist() == [0, 1, 2, 3, 4]
    assert_allclose(comparison.ranks.mean(), [1, 2, 3, 4])
    # 2.569 * sqrt(4 * 5 / 30) = 2.0976: three ranks are told apart, two are not
    assert_allclose(comparison.critical_difference, 2.0976, atol=1e-3)
    assert comparison.groups == [order[:3], order[1:]]
    areas = comparison.table.set_index("strategy")["mean_rank"]
    assert_allclose(areas[order], [1, 2, 3, 4])


def test_another_metric_and_baseline():
    curves = make_curves()
    frame = curves.frame.assign(score_log_likelihood=curves.frame["score_accuracy"] - 2)
    comparison = compare(
        BudgetCurves(frame), "badge", metric="log_likelihood", correction=None
    )
    assert comparison.metric == "log_likelihood"
    assert row_of(comparison, "random_sampling")["verdict"] == "worse"
    sentence = comparison.verdicts["random_sampling"]
    # no percent for a score that is no fraction
    assert "of log likelihood" in sentence
    assert "points" not in sentence
    assert "uncorrected" in sentence


def test_repeatable_and_without_global_state():
    curves = make_curves((0.0, 0.02, 0.01), n_seeds=7)
    before = np.random.get_state()[1].copy()
    first = compare(curves, test="permutation", n_bootstrap=500)
    second = compare(curves, test="permutation", n_bootstrap=500)
    pd.testing.assert_frame_equal(first.table, second.table)
    assert (np.random.get_state()[1] == before).all()


# ------------------------------------------------------------------------ the sentences


def test_sentence_of_a_better_strategy():
    comparison = compare(make_curves((0.0, 0.06, 0.0)))
    row = row_of(comparison, "badge")
    sentence = comparison.verdicts["badge"]
    points = f"+{100 * row['aubc_difference']:.1f} points of accuracy"
    assert sentence.startswith(f"badge is better than random_sampling: {points} on")
    assert "over 100 to 600 labels (95 % interval +" in sentence
    assert "Holm-corrected for 2 strategies" in sentence
    assert f"{row['label_saving']:,.0f} fewer than random_sampling" in sentence
    assert f"({100 * row['saving_ratio']:.0f} %; 95 % interval" in sentence
    assert list(comparison.verdicts) == comparison.table["strategy"].tolist()
    assert comparison.verdicts["random_sampling"].startswith(
        "random_sampling is the baseline: "
    )


def test_sentence_of_an_undecided_strategy():
    comparison = compare(make_curves((0.0, 0.006), seed=3))
    row = row_of(comparison, "badge")
    assert row["verdict"] == "undecided"
    assert row["more_seeds"] >= 1
    sentence = comparison.verdicts["badge"]
    assert "badge is undecided against random_sampling" in sentence
    assert f"about {row['more_seeds']:.0f} more seeds would decide it" in sentence
    assert "80 %" in sentence


def test_sentence_when_the_correction_decides():
    # badge alone would be significant; among ten strategies it is not
    rng = np.random.RandomState(0)
    scores = 0.5 + 0.05 * np.arange(4) + rng.normal(0, 0.002, size=(11, 5, 4))
    names = ["random_sampling", "badge", *(f"other_{i}" for i in range(9))]
    scores[1] = scores[0] + np.array([0, 1, 2, 1, 2])[:, None] / 1000
    comparison = compare(from_scores(scores, names))
    row = row_of(comparison, "badge")
    assert row["p_value"] < 0.05 < row["p_adjusted"]
    sentence = comparison.verdicts["badge"]
    assert "is undecided" in sentence
    assert "leaves out 0; among 10 strategies that is not enough" in sentence


def test_differences_without_variation():
    scores = 0.5 + 0.1 * np.arange(3) + np.zeros((3, 4, 1))
    scores[2] += 0.01
    comparison = compare(from_scores(scores))
    assert comparison.table["verdict"].tolist().count("undecided") == 2
    assert "Both areas are the same at all seeds" in comparison.verdicts["badge"]
    assert "there is no t-test" in comparison.verdicts["core_set_selection"]


@pytest.mark.parametrize("test", ["wilcoxon", "permutation"])
def test_equal_differences_need_seeds_for_tests_of_signs(test):
    scores = 0.5 + 0.1 * np.arange(3) + np.zeros((2, 5, 1))
    scores[1] += 0.01
    comparison = compare(from_scores(scores), test=test)
    # 2 / 2**6 is the first below 0.05
    assert row_of(comparison, "badge")["more_seeds"] == 1
    assert "about 1 more seed would decide it" in comparison.verdicts["badge"]
    scores = np.concatenate([scores, scores[:, :1]], axis=1)
    decided = compare(from_scores(scores), test=test)
    assert row_of(decided, "badge")["verdict"] == "better"


def test_equal_areas_of_other_curves_are_not_called_equal_curves():
    scores = np.array([[0.6, 0.6, 0.6], [0.5, 0.6, 0.7]])[:, None] + np.zeros((4, 1))
    sentence = compare(from_scores(scores)).verdicts["badge"]
    assert "Both areas are the same" in sentence
    assert "curves" not in sentence


def test_a_target_reached_at_first_and_lost_again():
    base = np.array([0.6, 0.4, 0.7]) + np.arange(5)[:, None] / 1000
    comparison = compare(from_scores(np.stack([base, base - [0, 0.05, 0]])), target=0.5)
    sentence = comparison.verdicts["badge"]
    assert "It is at 50.0 % with the first 100 labels already" in sentence
    assert "labels on" not in sentence


def test_more_seeds_follow_holms_order():
    # property: of undecided strategies none needs fewer seeds than one before it
    rng = np.random.RandomState(1)
    lower = 0
    for _ in range(40):
        areas = 0.6 + rng.normal(0, 0.01, size=(5, 5))
        areas[1:] += np.array([0.02, 0.019, 0.018, 0.017])[:, None]
        columns = difference_columns(areas, 0, WEIGHTS, WORDING, 199, rng)
        order = np.argsort(columns["p_value"][1:])
        more = columns["more_seeds"][1:][order]
        more = more[~np.isnan(more)]
        assert (more[1:] >= more[:-1]).all()
        lower += len(more) > 1 and more[0] == more[1]
    assert lower > 0  # the order did matter


def test_few_resamples_have_no_interval_of_labels():
    comparison = compare(make_curves((0.0, 0.06), n_seeds=6), n_bootstrap=199)
    row = row_of(comparison, "badge")
    ends = ["labels_low", "labels_high", "saving_low", "saving_high"]
    assert row[ends].isna().all()
    assert "%; too few resamples for an interval)" in comparison.verdicts["badge"]
    enough = compare(make_curves((0.0, 0.06), n_seeds=6), n_bootstrap=999)
    assert row_of(enough, "badge")[ends].notna().all()


def test_no_number_of_seeds_decides_nothing():
    rng = np.random.RandomState(0)
    scores = 0.5 + 0.1 * np.arange(3) + rng.normal(0, 0.01, size=(2, 6, 3))
    scores[1, :3], scores[1, 3:] = scores[0, :3] + 0.01, scores[0, 3:] - 0.01
    scores[1, 0] += 0.0001
    comparison = compare(from_scores(scores))
    assert row_of(comparison, "badge")["more_seeds"] == np.inf
    sentence = comparison.verdicts["badge"]
    assert "more than 50 more seeds to decide it, more than is practical" in sentence
    assert "treat the two as equal" in sentence


def test_summary_html_and_files(tmp_path):
    scores = make_curves((0.0, 0.03)).frame["score_accuracy"].to_numpy()
    curves = from_scores(scores.reshape(2, 5, 6), ["random_sampling", "<b>&badge"])
    comparison = compare(curves)
    text = comparison.summary()
    assert all(sentence in text for sentence in comparison.verdicts.values())
    assert "2 strategies, 5 seeds, accuracy over 100 to 600 labels" in text
    html = comparison._repr_html_()
    assert "<b>&badge" not in html
    assert "&lt;b&gt;&amp;badge" in html
    assert "1 better" in repr(comparison)

    files = comparison.to_csv(tmp_path / "new")
    assert [file.name for file in files] == [
        "comparison.csv",
        "penalty_matrix.csv",
        "ranks.csv",
        "verdicts.txt",
    ]
    table = pd.read_csv(files[0])
    pd.testing.assert_frame_equal(table, comparison.table, check_dtype=False)
    ranks = pd.read_csv(files[2], index_col=0)
    pd.testing.assert_frame_equal(ranks, comparison.ranks)
    assert files[3].read_text(encoding="utf-8") == text + "\n"


# --------------------------------------------------------------------------- refusals


def test_one_seed_is_refused():
    with pytest.raises(ValueError, match=r"one seed only \(0\).*curves\.summary\(\)"):
        compare(make_curves(n_seeds=1))


def test_missing_baseline_is_refused():
    curves = make_curves()
    with pytest.raises(ValueError, match=r"'bagde' is not.*Did you mean 'badge'\?"):
        compare(curves, "bagde")
    with pytest.raises(ValueError, match=r"have 'random_sampling', 'badge'\.$"):
        compare(curves, "xyz")
    # a strategy alone is no baseline either
    with pytest.raises(ValueError, match=r"which have 'margin_sampling'\.$"):
        compare(from_scores(make_scores((0.0,)), ["margin_sampling"]))
    with pytest.raises(ValueError, match="nothing to compare"):
        compare(curves.select(["badge"]), "badge")
    with pytest.raises(ValueError, match=r"metric: 'recall' .* have 'accuracy'"):
        compare(curves, metric="recall")


def test_unequal_seeds_are_refused_or_left_out():
    frame = make_curves((0.0, 0.03, 0.02), n_seeds=6).frame
    lacking = (frame["strategy"] == "badge") & frame["seed"].isin([1, 4])
    lacking |= (frame["strategy"] == "random_sampling") & (frame["seed"] == 5)
    curves = BudgetCurves(frame[~lacking])
    lacks = r"'random_sampling' lacks seed 5; 'badge' lacks seeds 1, 4\."
    with pytest.raises(ValueError, match=f"{lacks}.*intersect"):
        compare(curves)
    comparison = compare(curves, on_unequal="intersect")
    assert comparison.ranks.index.tolist() == [0, 2, 3]
    assert comparison.curves.seeds == [0, 2, 3]
    wanted = compare(BudgetCurves(frame).select(seeds=[0, 2, 3]))
    pd.testing.assert_frame_equal(comparison.table, wanted.table)


def test_unequal_splits_are_refused():
    frame = make_curves().frame
    more = frame[frame["strategy"] == "badge"].assign(split=1)
    curves = BudgetCurves(pd.concat([frame, more[more["seed"] < 2]]))
    with pytest.raises(
        ValueError, match=r"'random_sampling' lacks \(split, seed\) \(1, 0\), \(1, 1\)"
    ):
        compare(curves)
    comparison = compare(curves, on_unequal="intersect")
    pd.testing.assert_frame_equal(comparison.table, compare(BudgetCurves(frame)).table)


def interrupted(runs, n_splits=2):
    """Curves of two strategies that both have only these (split, seed)."""
    frame = make_curves(n_seeds=4).frame
    frames = [frame.assign(split=split) for split in range(n_splits)]
    frame = pd.concat(frames)
    keys = zip(frame["split"], frame["seed"], strict=True)
    return BudgetCurves(frame[[key in runs for key in keys]])


def test_seeds_with_unequal_splits_are_left_out():
    # an experiment that was cut off: seed 3 has the first split only
    runs = {(split, seed) for split in range(2) for seed in range(4)} - {(1, 3)}
    curves = interrupted(runs)
    with pytest.raises(ValueError, match="seed 3 lacks 1"):
        compare(curves)
    comparison = compare(curves, on_unequal="intersect")
    assert comparison.ranks.index.tolist() == [0, 1, 2]
    expected = compare(curves.select(seeds=[0, 1, 2]))
    pd.testing.assert_frame_equal(comparison.table, expected.table)


def test_no_seed_with_all_splits_is_refused():
    curves = interrupted({(0, 0), (1, 1), (0, 2), (1, 3)})
    message = r"No seed has all the splits 0, 1: .*\(0, 0\), \(0, 2\), \(1, 1\), "
    with pytest.raises(ValueError, match=message):
        compare(curves, on_unequal="intersect")


def test_unequal_budgets_are_refused_or_left_out():
    frame = make_curves().frame
    long = (frame["strategy"] == "badge") & (frame["round"] > 3)
    curves = BudgetCurves(frame[~long])
    with pytest.raises(ValueError, match=r"'badge' lacks 500, 600.*intersect"):
        compare(curves)
    comparison = compare(curves, on_unequal="intersect")
    wanted = compare(BudgetCurves(frame).select(max_labels=400))
    pd.testing.assert_frame_equal(comparison.table, wanted.table)


def test_nothing_in_common_is_refused():
    frame = make_curves().frame
    badge = frame["strategy"] == "badge"
    other_seeds = frame.assign(seed=frame["seed"] + 10 * badge)
    with pytest.raises(ValueError, match="no run"):
        compare(BudgetCurves(other_seeds), on_unequal="intersect")
    other_labels = frame.assign(n_labeled=frame["n_labeled"] + 7 * badge)
    with pytest.raises(ValueError, match="no number of labels"):
        compare(BudgetCurves(other_labels), on_unequal="intersect")
    with pytest.raises(ValueError, match=r"only \[100\] labels in common"):
        compare(make_curves().select(max_labels=100))


@pytest.mark.parametrize(
    ("target", "hint"),
    [(90, r" Did you mean 0\.9\?$"), (1.5, "0.015"), (200, r"fractions of 1\.$")],
)
def test_a_target_in_percent_of_fractions_is_refused(target, hint):
    with pytest.raises(ValueError, match=f"target={target} .*lie between 0.*{hint}"):
        compare(make_curves(), target=target)


def test_a_target_above_all_scores_is_no_error():
    assert np.isinf(row_of(compare(make_curves(), target=1), "badge").labels_to_target)
    percent = from_scores(100 * make_scores())
    assert compare(percent, target=90).target == 90


def test_scores_that_are_not_finite_are_refused():
    frame = make_curves().frame
    hole = (frame["strategy"] == "badge") & (frame["seed"] == 2) & (frame["round"] == 3)
    frame.loc[hole, "score_accuracy"] = np.nan
    with pytest.raises(ValueError, match=r"'badge'.*seed 2 with 400 labels"):
        compare(BudgetCurves(frame))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("test", "sign"),
        ("correction", "fdr"),
        ("confidence_level", 1.0),
        ("power", 0.1),
        ("n_bootstrap", 10),
        ("on_unequal", "ignore"),
        ("target", "high"),
        ("baseline", None),
    ],
)
def test_parameters_are_checked(name, value):
    with pytest.raises(ValueError, match=f"'{name}' parameter of compare"):
        compare(make_curves(), **{name: value})


# ---------------------------------------------------------------- how often it is wrong


def verdicts_of(rng, gain):
    """Verdicts on four strategies, of which the first gains, by compare's own code."""
    areas = 0.6 + rng.normal(0, 0.01, size=5) + rng.normal(0, 0.01, size=(5, 5))
    areas[1] += gain
    columns = difference_columns(areas, 0, WEIGHTS, WORDING, 199, rng)
    return columns["verdict"][1:]


def test_false_verdicts_are_as_rare_as_promised():
    # property: with no true difference, at most 5 % of experiments with four strategies
    # have any "better" or "worse" (400 experiments; binomial bounds of 99.9 %)
    rng = np.random.RandomState(0)
    false = sum(not (verdicts_of(rng, 0.0) == "undecided").all() for _ in range(400))
    # Holm's bound is no equality: tests that share the baseline are correlated
    assert 0.01 * 400 <= false <= stats.binom.isf(0.001, 400, 0.05)


def test_big_differences_are_found():
    rng = np.random.RandomState(0)
    found = sum(verdicts_of(rng, 0.06)[0] == "better" for _ in range(100))
    assert found >= 90


# ------------------------------------------------------------ seeds that are not paired


def renumbered(curves, shift=100, drop=0):
    """The same curves, the seeds of every strategy but the first with other numbers."""
    frame = curves.frame.copy()
    place = frame["strategy"].map(curves.strategies.index)
    frame = frame[(place == 0) | (frame["seed"] >= drop)]
    frame["seed"] += shift * place
    return BudgetCurves(frame)


@pytest.mark.parametrize("drop", [0, 2])
def test_unpaired_table_against_its_definitions(drop):
    curves = renumbered(make_curves((0.0, 0.03, -0.02, 0.001), n_seeds=6), drop=drop)
    comparison = compare(curves, paired=False)
    areas = {}
    for name in curves.strategies:
        _, budgets, values = curves.by_seed(name)
        areas[name] = area_under_budget_curve(budgets, values)
        assert row_of(comparison, name)["n_seeds"] == len(values)
    others = curves.strategies[1:]
    raw = []
    for name in others:
        row = row_of(comparison, name)
        welch = stats.ttest_ind(areas[name], areas["random_sampling"], equal_var=False)
        raw.append(welch.pvalue)
        assert_allclose(row["p_value"], welch.pvalue)
        difference = areas[name].mean() - areas["random_sampling"].mean()
        assert_allclose(row["aubc_difference"], difference)
        # the bootstrap interval is near Welch's, which it corrects towards
        wanted = welch.confidence_interval(0.95)
        assert (
            0.8
            < (row["difference_high"] - row["difference_low"])
            / (wanted.high - wanted.low)
            < 1.25
        )
        assert row["difference_low"] < difference < row["difference_high"]
    wanted = np.empty(3)
    wanted[np.argsort(raw)] = np.maximum.accumulate(np.sort(raw) * [3, 2, 1])
    found = [row_of(comparison, name)["p_adjusted"] for name in others]
    assert_allclose(found, np.minimum(wanted, 1))
    assert not len(comparison.ranks)
    assert comparison.groups == []
    assert np.isnan([comparison.friedman_p, comparison.critical_difference]).all()
    assert comparison.table["mean_rank"].isna().all()
    repeated = compare(curves, paired=False)
    pd.testing.assert_frame_equal(repeated.table, comparison.table)


def test_unpaired_penalty_is_welchs():
    curves = renumbered(make_curves((0.0, 0.06), n_seeds=6), drop=1)
    _, _, ours = curves.by_seed("badge")
    _, _, theirs = curves.by_seed("random_sampling")
    wins = [
        welch.pvalue < 0.05 and welch.statistic > 0
        for b in range(1, 6)
        for welch in [stats.ttest_ind(ours[:, b], theirs[:, b], equal_var=False)]
    ]
    matrix = compare(curves, paired=False).penalty_matrix
    assert matrix.loc["badge", "random_sampling"] == np.mean(wins)


def test_unpaired_sentences_name_the_test(tmp_path):
    curves = renumbered(make_curves((0.0, 0.001, 0.1), n_seeds=3), drop=1)
    comparison = compare(curves, paired=False)
    summary = comparison.summary()
    assert "3 strategies, 2 to 3 seeds each" in summary
    for name in curves.strategies[1:]:
        sentence = comparison.verdicts[name]
        assert "seeds not paired: Welch's t-test, two-sample bootstrap" in sentence
    assert "Mean ranks" not in summary
    assert "paired t-test" not in summary
    assert not comparison.paired
    names = {path.name for path in comparison.to_csv(tmp_path)}
    assert names == {"comparison.csv", "penalty_matrix.csv", "verdicts.txt"}


# What the seeds have in common is noise when they are not paired: nothing is found
# where pairing finds it, and false verdicts stay rare.
def test_unpaired_needs_more():
    curves = make_curves((0.0, 0.02), noise=0.001)
    assert row_of(compare(curves), "badge")["verdict"] == "better"
    row = row_of(compare(curves, paired=False), "badge")
    assert row["verdict"] == "undecided"
    assert row["more_seeds"] >= 1


def test_unpaired_refuses_what_it_cannot_test():
    curves = renumbered(make_curves(n_seeds=3), drop=2)
    with pytest.raises(
        ValueError, match=r"'badge' has one seed only \(102\), and pair"
    ):
        compare(curves, paired=False)
    curves = renumbered(make_curves())
    with pytest.raises(ValueError, match="with paired=False only test='t' is possible"):
        compare(curves, paired=False, test="wilcoxon")
    with pytest.raises(ValueError, match=r"paired=False to compare by Welch's t-test"):
        compare(curves)
    with pytest.raises(ValueError, match=r"no run .* in common. Pass paired=False"):
        compare(curves, on_unequal="intersect")
    frame = curves.frame
    short = frame[(frame["strategy"] != "badge") | (frame["n_labeled"] < 500)]
    with pytest.raises(ValueError, match="'badge' lacks 500, 600"):
        compare(BudgetCurves(short), paired=False)
    found = compare(BudgetCurves(short), paired=False, on_unequal="intersect")
    assert found.wording.last == 400


def test_unpaired_samples_without_variation():
    scores = np.array([[0.5, 0.6, 0.7], [0.5, 0.65, 0.8], [0.5, 0.6, 0.7]])
    curves = from_scores(np.repeat(scores[:, None], 4, axis=1))
    comparison = compare(curves, paired=False)
    row = row_of(comparison, "badge")
    assert row["verdict"] == "undecided"
    assert np.isnan(row["p_value"])
    assert (
        "no test: the areas are the same at all seeds" in comparison.verdicts["badge"]
    )
    assert row_of(comparison, "core_set_selection")["p_value"] == 1.0


def test_files_hold_no_infinity_and_no_fractions_of_rounding(tmp_path):
    budgets = np.arange(4)
    curve = np.stack([0.5 + 0.1 * budgets, 0.5 + 0.01 * budgets])
    rng = np.random.RandomState(0)
    scores = curve[:, None] + 0.003 * rng.randn(1, 5, 4)
    comparison = compare(from_scores(scores))
    assert row_of(comparison, "badge")["label_saving"] == -np.inf
    assert row_of(comparison, "random_sampling")["labels_to_target"] == 400.0
    comparison.to_csv(tmp_path)
    text = (tmp_path / "comparison.csv").read_text("utf-8")
    assert "inf" not in text
    assert ",400.0," in text
