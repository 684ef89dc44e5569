"""Stop when a forecast says that a target is out of reach."""

import numpy as np
import pytest

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.evaluation import forecast
from dalmax_sk.stopping import ForecastRule

N = [50, 100, 150, 200, 250, 300, 350]


def history_of(scores, n_labeled=N):
    return [
        {"n_labeled": n, "eval_accuracy": score}
        for n, score in zip(n_labeled, scores, strict=False)
    ]


def saturating(ceiling):
    return ceiling - 4 * np.array(N, float) ** -0.8


def test_decides_as_the_forecast_does():
    rng = np.random.RandomState(0)
    decisions = set()
    for target in (0.85, 0.9, 0.92, 0.95, 0.99):
        scores = saturating(0.9) + rng.normal(0, 0.004, len(N))
        if scores[-1] >= target:
            continue
        found = forecast((N, scores), target, max_labels=2000)
        stop = ForecastRule(target, 2000).should_stop(history_of(scores))
        assert (stop is not None) == (found.reachable < 0.05)
        if stop is not None:
            assert stop == found.summary()
        decisions.add(stop is not None)
    assert decisions == {True, False}, "or this test is void"


def test_stops_at_the_target():
    rule = ForecastRule(0.8)
    assert rule.should_stop(history_of([0.7, 0.82])) == (
        "accuracy 0.82 reached the target 0.8"
    )
    # a lucky round before the last does not end the run
    scores = saturating(0.79)
    scores[2] = 0.81
    assert rule.should_stop(history_of(scores)) is None


def test_waits_for_enough_rounds():
    history = history_of(saturating(0.8))
    assert ForecastRule(1.0, 400).should_stop(history) is not None
    assert ForecastRule(1.0, 400).should_stop(history[:5]) is None
    assert ForecastRule(1.0, 400, min_rounds=7).should_stop(history[:6]) is None
    assert ForecastRule(1.0, 400, min_rounds=4).should_stop(history[:4]) is not None


def test_never_gives_up_without_a_chance_to_fall_below():
    history = history_of(saturating(0.8))
    assert ForecastRule(1.0, 400, min_chance=0).should_stop(history) is None


@pytest.mark.parametrize("scores", [[0.5] * 7, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]])
def test_goes_on_where_nothing_can_be_forecast(scores):
    assert ForecastRule(0.95).should_stop(history_of(scores)) is None


def test_corrections_count_once():
    # teach() with corrected labels fits again at the same number of labels
    scores = saturating(0.8)
    twice = history_of([*scores, scores[-1]], [*N, N[-1]])
    assert ForecastRule(0.95, 400).should_stop(twice) == (
        ForecastRule(0.95, 400).should_stop(history_of(scores))
    )


def test_scores_in_percent_need_max_score():
    history = history_of(100 * saturating(0.8))
    with pytest.raises(ValueError, match=r"above max_score=1.*pass max_score="):
        ForecastRule(95).should_stop(history)
    stop = ForecastRule(95, 400, max_score=100).should_stop(history)
    assert stop.startswith("accuracy 95 is not reachable within 400 labels")


def test_needs_an_evaluation_set(table):
    learner = ActiveLearningClassifier(stopping=ForecastRule(0.9), random_state=0)
    with pytest.raises(ValueError, match=r"ForecastRule needs .*Pass eval_set"):
        learner.fit(*table)


def test_resumed_run_stops_in_the_same_round(check_resume):
    learner = check_resume(ForecastRule(0.99, max_labels=160))
    assert "not reachable within 160 labels" in learner.stop_reason_


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"max_labels": 0}, "max_labels"),
        ({"min_chance": 1.0}, "min_chance"),
        ({"min_rounds": 3}, "min_rounds"),
        ({"metric": None}, "metric"),
        ({"max_score": "1"}, "max_score"),
    ],
)
def test_parameters_are_checked(params, name, table):
    rule = ForecastRule(0.9, **params)
    with pytest.raises(ValueError, match=rf"'{name}' parameter of ForecastRule"):
        ActiveLearningClassifier(stopping=rule).fit(*table)
