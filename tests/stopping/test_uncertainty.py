"""Rules that ask how sure the model is of the pool."""

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.pool import MissingCapabilityError, Pool
from dalmax_sk.stopping import ExpectedError, MaxUncertainty, OverallUncertainty
from dalmax_sk.strategies import RandomSampling

RULES = {
    OverallUncertainty: lambda p: (
        np.mean([entropy(row) for row in p]) / np.log(p.shape[1])
    ),
    MaxUncertainty: lambda p: max(entropy(row) for row in p) / np.log(p.shape[1]),
    ExpectedError: lambda p: sum(1 - max(row) for row in p) / len(p),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_observation_equals_its_definition(rule, n_classes):
    rng = np.random.RandomState(n_classes)
    proba = rng.dirichlet(np.full(n_classes, 0.5), size=40)
    proba[0] = np.eye(n_classes)[0]  # no NaN from 0 log 0
    (value,) = rule().observe(Pool.from_arrays(proba=proba)).values()
    assert isinstance(value, float)
    np.testing.assert_allclose(value, RULES[rule](proba))


@pytest.mark.parametrize("rule", RULES)
def test_extremes(rule):
    (sure,) = rule().observe(Pool.from_arrays(proba=np.eye(3))).values()
    (unsure,) = rule().observe(Pool.from_arrays(proba=np.full((4, 3), 1 / 3))).values()
    assert sure == 0
    np.testing.assert_allclose(unsure, 2 / 3 if rule is ExpectedError else 1)


def test_one_class_is_certain():
    pool = Pool.from_arrays(proba=np.ones((3, 1)), classes=["a"])
    assert OverallUncertainty().observe(pool) == {"overall_uncertainty": 0}


@pytest.mark.parametrize("rule", RULES)
def test_threshold_is_met_at_equality(rule):
    key = rule._key
    assert rule(0.25).should_stop([{key: 0.2500001}]) is None
    assert "at most the threshold 0.25" in rule(0.25).should_stop([{key: 0.25}])
    # only the last round counts
    assert rule(0.25).should_stop([{key: 0.1}, {key: 0.3}]) is None


@pytest.mark.parametrize("rule", RULES)
def test_round_that_was_not_observed_stops_nothing(rule):
    assert rule().should_stop([{"n_labeled": 10}]) is None


@pytest.mark.parametrize("rule", RULES)
def test_run_stops_in_the_first_round_that_meets_the_threshold(rule, table):
    # the models of all rounds, asked from outside what they say of the candidates then
    X, y = table
    params = {"n_initial": 20, "query_size": 10, "n_rounds": 8, "random_state": 0}
    whole = ActiveLearningClassifier(store_estimators=True, **params).fit(X, y)
    values = []
    for record, proba in zip(
        whole.history_, whole.staged_predict_proba(X), strict=True
    ):
        known = whole.labeled_indices_[: record["n_labeled"]]
        values.append(RULES[rule](np.delete(proba, known, axis=0)))
    threshold = sorted(values)[3]
    first = int(np.argmax(np.array(values) <= threshold + 1e-9))
    stopped = ActiveLearningClassifier(stopping=rule(threshold + 1e-9), **params).fit(
        X, y
    )
    assert stopped.n_rounds_ == first
    found = [record[rule._key] for record in stopped.history_]
    np.testing.assert_allclose(found, values[: first + 1])


@pytest.mark.parametrize("rule", RULES)
def test_resumed_run_stops_in_the_same_round(rule, check_resume, table):
    X, y = table
    params = {"n_initial": 20, "query_size": 10, "n_rounds": 12, "random_state": 0}
    free = ActiveLearningClassifier(stopping=rule(0), **params).fit(X, y)
    values = [record[rule._key] for record in free.history_]
    # a threshold that is first met after some rounds, and before the last
    firsts = [i for i in range(2, 12) if values[i] < min(values[:i])]
    check_resume(rule(values[firsts[0]] + 1e-9))


def test_query_finds_the_probabilities_computed(table, monkeypatch):
    X, y = table
    calls = []
    predict_proba = LogisticRegression.predict_proba

    def counted(self, X):
        calls.append(len(X))
        return predict_proba(self, X)

    monkeypatch.setattr(LogisticRegression, "predict_proba", counted)
    params = {"n_initial": 20, "query_size": 10, "n_rounds": 3, "random_state": 0}
    ActiveLearningClassifier(stopping=OverallUncertainty(0), **params).fit(X, y)
    # one pass for each of three queries, and one after the last fit
    assert calls == [180, 170, 160, 150]


def test_estimator_without_probabilities_is_named(table):
    X, y = table
    learner = ActiveLearningClassifier(
        LinearSVC(), RandomSampling(), stopping=[OverallUncertainty()], random_state=0
    )
    with pytest.raises(
        MissingCapabilityError,
        match=r"OverallUncertainty needs class probabilities, and LinearSVC.*round 0",
    ):
        learner.fit(X, y)


@pytest.mark.parametrize("threshold", [-0.1, 1.0, "low"])
@pytest.mark.parametrize("rule", RULES)
def test_threshold_is_checked(rule, threshold, table):
    with pytest.raises(ValueError, match=rf"'threshold' parameter of {rule.__name__}"):
        ActiveLearningClassifier(stopping=rule(threshold)).fit(*table)
