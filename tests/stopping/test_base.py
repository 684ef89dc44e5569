"""Rules in general, and several at once."""

import pytest
from sklearn.base import clone

from dalmax_sk import ActiveLearningClassifier, stopping
from dalmax_sk.stopping import (
    AllOf,
    Budget,
    OverallUncertainty,
    StoppingRule,
    TargetScore,
)

RULES = [
    AllOf([Budget(10)]),
    Budget(10),
    TargetScore(0.9),
    *(
        getattr(stopping, name)()
        for name in stopping.__all__
        if name
        not in ("AllOf", "Budget", "ForecastRule", "StoppingRule", "TargetScore")
    ),
    stopping.ForecastRule(0.9),
]


def test_a_rule_must_say_when():
    with pytest.raises(NotImplementedError):
        StoppingRule().should_stop([])


def test_a_rule_needs_no_look_at_the_pool():
    assert StoppingRule().observe(None) == {}
    assert StoppingRule().limit([], 7) == 7


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_rules_are_estimators(rule):
    # every parameter has a constraint, survives clone, and the defaults are valid
    copy = clone(rule)
    assert repr(copy) == repr(rule)
    assert set(rule._parameter_constraints) == set(rule.get_params(deep=False))
    copy._validate_params()


def test_all_of_waits_for_the_last():
    rule = AllOf([Budget(50), TargetScore(0.8)])
    assert rule.should_stop([{"n_labeled": 60, "eval_accuracy": 0.7}]) is None
    assert rule.should_stop([{"n_labeled": 40, "eval_accuracy": 0.9}]) is None
    assert rule.should_stop([{"n_labeled": 60, "eval_accuracy": 0.9}]) == (
        "the budget of 50 labels is spent; accuracy 0.9 reached the target 0.8"
    )


def test_all_of_takes_functions():
    rule = AllOf([lambda history: len(history) > 1, Budget(5)])
    assert rule.should_stop([{"n_labeled": 9}]) is None
    assert rule.should_stop([{}, {"n_labeled": 9}]) == (
        "a function says so; the budget of 5 labels is spent"
    )
    assert rule.limit([{"n_labeled": 9}], 4) == 4


def test_all_of_allows_what_its_most_generous_rule_allows():
    history = [{"n_labeled": 95}]
    assert AllOf([Budget(100), Budget(98)]).limit(history, 10) == 5
    # a budget that is spent holds no other rule back
    assert AllOf([Budget(90), Budget(98)]).limit(history, 10) == 3


def test_all_of_in_a_run(table):
    X, y = table
    rule = AllOf([Budget(50), OverallUncertainty(0.9)])
    learner = ActiveLearningClassifier(
        n_initial=20, query_size=20, n_rounds=6, stopping=rule, random_state=0
    ).fit(X, y)
    assert learner.history_[-1]["n_labeled"] == 60
    assert all("overall_uncertainty" in record for record in learner.history_)


def test_all_of_resumes(check_resume):
    check_resume(AllOf([Budget(60), OverallUncertainty(0.6)]))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([], "at least one rule"),
        ([3], "must hold rules of dalmax_sk.stopping or functions.*got 3"),
        ([Budget(0)], "'n_labels' parameter of Budget"),
        (Budget(3), "'rules' parameter of AllOf"),
    ],
)
def test_all_of_checks_its_rules(rules, message, table):
    with pytest.raises(ValueError, match=message):
        ActiveLearningClassifier(stopping=AllOf(rules)).fit(*table)


def test_rules_say_whether_they_read_scores():
    # property: a combination reads scores if and only if one of its rules does
    assert TargetScore(0.9).reads_scores
    assert not Budget(10).reads_scores
    assert AllOf([Budget(10), AllOf([TargetScore(0.9)])]).reads_scores
    assert not AllOf([Budget(10), lambda history: True]).reads_scores
