"""Scores in the records of a history."""

import pytest

from dalmax_sk._base.history import round_scores, scores_of

RECORD = {"round": 0, "eval_accuracy": 0.5, "eval_f1": 0.25, "eval_seconds": 1.0}


def test_the_time_of_scoring_is_no_score():
    assert round_scores(RECORD) == {"accuracy": 0.5, "f1": 0.25}


def test_scores_of_all_rounds():
    history = [RECORD, RECORD | {"round": 1, "eval_f1": 0.75}]
    assert scores_of(history, "f1", "a test") == [0.25, 0.75]
    assert scores_of([], "f1", "a test") == []


def test_a_score_that_is_missing_is_named_with_its_round():
    # property: the number is that of the round, also in the last part of a history
    last = [{"round": 7, "eval_accuracy": 0.5, "eval_seconds": 1.0}]
    message = r"^Rule needs the score 'f1' .* round 7 has \['accuracy'\]\. Pass eval"
    with pytest.raises(ValueError, match=message):
        scores_of(last, "f1", "Rule")
    with pytest.raises(ValueError, match=r"round 1 has none"):
        scores_of([RECORD, {"n_labeled": 3}], "f1", "Rule")
