"""Budgets and scores as reasons to stop; see test_active_learning for whole runs."""

import numpy as np
import pytest

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.stopping import Budget, PerformancePlateau, TargetScore


def history_of(scores):
    return [{"eval_accuracy": score} for score in scores]


def test_budget_counts_every_label():
    rule = Budget(50)
    assert rule.should_stop([{"n_labeled": 49}]) is None
    assert rule.should_stop([{"n_labeled": 50}]) == "the budget of 50 labels is spent"
    assert rule.limit([{"n_labeled": 45}], 10) == 5
    assert rule.limit([{"n_labeled": 20}], 10) == 10


def test_target_score_looks_at_the_last_round_only():
    rule = TargetScore(0.8, metric="f1_macro")
    history = [{"eval_f1_macro": 0.9}, {"eval_f1_macro": 0.7}]
    assert rule.should_stop(history) is None
    assert "reached" in rule.should_stop(history[:1])


@pytest.mark.parametrize(
    "rule", [TargetScore(0.8, "recall"), PerformancePlateau("recall")]
)
def test_scores_that_there_are_get_named(rule):
    history = [{"eval_accuracy": 0.9, "eval_seconds": 1.0}] * 5
    name = type(rule).__name__
    with pytest.raises(
        ValueError, match=rf"{name} needs .*'recall'.*round 0 has \['accuracy'\]"
    ):
        rule.should_stop(history)
    with pytest.raises(ValueError, match="round 0 has none"):
        rule.should_stop([{"n_labeled": 3}])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("patience", [1, 3])
def test_plateau_equals_its_definition(seed, patience):
    rng = np.random.RandomState(seed)
    scores = np.cumsum(rng.normal(0.01, 0.02, 12))
    for length in range(1, 13):
        part = scores[:length]
        # no score of the last rounds is above every earlier one by more than min_delta
        flat = length > patience and not any(
            all(late > early + 0.01 for early in part[:-patience])
            for late in part[-patience:]
        )
        found = PerformancePlateau(patience=patience, min_delta=0.01).should_stop(
            history_of(part)
        )
        assert (found is not None) == flat


def test_plateau_says_whether_the_score_fell():
    rule = PerformancePlateau(patience=2)
    assert "accuracy fell by 0.1 in 2 rounds" in rule.should_stop(
        history_of([0.5, 0.4, 0.3])
    )
    assert "rose by 0.004" in rule.should_stop(history_of([0.5, 0.504, 0.5]))


@pytest.mark.parametrize("rule", [TargetScore(0.86), PerformancePlateau(patience=2)])
def test_resumed_run_stops_in_the_same_round(rule, check_resume):
    check_resume(rule)


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (Budget(0), "n_labels"),
        (TargetScore("high"), "target"),
        (PerformancePlateau(patience=0), "patience"),
        (PerformancePlateau(min_delta=-1), "min_delta"),
        (PerformancePlateau(metric=3), "metric"),
    ],
)
def test_parameters_are_checked(rule, name, table):
    with pytest.raises(
        ValueError, match=rf"'{name}' parameter of {type(rule).__name__}"
    ):
        ActiveLearningClassifier(stopping=rule).fit(*table)
