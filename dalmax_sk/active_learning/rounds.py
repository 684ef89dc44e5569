"""Scores and error context of one round."""

import numpy as np
from sklearn.metrics import accuracy_score, check_scoring, f1_score, recall_score

from dalmax_sk._base.errors import error_context

__all__ = ["evaluate", "round_context"]


def round_context(round_number, doing):
    """Add the round to the message of any exception that leaves the block."""
    return error_context(f"active learning, round {round_number}, {doing}")


def evaluate(learner, eval_set, scoring):
    """Return {"eval_<name>": score} of the learner on an evaluation set.

    Parameters
    ----------
    learner : ActiveLearningClassifier
    eval_set : tuple of (X, y)
    scoring : None, str, callable, list or dict
        As in ``cross_validate``; None means accuracy, balanced accuracy and the macro
        and weighted averages of F1, all from one ``predict``.
    """
    X, y = eval_set
    if scoring is None:
        predicted = learner.predict(X)
        common = {"y_true": y, "y_pred": predicted, "zero_division": 0.0}
        present = np.unique(y)  # recall is undefined for a class without samples
        scores = {
            "accuracy": accuracy_score(y, predicted),
            "balanced_accuracy": recall_score(
                **common, labels=present, average="macro"
            ),
            # over the classes that occur or are predicted, as scikit-learn's scorers
            "f1_macro": f1_score(**common, average="macro"),
            "f1_weighted": f1_score(**common, average="weighted"),
        }
    else:
        scorer = check_scoring(learner, scoring=scoring)
        scores = scorer(learner, X, y)
        if not isinstance(scores, dict):
            scores = {scoring if isinstance(scoring, str) else "score": scores}
    return {f"eval_{name}": float(score) for name, score in scores.items()}
