"""Pool: each quantity once, on demand, and clear words for what cannot be had."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC

from dalmax_sk.pool import MissingCapabilityError, Pool, align_columns
from dalmax_sk.strategies import CoreSet


class TwoInOne(ClassifierMixin, BaseEstimator):
    """Like CNNClassifier: counts its passes over the data."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.passes_ = []
        return self

    def predict_proba_and_embeddings(self, X):
        self.passes_.append(("both", len(X)))
        return self._proba(X), 2 * X

    def predict_proba(self, X):
        self.passes_.append(("proba", len(X)))
        return self._proba(X)

    def transform(self, X):
        self.passes_.append(("embeddings", len(X)))
        return 2 * X

    def _proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def make_pool(estimator, X, y, **params):
    return Pool(estimator, X, np.arange(30), y[:30], random_state=0, **params)


def test_candidates_are_the_rows_without_a_label(table):
    X, y = table
    pool = Pool(LogisticRegression().fit(X, y), X, [3, 1], y[[3, 1]])
    assert len(pool) == 198
    assert set(pool.indices) == set(range(200)) - {1, 3}
    np.testing.assert_array_equal(pool.labeled_embeddings, X[[3, 1]])


def test_one_pass_gives_probabilities_and_embeddings(table):
    X, y = table
    model = TwoInOne().fit(X, y)
    pool = make_pool(model, X, y)
    pool.prepare(["proba", "embeddings"])
    for _ in range(2):
        assert pool.proba.shape == (170, 3)
        np.testing.assert_array_equal(pool.embeddings, 2 * X[30:])
    assert model.passes_ == [("both", 170)]
    np.testing.assert_array_equal(pool.labeled_embeddings, 2 * X[:30])
    assert model.passes_ == [("both", 170), ("embeddings", 30)]


def test_only_what_is_asked_for_is_computed(table):
    X, y = table
    model = TwoInOne().fit(X, y)
    assert make_pool(model, X, y).proba.shape == (170, 3)
    assert model.passes_ == [("proba", 170)]


def test_embeddings_of_a_pipeline_are_the_inputs_of_its_classifier(table):
    X, y = table
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    pool = make_pool(model, X, y)
    np.testing.assert_allclose(pool.embeddings, model[:-1].transform(X[30:]))
    np.testing.assert_allclose(pool.proba, model.predict_proba(X[30:]))


def test_images_for_a_plain_classifier_are_flattened(table):
    X, y = table
    images = X.reshape(200, 2, 3)
    flatten = FunctionTransformer(lambda A: A.reshape(len(A), -1))
    model = make_pipeline(flatten, LogisticRegression()).fit(images, y)
    np.testing.assert_array_equal(make_pool(model, images, y).embeddings, X[30:])
    # and before there is a model, pixels stand for embeddings
    cold = Pool(None, images, [], [], classes=[0, 1, 2])
    np.testing.assert_array_equal(cold.embeddings, X)
    assert cold.labeled_embeddings.shape == (0, 6)


def test_columns_of_unseen_classes_are_zero(table):
    X, y = table
    rows = np.flatnonzero(y != 1)
    model = LogisticRegression().fit(X[rows], y[rows])
    pool = Pool(model, X, rows, y[rows], classes=[0, 1, 2])
    assert pool.proba.shape == (len(X) - len(rows), 3)
    assert (pool.proba[:, 1] == 0).all()
    np.testing.assert_allclose(
        pool.proba[:, [0, 2]], model.predict_proba(X[pool.indices])
    )


def test_align_columns():
    values = np.array([[0.25, 0.75]])
    aligned = align_columns(values, np.array(["a", "c"]), np.array(["a", "b", "c"]))
    np.testing.assert_array_equal(aligned, [[0.25, 0.0, 0.75]])


def test_the_random_state_is_the_same_at_every_access():
    pool = Pool.from_arrays(embeddings=np.zeros((5, 1)), random_state=3)
    assert pool.random_state.randint(1000) == pool.random_state.randint(1000)


def test_sparse_inputs_within_and_beyond_the_memory(table):
    X, y = table
    model = LogisticRegression().fit(csr_matrix(X), y)
    pool = make_pool(model, csr_matrix(X), y)
    np.testing.assert_array_equal(pool.embeddings, X[30:])
    pool = make_pool(model, csr_matrix(X), y, max_memory=1000)
    with pytest.raises(
        MissingCapabilityError, match=r"8,160 bytes, max_memory is 1,000"
    ):
        pool.prepare(["embeddings"], owner="CoreSet")


def test_numbers_in_an_array_of_objects_are_embeddings(table):
    X, y = table
    model = LogisticRegression().fit(X, y)
    pool = make_pool(model, X.astype(object), y)
    np.testing.assert_array_equal(pool.embeddings, X[30:])
    words = np.full(X.shape, "word", dtype=object)
    with pytest.raises(MissingCapabilityError, match="on data of type object cannot"):
        CoreSet().query(make_pool(model, words, y), 1)


@pytest.mark.parametrize(
    ("need", "message"),
    [
        (
            "proba",
            "Me needs class probabilities, and LinearSVC cannot give them. .*Cal",
        ),
        ("samples", r"Me needs samples from a posterior .* LinearSVC cannot"),
    ],
)
def test_missing_capabilities_name_everything(table, need, message):
    X, y = table
    pool = make_pool(LinearSVC().fit(X, y), X, y)
    with pytest.raises(MissingCapabilityError, match=message):
        pool.prepare([need], owner="Me")


def test_file_paths_without_a_net_have_no_embeddings():
    pool = Pool(None, np.array(["a.png", "b.png"], dtype=object), [], [], classes=[0])
    with pytest.raises(MissingCapabilityError, match="no estimator on file paths"):
        CoreSet().query(pool, 1)


def test_from_arrays_lacks_what_was_not_given():
    pool = Pool.from_arrays(proba=[[0.5, 0.5]])
    with pytest.raises(MissingCapabilityError, match="these arrays cannot"):
        CoreSet().query(pool, 1)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "at least one of proba"),
        ({"proba": [0.5, 0.5]}, "proba has 1 axes, expected 2"),
        ({"proba": [[0.5, 0.6]]}, "must sum to 1 over the classes; one sums to 1.1"),
        ({"proba": [[1.5, -0.5]]}, "negative values"),
        ({"embeddings": [[np.nan]]}, "embeddings contains NaN"),
        (
            {"proba": [[1.0]], "embeddings": [[1.0], [2.0]]},
            "Numbers of candidates differ",
        ),
        (
            {"embeddings": [[1.0]], "labeled_embeddings": [[1.0, 2.0]]},
            "labeled_embeddings have 2 columns, embeddings have 1",
        ),
        ({"proba": [[0.5, 0.5]], "classes": [0, 1, 2]}, "classes has 3 entries"),
        ({"samples": [[[0.5, 0.5]]], "proba": [[1.0]]}, "columns"),
    ],
)
def test_from_arrays_refuses_what_does_not_fit(arrays, message):
    with pytest.raises(ValueError, match=message):
        Pool.from_arrays(**arrays)
