"""Estimators of any make in the rounds."""

import warnings

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import (
    LogisticRegression,
    Perceptron,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from skorch import NeuralNetClassifier
from torch import nn

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.pool import MissingCapabilityError
from dalmax_sk.strategies import (
    BADGE,
    AdversarialSampling,
    CoreSet,
    Filtered,
    Mixture,
    NoiseStability,
    QueryByCommittee,
    Switch,
    TypiClust,
    UncertaintySampling,
)

SMALL = {"n_initial": 30, "query_size": 10, "n_rounds": 2, "random_state": 0}


def make_net(n_features=6):
    return NeuralNetClassifier(
        lambda: nn.Sequential(
            nn.Linear(n_features, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3)
        ),
        criterion=nn.CrossEntropyLoss,
        max_epochs=5,
        lr=0.1,
        train_split=None,
        verbose=0,
    )


class Labels(ClassifierMixin, BaseEstimator):
    """Predicts, and no more."""

    def fit(self, X, y):
        self.model_ = LogisticRegression().fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(X)


class Column(LogisticRegression):
    """Predicts a column."""

    def predict(self, X):
        return super().predict(X)[:, None]


# ------------------------------------------------------------------------- refit


@pytest.mark.parametrize(
    "ensemble",
    [
        BaggingClassifier(),
        ExtraTreesClassifier(),
        GradientBoostingClassifier(),
        HistGradientBoostingClassifier(),
        RandomForestClassifier(),
        make_pipeline(StandardScaler(), RandomForestClassifier()),
    ],
)
def test_a_warm_start_that_only_adds_members_is_refused(table, ensemble):
    learner = ActiveLearningClassifier(ensemble, refit="continue", **SMALL)
    with pytest.raises(ValueError, match=r"keeps its members .* Use refit='scratch'"):
        learner.fit(*table)


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        SGDClassifier(loss="log_loss"),
        Perceptron(),
        MLPClassifier(max_iter=20),
        make_net(),
    ],
)
def test_a_warm_start_takes_a_class_seen_later(table, model):
    X, y = table
    X = X.astype(np.float32)
    known = np.where((np.arange(200) % 4 == 0) & (y != 1), y, np.nan)
    learner = ActiveLearningClassifier(
        model, "core_set_selection", refit="continue", classes=[0, 1, 2],
        oracle=lambda _, rows: y[rows], query_size=30, n_rounds=2, random_state=0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of solvers that do not converge
        predicted = learner.fit(X, known).predict(X)
        *_, staged = learner.staged_predict(X)
    assert set(predicted) == {0, 1, 2}
    np.testing.assert_array_equal(staged, predicted)


# ------------------------------------------------------------------------- outputs


def test_a_column_of_predictions(table):
    X, y = table
    learner = ActiveLearningClassifier(Column(), "query_by_committee", **SMALL)
    learner.fit(X, y, eval_set=(X, y))
    assert learner.predict(X).shape == y.shape
    assert np.mean(learner.predict(X) == y) == learner.history_[-1]["eval_accuracy"]
    assert all(stage.shape == y.shape for stage in learner.staged_predict(X))


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: GridSearchCV(m, {}, cv=2)])
def test_predict_only_once_fitted(table, wrap):
    stack = StackingClassifier([("linear", LogisticRegression())], cv=2)
    learner = ActiveLearningClassifier(wrap(stack), **SMALL).fit(*table)
    assert learner.score(*table) > 0.6
    assert learner.predict_proba(table[0]).shape == (200, 3)


def test_no_classifier_at_all(table):
    with pytest.raises(ValueError, match="is no classifier"):
        ActiveLearningClassifier(StandardScaler()).fit(*table)


@pytest.mark.parametrize("refit", ["scratch", "continue"])
def test_a_net_without_a_seed_is_repeated(table, tmp_path, refit):
    X, y = table[0].astype(np.float32), table[1]

    def run(**params):
        learner = ActiveLearningClassifier(make_net(), refit=refit, **SMALL, **params)
        return learner.fit(X, y, eval_set=(X, y))

    first, second = run(), run(checkpoint_dir=tmp_path)
    resumed = run(checkpoint_dir=tmp_path)
    for other in (second, resumed):
        np.testing.assert_array_equal(first.labeled_indices_, other.labeled_indices_)
        np.testing.assert_array_equal(first.predict_proba(X), other.predict_proba(X))
    recorded = [record["eval_accuracy"] for record in first.history_]
    assert list(first.staged_score(X, y)) == pytest.approx(recorded)


# ------------------------------------------------------------------------- metadata


class Weighted(LogisticRegression):
    """Cannot be fitted without weights."""

    seen: list = []

    def fit(self, X, y, sample_weight):
        self.seen.append((len(X), len(sample_weight)))
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize("strategy", ["query_by_committee", "uherding", "members"])
def test_metadata_reach_every_model(table, strategy):
    X, y = table
    with sklearn.config_context(enable_metadata_routing=True):
        model = Weighted().set_fit_request(sample_weight=True)
        if strategy == "members":
            strategy = QueryByCommittee(members=[model, sklearn.base.clone(model)])
        Weighted.seen.clear()
        learner = ActiveLearningClassifier(model, strategy, **SMALL)
        learner.fit(X, y, sample_weight=np.ones(len(y)))
    assert len(Weighted.seen) > 3
    assert all(n_rows == n_weights for n_rows, n_weights in Weighted.seen)


# ------------------------------------------------------------------------- needs

FOREST = RandomForestClassifier(5)


@pytest.mark.parametrize(
    ("model", "strategy"),
    [
        (Labels(), "margin_sampling"),
        (VotingClassifier([("a", LogisticRegression())]), "margin_sampling"),
        (SVC(), "entropy_sampling"),
        (SVC(), Switch(then=UncertaintySampling("entropy"), at=90)),
        (SVC(), Mixture([CoreSet(), BADGE()])),
        (SVC(), Filtered(BADGE())),
        (SVC(), Filtered(CoreSet(), class_balance=True)),
        (SVC(), QueryByCommittee("kl")),
        (SVC(), "active_learning_by_learning"),
        (SVC(), "bald"),
        (KNeighborsClassifier(), "bald"),
        (FOREST, "expected_model_change"),
        (FOREST, "alfa_mix"),
        (FOREST, AdversarialSampling()),
        (LogisticRegression(), NoiseStability(layers="all")),
    ],
)
def test_needs_are_checked_before_labels_are_bought(table, model, strategy):
    X, y = table
    bought = []

    def oracle(_, rows):
        bought.extend(rows)
        return y[rows]

    learner = ActiveLearningClassifier(model, strategy, classes=[0, 1, 2], **SMALL)
    with pytest.raises(MissingCapabilityError, match="needs"):
        learner.fit(X, [None] * len(y))  # by hand
    with pytest.raises(MissingCapabilityError, match="needs"):
        learner.set_params(oracle=oracle).fit(X, [None] * len(y))
    assert not bought


@pytest.mark.parametrize("model", [SVC(), Labels(), LogisticRegression()])
def test_auto_stays_with_what_the_estimator_can_give(table, model):
    learner = ActiveLearningClassifier(
        model, "auto", n_initial=10, query_size=10, n_rounds=3, random_state=0
    ).fit(*table)
    then = "TypiClust" if isinstance(model, Labels) else "UncertaintySampling"
    names = [record["strategy"] for record in learner.history_[1:]]
    assert names == ["TypiClust", then, then]


@pytest.mark.parametrize(
    "strategy", ["expected_model_change", "alfa_mix", "drop_query"]
)
def test_a_net_of_another_make_has_no_head(table, strategy):
    X, y = table
    learner = ActiveLearningClassifier(make_net(), strategy, **SMALL)
    with pytest.raises(MissingCapabilityError, match="NeuralNetClassifier"):
        learner.fit(X.astype(np.float32), y)


@pytest.mark.parametrize(
    "model",
    [SVC(), LinearSVC(), RidgeClassifier(), Perceptron(), SGDClassifier(),
     make_pipeline(StandardScaler(), SVC()), GridSearchCV(LinearSVC(), {}, cv=2)],
)  # fmt: skip
@pytest.mark.parametrize("n_classes", [2, 3])
def test_margins_of_decision_values(table, model, n_classes):
    X, codes = table
    y = np.array(["a", "b", "c"])[np.minimum(codes, n_classes - 1)]
    learner = ActiveLearningClassifier(
        model, "margin_sampling", n_initial=30, query_size=5, n_rounds=1,
        store_estimators=True, random_state=0,
    ).fit(X, y)  # fmt: skip
    values = learner.estimators_[0].decision_function(X)
    if n_classes == 2:
        gaps = abs(values)
    else:
        gaps = np.diff(np.sort(values, axis=1)[:, -2:], axis=1)[:, 0]
    candidates = np.setdiff1d(np.arange(200), learner.initial_indices_)
    expected = np.sort(gaps[candidates])[:5]
    np.testing.assert_allclose(gaps[learner.query_history_[0]], expected)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_least_confidence_of_decision_values(table, n_classes):
    X, codes = table
    y = np.minimum(codes, n_classes - 1)
    learner = ActiveLearningClassifier(
        LinearSVC(), "least_confidence_sampling", n_initial=30, query_size=5,
        n_rounds=1, store_estimators=True, random_state=0,
    ).fit(X, y)  # fmt: skip
    values = learner.estimators_[0].decision_function(X)
    largest = abs(values) if n_classes == 2 else values.max(axis=1)
    candidates = np.setdiff1d(np.arange(200), learner.initial_indices_)
    expected = np.sort(largest[candidates])[:5]
    np.testing.assert_allclose(largest[learner.query_history_[0]], expected)


def test_values_of_pairs_of_classes_are_no_margins(table):
    learner = ActiveLearningClassifier(SVC(decision_function_shape="ovo"), **SMALL)
    with pytest.raises(MissingCapabilityError, match="decision_function_shape='ovr'"):
        learner.fit(*table)


# ------------------------------------------------------------------------- wrappers


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: GridSearchCV(model, {}, cv=2),
        lambda model: RandomizedSearchCV(model, {"memory": [None]}, n_iter=1, cv=2),
        lambda model: CalibratedClassifierCV(model, ensemble=False, cv=2),
        lambda model: TunedThresholdClassifierCV(model, cv=2),
        FixedThresholdClassifier,
    ],
)
def test_wrappers_are_seen_through(table, wrap):
    X, y = table[0] * [1e4, 1, 1, 1, 1, 1], table[1] > 0

    def picks(model):
        learner = ActiveLearningClassifier(model, "core_set_selection", **SMALL)
        return learner.fit(X, y).query_history_

    inner = make_pipeline(StandardScaler(), GaussianNB())
    np.testing.assert_array_equal(picks(wrap(inner)), picks(inner))
    assert not np.array_equal(picks(inner), picks(GaussianNB()))


@pytest.mark.parametrize("strategy", ["expected_model_change", "bald", "drop_query"])
def test_a_search_gives_the_last_layer_of_its_best_estimator(table, strategy):
    model = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(model, {}, cv=2)
    frozen = FrozenEstimator(model.fit(*table))
    for wrapped in (search, frozen):
        ActiveLearningClassifier(wrapped, strategy, **SMALL).fit(*table)


# ------------------------------------------------------------------------- cold start


def test_a_cold_start_uses_the_steps_that_need_no_labels(table):
    X, y = table[0] * [1e4, 1, 1, 1, 1, 1], table[1]

    def initial(model, X):
        learner = ActiveLearningClassifier(model, initial_strategy=CoreSet(), **SMALL)
        return learner.fit(X, y).initial_indices_

    scaled = StandardScaler().fit_transform(X)
    inner = make_pipeline(StandardScaler(), LogisticRegression())
    expected = initial(LogisticRegression(), scaled)
    np.testing.assert_array_equal(initial(inner, X), expected)
    np.testing.assert_array_equal(initial(GridSearchCV(inner, {}, cv=2), X), expected)


def test_a_cold_start_on_texts(table):
    y = table[1]
    texts = [f"word{label} thing{i % 7}" for i, label in enumerate(y)]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression())
    learner = ActiveLearningClassifier(
        model, initial_strategy=TypiClust(), classes=[0, 1, 2], n_initial=9
    ).fit(np.array(texts, dtype=object), [None] * len(y))
    assert len(np.unique(learner.query())) == 9
