"""Stop when the predictions of successive models agree."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score
from sklearn.svm import LinearSVC

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.stopping import StabilizingPredictions
from dalmax_sk.stopping.stabilizing_predictions import _kappa, _pack, _unpack
from dalmax_sk.strategies import RandomSampling

RUN = {"n_initial": 20, "query_size": 10, "n_rounds": 8, "random_state": 0}


def rows_and_codes(rule, record):
    return _unpack(record[rule._key])


def test_agreements_equal_kappas_of_the_rounds_predictions(table):
    # the stop set is all of X, so the models of the rounds can be asked from outside
    X, y = table
    rule = StabilizingPredictions(1.0, n_stop_set=1000)
    learner = ActiveLearningClassifier(stopping=rule, store_estimators=True, **RUN).fit(
        X, y
    )
    predictions = list(learner.staged_predict(X))
    expected = [
        cohen_kappa_score(before, after)
        for before, after in itertools.pairwise(predictions)
    ]
    found = rule.agreements(learner.history_)
    assert np.isnan(found[0])
    np.testing.assert_allclose(found[1:], expected)
    rows, codes = rows_and_codes(rule, learner.history_[-1])
    assert rows.tolist() == list(range(len(X)))
    assert codes.tolist() == predictions[-1].tolist()


@pytest.mark.parametrize("n_windows", [1, 3])
def test_run_stops_in_the_first_round_whose_mean_is_high_enough(table, n_windows):
    X, y = table
    rule = StabilizingPredictions(1.0, n_windows=n_windows)
    whole = ActiveLearningClassifier(stopping=rule, **RUN).fit(X, y)
    kappas = rule.agreements(whole.history_)
    means = [
        kappas[i - n_windows + 1 : i + 1].mean() for i in range(n_windows, len(kappas))
    ]
    kappa = sorted(means)[-2] - 1e-9
    first = n_windows + int(np.argmax(np.array(means) >= kappa))
    rule = StabilizingPredictions(kappa, n_windows=n_windows)
    stopped = ActiveLearningClassifier(stopping=rule, **RUN).fit(X, y)
    assert stopped.n_rounds_ == first
    assert stopped.stop_reason_.startswith("kappa of successive predictions is")


def test_resumed_run_stops_in_the_same_round(check_resume):
    check_resume(StabilizingPredictions(0.93, n_stop_set=60, n_windows=2))


def test_stop_set_stays_the_same_and_keeps_what_is_labelled(table):
    X, y = table
    rule = StabilizingPredictions(1.0, n_stop_set=60)
    learner = ActiveLearningClassifier(stopping=rule, **RUN).fit(X, y)
    first, _ = rows_and_codes(rule, learner.history_[0])
    assert len(first) == 60
    for record in learner.history_:
        rows, _ = rows_and_codes(rule, record)
        assert rows.tolist() == first.tolist()
    assert np.isin(first, learner.labeled_indices_).any(), "or this test is void"
    # the learner's seed does not choose it, the rule's does
    other = ActiveLearningClassifier(stopping=rule, **RUN | {"random_state": 1})
    other = rows_and_codes(rule, other.fit(X, y).history_[0])[0]
    assert other.tolist() == first.tolist()
    reseeded = StabilizingPredictions(1.0, n_stop_set=60, random_state=1)
    learner = ActiveLearningClassifier(stopping=reseeded, **RUN).fit(X, y)
    assert rows_and_codes(reseeded, learner.history_[0])[0].tolist() != first.tolist()


def test_stop_set_is_a_fair_sample():
    # every row has the same chance, whichever rows are labelled
    counts = np.zeros(50)
    for seed in range(400):
        pool = Pool(None, np.zeros((50, 1)), [3, 40], [0, 1], classes=[0, 1])
        counts[
            StabilizingPredictions(n_stop_set=10, random_state=seed)._stop_rows(pool)
        ] += 1
    assert counts.sum() == 4000
    # a binomial count of mean 80 has standard deviation 8
    assert abs(counts - 80).max() < 5 * 8


def test_rows_set_aside_leave_the_set_and_others_take_their_place(table):
    X, y = table
    unknown = set(range(0, 200, 3))

    def oracle(X_rows, indices):
        return [None if i in unknown else y[i] for i in indices]

    start = np.where(np.arange(200) % 10 == 1, y, -1).astype(object)
    rule = StabilizingPredictions(1.0, n_stop_set=60)
    learner = ActiveLearningClassifier(
        strategy=RandomSampling(),
        oracle=oracle,
        missing_label=-1,
        classes=[0, 1, 2],
        stopping=rule,
        **RUN,
    ).fit(X, start)
    aside = set(np.concatenate(learner.query_history_)) & unknown
    assert aside
    first, _ = rows_and_codes(rule, learner.history_[0])
    last, _ = rows_and_codes(rule, learner.history_[-1])
    assert len(last) == 60
    gone = set(first.tolist()) - set(last.tolist())
    assert gone
    assert gone == set(first.tolist()) & aside
    assert np.isfinite(rule.agreements(learner.history_)[1:]).all()


def test_kappa_counts_shared_rows_only():
    before = np.array([1, 2, 3, 5, 8]), np.array([0, 0, 1, 1, 0])
    after = np.array([2, 3, 4, 5, 8]), np.array([0, 1, 1, 0, 0])
    expected = cohen_kappa_score([0, 1, 1, 0], [0, 1, 0, 0])
    assert _kappa(before, after) == expected


def test_kappa_of_one_class():
    # 0 / 0 by the formula: the same constant prediction is perfect agreement
    rows = np.arange(5)
    assert _kappa((rows, np.ones(5)), (rows, np.ones(5))) == 1
    assert _kappa((rows, np.ones(5)), (rows, np.zeros(5))) == 0
    assert np.isnan(_kappa((rows, np.ones(5)), (rows + 5, np.ones(5))))


def test_rounds_that_were_not_observed_stop_nothing(table):
    # as after a run that was begun without the rule
    X, y = table
    rule = StabilizingPredictions(1e-9, n_windows=2)
    learner = ActiveLearningClassifier(
        stopping=StabilizingPredictions(1.0, n_windows=8), **RUN
    ).fit(X, y)
    history = learner.history_
    assert rule.should_stop(history) is not None
    del history[-2][rule._key]
    assert rule.should_stop(history) is None
    assert np.isnan(rule.agreements(history)[-2:]).all()


@pytest.mark.parametrize("form", ["frame", "strings", "svm"])
def test_forms_of_data(table, form):
    X, y = table
    model = LinearSVC() if form == "svm" else LogisticRegression()
    if form == "frame":
        X = pd.DataFrame(X, columns=[f"c{i}" for i in range(6)])
    if form == "strings":
        y = np.array(["a", "b", "c"])[y]
    rule = StabilizingPredictions(1.0, n_stop_set=80)
    learner = ActiveLearningClassifier(
        model, RandomSampling(), stopping=rule, store_estimators=True, **RUN
    ).fit(X, y)
    rows, codes = rows_and_codes(rule, learner.history_[2])
    predicted = list(learner.staged_predict(X))[2][rows]
    assert learner.classes_[codes].tolist() == predicted.tolist()


def test_two_rules_keep_apart(table):
    X, y = table
    rules = [
        StabilizingPredictions(1.0, n_stop_set=60),
        StabilizingPredictions(1.0, n_stop_set=60, random_state=1),
    ]
    learner = ActiveLearningClassifier(stopping=rules, **RUN).fit(X, y)
    first, second = (rows_and_codes(rule, learner.history_[3])[0] for rule in rules)
    assert first.tolist() != second.tolist()


def test_what_is_kept_is_small_and_no_column(table):
    rng = np.random.RandomState(0)
    X, y = rng.rand(20_000, 4), rng.randint(0, 10, 20_000)
    rule = StabilizingPredictions()
    learner = ActiveLearningClassifier(
        strategy=RandomSampling(),
        n_initial=50,
        query_size=50,
        n_rounds=1,
        stopping=rule,
        random_state=0,
    ).fit(X, y)
    assert len(json.dumps(learner.history_[0][rule._key])) < 8_000
    assert rule._key not in learner.history_frame()


def test_pool_of_arrays_has_no_rows():
    pool = Pool.from_arrays(proba=np.eye(3))
    with pytest.raises(
        MissingCapabilityError, match="StabilizingPredictions needs the samples"
    ):
        StabilizingPredictions().observe(pool)


@given(st.lists(st.integers(0, 2**31), min_size=1, unique=True).map(sorted))
def test_packing_loses_nothing(rows):
    rows = np.array(rows)
    codes = rows % 7
    packed = {"rows": _pack(np.diff(rows, prepend=0)), "codes": _pack(codes)}
    found = _unpack(json.loads(json.dumps(packed)))
    assert found[0].tolist() == rows.tolist()
    assert found[1].tolist() == codes.tolist()


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"kappa": 1.5}, "kappa"),
        ({"kappa": 0}, "kappa"),
        ({"n_stop_set": 1}, "n_stop_set"),
        ({"n_windows": 0}, "n_windows"),
        ({"random_state": None}, "random_state"),
    ],
)
def test_parameters_are_checked(params, name, table):
    rule = StabilizingPredictions(**params)
    with pytest.raises(
        ValueError, match=rf"'{name}' parameter of StabilizingPredictions"
    ):
        ActiveLearningClassifier(stopping=rule).fit(*table)
