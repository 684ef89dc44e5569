"""The area under curves, as a number and as a scorer."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.evaluation import (
    area_under_budget_curve,
    area_under_budget_curve_scorer,
)


def make_learner(**params):
    given = {"n_initial": 10, "query_size": [5, 10, 20], "n_rounds": 3}
    return ActiveLearningClassifier(
        LogisticRegression(), random_state=0, **{**given, **params}
    )


def test_area_of_known_curves():
    # a constant curve has its own height, a straight one that of its middle
    assert_allclose(area_under_budget_curve([3, 4, 9], [0.7, 0.7, 0.7]), 0.7)
    assert_allclose(area_under_budget_curve([0, 10, 40], [0.0, 0.1, 0.4]), 0.2)
    area = area_under_budget_curve([0, 10, 40], [0.0, 0.1, 0.4], normalize=False)
    assert_allclose(area, 8.0)


@pytest.mark.parametrize("seed", range(3))
def test_area_is_the_integral(seed):
    rng = np.random.RandomState(seed)
    budgets = np.cumsum(rng.randint(1, 50, size=8))
    scores = rng.rand(5, 8)
    # the mean of the piecewise linear curve on a fine grid of midpoints
    grid = np.linspace(budgets[0], budgets[-1], 200_001)
    middle = (grid[1:] + grid[:-1]) / 2
    expected = [np.interp(middle, budgets, row).mean() for row in scores]
    assert_allclose(area_under_budget_curve(budgets, scores), expected, atol=1e-8)
    assert_allclose(
        area_under_budget_curve(budgets, scores),
        np.trapezoid(scores, budgets) / (budgets[-1] - budgets[0]),
    )


def test_one_curve_gives_a_float():
    area = area_under_budget_curve([1, 2], [0.5, 1.0])
    assert type(area) is float
    assert np.isnan(area_under_budget_curve([1, 2], [0.5, np.nan]))


@pytest.mark.parametrize(
    ("budgets", "scores", "message"),
    [
        ([10], [0.5], r"at least two numbers of labels.*\(1,\)"),
        ([[10, 20]], [0.5, 0.5], "must be 1-D"),
        ([10, 10], [0.5, 0.5], r"strictly increasing, got \[10, 10\]"),
        ([10, np.inf], [0.5, 0.5], "must be finite"),
        ([-10, 10], [0.5, 0.5], "not negative"),
        ([10, 20], ["0.5", "0.5"], "scores must hold numbers"),
        ([10, 20], [0.5], r"shape \(2,\) or \(n_runs, 2\).*got \(1,\)"),
        ([10, 20], np.ones((1, 1, 2)), r"got \(1, 1, 2\)"),
    ],
)
def test_area_refuses(budgets, scores, message):
    with pytest.raises(ValueError, match=message):
        area_under_budget_curve(budgets, scores)


@pytest.mark.parametrize("store", [False, True])
def test_scorer_is_the_area_of_each_fold(table, store):
    X, y = table
    cv = StratifiedKFold(3)
    learner = make_learner(store_estimators=store)
    scorer = area_under_budget_curve_scorer("balanced_accuracy")
    found = cross_val_score(learner, X, y, scoring=scorer, cv=cv)
    for score, (train, test) in zip(found, cv.split(X, y), strict=True):
        learner = make_learner().fit(X[train], y[train])
        scores = [
            balanced_accuracy_score(y[test], predicted)
            for predicted in learner.staged_predict(X[test])
        ]
        assert_allclose(score, area_under_budget_curve([10, 15, 25, 45], scores))


def test_scorer_through_a_pipeline(table):
    X, y = table
    model = make_pipeline(StandardScaler(), make_learner()).fit(X[:150], y[:150])
    found = area_under_budget_curve_scorer(normalize=False)(model, X[150:], y[150:])
    Z = model[0].transform(X[150:])
    scores = [accuracy_score(y[150:], p) for p in model[-1].staged_predict(Z)]
    expected = area_under_budget_curve([10, 15, 25, 45], scores, normalize=False)
    assert_allclose(found, expected)


def test_scorer_in_a_grid_search(table):
    X, y = table
    grid = {"strategy": ["random_sampling", "margin_sampling"]}
    scorer = area_under_budget_curve_scorer()
    search = GridSearchCV(
        make_learner(store_estimators=True), grid, scoring=scorer, cv=2
    ).fit(X, y)
    for strategy, found in zip(
        grid["strategy"], search.cv_results_["mean_test_score"], strict=True
    ):
        learner = make_learner(strategy=strategy)
        expected = cross_val_score(learner, X, y, scoring=scorer, cv=2).mean()
        assert_allclose(found, expected)


def test_scorer_predicts_once_a_round(table):
    X, y = table

    class Counting(LogisticRegression):
        n_predicts = 0

        def predict(self, X):
            Counting.n_predicts += 1
            return super().predict(X)

    learner = ActiveLearningClassifier(
        Counting(), "random_sampling", n_rounds=3, random_state=0, store_estimators=True
    ).fit(X, y)
    Counting.n_predicts = 0
    area_under_budget_curve_scorer()(learner, X, y)
    assert Counting.n_predicts == 4


def test_scorer_refuses_what_has_no_rounds(table):
    X, y = table
    scorer = area_under_budget_curve_scorer()
    with pytest.raises(TypeError, match="LogisticRegression has no rounds"):
        scorer(LogisticRegression().fit(X, y), X, y)
    with pytest.raises(ValueError, match=r"done no round of querying.*n_rounds=0"):
        scorer(make_learner(n_rounds=0).fit(X, y), X, y)


def test_scorer_can_be_pickled_and_shown():
    scorer = area_under_budget_curve_scorer("f1_macro", normalize=False)
    again = pickle.loads(pickle.dumps(scorer))
    assert repr(again) == "area_under_budget_curve_scorer('f1_macro', normalize=False)"
