"""Estimators of other libraries in the learner, with every strategy."""

import warnings

import numpy as np
import pytest
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from skorch import NeuralNetClassifier
from torch import nn

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.pool import MissingCapabilityError
from dalmax_sk.strategies import strategy_names

pytestmark = pytest.mark.slow

CLASSES = {
    "ints": np.array([0, 1, 2]),
    "shifted": np.array([1, 2, 3]),
    "gaps": np.array([-3, 0, 7]),
    "strings": np.array(["ant", "bee", "cicada"]),
    "objects": np.array(["ant", "bee", "cicada"], dtype=object),
}


def make_net():
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))


def make(name):
    """Return a small estimator; the test is skipped without its library."""
    if name == "skorch":
        return NeuralNetClassifier(
            make_net, criterion=nn.CrossEntropyLoss, max_epochs=15, lr=0.1,
            train_split=None, verbose=0,
        )  # fmt: skip
    if name == "LinearSVC":
        return LinearSVC()
    if name == "StackingClassifier":
        return StackingClassifier([("linear", LogisticRegression())], cv=2)
    module, params = {
        "XGBClassifier": ("xgboost", {}),
        "LGBMClassifier": ("lightgbm", {"min_child_samples": 2, "verbose": -1}),
        "CatBoostClassifier": (
            "catboost",
            {"silent": True, "allow_writing_files": False},
        ),
    }[name]
    cls = getattr(pytest.importorskip(module), name)
    return cls(n_estimators=5, **params)


NAMES = [
    "XGBClassifier",
    "LGBMClassifier",
    "CatBoostClassifier",
    "skorch",
    "LinearSVC",
    "StackingClassifier",
]


@pytest.fixture(scope="module")
def table():
    rng = np.random.RandomState(0)
    codes = rng.permutation(np.repeat([0, 1, 2], 50))
    X = rng.standard_normal((150, 4)) + 3 * codes[:, None]
    return X.astype(np.float32), codes


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of other libraries
        yield


@pytest.mark.parametrize("strategy", strategy_names())
@pytest.mark.parametrize("name", NAMES)
def test_a_strategy_works_or_is_refused_before_labels_are_bought(table, name, strategy):
    X, y = table
    bought = []

    def oracle(_, rows):
        bought.extend(rows)
        return y[rows]

    learner = ActiveLearningClassifier(
        make(name), strategy, n_initial=20, query_size=5, n_rounds=2, random_state=0,
        oracle=oracle, classes=[0, 1, 2],
    )  # fmt: skip
    try:
        learner.fit(X, [None] * len(X))
    except MissingCapabilityError:
        assert not bought
    else:
        assert len(bought) == 30
        assert learner.predict(X).shape == (150,)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("name", NAMES)
def test_labels_of_any_kind(table, name, kind):
    X, codes = table
    y = CLASSES[kind][codes]
    learner = ActiveLearningClassifier(
        make(name), "query_by_committee", n_initial=30, n_rounds=2, random_state=0
    ).fit(X, y)
    predicted = learner.predict(X)
    assert predicted.shape == (150,)
    assert predicted.dtype == learner.classes_.dtype
    assert np.mean(predicted == y) > 0.6
    for staged in learner.staged_predict(X):
        last = staged
    np.testing.assert_array_equal(last, predicted)
    if hasattr(learner, "predict_proba"):
        most_probable = learner.classes_[learner.predict_proba(X).argmax(axis=1)]
        assert np.mean(most_probable == y) > 0.6


@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_a_label_yet(table, name):
    X, y = table
    known = np.full(150, np.nan)
    for code in (0, 2):
        rows = np.flatnonzero(y == code)[:5]
        known[rows] = code
    learner = ActiveLearningClassifier(
        make(name), "query_by_committee", oracle=lambda _, rows: y[rows],
        classes=[0, 1, 2], query_size=20, n_rounds=3, random_state=0,
    ).fit(X, known)  # fmt: skip
    assert learner.classes_.tolist() == [0, 1, 2]
    assert learner.score(X, y) > 0.6
    if hasattr(learner, "predict_proba"):
        assert learner.predict_proba(X).shape == (150, 3)


@pytest.mark.parametrize("name", NAMES)
def test_boolean_labels(table, name):
    X, codes = table
    y = codes > 0
    learner = ActiveLearningClassifier(make(name), n_initial=30, random_state=0)
    if name == "skorch":
        learner.set_params(estimator__module=lambda: nn.Linear(4, 2))
    predicted = learner.fit(X, y).predict(X)
    assert predicted.dtype == bool
    assert np.mean(predicted == y) > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_one_seed_decides_everything(table, name):
    X, y = table

    def run():
        return ActiveLearningClassifier(
            make(name), n_initial=30, query_size=10, n_rounds=2, random_state=0
        ).fit(X, y)

    a, b = run(), run()
    np.testing.assert_array_equal(a.labeled_indices_, b.labeled_indices_)
    np.testing.assert_array_equal(a.predict(X), b.predict(X))
