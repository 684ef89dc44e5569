"""The display of the picks draws each of them once, where it lies."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_allclose
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.exceptions import NotFittedError

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.reports import SelectionDisplay

POINTS = np.random.default_rng(0).normal(size=(50, 2))


@pytest.fixture(scope="module")
def learner():
    X, y = make_blobs(200, 6, centers=4, random_state=0)
    return ActiveLearningClassifier(
        strategy="core_set_selection",
        n_initial=10,
        query_size=5,
        n_rounds=3,
        random_state=0,
    ).fit(X, y)


def offsets(collection):
    return np.asarray(collection.get_offsets())


def names(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def test_every_row_is_drawn_once():
    display = SelectionDisplay.from_arrays(
        POINTS, [[3, 4], [10]], initial=[0, 1, 2]
    ).plot()
    assert_allclose(offsets(display.picks_[0]), POINTS[[3, 4]])
    assert_allclose(offsets(display.picks_[1]), POINTS[[10]])
    rest = np.delete(POINTS, [0, 1, 2, 3, 4, 10], axis=0)
    assert_allclose(offsets(display.pool_), rest)
    assert names(display) == [
        "not picked (44)",
        "round 1 (2)",
        "round 2 (1)",
        "initial set (3)",
    ]


def test_of_a_learner(learner):
    # property: the picks of its rounds, at the principal components of its embeddings
    display = SelectionDisplay.from_estimator(learner).plot()
    pca = PCA(2, random_state=0)
    expected = pca.fit_transform(learner._X)
    for drawn, rows in zip(display.picks_, learner.query_history_, strict=True):
        assert_allclose(offsets(drawn), expected[rows])
    share = f"{100 * pca.explained_variance_ratio_[1]:.0f} %"
    assert display.ax_.get_ylabel() == (
        f"Second principal component ({share} of the variance)"
    )


def test_embeddings_and_projections_of_ones_own(learner):
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(200, 5))

    def first_two(array):
        return array[:, :2]

    display = SelectionDisplay.from_estimator(
        learner, embeddings=embeddings, projection=first_two
    )
    assert_allclose(display.points, embeddings[:, :2])
    assert display.axis_names[0] == "first_two, coordinate 1"
    display = SelectionDisplay.from_estimator(
        learner, embeddings=embeddings, projection=TruncatedSVD(2, random_state=0)
    )
    assert display.axis_names[1] == "TruncatedSVD, coordinate 2"


def test_of_many_rows_the_labelled_ones_stay(learner):
    display = SelectionDisplay.from_estimator(learner, max_points=60)
    assert np.asarray(display.points).shape == (60, 2)
    assert [len(rows) for rows in display.picked] == [5, 5, 5]
    assert "not picked (35 of\n175 shown)" in names(display.plot())
    again = SelectionDisplay.from_estimator(learner, max_points=60)
    assert_allclose(again.points, display.points)


def test_colours_by_class(learner):
    y = np.repeat(["$5", "cat", "dog", "emu"], 50)
    display = SelectionDisplay.from_estimator(learner, y=y).plot(color_by="class")
    picked = np.concatenate(learner.query_history_)
    counts = {name: int((y[picked] == name).sum()) for name in np.unique(y[picked])}
    assert names(display)[1:-1] == [f"{k} ({n})" for k, n in counts.items()]
    assert sum(len(offsets(drawn)) for drawn in display.picks_) == 15
    with pytest.raises(ValueError, match="needs the classes"):
        SelectionDisplay.from_estimator(learner).plot(color_by="class")
    many = SelectionDisplay.from_arrays(POINTS, [range(40)], y=np.arange(50))
    with pytest.raises(ValueError, match="40 classes, and no more than 30"):
        many.plot(color_by="class")


def test_many_rounds_have_a_bar():
    display = SelectionDisplay.from_arrays(POINTS, [[i] for i in range(12)]).plot()
    assert names(display) == ["not picked (38)"]
    bar = display.figure_.axes[1]
    assert bar.get_ylabel() == "Round of the pick"
    assert bar.get_yticklabels()[0].get_text() == "1"
    # from dark to light, so that grey print keeps the order
    light = [drawn.get_facecolor()[0, :3].mean() for drawn in display.picks_]
    assert light == sorted(light)


def test_axes_of_ones_own_and_a_notebook(learner):
    ax = Figure().add_subplot()
    display = SelectionDisplay.from_estimator(learner)
    assert display.plot(ax=ax) is display
    assert display.ax_ is ax
    fresh = SelectionDisplay.from_estimator(learner)
    assert fresh._repr_png_().startswith(b"\x89PNG")


def test_nothing_picked_yet():
    display = SelectionDisplay.from_arrays(POINTS, []).plot()
    assert names(display) == ["not picked (50)"]
    assert display.picks_ == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.zeros((3, 3)), []), r"shape \(n, 2\); got shape \(3, 3\)"),
        ((np.full((3, 2), np.nan), []), "3 of 3 are not"),
        ((POINTS, [[50]]), r"picked\[0\] holds row 50; the points have rows 0 to 49"),
        ((POINTS, [[1], [1]]), r"1 occur more often .* \[1\]"),
        ((POINTS, [[0.5]]), "must be a sequence of row numbers"),
    ],
)
def test_bad_arrays(arguments, words):
    with pytest.raises(ValueError, match=words):
        SelectionDisplay.from_arrays(*arguments)


def test_bad_arguments(learner):
    make = SelectionDisplay.from_estimator
    with pytest.raises(NotFittedError):
        make(ActiveLearningClassifier())
    with pytest.raises(ValueError, match=r"shape \(200, d\).*\(3, 2\)"):
        make(learner, embeddings=np.zeros((3, 2)))
    with pytest.raises(ValueError, match="'umap'"):
        make(learner, projection="umap")
    with pytest.raises(ValueError, match="got int"):
        make(learner, projection=3)
    with pytest.raises(ValueError, match="at least 2 rows and 2 features"):
        make(learner, embeddings=np.zeros((200, 1)))
    with pytest.raises(ValueError, match="returned 3 points for 200 rows"):
        make(learner, projection=lambda array: array[:3, :2])
    with pytest.raises(ValueError, match='"round" or "class"'):
        make(learner).plot(color_by="x")
    with pytest.raises(ValueError, match="y has 3 classes for 50 points"):
        SelectionDisplay.from_arrays(POINTS, [], y=[1, 2, 3])
