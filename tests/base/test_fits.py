"""Fits and predictions of estimators of any make."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier
from torch import nn

from dalmax_sk._base.fits import as_labels_of, classes_of, fit_estimator, predict

NAMES = np.array(["ant", "bee", "cicada"])


class Numbered(ClassifierMixin, BaseEstimator):
    """Takes the labels 0 .. k-1 only, as XGBoost does."""

    def fit(self, X, y):
        present = np.unique(y)
        if not np.array_equal(present, np.arange(len(present))):
            raise ValueError(f"Expected 0 to {len(present) - 1}, got {present}.")
        self.model_ = LogisticRegression().fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(X)


class FailsOnce(LogisticRegression):
    """Fails in its first fit, whatever the labels."""

    n_fits = 0

    def fit(self, X, y):
        FailsOnce.n_fits += 1
        if FailsOnce.n_fits == 1:
            raise ValueError("the first fit")
        return super().fit(X, y)


@pytest.mark.parametrize("labels", [NAMES, [1, 2, 3], [-1, 0, 9], [True, False, True]])
@pytest.mark.parametrize("wrap", ["alone", "pipeline", "search"])
def test_labels_as_numbers_where_others_are_refused(table, labels, wrap):
    X, codes = table
    y = np.asarray(labels)[codes]
    model = {
        "alone": Numbered(),
        "pipeline": make_pipeline(StandardScaler(), Numbered()),
        "search": GridSearchCV(Numbered(), {}, cv=2),
    }[wrap]
    fitted = fit_estimator(model, X, y, {}, seed=0)
    assert classes_of(fitted).tolist() == np.unique(y).tolist()
    found = predict(fitted, X, np.unique(y))
    assert found.dtype == y.dtype
    assert np.mean(found == y) > 0.6


def test_a_class_without_a_label_has_no_number(table):
    X, codes = table
    kept = codes != 1
    fitted = fit_estimator(
        Numbered(), X[kept], codes[kept], {}, seed=0, classes=np.arange(3)
    )
    assert classes_of(fitted).tolist() == [0, 2]
    assert set(predict(fitted, X, np.arange(3))) == {0, 2}


def test_labels_that_are_taken_stay_as_they_are(table):
    X, codes = table
    model = LogisticRegression(class_weight={"ant": 9, "bee": 1, "cicada": 1})
    fitted = fit_estimator(model, X, NAMES[codes], {}, seed=0)
    assert fitted.classes_.tolist() == NAMES.tolist()


def test_other_failures_are_not_swallowed(table):
    X, codes = table
    FailsOnce.n_fits = 0
    with pytest.raises(ValueError, match="the first fit"):
        fit_estimator(FailsOnce(), X, NAMES[codes], {}, seed=0)


def test_a_net_gets_the_numbers_of_its_outputs(table):
    X, codes = table
    X = X.astype(np.float32)
    labels = np.array([0, 2, 5])  # 2 is an output of the net, but of another class
    kept = codes != 1
    net = NeuralNetClassifier(
        lambda: nn.Linear(6, 3), criterion=nn.CrossEntropyLoss, classes=range(3),
        max_epochs=20, lr=0.1, train_split=None, verbose=0,
    )  # fmt: skip
    fitted = fit_estimator(
        net, X[kept], labels[codes[kept]], {}, seed=0, classes=labels
    )
    assert classes_of(fitted).tolist() == [0, 2, 5]
    assert np.mean(predict(fitted, X, labels)[kept] == labels[codes[kept]]) > 0.8


def test_a_binary_net_gets_floats(table):
    X, codes = table
    y = np.where(codes > 0, "yes", "no")
    net = NeuralNetBinaryClassifier(
        lambda: nn.Sequential(nn.Linear(6, 1), nn.Flatten(0)),
        max_epochs=30, lr=0.1, train_split=None, verbose=0,
    )  # fmt: skip
    X = X.astype(np.float32)
    fitted = fit_estimator(net, X, y, {}, seed=0, classes=np.unique(y))
    assert np.mean(predict(fitted, X, np.unique(y)) == y) > 0.8


@pytest.mark.parametrize(
    ("predicted", "classes"),
    [
        ([[2], [0]], [0, 2]),
        ([1, 0], [False, True]),
        (["True", "False"], [False, True]),
        ([["3"], ["1"]], [1, 3]),
        (np.array([1, 0], dtype=np.uint8), [0, 1]),
        (np.array(["b", "a"], dtype=object), ["a", "b"]),
    ],
)
def test_predictions_are_1d_and_of_the_labels_type(predicted, classes):
    classes = np.asarray(classes)
    found = as_labels_of(predicted, classes)
    assert found.dtype == classes.dtype
    assert found.tolist() == classes[::-1].tolist()


@pytest.mark.parametrize(
    ("predicted", "classes"), [([0.46], [0, 1]), (["c"], [0, 1]), (["cat"], ["a", "b"])]
)
def test_a_prediction_that_is_no_class(predicted, classes):
    predicted = np.asarray(predicted)
    if predicted.dtype.kind == "U":
        predicted = predicted.astype(object)
    with pytest.raises(ValueError, match="expected some of the classes"):
        as_labels_of(predicted, np.asarray(classes))
