"""The displays draw what they are given, nothing else."""

from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_array_equal
from sklearn.dummy import DummyClassifier

from dalmax_sk.reports import (
    ActiveLearningCurveDisplay,
    ConfusionHeatmapDisplay,
    TrainingHistoryDisplay,
)

HISTORY = [
    {
        "round": number,
        "n_labeled": 10 * (number + 1),
        "eval_accuracy": 0.5 + number / 10,
        "eval_f1_macro": 0.25,
        "fit_history": [{"train_loss": 1.0, "train_accuracy": 0.5}] * 2,
    }
    for number in range(3)
]


def test_learning_curve_shows_percent_against_labels():
    display = ActiveLearningCurveDisplay.from_history(HISTORY, name="badge").plot()
    assert_array_equal(display.line_.get_xdata(), [10, 20, 30])
    np.testing.assert_allclose(display.line_.get_ydata(), [50, 60, 70])
    assert "%" in display.ax_.get_ylabel()
    assert "number" in display.ax_.get_xlabel()
    assert display.ax_.get_legend().get_texts()[0].get_text() == "badge"


def test_learning_curve_of_another_metric():
    display = ActiveLearningCurveDisplay.from_history(HISTORY, metric="f1_macro").plot()
    assert display.ax_.get_ylabel() == "Test f1 macro (%)"


@pytest.mark.parametrize(
    "make",
    [
        lambda: ActiveLearningCurveDisplay.from_history(HISTORY),
        lambda: TrainingHistoryDisplay.from_history(HISTORY),
        lambda: ConfusionHeatmapDisplay(np.eye(2, dtype=int), ["a", "b"]),
    ],
)
def test_plot_on_given_axes_and_in_a_notebook(make):
    # property: plot(ax=) draws there and returns the display; without plot, a picture
    ax = Figure().add_subplot()
    display = make()
    assert display.plot(ax=ax) is display
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert make()._repr_png_().startswith(b"\x89PNG")


def test_missing_values_are_named():
    with pytest.raises(ValueError, match=r"'eval_recall'.* in 3 of 3"):
        ActiveLearningCurveDisplay.from_history(HISTORY, metric="recall")
    with pytest.raises(ValueError, match="history is empty"):
        ActiveLearningCurveDisplay.from_history([])
    with pytest.raises(ValueError, match="'train_f1'"):
        TrainingHistoryDisplay.from_history(HISTORY, quantity="f1")
    with pytest.raises(ValueError, match="'fit_history' in 1 of 4"):
        TrainingHistoryDisplay.from_history([*HISTORY, {"round": 3}])


def test_every_round_is_marked():
    display = TrainingHistoryDisplay.from_history(HISTORY).plot()
    assert len(display.lines_) == 3
    boundaries = [
        line.get_xdata()[0]
        for line in display.ax_.lines
        if line not in display.lines_ and line.get_xdata()[0] % 1
    ]
    assert boundaries == [2.5, 4.5]


def test_confusion_matrix_counts_absent_classes_too():
    # property: rows are true classes, columns predicted, in the order of labels
    display = ConfusionHeatmapDisplay.from_predictions(
        ["b", "b", "c"], ["b", "c", "c"], labels=["c", "b", "a"]
    )
    assert_array_equal(display.confusion_matrix, [[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    display.plot()
    shown = [text.get_text() or " " for text in display.ax_.texts]
    assert "".join(shown) == "1  11    "  # zeros are blank
    assert display.ax_.get_xlabel() == "Predicted"
    assert display.ax_.get_ylabel() == "True"
    assert [t.get_text() for t in display.ax_.get_yticklabels()] == ["c", "b", "a"]


def test_confusion_matrix_of_a_classifier():
    # property: the classifier's classes in its order, then those only the test set has
    model = DummyClassifier(strategy="constant", constant="b").fit(
        [[0]] * 2, ["b", "c"]
    )
    X, y = np.zeros((4, 1)), ["c", "b", "a", "a"]
    display = ConfusionHeatmapDisplay.from_estimator(model, X, y)
    assert list(display.display_labels) == ["b", "c", "a"]
    assert_array_equal(display.confusion_matrix, [[1, 0, 0], [1, 0, 0], [2, 0, 0]])
    display = ConfusionHeatmapDisplay.from_estimator(model, X, y, labels=["a", "b"])
    assert_array_equal(display.confusion_matrix, [[0, 2], [0, 1]])
    display = ConfusionHeatmapDisplay.from_predictions(y, ["b"] * 4)
    assert list(display.display_labels) == ["a", "b", "c"]
    with pytest.raises(ValueError, match=r"labels must hold all classes.*'c'"):
        ConfusionHeatmapDisplay.from_predictions(y, ["b"] * 4, labels=["a", "b"])


@pytest.mark.parametrize("n_classes", [2, 10, 30, 31, 100, 200])
def test_confusion_matrix_stays_readable(n_classes):
    # properties: integers only where they can be read, no type below 5 points, names
    # that do not run into each other, a figure that fits a large sheet
    names = [f"a class with a name {i}" for i in range(n_classes)]
    counts = 1000 * np.eye(n_classes, dtype=int)
    display = ConfusionHeatmapDisplay(counts, names).plot()
    figure, ax = display.figure_, display.ax_
    assert len(ax.texts) == (n_classes**2 if n_classes <= 30 else 0)
    assert all(text.get_fontsize() >= 5 for text in ax.texts)
    assert max(figure.get_size_inches()) < 21
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).draw()
    for labels, low, high in (
        (ax.get_xticklabels(), "x0", "x1"),
        (ax.get_yticklabels(), "y0", "y1"),
    ):
        assert all(label.get_fontsize() >= 5 for label in labels)
        boxes = sorted(
            (label.get_window_extent() for label in labels), key=lambda b: b.x0
        )
        if low == "y0":
            boxes = sorted(boxes, key=lambda b: b.y0)
        for one, other in pairwise(boxes):
            assert getattr(one, high) <= getattr(other, low) + 1


def test_confusion_matrix_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 2\); 3 class"):
        ConfusionHeatmapDisplay(np.eye(2), list("abc")).plot()


def test_drawing_leaves_the_style_alone():
    before = dict(matplotlib.rcParams)
    ConfusionHeatmapDisplay(np.eye(3, dtype=int), list("abc")).plot()
    assert dict(matplotlib.rcParams) == before
