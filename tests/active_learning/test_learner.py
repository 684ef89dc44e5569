"""ActiveLearningClassifier: the rounds, the three sources of labels, its contracts."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    cross_val_score,
    cross_validate,
    learning_curve,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.pool import MissingCapabilityError
from dalmax_sk.stopping import (
    Budget,
    OverallUncertainty,
    StabilizingPredictions,
    TargetScore,
)
from dalmax_sk.strategies import (
    CoreSet,
    DiversitySampling,
    QueryStrategy,
    RandomSampling,
    UncertaintySampling,
)


def small_learner(**params):
    defaults = {"n_initial": 20, "query_size": 10, "n_rounds": 3, "random_state": 0}
    return ActiveLearningClassifier(**{**defaults, **params})


# ------------------------------------------------------------------------- simulation


def test_labels_are_spent_exactly(table):
    # n_initial + n_rounds * query_size labels, all distinct, in order of acquisition
    X, y = table
    learner = small_learner().fit(X, y)
    assert len(learner.labeled_indices_) == 20 + 3 * 10
    assert len(set(learner.labeled_indices_)) == 50
    parts = [learner.initial_indices_, *learner.query_history_]
    np.testing.assert_array_equal(np.concatenate(parts), learner.labeled_indices_)
    assert [len(rows) for rows in learner.query_history_] == [10, 10, 10]
    assert learner.n_rounds_ == 3
    assert learner.stop_reason_ == "3 rounds are done"


def test_the_model_is_fitted_on_the_labelled_rows_and_nothing_else(table):
    X, y = table
    learner = small_learner(estimator=LogisticRegression()).fit(X, y)
    rows = learner.labeled_indices_
    alone = LogisticRegression().fit(X[rows], y[rows])
    np.testing.assert_allclose(learner.estimator_.coef_, alone.coef_)


@pytest.mark.parametrize(
    "strategy",
    [
        RandomSampling(),
        UncertaintySampling(),
        DiversitySampling(),
        DiversitySampling(weighting="entropy"),
        CoreSet(),
    ],
)
def test_hidden_labels_influence_nothing(table, strategy):
    # swap every label that was not revealed before the first query for garbage: the
    # first picks must stay the same
    X, y = table
    learner = small_learner(strategy=strategy, n_rounds=1).fit(X, y)
    garbage = np.random.RandomState(1).permutation(y)
    garbage[learner.initial_indices_] = y[learner.initial_indices_]
    assert set(garbage) == set(y)
    again = small_learner(strategy=strategy, n_rounds=1).fit(X, garbage)
    np.testing.assert_array_equal(again.initial_indices_, learner.initial_indices_)
    np.testing.assert_array_equal(again.query_history_[0], learner.query_history_[0])


def test_same_seed_same_picks_other_seed_other_picks(table):
    X, y = table
    one = small_learner().fit(X, y).labeled_indices_
    np.testing.assert_array_equal(small_learner().fit(X, y).labeled_indices_, one)
    other = small_learner(random_state=1).fit(X, y).labeled_indices_
    assert set(other) != set(one)


def test_the_random_state_reaches_an_estimator_without_one(table):
    # a forest with random_state=None is reproducible through the learner's seed; one
    # with a seed of its own keeps it
    X, y = table
    learner = small_learner(estimator=RandomForestClassifier(n_estimators=5))
    first = learner.fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(learner.fit(X, y).predict_proba(X), first)
    fixed = small_learner(estimator=RandomForestClassifier(5, random_state=7)).fit(X, y)
    assert fixed.estimator_.random_state == 7


@pytest.mark.parametrize(
    ("query_size", "expected"),
    [
        (4, [4, 4, 4]),
        (0.05, [10, 10, 10]),
        ([3, 6, 12], [3, 6, 12]),
        ((3, 0.05), [3, 10, 10]),
        (np.array([4, 2]), [4, 2, 2]),
        (pd.Series([4, 2], index=[7, 9]), [4, 2, 2]),
        (lambda round_number: 2 * round_number, [2, 4, 6]),
    ],
)
def test_query_schedules(table, query_size, expected):
    learner = small_learner(query_size=query_size).fit(*table)
    assert [len(rows) for rows in learner.query_history_] == expected


def test_n_rounds_none_follows_the_schedule_or_exhausts_the_pool(table):
    X, y = table
    learner = small_learner(query_size=[5, 7], n_rounds=None).fit(X, y)
    assert [len(rows) for rows in learner.query_history_] == [5, 7]
    learner = small_learner(query_size=70, n_rounds=None).fit(X, y)
    # 180 candidates: two whole batches and a short one, said in the record
    assert [len(rows) for rows in learner.query_history_] == [70, 70, 40]
    assert learner.history_[-1]["n_requested"] == 70
    assert learner.stop_reason_ == "no candidates are left"
    assert sorted(learner.labeled_indices_) == list(range(200))


def test_balanced_initial_set(table):
    X, y = table
    learner = small_learner(n_initial=9, initial_strategy="balanced").fit(X, y)
    assert np.bincount(y[learner.initial_indices_]).tolist() == [3, 3, 3]


def test_balanced_initial_set_with_a_class_that_runs_out(table):
    # 2 rows of class 0: the others fill up
    X, y = table
    keep = np.concatenate([np.flatnonzero(y == 0)[:2], np.flatnonzero(y > 0)])
    learner = small_learner(n_initial=12, initial_strategy="balanced", n_rounds=0)
    learner.fit(X[keep], y[keep])
    counts = np.bincount(y[keep][learner.initial_indices_])
    assert counts.tolist() == [2, 5, 5]


def test_a_strategy_can_choose_the_initial_set(table):
    # before any label, a strategy sees the inputs as embeddings
    X, y = table
    learner = small_learner(initial_strategy=CoreSet(), n_rounds=0, n_initial=12)
    rows = learner.fit(X, y).initial_indices_
    distances = np.linalg.norm(X[:, None] - X[rows][None], axis=2).min(axis=1)
    others = small_learner(n_rounds=0, n_initial=12).fit(X, y).initial_indices_
    random_distances = np.linalg.norm(X[:, None] - X[others][None], axis=2).min(axis=1)
    assert distances.max() < random_distances.max()


@pytest.fixture
def rare():
    """A table with 5 rows of class 1 among 1,000."""
    rng = np.random.RandomState(0)
    y = np.zeros(1000, dtype=int)
    y[:5] = 1
    return rng.randn(1000, 3), y


@pytest.mark.parametrize("forest", [False, True])
def test_a_budget_holds_while_a_second_class_is_looked_for(rare, forest):
    # for any estimator, whether it can be fitted on one class or not
    X, y = rare
    paid = []

    def oracle(rows, indices):
        paid.append(len(indices))
        return y[indices]

    learner = ActiveLearningClassifier(
        RandomForestClassifier(5) if forest else LogisticRegression(),
        oracle=oracle,
        classes=[0, 1],
        n_initial=10,
        query_size=7,
        n_rounds=None,
        stopping=[Budget(20), TargetScore(0.9)],  # which the constant model reaches
        random_state=0,
    )
    message = (
        r"All 20 labels so far are of one class, 0; the run ended \(the budget of 20"
    )
    with pytest.warns(UserWarning, match=message):
        learner.fit(X, [None] * 1000, eval_set=(X, y))
    assert paid == [10, 7, 3]
    assert [record["n_requested"] for record in learner.history_] == [10, 7, 3]
    assert [record["n_labeled"] for record in learner.history_] == [10, 17, 20]
    assert learner.predict_proba(X[:2]).tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert learner.history_[0]["eval_accuracy"] == 0.995
    assert list(learner.staged_score(X, y)) == [0.995] * 3


def test_strategies_share_the_rows_that_find_a_second_class():
    # the picks without a model are those of the initial set's kind, then the strategy's
    rng = np.random.RandomState(0)
    y = (np.arange(300) % 6 == 0).astype(int)
    X = rng.randn(300, 2) + y[:, None]
    runs = [
        ActiveLearningClassifier(
            LogisticRegression(), strategy, n_initial=3, query_size=4, random_state=1
        ).fit(X, y)
        for strategy in (CoreSet(), RandomSampling())
    ]
    core_set, at_random = (run.query_history_ for run in runs)
    found = next(
        k
        for k in range(1, 6)
        if y[runs[0].labeled_indices_[: runs[0].history_[k]["n_labeled"]]].any()
    )
    assert not y[runs[0].initial_indices_].any()
    for one, other in zip(core_set[:found], at_random[:found], strict=True):
        np.testing.assert_array_equal(one, other)
    assert set(core_set[found]) != set(at_random[found])
    assert [record["n_labeled"] for record in runs[0].history_] == [
        3,
        7,
        11,
        15,
        19,
        23,
    ]


@pytest.mark.parametrize(
    "rule", [OverallUncertainty(0.5), StabilizingPredictions(n_windows=1)]
)
def test_rules_that_look_at_the_model_wait_for_a_second_class(rare, rule):
    X, y = rare
    learner = small_learner(n_initial=5, stopping=rule)
    with pytest.warns(UserWarning, match="of one class"):
        learner.fit(X, y)
    assert learner.stop_reason_ == "3 rounds are done"


def test_history_records(table):
    X, y = table
    learner = small_learner(strategy=CoreSet()).fit(X, y, eval_set=(X, y))
    assert [record["round"] for record in learner.history_] == [0, 1, 2, 3]
    assert [record["n_labeled"] for record in learner.history_] == [20, 30, 40, 50]
    assert learner.history_[0]["queried"] == []
    for record, rows in zip(learner.history_[1:], learner.query_history_, strict=True):
        assert record["queried"] == rows.tolist()
        assert len(record["query_scores"]) == 10
        assert record["covering_radius"] > 0
        assert record["fit_seconds"] > 0
        assert record["query_seconds"] > 0
    assert learner.history_[-1]["eval_accuracy"] == learner.score(X, y)
    frame = learner.history_frame()
    assert len(frame) == 4
    assert {"eval_accuracy", "eval_balanced_accuracy", "eval_f1_macro"} <= set(frame)
    assert "queried" not in frame


def test_a_strategy_adds_to_the_record_and_overwrites_nothing(table):
    class Chatty(QueryStrategy):
        def _query(self, pool, n):
            pool.info.update(round=77, n_labeled=0, density=0.5)
            return np.arange(n)

    history = small_learner(strategy=Chatty()).fit(*table).history_
    assert [record["round"] for record in history] == [0, 1, 2, 3]
    assert history[-1]["n_labeled"] == 50
    assert history[-1]["density"] == 0.5


def test_scoring_names_the_scores(table):
    X, y = table
    learner = small_learner(scoring=["accuracy", "neg_log_loss"], n_rounds=1)
    learner.fit(X, y, eval_set=(X, y))
    assert {"eval_accuracy", "eval_neg_log_loss"} <= set(learner.history_[0])
    learner = small_learner(scoring="roc_auc_ovr", n_rounds=1)
    assert "eval_roc_auc_ovr" in learner.fit(X, y, eval_set=(X, y)).history_[0]


def test_stopping_on_a_budget_cuts_the_last_query(table):
    learner = small_learner(stopping=Budget(35), n_rounds=None).fit(*table)
    assert len(learner.labeled_indices_) == 35
    assert learner.stop_reason_ == "the budget of 35 labels is spent"


def test_stopping_on_a_target_score(table):
    X, y = table
    learner = small_learner(stopping=TargetScore(0.5), n_rounds=None)
    learner.fit(X, y, eval_set=(X, y))
    assert learner.history_[-1]["eval_accuracy"] >= 0.5
    assert "reached the target 0.5" in learner.stop_reason_


def test_stopping_takes_functions_and_lists(table):
    learner = small_learner(
        stopping=[Budget(1000), lambda history: len(history) == 2], n_rounds=None
    ).fit(*table)
    assert learner.n_rounds_ == 1


def test_target_score_without_eval_set_says_what_is_missing(table):
    with pytest.raises(ValueError, match="Pass eval_set"):
        small_learner(stopping=TargetScore(0.9)).fit(*table)


def test_refit_continue_goes_on_from_the_present_weights(table):
    # the rounds equal four fits in a row of one warm-started estimator
    X, y = table
    sgd = SGDClassifier(loss="log_loss", max_iter=5, tol=None, random_state=0)
    learner = small_learner(estimator=sgd, refit="continue").fit(X, y)
    by_hand = clone(sgd).set_params(warm_start=True)
    for n in (20, 30, 40, 50):
        rows = learner.labeled_indices_[:n]
        by_hand.fit(X[rows], y[rows])
    np.testing.assert_allclose(learner.estimator_.coef_, by_hand.coef_)
    cold = small_learner(estimator=sgd).fit(X, y)
    assert not np.allclose(cold.estimator_.coef_, learner.estimator_.coef_)


def test_refit_continue_needs_a_warm_start(table):
    with pytest.raises(ValueError, match="warm_start parameter; GaussianNB has none"):
        small_learner(estimator=GaussianNB(), refit="continue").fit(*table)


# ----------------------------------------------------------------- labels from outside


def test_query_and_teach(table):
    # rows labelled in y are trained on, query() names others, teach() adds them
    X, y = table
    partial = np.where(np.arange(len(y)) < 30, y, -1)
    learner = small_learner(missing_label=-1).fit(X, partial)
    np.testing.assert_array_equal(learner.labeled_indices_, np.arange(30))
    assert learner.n_rounds_ == 0
    rows = learner.query(5)
    assert len(set(rows)) == 5
    assert rows.min() >= 30
    np.testing.assert_array_equal(learner.query(5), rows)  # until something is taught
    learner.teach(rows, y[rows])
    np.testing.assert_array_equal(
        learner.labeled_indices_, np.concatenate([np.arange(30), rows])
    )
    known = learner.labeled_indices_
    alone = LogisticRegression().fit(X[known], y[known])
    np.testing.assert_allclose(learner.estimator_.coef_, alone.coef_)
    assert learner.history_[1]["queried"] == rows.tolist()
    assert not set(learner.query(5)) & set(known)


def test_by_hand_equals_simulation(table):
    # the same initial rows and answers give the same picks, whoever answers
    X, y = table
    simulated = small_learner(estimator=LogisticRegression()).fit(X, y)
    partial = np.full(len(y), np.nan)
    partial[simulated.initial_indices_] = y[simulated.initial_indices_]
    by_hand = small_learner(estimator=LogisticRegression()).fit(X, partial)
    for expected in simulated.query_history_:
        rows = by_hand.query()
        assert set(rows) == set(expected)
        by_hand.teach(rows, y[rows])


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_missing_labels_in_strings(table, missing):
    X, y = table
    names = np.array(["ant", "bee", "cat"], dtype=object)[y]
    names[40:] = missing
    learner = small_learner().fit(X, names)
    np.testing.assert_array_equal(learner.labeled_indices_, np.arange(40))
    assert learner.classes_.tolist() == ["ant", "bee", "cat"]
    assert learner.predict(X[:3]).dtype.kind in "UT"


def test_missing_labels_in_a_list_of_strings(table):
    # NumPy alone would make the string "nan" of them, and so a class
    X, y = table
    names = np.array(["ant", "bee", "cat"])[y].tolist()
    partial = names[:40] + [float("nan")] * 160
    learner = small_learner().fit(X, partial)
    assert learner.classes_.tolist() == ["ant", "bee", "cat"]
    learner.teach([50, 51], [names[50], float("nan")])
    assert len(learner.labeled_indices_) == 41
    assert 51 not in learner.query(158)


def test_pandas_missing_labels_beside_a_missing_label(table):
    # comparing pandas.NA with anything gives NA, which is neither true nor false
    X, y = table
    names = pd.Series(np.array(["ant", "bee", "?"])[y], dtype="string")
    names[100:] = pd.NA
    learner = small_learner(missing_label="?").fit(X, names)
    np.testing.assert_array_equal(learner.labeled_indices_, np.flatnonzero(y[:100] < 2))
    learner = small_learner(missing_label=pd.NA).fit(X, names)
    assert len(learner.labeled_indices_) == 100


def test_labels_of_mixed_types_are_refused(table):
    X, y = table
    mixed = np.array(["ant", 1, 2], dtype=object)[y]
    with pytest.raises(ValueError, match="mixes labels of the types int, str"):
        small_learner().fit(X, mixed)


@pytest.mark.parametrize("kind", ["int", "bool"])
def test_object_labels_are_scored_on_the_eval_set(table, kind):
    X, y = table
    y = (y > 0 if kind == "bool" else y).astype(object)
    learner = small_learner(n_rounds=0).fit(X, y, eval_set=(X, y))
    assert learner.classes_.dtype.kind == kind[0]
    assert learner.history_[0]["eval_accuracy"] > 0.5


def test_classes_of_the_estimator_count(table):
    # a class without a row keeps its column; two different lists are an error
    from dalmax_sk import CNNClassifier

    X, y = table
    net = CNNClassifier(classes=[3, 1, 0, 2], max_epochs=1)
    learner = small_learner(estimator=net, n_rounds=1).fit(X, y)
    assert learner.classes_.tolist() == [0, 1, 2, 3]
    assert learner.predict_proba(X[:2]).shape == (2, 4)
    with pytest.raises(ValueError, match=r"differs from the estimator's classes"):
        small_learner(estimator=net, classes=[0, 1, 2]).fit(X, y)


def test_oracle_runs_the_rounds_by_itself(table):
    X, y = table
    asked = []

    def oracle(X_rows, indices):
        np.testing.assert_array_equal(X_rows, X[indices])
        asked.extend(indices)
        return y[indices]

    partial = np.where(np.arange(len(y)) < 20, y, -1)
    learner = small_learner(oracle=oracle, missing_label=-1).fit(X, partial)
    assert learner.n_rounds_ == 3
    np.testing.assert_array_equal(asked, np.concatenate(learner.query_history_))


def test_oracle_that_cannot_answer_sets_rows_aside(table):
    # unanswered rows are not labelled and never asked for again
    X, y = table
    asked = []

    def oracle(X_rows, indices):
        asked.extend(indices)
        return [None if i % 2 else y[i] for i in indices]

    partial = np.where(np.arange(len(y)) < 20, y, -1)
    learner = small_learner(oracle=oracle, missing_label=-1, n_rounds=None)
    learner.fit(X, partial)
    assert len(asked) == len(set(asked)) == 180
    assert set(learner.labeled_indices_) == {*range(20), *range(20, 200, 2)}
    assert learner.stop_reason_ == "no candidates are left"


def test_oracle_from_nothing(table):
    # no label at all: the initial set is asked for too
    X, y = table
    learner = small_learner(oracle=lambda rows, i: y[i], classes=[0, 1, 2])
    learner.fit(X, np.full(len(y), None))
    assert len(learner.initial_indices_) == 20
    assert len(learner.labeled_indices_) == 50


def test_oracle_and_a_start_of_one_class(table):
    # the rows labelled in y are of one class: others are picked without a model
    X, y = table
    partial = np.full(len(y), None)
    partial[np.flatnonzero(y == 0)[:5]] = 0
    learner = small_learner(
        oracle=lambda rows, i: y[i], classes=[0, 1, 2], n_rounds=1
    ).fit(X, partial)
    assert len(learner.initial_indices_) == 5
    assert [record["n_labeled"] for record in learner.history_] == [5, 15]
    assert learner.estimator_.classes_.tolist() == [0, 1, 2]


def test_an_oracle_that_cannot_label_the_first_rows(table):
    X, y = table

    def oracle(rows, indices):
        asked.append(len(indices))
        return [None] * len(indices) if len(asked) < 3 else y[indices]

    asked = []
    learner = small_learner(oracle=oracle, classes=[0, 1, 2], n_rounds=0)
    assert len(learner.fit(X, [None] * 200).initial_indices_) == 20
    assert asked == [20, 20, 20]


def test_an_oracle_that_never_answers_is_an_error(table):
    X, y = table
    learner = small_learner(oracle=lambda rows, i: [None] * len(i), classes=[0, 1, 2])
    with pytest.raises(ValueError, match="labelled none of the rows"):
        learner.fit(X, np.full(len(y), None))


def test_by_hand_from_nothing(table):
    # 200 rows and no label: query() proposes the initial set, teach() begins
    X, y = table
    learner = small_learner(classes=[0, 1, 2]).fit(X, np.full(len(y), None))
    with pytest.raises(NotFittedError):
        learner.predict(X)
    rows = learner.query()
    assert len(rows) == 20
    learner.teach(rows, y[rows])
    np.testing.assert_array_equal(learner.initial_indices_, rows)
    assert learner.predict_proba(X).shape == (200, 3)


def test_teaching_one_class_only_waits_for_another(table):
    X, y = table
    learner = small_learner(classes=[0, 1, 2]).fit(X, np.full(len(y), None))
    zeros, ones = np.flatnonzero(y == 0), np.flatnonzero(y == 1)
    with pytest.warns(UserWarning, match="All 2 labels so far are of one class"):
        learner.teach(zeros[:2], [0, 0])
    learner.teach(ones[:2], [1, 1])
    assert len(learner.labeled_indices_) == 4
    np.testing.assert_array_equal(learner.initial_indices_, learner.labeled_indices_)
    assert learner.predict_proba(X).shape == (200, 3)
    assert (learner.predict_proba(X)[:, 2] == 0).all()  # never seen so far


def test_teach_corrects_a_label(table):
    X, y = table
    partial = np.where(np.arange(len(y)) < 30, y, -1)
    wrong = partial.copy()
    wrong[3] = (y[3] + 1) % 3
    learner = small_learner(missing_label=-1).fit(X, wrong).teach([3], [y[3]])
    right = small_learner(missing_label=-1).fit(X, partial)
    assert len(learner.labeled_indices_) == 30
    np.testing.assert_allclose(learner.estimator_.coef_, right.estimator_.coef_)


def test_query_beyond_the_pool_returns_what_is_left(table):
    X, y = table
    partial = np.where(np.arange(len(y)) < 195, y, -1)
    learner = small_learner(missing_label=-1).fit(X, partial)
    with pytest.warns(UserWarning, match="10 rows were asked for and 5 candidates"):
        rows = learner.query(10)
    assert sorted(rows) == list(range(195, 200))
    learner.teach(rows, y[rows])
    with pytest.raises(ValueError, match="No candidates are left"):
        learner.query(1)


def test_query_stays_within_a_budget(table):
    X, y = table
    partial = np.where(np.arange(len(y)) < 30, y, -1)
    learner = small_learner(missing_label=-1, stopping=Budget(33)).fit(X, partial)
    with pytest.warns(UserWarning, match="a stopping rule allows 3 more labels"):
        rows = learner.query(5)
    assert len(rows) == 3
    learner.teach(rows[:2], y[rows[:2]], refit=False)
    np.testing.assert_array_equal(learner.query(), rows[2:])
    learner.teach(rows[2:], y[rows[2:]])
    for n in (None, 2):
        with pytest.raises(ValueError, match="allows no further labels; 33 are known"):
            learner.query(n)
    assert len(learner.set_params(stopping=Budget(40)).query(2)) == 2


def test_a_proposal_stays_until_it_is_answered(table, monkeypatch):
    X, y = table
    partial = np.where(np.arange(len(y)) < 30, y, -1)
    learner = small_learner(missing_label=-1).fit(X, partial)
    rows = learner.query(20)
    fits = []
    whole = LogisticRegression.fit
    monkeypatch.setattr(
        LogisticRegression, "fit", lambda *a, **k: fits.append(1) or whole(*a, **k)
    )
    for row in rows[:7]:
        learner.teach([row], y[[row]], refit=False)
    learner.teach(rows[7:8], [None])  # set aside: no fit, no round
    np.testing.assert_array_equal(learner.query(), rows[8:])
    np.testing.assert_array_equal(learner.query(3), rows[8:11])
    assert not fits
    assert len(learner.history_) == 1
    more = learner.query(15)  # three of them by a model that knows all labels
    assert len(fits) == 1
    np.testing.assert_array_equal(more[:12], rows[8:])
    assert not set(more[12:]) & set(rows)
    assert learner.history_[1]["n_labeled"] == 37
    assert learner.history_[1]["queried"] == rows[:8].tolist()
    np.testing.assert_array_equal(learner.query(), more)
    assert len(learner.query(15, fresh=True)) == 15
    alone = whole(
        LogisticRegression(), X[learner.labeled_indices_], y[learner.labeled_indices_]
    )
    np.testing.assert_allclose(learner.estimator_.coef_, alone.coef_)


def test_scores_of_a_proposal_stay_with_its_rows(table):
    X, y = table
    partial = np.where(np.arange(len(y)) < 30, y, -1)
    learner = small_learner(missing_label=-1).fit(X, partial)
    rows, scores = learner.query(10, return_scores=True)
    learner.teach(rows[:1], [None])
    rest, rest_scores = learner.query(return_scores=True)
    np.testing.assert_array_equal(rest, rows[1:])
    np.testing.assert_array_equal(rest_scores, scores[1:])
    learner = small_learner(missing_label=-1, strategy=RandomSampling()).fit(X, partial)
    assert learner.query(2, return_scores=True)[1] is None


def test_setting_aside_is_neither_a_fit_nor_a_round(table):
    X, y = table
    partial = np.where(np.arange(len(y)) < 30, y, -1)
    learner = small_learner(missing_label=-1).fit(X, partial)
    model = learner.estimator_
    rows = learner.query(3)
    learner.teach(rows, [-1, None, np.nan])
    assert learner.estimator_ is model
    assert len(learner.history_) == 1
    learner.teach([3], [y[3]])  # nothing new either
    assert learner.estimator_ is model
    assert not set(learner.query(167)) & set(rows)
    # nor a warning where nothing is labelled yet
    learner = small_learner(classes=[0, 1, 2]).fit(X, [None] * 200)
    learner.teach(learner.query(2), [None, None])
    assert len(learner.labeled_indices_) == 0


def test_classes_that_are_found_while_labelling(table):
    X, y = table
    names = np.array(["ant", "bee", "spider"])[y]
    partial = np.where((np.arange(200) < 40) & (y < 2), names.astype(object), None)
    learner = small_learner(store_estimators=True).fit(X, partial)
    spiders = np.flatnonzero(y == 2)
    with pytest.raises(ValueError, match=r"unknown labels 'spider'.* add_classes"):
        learner.teach(spiders[:3], names[spiders[:3]])
    assert learner.add_classes(["bee", "spider"]) is learner
    assert learner.classes_.tolist() == ["ant", "bee", "spider"]
    assert (learner.predict_proba(X)[:, 2] == 0).all()
    assert len(learner.query(4)) == 4
    learner.teach(spiders[:3], names[spiders[:3]])
    known = learner.labeled_indices_
    alone = LogisticRegression().fit(X[known], names[known])
    np.testing.assert_allclose(learner.predict_proba(X), alone.predict_proba(X))
    assert [proba.shape for proba in learner.staged_predict_proba(X)] == [(200, 3)] * 2
    with pytest.raises(ValueError, match="labels of one type"):
        learner.add_classes([3])
    learner.teach([0], ["wasp"], new_classes="add")
    assert learner.classes_.tolist() == ["ant", "bee", "spider", "wasp"]
    with pytest.raises(ValueError, match="must be 'error' or 'add'"):
        learner.teach([0], ["wasp"], new_classes="maybe")


def test_one_class_so_far_and_no_other_named(table):
    X, y = table
    for estimator in (LogisticRegression(), RandomForestClassifier(3)):
        learner = small_learner(estimator=estimator, missing_label=-1)
        with pytest.raises(ValueError, match=r"one class only, \[0\].* classes=\["):
            learner.fit(X, np.where((np.arange(200) < 30) & (y == 0), 0, -1))


def test_a_failed_fit_does_not_count_taught_rows_twice(table, monkeypatch):
    # the labels of a teach() whose fit failed are kept; teaching them again is harmless
    X, y = table
    partial = np.where(np.arange(len(y)) < 30, y, -1)
    learner = small_learner(missing_label=-1).fit(X, partial)
    with monkeypatch.context() as patch:
        patch.setattr(LogisticRegression, "fit", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            learner.teach([40, 41], y[[40, 41]])
    learner.teach([40, 41], y[[40, 41]])
    assert learner.history_[1]["queried"] == [40, 41]
    assert learner.history_[1]["n_requested"] == 2


# -------------------------------------------------------------------- scikit-learn life


def test_works_in_cross_validation(table):
    X, y = table
    scores = cross_validate(
        small_learner(), X, y, cv=3, scoring=["accuracy", "roc_auc_ovr"]
    )
    assert (scores["test_accuracy"] > 0.5).all()
    assert len(cross_val_score(make_pipeline(StandardScaler(), small_learner()), X, y))


def test_grid_search_over_strategies_and_their_parameters(table):
    X, y = table
    search = GridSearchCV(
        small_learner(estimator=LogisticRegression(), strategy=UncertaintySampling()),
        [
            {"strategy": [RandomSampling(), CoreSet()], "query_size": [5, 10]},
            {"strategy__measure": ["entropy", "margin"], "estimator__C": [0.1, 1.0]},
        ],
        cv=2,
        n_jobs=2,
    ).fit(X, y)
    assert len(search.cv_results_["params"]) == 8
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_works_in_halving_learning_curve_and_calibration(table):
    X, y = table
    halving = HalvingGridSearchCV(
        small_learner(n_initial=0.2, query_size=0.1),
        {"query_size": [0.05, 0.1]},
        cv=2,
        random_state=0,
    )
    assert halving.fit(X, y).best_score_ > 0.5
    _, _, test_scores = learning_curve(
        small_learner(n_initial=0.2), X, y, cv=2, train_sizes=[0.6, 1.0]
    )
    assert test_scores.shape == (2, 2)
    calibrated = CalibratedClassifierCV(small_learner(), cv=2).fit(X, y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1)


def test_clone_pickle_and_html(table):
    X, y = table
    learner = small_learner(strategy=CoreSet()).fit(X, y)
    copy = pickle.loads(pickle.dumps(learner))
    np.testing.assert_array_equal(copy.predict(X), learner.predict(X))
    np.testing.assert_array_equal(copy.labeled_indices_, learner.labeled_indices_)
    np.testing.assert_array_equal(copy.query(3), learner.query(3))
    assert not hasattr(clone(learner), "estimator_")
    assert "CoreSet" in learner._repr_html_()


def test_strategy_by_name(table):
    learner = small_learner(strategy="core_set_selection").fit(*table)
    assert isinstance(learner.strategy_, CoreSet)
    with pytest.raises(ValueError, match="Did you mean 'core_set_selection'"):
        small_learner(strategy="coreset_selection").fit(*table)


def test_dataframes_reach_column_transformers(table):
    # columns by name, one of strings: nothing of it becomes an array on the way
    X, y = table
    frame = pd.DataFrame(X, columns=list("abcdef"))
    frame["colour"] = np.where(X[:, 0] > 0, "red", "blue")
    model = make_pipeline(
        make_column_transformer(
            (OneHotEncoder(), ["colour"]), remainder=StandardScaler()
        ),
        LogisticRegression(),
    )
    learner = small_learner(estimator=model, strategy=CoreSet()).fit(frame, y)
    assert learner.n_features_in_ == 7
    assert learner.feature_names_in_.tolist() == [*"abcdef", "colour"]
    assert learner.predict(frame).shape == (200,)


def test_pipelines_of_one_step_and_in_each_other(table):
    # embeddings are what the innermost classifier receives
    X, y = table
    X_uneven = X * np.array([1, 100, 1, 0.01, 1, 1])
    steps = [StandardScaler(with_mean=False), StandardScaler(), LogisticRegression()]
    nested = make_pipeline(steps[0], make_pipeline(*steps[1:]))
    flat, inner = (
        small_learner(estimator=model, strategy=CoreSet())
        .fit(X_uneven, y)
        .labeled_indices_
        for model in (make_pipeline(*steps), nested)
    )
    np.testing.assert_array_equal(inner, flat)
    small_learner(estimator=make_pipeline(LogisticRegression())).fit(X, y)


def test_images_of_another_size_can_be_predicted():
    # the height of images is no number of features
    from dalmax_sk import CNNClassifier

    images = np.random.RandomState(0).randint(0, 255, (30, 6, 6, 3), dtype=np.uint8)
    net = CNNClassifier(image_size=8, max_epochs=1)
    learner = small_learner(estimator=net, n_initial=10, n_rounds=0)
    learner.fit(images, np.arange(30) % 2)
    assert learner.predict(np.zeros((2, 9, 9, 3), dtype=np.uint8)).shape == (2,)
    assert not hasattr(learner, "n_features_in_")


def test_texts_work_through_a_pipeline():
    # any 1-D sequence of strings goes to the estimator as it is
    texts = np.array([f"{w} number {i}" for i in range(40) for w in ("cat", "dog")])
    y = np.array(["animal cat", "animal dog"] * 40)
    model = make_pipeline(TfidfVectorizer(), LogisticRegression())
    for strategy in (UncertaintySampling(), CoreSet()):
        learner = small_learner(estimator=model, strategy=strategy, n_initial=10)
        assert learner.fit(texts, y).score(texts, y) > 0.9


def test_an_estimator_that_takes_nan_gets_nan(table):
    X, y = table
    X = X.copy()
    X[::7, 2] = np.nan
    forest = RandomForestClassifier(n_estimators=5)
    assert small_learner(estimator=forest).fit(X, y).predict(X).shape == (200,)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        small_learner().fit(X, y)


def test_predictions_keep_a_column_for_a_class_not_labelled_yet(table):
    X, y = table
    partial = np.where((np.arange(len(y)) < 60) & (y != 1), y, -1)
    for estimator in (LogisticRegression(), GaussianNB(), MLPClassifier(max_iter=20)):
        with sklearn.config_context(), pytest.MonkeyPatch.context() as patch:
            patch.setattr("warnings.showwarning", lambda *a, **k: None)
            learner = small_learner(
                estimator=estimator, missing_label=-1, classes=[0, 1, 2]
            )
            if isinstance(estimator, MLPClassifier):
                with pytest.warns(match="Maximum iterations"):
                    learner.fit(X, partial)
            else:
                learner.fit(X, partial)
        proba = learner.predict_proba(X)
        assert proba.shape == (200, 3)
        assert (proba[:, 1] == 0).all()
        np.testing.assert_allclose(proba.sum(axis=1), 1)
    learner = small_learner(estimator=LinearSVC(), missing_label=-1, classes=[0, 1, 2])
    decision = learner.fit(X, partial).decision_function(X)
    assert decision.shape == (200, 3)
    np.testing.assert_array_equal(decision.argmax(axis=1), learner.predict(X))


class RecordingClassifier(ClassifierMixin, BaseEstimator):
    """Keeps the weights its fits received."""

    seen = []

    def fit(self, X, y, sample_weight=None, tag=None):
        self.classes_ = np.unique(y)
        RecordingClassifier.seen.append((X.copy(), sample_weight, tag))
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def test_metadata_is_routed_and_sliced(table):
    # weights are cut to the labelled rows in every round; a scalar passes whole
    X, y = table
    weights = np.arange(len(y), dtype=float)
    RecordingClassifier.seen = []
    with sklearn.config_context(enable_metadata_routing=True):
        child = RecordingClassifier().set_fit_request(sample_weight=True, tag=True)
        learner = small_learner(estimator=child)
        learner.fit(X, y, sample_weight=weights, tag="x")
    assert len(RecordingClassifier.seen) == 4
    rows = learner.labeled_indices_
    for n, (X_seen, seen, tag) in zip(
        (20, 30, 40, 50), RecordingClassifier.seen, strict=True
    ):
        np.testing.assert_array_equal(seen, weights[rows[:n]])
        np.testing.assert_array_equal(X_seen, X[rows[:n]])
        assert tag == "x"


def test_metadata_without_routing_is_refused(table):
    X, y = table
    with pytest.raises(ValueError, match="enable_metadata_routing=True"):
        small_learner().fit(X, y, sample_weight=np.ones(len(y)))


def test_metadata_that_nobody_requested_is_refused(table):
    X, y = table
    with sklearn.config_context(enable_metadata_routing=True):
        learner = small_learner(estimator=LogisticRegression())
        with pytest.raises(ValueError, match="sample_weight"):
            learner.fit(X, y, sample_weight=np.ones(len(y)))
        with pytest.raises(TypeError, match="not routed to any object"):
            learner.fit(X, y, colour="red")


# ---------------------------------------------------------------------------- bad input


class FailsAt(ClassifierMixin, BaseEstimator):
    """Fails as soon as it is given `n` samples."""

    def __init__(self, n=30, error=RuntimeError):
        self.n = n
        self.error = error

    def fit(self, X, y):
        if len(X) >= self.n:
            raise self.error("CUDA out of memory")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


@pytest.mark.parametrize("error", [RuntimeError, ValueError, MemoryError])
def test_a_failing_estimator_stops_fit_with_the_round(table, error):
    # the exception keeps its type and its words
    learner = small_learner(estimator=FailsAt(40, error))
    with pytest.raises(
        error, match=r"CUDA out of memory .*round 2, FailsAt fitting 40"
    ):
        learner.fit(*table)


def test_a_failing_oracle_stops_fit_with_the_round(table):
    X, y = table

    def oracle(rows, indices):
        raise OSError(28, "No space left on device")

    partial = np.where(np.arange(len(y)) < 20, y, -1)
    learner = small_learner(oracle=oracle, missing_label=-1)
    with pytest.raises(OSError, match="No space left") as caught:
        learner.fit(X, partial)
    assert "round 1, the oracle labelling 10 rows" in caught.value.__notes__[0]


def test_a_failing_strategy_stops_fit_with_the_round(table):
    class Broken(QueryStrategy):
        def _query(self, pool, n):
            return np.zeros(n, dtype=int)

    with pytest.raises(ValueError, match=r"more than once.*round 1, Broken picking 10"):
        small_learner(strategy=Broken()).fit(*table)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            lambda rows, i: ["zebra"] * len(i),
            r"unknown labels 'zebra'; the classes are",
        ),
        (lambda rows, i: [0], r"asked for 10 labels and returned 1"),
        (lambda rows, i: 3, r"must return a sequence"),
    ],
)
def test_an_oracle_with_bad_answers(table, answer, message):
    X, y = table
    partial = np.where(np.arange(len(y)) < 20, y, -1)
    learner = small_learner(oracle=answer, missing_label=-1)
    with pytest.raises((ValueError, TypeError), match=message):
        learner.fit(X, partial)


def test_n_initial_larger_than_the_data(table):
    with pytest.raises(ValueError, match=r"n_initial=201 is larger than .* 200"):
        small_learner(n_initial=201).fit(*table)


def test_balanced_needs_all_labels(table):
    X, y = table
    learner = small_learner(
        oracle=lambda rows, i: y[i], classes=[0, 1, 2], initial_strategy="balanced"
    )
    with pytest.raises(ValueError, match="needs the labels of all rows; 200 of 200"):
        learner.fit(X, np.full(len(y), None))
    with pytest.raises(ValueError, match="needs the labels of all rows; 200 of 200"):
        learner.set_params(oracle=None).fit(X, np.full(len(y), None))


def test_no_labels_and_no_classes(table):
    X, y = table
    with pytest.raises(ValueError, match=r"pass classes=\[\.\.\.\]"):
        small_learner().fit(X, np.full(len(y), None))


def test_an_estimator_without_probabilities(table):
    with pytest.raises(
        MissingCapabilityError,
        match=r"BADGE needs class probabilities, and LinearSVC cannot .* n_initial",
    ):
        small_learner(estimator=LinearSVC(), strategy="badge").fit(*table)
    # but strategies that do not look at them work, and uncertainty has its margins
    small_learner(estimator=LinearSVC(), strategy=CoreSet()).fit(*table)
    small_learner(estimator=LinearSVC()).fit(*table)


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        ([30, 30], [0, 0], "are repeated"),
        ([200], [0], "are not rows of X, which has 200"),
        ([-1], [0], "are not rows of X"),
        ([30.5], [0], "1-D array of row numbers"),
        ([30], [9], "labels contains unknown labels 9"),
        ([30, 31], [0], "inconsistent numbers of samples"),
        ([30, 3], [0, None], r"rows \[3\], which are labelled already"),
        ([30, 31], [[0, 0], [1, 1]], "1d array"),
    ],
)
def test_teach_refuses_bad_rows_and_changes_nothing(table, rows, labels, message):
    X, y = table
    partial = np.where(np.arange(len(y)) < 30, y, -1)
    learner = small_learner(missing_label=-1).fit(X, partial)
    with pytest.raises(ValueError, match=message):
        learner.teach(rows, labels)
    assert len(learner.labeled_indices_) == 30
    assert len(learner.history_) == 1


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_initial": 0}, "n_initial"),
        ({"n_initial": 1.5}, "n_initial"),
        ({"query_size": 0}, "query_size"),
        ({"query_size": []}, "empty schedule"),
        ({"query_size": [5, 0]}, "round 2; at least 1"),
        ({"n_rounds": -1}, "n_rounds"),
        ({"refit": "sometimes"}, "refit"),
        ({"strategy": 3}, "strategy"),
        ({"initial_strategy": "stratified"}, "initial_strategy"),
        ({"strategy": UncertaintySampling(measure="variance")}, "measure"),
        ({"stopping": [3]}, "stopping must hold rules"),
        ({"stopping": Budget(0)}, "n_labels"),
    ],
)
def test_bad_parameters_name_themselves(table, params, message):
    with pytest.raises((ValueError, TypeError), match=message):
        small_learner(**params).fit(*table)


@pytest.mark.parametrize(
    ("eval_set", "message"),
    [
        (3, "must be a tuple"),
        ((np.zeros((2, 6)), [0, 9]), "eval_set's y contains unknown labels 9"),
        ((np.zeros((2, 5)), [0, 1]), "X has 5 features"),
        ((np.zeros((2, 6)), [0, 1, 2]), "inconsistent numbers"),
    ],
)
def test_bad_eval_sets(table, eval_set, message):
    with pytest.raises(ValueError, match=message):
        small_learner().fit(*table, eval_set=eval_set)


def test_unfitted_learner_says_so():
    learner = ActiveLearningClassifier()
    for call in (
        learner.query,
        learner.history_frame,
        lambda: learner.predict([[0.0]]),
    ):
        with pytest.raises(NotFittedError):
            call()
