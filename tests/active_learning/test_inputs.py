"""X as the learner takes it, whatever the estimator makes of it."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import sparse
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dalmax_sk import ActiveLearningClassifier, CNNClassifier


@pytest.fixture
def table():
    rng = np.random.RandomState(0)
    y = rng.randint(3, size=120)
    return rng.randn(120, 4) + 3 * y[:, None], y


def learner(estimator=None, strategy=None, **params):
    defaults = {"n_initial": 20, "query_size": 10, "n_rounds": 2, "random_state": 0}
    return ActiveLearningClassifier(estimator, strategy, **{**defaults, **params})


def with_gaps(X):
    X = X.copy()
    X[::5, 0] = np.nan
    return X


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: model,
        lambda model: GridSearchCV(model, {}, cv=2),
        lambda model: CalibratedClassifierCV(model, cv=2),
    ],
)
def test_missing_values_are_the_estimators_business(table, wrap):
    X, y = table
    model = wrap(make_pipeline(SimpleImputer(), LogisticRegression()))
    assert learner(model).fit(with_gaps(X), y).score(with_gaps(X), y) > 0.9
    with pytest.raises(ValueError, match="Input X contains NaN"):
        learner(LogisticRegression()).fit(with_gaps(X), y)


@pytest.mark.parametrize(
    "strategy", ["core_set", "badge", "typi_clust", "diversity_sampling", "max_herding"]
)
def test_distances_between_missing_values_name_an_imputer(table, strategy):
    X, y = table
    forest = HistGradientBoostingClassifier(max_iter=2)
    with pytest.raises(ValueError, match=r"NaN or infinite for .* an imputer"):
        learner(forest, strategy).fit(with_gaps(X), y)
    learner(make_pipeline(SimpleImputer(), forest), strategy).fit(with_gaps(X), y)


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csc_array])
def test_sparse_tables_are_taken_as_they_are(table, make):
    X, y = table
    X = np.maximum(X, 0)
    model = LogisticRegression()
    dense = learner(model).fit(X, y)
    found = learner(model).fit(make(X), y, eval_set=(make(X), y))
    np.testing.assert_array_equal(found.labeled_indices_, dense.labeled_indices_)
    assert found._X.format == "csr"
    assert found.score(make(X), y) == dense.score(X, y)
    with pytest.raises(ValueError, match="X has 3 features"):
        found.predict(make(X[:, :3]))
    with pytest.raises(TypeError, match=r"Sparse data was passed.* GaussianNB"):
        learner(GaussianNB()).fit(make(X), y)


def test_rows_that_are_objects_go_to_the_estimator(table):
    _, y = table
    rows = [{"size": float(label), "name": f"n{label}"} for label in y]
    model = make_pipeline(DictVectorizer(), LogisticRegression())
    for strategy in ("margin_sampling", "query_by_committee", "core_set"):
        found = learner(model, strategy).fit(rows, y, eval_set=(rows[:9], y[:9]))
        assert found.score(rows, y) == 1
        assert not hasattr(found, "n_features_in_")
    tokens = [[f"t{label}"] * (1 + i % 2) for i, label in enumerate(y)]
    model = make_pipeline(TfidfVectorizer(analyzer=list), LogisticRegression())
    assert learner(model).fit(tokens, y).score(tokens, y) == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"a": 1}, {"a": 2}] * 9, r"rows of the type dict\. .*DictVectorizer"),
        (["a good film", "a bad film"] * 9, "'a good film'.*TfidfVectorizer"),
    ],
)
def test_without_an_estimator_rows_that_no_default_takes(rows, message):
    with pytest.raises(TypeError, match=message):
        learner().fit(rows, [0, 1] * 9)


def test_names_of_files_that_are_gone_are_no_texts():
    with pytest.raises(ValueError, match="could not be read"):
        learner().fit([f"gone{i}.png" for i in range(30)], [0, 1] * 15)


def test_images_in_a_list():
    images = [Image.new("L", (8, 8), color=i) for i in range(30)]
    y = np.arange(30) % 2
    net = CNNClassifier(max_epochs=1)
    found = learner(net, n_rounds=1).fit(images, y)
    arrays = learner(net, n_rounds=1).fit(np.stack(list(map(np.asarray, images))), y)
    np.testing.assert_array_equal(found.labeled_indices_, arrays.labeled_indices_)
    assert found.predict(images[:3]).shape == (3,)


def test_columns_of_one_name(table):
    X, y = table
    frame = pd.DataFrame(X, columns=["a", "b", "a", "d"])
    with pytest.raises(ValueError, match="several columns of the name 'a'"):
        learner(LogisticRegression()).fit(frame, y)


def test_frames_of_polars_keep_their_names(table, recwarn, tmp_path):
    polars = pytest.importorskip("polars")
    X, y = table
    frame = polars.DataFrame({name: X[:, i] for i, name in enumerate("abcd")})
    model = make_pipeline(
        make_column_transformer((StandardScaler(), ["a", "c"])), LogisticRegression()
    )
    params = {"estimator": model, "checkpoint_dir": tmp_path}
    found = learner(**params).fit(frame, y, eval_set=(frame, y))
    pandas = learner(model).fit(pd.DataFrame(X, columns=list("abcd")), y)
    np.testing.assert_array_equal(found.labeled_indices_, pandas.labeled_indices_)
    assert found.feature_names_in_.tolist() == list("abcd")
    assert not recwarn.list
    again = learner(**params, n_rounds=3).fit(frame.clone(), y, eval_set=(frame, y))
    np.testing.assert_array_equal(again.labeled_indices_[:40], found.labeled_indices_)
    holes = polars.Series([None if i > 60 else f"n{v}" for i, v in enumerate(y)])
    assert len(learner(model).fit(frame, holes).labeled_indices_) == 61


@pytest.mark.parametrize(
    "estimator",
    [
        LinearRegression(),
        make_pipeline(StandardScaler(), Ridge()),
        GridSearchCV(Ridge(), {}),
        KMeans(2),
    ],
)
def test_what_is_no_classifier_is_refused(table, estimator):
    with pytest.raises(ValueError, match=r"must be a classifier; \w+ is a (reg|clus)"):
        learner(estimator, "core_set").fit(*table)
