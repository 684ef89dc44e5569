"""Scores that are not numbers."""

import numpy as np
import pytest

from dalmax_sk.stopping import ForecastRule, PerformancePlateau

NAN = float("nan")


def history_of(scores):
    return [
        {"n_labeled": 10 * (i + 1), "eval_accuracy": score}
        for i, score in enumerate(scores)
    ]


@pytest.mark.parametrize(
    "scores", [[NAN, 0.5, 0.6, 0.7], [0.5, NAN, NAN, NAN], [0.7, 0.6, NAN, 0.5]]
)
def test_a_plateau_is_not_seen_in_scores_that_are_none(scores):
    assert PerformancePlateau(patience=3).should_stop(history_of(scores)) is None


def test_a_plateau_leaves_out_earlier_scores_that_are_none():
    found = PerformancePlateau(patience=2).should_stop(history_of([0.7, NAN, 0.6, 0.7]))
    assert found == "accuracy rose by 0 in 2 rounds, not more than 0.005"


def test_a_forecast_leaves_out_scores_that_are_none():
    n = np.arange(1, 13)
    scores = (0.7 - 0.5 * n**-0.8).tolist()
    rule = ForecastRule(0.95, max_labels=200)
    whole = rule.should_stop(history_of(scores))
    assert whole is not None
    scores[0] = NAN
    assert rule.should_stop(history_of(scores)) is not None
