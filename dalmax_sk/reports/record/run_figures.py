"""The figures of a run as PDF files: learning curve, training, confusion matrix.

Each function writes its files, all or nothing, from a history or arrays. Matplotlib
loads with the first
figure.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

__all__ = ["write_confusion_matrix", "write_learning_curve", "write_training_plots"]

_Folder = str | os.PathLike[str]


def write_confusion_matrix(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    directory: _Folder,
    *,
    labels: Sequence[Any],
) -> Path:
    """Write ``confusion_matrix.pdf`` of the test images.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n,)
        True and predicted labels.
    directory : path-like
        The run's folder.
    labels : sequence of length n_classes
        All classes, in the order of rows and columns.

    Returns
    -------
    pathlib.Path
        The file.
    """
    from dalmax_sk.reports.displays.run_displays import ConfusionHeatmapDisplay
    from dalmax_sk.reports.displays.saving import write_pdf

    display = ConfusionHeatmapDisplay.from_predictions(y_true, y_pred, labels=labels)
    return write_pdf(display, Path(directory) / "confusion_matrix.pdf")


def write_learning_curve(
    history: Sequence[Mapping[str, Any]], directory: _Folder, *, name: str | None = None
) -> Path:
    """Write ``learning_curve.pdf``: accuracy on the test images against labels.

    Parameters
    ----------
    history : list of dict
        ``history_`` of an active learner, with ``eval_accuracy`` in every round.
    directory : path-like
        The run's folder.
    name : str, default=None
        Name of the curve, usually the strategy.

    Returns
    -------
    pathlib.Path
        The file.
    """
    from dalmax_sk.reports.displays.run_displays import ActiveLearningCurveDisplay
    from dalmax_sk.reports.displays.saving import write_pdf

    display = ActiveLearningCurveDisplay.from_history(history, name=name)
    return write_pdf(display, Path(directory) / "learning_curve.pdf")


def write_training_plots(
    history: Sequence[Mapping[str, Any]], directory: _Folder
) -> list[Path]:
    """Write ``training_accuracy_plot.pdf`` and ``training_loss_plot.pdf``.

    Parameters
    ----------
    history : list of dict
        ``history_`` of an active learner, with ``fit_history`` in every round.
    directory : path-like
        The run's folder.

    Returns
    -------
    list of pathlib.Path
        The two files.
    """
    from dalmax_sk.reports.displays.run_displays import TrainingHistoryDisplay
    from dalmax_sk.reports.displays.saving import write_pdf

    return [
        write_pdf(
            TrainingHistoryDisplay.from_history(history, quantity=quantity),
            Path(directory) / f"training_{quantity}_plot.pdf",
        )
        for quantity in ("accuracy", "loss")
    ]
