"""Predictions of a model for test images, and their files."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_fscore_support

from dalmax_sk._base.files import write_text
from dalmax_sk.cli.run.data import Split
from dalmax_sk.cnn import CNNClassifier
from dalmax_sk.reports import (
    describe_test,
    to_json,
    write_confusion_matrix,
    write_final_accuracy,
)

__all__ = ["EVALUATION_FILES", "Predictions", "predict", "write_evaluation_files"]

#: The files that :func:`write_evaluation_files` writes.
EVALUATION_FILES = (
    "classification_report.csv",
    "classification_report.json",
    "confusion_matrix.pdf",
    "final_accuracy.txt",
    "predictions.csv",
)


@dataclass
class Predictions:
    """Predictions of a model for test images.

    Attributes
    ----------
    split : Split
        The images with their true classes.
    class_names : list of str
        All classes, in the order of the net's outputs.
    predicted : ndarray of str, shape (n,)
        The most probable class of each image.
    probability : ndarray of float, shape (n,)
        Its probability, in [0, 1].
    """

    split: Split
    class_names: list[str]
    predicted: NDArray[np.str_]
    probability: NDArray[np.float64]

    @property
    def accuracy(self) -> float:
        """Share of the images whose class is predicted."""
        return float(np.mean(self.predicted == self.split.labels))

    def describe(self) -> dict[str, Any]:
        """Return counts and scores, a class each and averaged.

        Returns
        -------
        dict
            As :func:`~dalmax_sk.reports.describe_test`, and ``averages``: precision,
            recall and F1 as ``macro`` and ``weighted`` means over the classes, where a
            quantity that is not defined counts as 0.
        """
        told = describe_test(self.split.labels, self.predicted, labels=self.class_names)
        told["averages"] = {}
        for average in ("macro", "weighted"):
            values = precision_recall_fscore_support(
                self.split.labels,
                self.predicted,
                average=average,  # over the classes that occur
                zero_division=0.0,
            )[:3]
            names = ("precision", "recall", "f1")
            told["averages"][average] = dict(
                zip(names, map(float, values), strict=True)
            )
        return told


def predict(
    model: CNNClassifier, split: Split, class_names: Sequence[str]
) -> Predictions:
    """Let a model look at test images.

    Parameters
    ----------
    model : CNNClassifier
        Fitted on image files.
    split : Split
        The images.
    class_names : sequence of str
        The model's ``classes_`` as text.

    Returns
    -------
    Predictions
    """
    proba = model.predict_proba(split.paths)  # (n, C)
    codes = proba.argmax(axis=1)
    return Predictions(
        split, list(class_names), np.array(class_names)[codes], proba.max(axis=1)
    )


def write_evaluation_files(
    predictions: Predictions, told: dict[str, Any], folder: Path
) -> None:
    """Write everything that is known of the test images.

    Parameters
    ----------
    predictions : Predictions
        What the model says.
    told : dict
        What :meth:`Predictions.describe` returned.
    folder : pathlib.Path
        Where to; it must exist.
    """
    split = predictions.split
    write_confusion_matrix(
        split.labels, predictions.predicted, folder, labels=predictions.class_names
    )
    write_final_accuracy(predictions.accuracy, folder)
    write_text(folder / "classification_report.json", to_json(told))
    write_text(folder / "classification_report.csv", _report_csv(told))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["file", "true", "predicted", "probability"])
    writer.writerows(
        zip(
            split.files,
            split.labels.tolist(),
            predictions.predicted.tolist(),
            predictions.probability.tolist(),
            strict=True,
        )
    )
    write_text(folder / "predictions.csv", buffer.getvalue())


def _report_csv(told: dict[str, Any]) -> str:
    """One row a class, then both means; a value that is not defined is left empty."""
    buffer = io.StringIO()
    columns = ["kind", "class", "precision", "recall", "f1", "support"]
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for entry in told["per_class"]:
        values = {k: "" if v != v else v for k, v in entry.items()}  # NaN
        writer.writerow({"kind": "class", **values})
    for average, values in told["averages"].items():
        writer.writerow({"kind": average, **values, "support": told["n_images"]})
    return buffer.getvalue()
