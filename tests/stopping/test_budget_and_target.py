"""Stopping rules by themselves; their effect on a run is in test_active_learning."""

import pytest

from dalmax_sk.stopping import Budget, StoppingRule, TargetScore


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


def test_target_score_names_the_scores_there_are():
    with pytest.raises(ValueError, match=r"'recall'.*records \['accuracy'\]"):
        TargetScore(0.8, metric="recall").should_stop([{"eval_accuracy": 0.9}])


def test_a_rule_must_say_when():
    with pytest.raises(NotImplementedError):
        StoppingRule().should_stop([])
