"""What the learner was after each round, and who may look on while it runs."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import log_loss, make_scorer, roc_auc_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.stopping import Budget, StoppingRule


def small_learner(estimator=None, **params):
    defaults = {"n_initial": 20, "query_size": 10, "n_rounds": 3, "random_state": 0}
    return ActiveLearningClassifier(estimator, **(defaults | params))


def accuracies(learner, X, y):
    return [float(np.mean(predicted == y)) for predicted in learner.staged_predict(X)]


@pytest.mark.parametrize(
    "params",
    [
        {"estimator": LogisticRegression()},
        # its random_state is drawn anew each round: a refit must draw the same
        {"estimator": RandomForestClassifier(n_estimators=5)},
        {"estimator": make_pipeline(StandardScaler(), LogisticRegression())},
        {"estimator": SGDClassifier(loss="log_loss"), "refit": "continue"},
    ],
    ids=["linear", "forest", "pipeline", "continue"],
)
@pytest.mark.parametrize("store_estimators", [False, True])
def test_stages_are_the_models_of_the_rounds(table, params, store_estimators):
    # what the run itself saw on its evaluation set after each round
    X, y = table
    learner = small_learner(**params, store_estimators=store_estimators)
    learner.fit(X, y, eval_set=(X, y))
    expected = [record["eval_accuracy"] for record in learner.history_]
    assert len(set(expected)) > 1  # the rounds can be told apart
    assert accuracies(learner, X, y) == expected
    assert list(learner.staged_score(X, y)) == expected
    assert hasattr(learner, "estimators_") == store_estimators
    # looking changes nothing
    np.testing.assert_array_equal(
        learner.predict(X), list(learner.staged_predict(X))[-1]
    )


def test_staged_proba_has_a_column_for_every_class(table):
    X, y = table
    learner = small_learner(n_initial=2).fit(X, y)
    stages = list(learner.staged_predict_proba(X))
    assert [proba.shape for proba in stages] == [(len(X), len(learner.classes_))] * 4
    np.testing.assert_allclose(stages[-1], learner.predict_proba(X))


def test_staged_proba_is_there_when_the_estimator_has_it():
    assert hasattr(small_learner(LogisticRegression()), "staged_predict_proba")
    assert not hasattr(small_learner(LinearSVC()), "staged_predict_proba")


def test_staged_score_takes_scorers_and_weights(table):
    X, y = table
    learner = small_learner().fit(X, y)
    found = list(learner.staged_score(X, y, scoring="roc_auc_ovr"))
    expected = [
        roc_auc_score(y, proba, multi_class="ovr")
        for proba in learner.staged_predict_proba(X)
    ]
    np.testing.assert_allclose(found, expected)
    only_first = (np.arange(len(y)) == 0).astype(float)
    for score, predicted in zip(
        learner.staged_score(X, y, only_first), learner.staged_predict(X), strict=True
    ):
        assert score == float(predicted[0] == y[0])


def test_stages_of_a_run_taught_by_hand_know_the_labels_of_their_time(table):
    # a label corrected in round 2 was still wrong for the model of round 1
    X, y = table
    partial = y.copy()
    partial[30:] = -1
    learner = small_learner(missing_label=-1, store_estimators=True).fit(X, partial)
    wrong = (y[30:40] + 1) % 3
    learner.teach(np.arange(30, 40), wrong).teach(np.arange(30, 40), y[30:40])
    stored = [model.predict_proba(X) for model in learner.estimators_]
    del learner.estimators_
    for found, expected in zip(learner.staged_predict_proba(X), stored, strict=True):
        np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("refit", ["scratch", "continue"])
def test_stored_estimators_survive_a_resume(table, tmp_path, refit):
    X, y = table
    learner = small_learner(
        SGDClassifier(loss="log_loss"), refit=refit, store_estimators=True
    )
    whole = clone(learner).fit(X, y)
    clone(learner).set_params(checkpoint_dir=tmp_path, n_rounds=1).fit(X, y)
    resumed = clone(learner).set_params(checkpoint_dir=tmp_path).fit(X, y)
    assert len(resumed.estimators_) == 4
    for one, other in zip(whole.estimators_, resumed.estimators_, strict=True):
        np.testing.assert_array_equal(one.coef_, other.coef_)


# ---------------------------------------------------------------------------- observers


class Certainty(StoppingRule):
    """Notes how sure the model is of the pool, and on how many rows it looked."""

    def observe(self, pool):
        return {"certainty": float(pool.proba.max(axis=1).mean()), "seen": len(pool)}

    def should_stop(self, history):
        return None


class Counting(LogisticRegression):
    """Counts the rows it gives probabilities for."""

    rows = 0

    def predict_proba(self, X):
        Counting.rows += len(X)
        return super().predict_proba(X)


def test_a_rule_observes_the_pool_of_the_next_query(table):
    X, y = table
    Counting.rows = 0
    learner = small_learner(Counting(), stopping=Certainty(), n_rounds=2).fit(X, y)
    n_candidates = [len(X) - 20, len(X) - 30, len(X) - 40]
    assert [record["seen"] for record in learner.history_] == n_candidates
    # the query finds computed what the rule has computed: one pass a round
    assert Counting.rows == sum(n_candidates)
    candidates = np.delete(X, learner.labeled_indices_, axis=0)
    expected = learner.predict_proba(candidates).max(axis=1).mean()
    assert learner.history_[-1]["certainty"] == pytest.approx(expected)
    assert not hasattr(learner, "_pool")  # nothing large stays behind


def test_observing_changes_no_picks(table):
    plain = small_learner().fit(*table)
    watched = small_learner(stopping=Certainty()).fit(*table)
    np.testing.assert_array_equal(plain.labeled_indices_, watched.labeled_indices_)


def test_observations_are_in_the_checkpoint(table, tmp_path):
    X, y = table
    rule = Certainty()
    whole = small_learner(stopping=rule).fit(X, y)
    small_learner(stopping=rule, checkpoint_dir=tmp_path, n_rounds=1).fit(X, y)
    resumed = small_learner(stopping=rule, checkpoint_dir=tmp_path).fit(X, y)
    assert [r["certainty"] for r in resumed.history_] == [
        r["certainty"] for r in whole.history_
    ]


def test_an_observer_that_fails_is_named_with_its_round(table):
    class Broken:
        def observe(self, pool):
            raise RuntimeError("no view")

        def should_stop(self, history):
            return None

    with pytest.raises(RuntimeError, match=r"no view .*round 0, Broken observing"):
        small_learner(stopping=Broken()).fit(*table)


def test_seconds_of_observing_are_recorded_with_rules_that_look(table):
    watched = small_learner(stopping=Certainty()).fit(*table)
    assert all(record["observe_seconds"] >= 0 for record in watched.history_)
    assert "observe_seconds" not in small_learner().fit(*table).history_[0]


# ----------------------------------------------------------------- rules and labels


def test_rules_advise_where_labels_are_taught_by_hand(table):
    X, y = table
    partial = np.where(np.arange(len(y)) < 20, y, -1)
    learner = small_learner(missing_label=-1, stopping=Budget(30)).fit(X, partial)
    assert learner.stop_reason_.startswith("labels are taught by hand")
    learner.teach(np.arange(20, 30), y[20:30])
    assert learner.stop_reason_ == "the budget of 30 labels is spent"


def test_a_budget_below_the_initial_set_is_refused(table):
    message = r"n_initial=20 asks for 20 labels .* Budget\(n_labels=10\), is smaller"
    with pytest.raises(ValueError, match=message):
        small_learner(stopping=Budget(10)).fit(*table)


@pytest.mark.parametrize("missing", [-1, None, np.nan])
def test_rows_without_a_label_are_left_out_of_scores(table, missing):
    X, y = table
    known = np.arange(len(y)) % 4 == 0
    partial = np.where(known, y, missing)
    learner = small_learner(missing_label=missing).fit(X, partial)
    expected = learner.score(X[known], y[known])
    assert expected > 0.8
    assert learner.score(X, partial) == expected
    assert list(learner.staged_score(X, partial)) == [expected]
    weights = np.where(known, 1.0, 50.0)
    assert learner.score(X.tolist(), partial, sample_weight=weights) == expected
    assert learner.score(X, np.ma.masked_array(y, mask=~known)) == expected
    with pytest.raises(ValueError, match="no labels to score against: all 2 entries"):
        learner.score(X[:2], [missing, missing])
    if missing == -1:  # the others end in scikit-learn's splitters
        assert cross_val_score(small_learner(missing_label=-1), X, partial).mean() > 0.7


def test_labels_in_an_array_of_objects_are_scored(table):
    X, y = table
    for labels in (y, y > 0):
        learner = small_learner().fit(X, labels.astype(object))
        assert learner.score(X, labels.astype(object)) == learner.score(X, labels)
        assert cross_val_score(small_learner(), X, labels.astype(object)).min() > 0.7


def test_an_eval_set_that_lacks_a_class_says_what_helps(table):
    X, y = table
    two = y < 2
    eval_set = (X[two], y[two])
    message = r"has no row of the classes \[2\].* labels=classes"
    with pytest.raises(ValueError, match=message):
        small_learner(scoring="neg_log_loss").fit(X, y, eval_set=eval_set)
    scoring = make_scorer(log_loss, response_method="predict_proba", labels=[0, 1, 2])
    small_learner(scoring=scoring).fit(X, y, eval_set=eval_set)
