"""Figures of a run: learning curve, training history, confusion matrix.

They draw given values and compute nothing but the confusions.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from numpy.typing import ArrayLike
from sklearn.metrics import confusion_matrix
from sklearn.utils.multiclass import unique_labels

from dalmax_sk.reports.displays.display_base import (
    BLUE,
    ORANGE,
    FigureDisplay,
    label_axes,
    literal,
    shorten,
)

__all__ = [
    "ActiveLearningCurveDisplay",
    "ConfusionHeatmapDisplay",
    "TrainingHistoryDisplay",
]

# Above this number of classes the integers in the cells could not be read.
_MAX_ANNOTATED = 30


class ActiveLearningCurveDisplay(FigureDisplay):
    """A score on the evaluation set against the number of labels, over the rounds.

    Parameters
    ----------
    n_labeled : array-like of int of shape (n_rounds + 1,)
        Labels in use, from the initial fit on.
    scores : array-like of float of shape (n_rounds + 1,)
        The score after each round, as a fraction.
    score_name : str, default="accuracy"
        Name of the score on the axis.
    name : str, default=None
        Name of the curve, usually the strategy; shown in a legend if given.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn on.
    figure_ : matplotlib Figure
        The figure that holds them.
    line_ : matplotlib Line2D
        The curve.

    Examples
    --------
    >>> from dalmax_sk.reports import ActiveLearningCurveDisplay
    >>> history = [
    ...     {"n_labeled": 20, "eval_accuracy": 0.5},
    ...     {"n_labeled": 30, "eval_accuracy": 0.75},
    ... ]
    >>> display = ActiveLearningCurveDisplay.from_history(history).plot()
    >>> [float(y) for y in display.line_.get_ydata()]
    [50.0, 75.0]
    """

    def __init__(
        self,
        n_labeled: Sequence[int],
        scores: Sequence[float],
        *,
        score_name: str = "accuracy",
        name: str | None = None,
    ) -> None:
        self.n_labeled = n_labeled
        self.scores = scores
        self.score_name = score_name
        self.name = name

    @classmethod
    def from_history(
        cls,
        history: Sequence[Mapping[str, Any]],
        *,
        metric: str = "accuracy",
        name: str | None = None,
    ) -> Self:
        """Take the curve from ``history_`` of an active learner.

        Parameters
        ----------
        history : list of dict
            One record a round.
        metric : str, default="accuracy"
            Name of the score, as in `history` without the leading ``eval_``.
        name : str, default=None
            Name of the curve.

        Returns
        -------
        ActiveLearningCurveDisplay

        Raises
        ------
        ValueError
            If the history is empty or a round does not hold the score.
        """
        _require(history, f"eval_{metric}", "pass eval_set=(X, y) to fit")
        return cls(
            [record["n_labeled"] for record in history],
            [record[f"eval_{metric}"] for record in history],
            score_name=metric.replace("_", " "),
            name=name,
        )

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the curve.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.

        Returns
        -------
        ActiveLearningCurveDisplay
            The display itself.
        """
        if not 1 <= len(self.n_labeled) == len(self.scores):
            raise ValueError(
                "n_labeled and scores must have one length of at least 1, got "
                f"{len(self.n_labeled)} and {len(self.scores)}."
            )
        ax = self._set_axes(ax, (6, 4))
        percent = 100.0 * np.asarray(self.scores, dtype=float)
        (self.line_,) = ax.plot(
            self.n_labeled, percent, marker="o", color=BLUE, label=self.name
        )
        label_axes(
            ax,
            "Labelled training images (number)",
            f"Test {self.score_name} (%)",
            ticks=self.n_labeled,
        )
        ax.grid(alpha=0.3)
        if self.name is not None:
            ax.legend(loc="lower right")
        return self


class TrainingHistoryDisplay(FigureDisplay):
    """Loss or accuracy on the training images over the epochs of all rounds.

    The epochs of all rounds are joined on one axis; a dashed line marks the
    beginning of a round, and the curve is broken there, for each round trains anew.

    Parameters
    ----------
    train : list of array-like of float
        One sequence a round: the value after each epoch.
    valid : list of array-like of float, default=None
        The same on the validation images, if some were held out.
    rounds : sequence of int, default=None
        The rounds' numbers; counted from 0 if None.
    quantity : {"loss", "accuracy"}, default="loss"
        Kind of the values; accuracies are fractions.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn on.
    figure_ : matplotlib Figure
        The figure that holds them.

    Examples
    --------
    >>> from dalmax_sk.reports import TrainingHistoryDisplay
    >>> epochs = [{"train_loss": 2.0}, {"train_loss": 1.0}]
    >>> history = [
    ...     {"round": 0, "fit_history": epochs},
    ...     {"round": 1, "fit_history": epochs},
    ... ]
    >>> display = TrainingHistoryDisplay.from_history(history, quantity="loss").plot()
    >>> [line.get_xdata().tolist() for line in display.lines_]
    [[1, 2], [3, 4]]
    """

    def __init__(
        self,
        train: Sequence[Sequence[float]],
        *,
        valid: Sequence[Sequence[float]] | None = None,
        rounds: Sequence[int] | None = None,
        quantity: str = "loss",
    ) -> None:
        self.train = train
        self.valid = valid
        self.rounds = rounds
        self.quantity = quantity

    @classmethod
    def from_history(
        cls, history: Sequence[Mapping[str, Any]], *, quantity: str = "loss"
    ) -> Self:
        """Take the values from ``history_`` of an active learner.

        Parameters
        ----------
        history : list of dict
            One record a round; ``fit_history`` is the list of its epochs.
        quantity : {"loss", "accuracy"}, default="loss"
            Which values.

        Returns
        -------
        TrainingHistoryDisplay

        Raises
        ------
        ValueError
            If the history is empty, or a round does not hold its training history.
        """
        _require(history, "fit_history", "only estimators with history_ keep it")
        epochs = [record["fit_history"] for record in history]
        for record, entries in zip(history, epochs, strict=True):
            _require(
                entries,
                f"train_{quantity}",
                f"epochs of round {record['round']}",
            )
        valid = None
        if all(f"valid_{quantity}" in entry for entries in epochs for entry in entries):
            valid = [[entry[f"valid_{quantity}"] for entry in e] for e in epochs]
        return cls(
            [[entry[f"train_{quantity}"] for entry in e] for e in epochs],
            valid=valid,
            rounds=[record["round"] for record in history],
            quantity=quantity,
        )

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the values.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.

        Returns
        -------
        TrainingHistoryDisplay
            The display itself; ``lines_`` holds the training curve's parts.
        """
        if not len(self.train):
            raise ValueError("train must hold the values of at least one round.")
        # Wider with many rounds, so that a round can still be told from the next.
        ax = self._set_axes(
            ax, (min(14.0, 6.0 + 0.2 * max(0, len(self.train) - 10)), 4)
        )
        scale = 100.0 if self.quantity == "accuracy" else 1.0
        lengths = [len(values) for values in self.train]
        # ends[r] is the number of epochs before round r
        ends = np.concatenate([[0], np.cumsum(lengths)])
        # A single epoch a round gives no line to see, so it gets a dot.
        marker = "." if max(lengths) < 3 or sum(lengths) <= 30 else ""
        self.lines_ = []
        for series, color, style, label in (
            (self.train, BLUE, "-", "training images"),
            (self.valid, ORANGE, "--", "validation images"),
        ):
            for number, values in enumerate(series if series is not None else []):
                epochs = np.arange(ends[number], ends[number] + len(values)) + 1
                (line,) = ax.plot(
                    epochs,
                    scale * np.asarray(values, dtype=float),
                    color=color,
                    linestyle=style,
                    marker=marker,
                    linewidth=1.3,
                    label=label if number == 0 else None,
                )
                if series is self.train:
                    self.lines_.append(line)
        several = len(lengths) > 1
        if several:
            self._mark_rounds(ax, ends)
        unit = "%" if self.quantity == "accuracy" else "cross-entropy, nats"
        label_axes(
            ax,
            f"Epoch (number{', all rounds joined' * several})",
            f"Training {self.quantity} ({unit})",
        )
        ax.set_xlim(0.5, ends[-1] + 0.5)
        ax.grid(alpha=0.3)
        if self.valid is not None:
            # Below the plot, where no curve can run under it.
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
        return self

    def _mark_rounds(self, ax: Axes, ends: np.ndarray) -> None:
        """Dashed lines between the rounds, their numbers on an axis above."""
        n_rounds = len(ends) - 1
        numbers = list(range(n_rounds)) if self.rounds is None else list(self.rounds)
        for boundary in ends[1:-1]:
            ax.axvline(
                boundary + 0.5, color="0.55", linestyle=":", linewidth=0.8, zorder=0
            )
        # At most some twenty numbers fit above the plot.
        shown = range(0, n_rounds, -(-n_rounds // 20))
        above = ax.secondary_xaxis("top")
        above.set_xticks(
            [(ends[r] + ends[r + 1] + 1) / 2 for r in shown],
            labels=[str(numbers[r]) for r in shown],
        )
        above.tick_params(length=0)
        above.set_xlabel("Round")


class ConfusionHeatmapDisplay(FigureDisplay):
    """The confusion matrix as a heat map, readable with two classes or a hundred.

    Up to 30 classes every cell holds its count; with more, the colours alone speak. The
    figure grows with the number of classes.

    Parameters
    ----------
    confusion_matrix : array-like of int of shape (n_classes, n_classes)
        Row: true class, column: predicted class.
    display_labels : sequence of str of length n_classes
        Names of the classes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn on.
    figure_ : matplotlib Figure
        The figure that holds them.

    Examples
    --------
    >>> from dalmax_sk.reports import ConfusionHeatmapDisplay
    >>> display = ConfusionHeatmapDisplay.from_predictions(
    ...     ["cat", "dog", "dog"], ["cat", "cat", "dog"], labels=["cat", "dog"]
    ... )
    >>> display.confusion_matrix.tolist()
    [[1, 0], [1, 1]]
    """

    def __init__(
        self, confusion_matrix: ArrayLike, display_labels: Sequence[Any]
    ) -> None:
        self.confusion_matrix = confusion_matrix
        self.display_labels = display_labels

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        labels: Sequence[Any] | None = None,
    ) -> Self:
        """Count the confusions of a fitted classifier.

        Parameters
        ----------
        estimator : classifier
            Fitted, for instance an ``ActiveLearningClassifier``.
        X : array-like of shape (n, ...)
            Samples to predict.
        y : array-like of shape (n,)
            True labels.
        labels : sequence of length n_classes, default=None
            Classes to show, in the order of rows and columns; samples of others are
            left out. None takes the classes of `estimator`, then those of `y` that it
            does not know.

        Returns
        -------
        ConfusionHeatmapDisplay

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.naive_bayes import GaussianNB
        >>> from dalmax_sk.reports import ConfusionHeatmapDisplay
        >>> X, y = load_iris(return_X_y=True)
        >>> model = GaussianNB().fit(X, y)
        >>> display = ConfusionHeatmapDisplay.from_estimator(model, X, y)
        >>> display.confusion_matrix.tolist()
        [[50, 0, 0], [0, 47, 3], [0, 3, 47]]
        """
        predicted = estimator.predict(X)
        if labels is None:
            known = list(estimator.classes_)
            labels = known + [label for label in unique_labels(y) if label not in known]
        return cls(confusion_matrix(y, predicted, labels=list(labels)), labels)

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        *,
        labels: Sequence[Any] | None = None,
    ) -> Self:
        """Count the confusions of true and predicted labels.

        Parameters
        ----------
        y_true, y_pred : array-like of shape (n,)
            True and predicted labels.
        labels : sequence of length n_classes, default=None
            All classes in the order of rows and columns; a class that does not occur
            keeps its row and column. None takes those that occur, sorted.

        Returns
        -------
        ConfusionHeatmapDisplay

        Raises
        ------
        ValueError
            If `labels` lacks a class that occurs.
        """
        found = list(unique_labels(y_true, y_pred))
        if labels is None:
            labels = found
        lacking = [label for label in found if label not in list(labels)]
        if lacking:
            raise ValueError(
                f"labels must hold all classes that occur; {lacking} are missing in "
                f"{list(labels)}."
            )
        counts = confusion_matrix(y_true, y_pred, labels=list(labels))
        return cls(counts, labels)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the heat map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.

        Returns
        -------
        ConfusionHeatmapDisplay
            The display itself.
        """
        # Imported here: it pulls pandas and scipy.stats in, which nothing else needs.
        import seaborn

        counts = np.asarray(self.confusion_matrix)
        names = [str(label) for label in self.display_labels]
        n_classes = len(names)
        if counts.shape != (n_classes, n_classes):
            raise ValueError(
                f"The confusion matrix has shape {counts.shape}; {n_classes} class "
                f"names need shape ({n_classes}, {n_classes})."
            )
        cell, every = _cell_size(n_classes)
        labels = [shorten(name, 40) for name in names[::every]]
        fontsize = min(10.0, 0.75 * 72 * cell * every)
        # The names' room comes on top of the cells' (inches; a letter is some 0.6 em).
        room = max(map(len, labels)) * 0.6 * fontsize / 72
        rotate = room > 0.9 * cell * every
        side = cell * n_classes
        ax = self._set_axes(ax, (side + room + 1.6, side + 0.6 + room * rotate))
        annotate = n_classes <= _MAX_ANNOTATED
        digits = len(str(int(counts.max(initial=0))))
        texts = np.where(counts, counts.astype(str), "")  # zeros would hide the rest
        seaborn.heatmap(
            counts,
            ax=ax,
            cmap="Blues",
            # Without numbers the eye needs help to see the few confusions beside the
            # many hits: colours by the square root of the count.
            norm=Normalize(0) if annotate else PowerNorm(0.5, vmin=0),
            annot=texts if annotate else None,
            fmt="",
            annot_kws={"fontsize": min(11.0, 1.2 * 72 * cell / max(digits, 2))},
            linewidths=0.5 if annotate else 0.0,
            linecolor="white",
            square=True,
            xticklabels=False,
            yticklabels=False,
            cbar_kws={"label": "Test images (number)", "shrink": 0.8},
            rasterized=not annotate,
        )
        ticks = np.arange(0, n_classes, every) + 0.5
        ax.set_xticks(
            ticks, labels=labels, rotation=90 if rotate else 0, fontsize=fontsize
        )
        ax.set_yticks(ticks, labels=labels, rotation=0, fontsize=fontsize)
        literal([*ax.get_xticklabels(), *ax.get_yticklabels()])
        ax.tick_params(length=0)
        ax.set_xlabel("Predicted")
        ax.set_ylabel("True")
        return self


def _cell_size(n_classes: int) -> tuple[float, int]:
    """Return a cell's side in inches, and every how many classes a name is shown."""
    if n_classes <= 10:
        return max(0.5, 4.5 / max(n_classes, 1)), 1
    if n_classes <= _MAX_ANNOTATED:
        return 0.38, 1
    if n_classes <= 120:
        return 0.14, 1
    # The figure stays on a sheet of 17 inches: names are thinned out.
    side = 17 / n_classes
    return side, int(np.ceil(0.14 / side))


def _require(records: Sequence[Mapping[str, Any]], key: str, hint: str) -> None:
    """Raise if `records` is empty or one of them lacks `key`."""
    if not records:
        raise ValueError(f"The history is empty; {key!r} cannot be drawn ({hint}).")
    missing = [number for number, record in enumerate(records) if key not in record]
    if missing:
        raise ValueError(
            f"The history does not hold {key!r} in {len(missing)} of {len(records)} "
            f"entries, the first of them number {missing[0]} ({hint})."
        )
