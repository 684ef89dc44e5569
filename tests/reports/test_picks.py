"""What is recorded of each pick, against plain definitions."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits, make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.pool import Pool
from dalmax_sk.reports import (
    describe_picks,
    describe_query,
    describe_round,
    describe_test,
)


@pytest.fixture
def pool():
    X, y = make_blobs(300, 5, centers=4, random_state=0)
    names = np.array(["a", "b", "c", "d"])[y]
    labelled = np.random.default_rng(0).permutation(300)[:40]
    model = LogisticRegression().fit(X[labelled], names[labelled])
    return Pool(model, X, labelled, names[labelled], random_state=0), X, model, labelled


def test_it_tells_what_the_model_says(pool):
    pool, X, model, labelled = pool
    positions = [7, 200, 3]
    told = describe_query(pool, positions)
    rows = pool.indices[positions]
    proba = model.predict_proba(X[rows])
    assert told["predicted"] == model.predict(X[rows]).tolist()
    assert_allclose(told["probability"], proba.max(axis=1))
    distances = np.linalg.norm(X[rows][:, None] - X[labelled], axis=2)  # (n, m)
    assert told["nearest_row"] == labelled[distances.argmin(axis=1)].tolist()
    assert_allclose(told["nearest_distance"], distances.min(axis=1))
    assert told["missing"] == {}
    assert told["seconds"] >= 0


def test_far_from_zero_the_nearest_is_still_the_nearest(pool):
    # property: a distance of 0.5 is told at coordinates of 1e8, where the products of
    # an expanded square have no digits left for it
    points = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 5.0]]) + 1e8
    pool = Pool.from_arrays(
        embeddings=points + [0.25, 0.0], labeled_embeddings=points, y_labeled=[0, 1, 0]
    )
    told = describe_query(pool, [0, 1, 2])
    assert told["nearest_row"] == [0, 1, 2]
    assert_allclose(told["nearest_distance"], 0.25)


def test_only_picks_and_labelled_rows_are_looked_at(pool):
    pool, X, model, labelled = pool
    seen = []

    class Watched:
        classes_ = model.classes_

        def predict_proba_and_embeddings(self, X):
            seen.append(len(X))
            return model.predict_proba(X), X

        def predict_proba(self, X):
            seen.append(len(X))
            return model.predict_proba(X)

        def transform(self, X):
            seen.append(len(X))
            return X

    watched = Pool(Watched(), X, labelled, pool.y_labeled, random_state=0)
    describe_query(watched, [1, 2, 3])
    assert sorted(seen) == [3, 3, 40]


def test_what_a_model_cannot_tell_is_explained():
    X, y = load_digits(n_class=3, return_X_y=True)
    model = LinearSVC(random_state=0).fit(X[:50], y[:50])
    pool = Pool(model, X, np.arange(50), y[:50])
    told = describe_query(pool, [0, 1])
    assert told["predicted"] == model.predict(X[50:52]).tolist()
    assert "probability" not in told
    assert "LinearSVC cannot give them" in told["missing"]["probability"]
    assert len(told["nearest_row"]) == 2

    bare = Pool.from_arrays(proba=[[0.5, 0.5]], y_labeled=[0, 1])
    told = describe_query(bare, [0])
    assert "cannot give them" in told["missing"]["nearest"]
    nothing = Pool.from_arrays(proba=[[0.5, 0.5]], embeddings=[[1.0]])
    assert describe_query(nothing, [0])["missing"] == {
        "nearest": "Nothing was labelled yet."
    }


def test_a_diverged_model_stops_nothing(pool):
    # property: random sampling goes on with a model that has diverged, and so does a
    # run that describes its picks; the reason stands in their place
    pool, X, model, labelled = pool

    class Diverged(LogisticRegression):
        def predict_proba(self, X):
            return np.full((len(X), 4), np.nan)

    diverged = Diverged()
    diverged.classes_ = model.classes_
    broken = Pool(diverged, X, labelled, pool.y_labeled)
    told = describe_query(broken, [0])
    assert "NaN" in told["missing"]["predicted"]
    assert "predicted" not in told


def test_a_callback_puts_it_into_the_history():
    # property: what is told of the picks is that of the model that made them
    X, y = make_blobs(120, 4, centers=3, random_state=1)

    class DescribePicks:
        def on_query_end(self, learner, pool, positions):
            if pool.estimator is not None:
                return {"picks": describe_query(pool, positions)}

    learner = ActiveLearningClassifier(
        n_initial=10,
        query_size=5,
        n_rounds=2,
        callbacks=[DescribePicks()],
        random_state=0,
    ).fit(X, y)
    assert "picks" not in learner.history_[0]
    for record in learner.history_[1:]:
        before = learner.labeled_indices_[: record["n_labeled"] - 5]
        model = LogisticRegression().fit(X[before], y[before])
        picks = record["picks"]
        assert picks["predicted"] == model.predict(X[record["queried"]]).tolist()
        assert set(picks["nearest_row"]) <= set(before.tolist())


def test_the_record_of_a_round_holds_it():
    record = {
        "round": 1,
        "n_labeled": 2,
        "n_requested": 1,
        "queried": [1],
        "query_scores": None,
        "fit_seconds": 0.5,
        "picks": {
            "predicted": ["cat"],
            "probability": [0.75],
            "nearest_row": [0],
            "nearest_distance": [2.0],
            "missing": {},
            "seconds": 0.25,
        },
    }
    entry = describe_round(record, files=["cat/1.png", "dog/2.png"])
    assert entry["picked"] == [
        {
            "row": 1,
            "file": "dog/2.png",
            "class": "dog",
            "predicted": "cat",
            "probability": 0.75,
            "nearest": {"row": 0, "file": "cat/1.png", "distance": 2.0},
        }
    ]
    assert entry["seconds"] == {"fit": 0.5, "describe": 0.25}
    assert entry["strategy"] == {}
    assert entry["not_known"] == {}
    assert "nearest" not in describe_picks([0], files=["cat/1.png"])[0]


def test_the_scores_of_the_test_images():
    # property: scikit-learn's numbers where they are defined
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    rng = np.random.default_rng(0)
    labels = list("abcd")
    true = rng.choice(labels[:3], 200)
    predicted = rng.choice(["a", "b", "d"], 200)
    test = describe_test(true, predicted, labels=labels)
    assert (
        test["confusion"] == confusion_matrix(true, predicted, labels=labels).tolist()
    )
    expected = precision_recall_fscore_support(
        true, predicted, labels=labels, zero_division=np.nan
    )
    for key, values in zip(
        ("precision", "recall", "f1", "support"), expected, strict=True
    ):
        found = [entry[key] for entry in test["per_class"]]
        if key == "f1":  # of a class that is never predicted, or never true, it is 0
            values = np.nan_to_num(values)
        assert_allclose(found, values)
    assert test["accuracy"] == pytest.approx(np.mean(true == predicted))


def test_scores_of_unknown_labels_are_refused():
    with pytest.raises(ValueError, match=r"1 of the labels.*\['x'\]"):
        describe_test(["a", "x"], ["a", "a"], labels=["a"])
    with pytest.raises(ValueError, match="no test images"):
        describe_test([], [], labels=["a"])
