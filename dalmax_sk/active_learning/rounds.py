"""One round: its state before its record is written, its scores, its log."""

import logging
from dataclasses import dataclass, field, fields

import numpy as np
from sklearn.metrics import accuracy_score, check_scoring, f1_score, recall_score

from dalmax_sk._base import progress
from dalmax_sk._base.errors import error_context
from dalmax_sk.pool import Pool

__all__ = [
    "SEED_FIT",
    "SEED_INITIAL",
    "SEED_QUERY",
    "Round",
    "evaluate",
    "log_round",
    "round_context",
]

logger = logging.getLogger("dalmax_sk")

# purpose of a derived seed; part of its key, so never renumber
SEED_INITIAL, SEED_FIT, SEED_QUERY = 0, 1, 2


@dataclass
class Round:
    """The round in progress: all that its record will need of the query.

    Attributes
    ----------
    queried : list of int
        Rows whose labels came, in order.
    query_scores : list of float or None
        The strategy's scores of these rows.
    n_requested : int or None
        Labels that were asked for; None until their labels are there.
    query_seconds : float
    notes : dict
        What the strategy and the callbacks add to the record.
    pending : list of [int, float or None]
        Rows proposed to a person and not answered yet, with their scores, the most
        wanted first.
    pool : Pool or None
        The pool of the next query, if a stopping rule has looked at it. It is no part
        of the checkpoint.
    """

    queried: list[int] = field(default_factory=list)
    query_scores: list[float] | None = None
    n_requested: int | None = None
    query_seconds: float = 0.0
    notes: dict = field(default_factory=dict)
    pending: list = field(default_factory=list)
    pool: Pool | None = None

    @property
    def is_answered(self):
        """Whether labels came that no model has been fitted on."""
        return self.n_requested is not None

    def teach(self, rows, learned):
        """Note rows that a person answered, each once.

        `learned` tells whether a label is new or changed: rows that were set aside are
        nothing to fit a model on.
        """
        answered = set(rows)
        self.pending = [item for item in self.pending if item[0] not in answered]
        self.queried = list(dict.fromkeys([*self.queried, *rows]))
        if learned or self.is_answered:
            self.n_requested = len(self.queried)

    def to_dict(self):
        """Return what a checkpoint needs to make this round again."""
        names = [entry.name for entry in fields(self) if entry.name != "pool"]
        return {name: getattr(self, name) for name in names}


def round_context(round_number, doing):
    """Add the round to the message of any exception that leaves the block."""
    return error_context(f"active learning, round {round_number}, {doing}")


def log_round(record, n_rounds, *, initial_indices, restored):
    """Tell the log and the listeners of a round's record.

    Parameters
    ----------
    record : dict
        An entry of ``history_``.
    n_rounds : int or None
        Rounds that are wanted.
    initial_indices : ndarray of int
        Rows of the initial set.
    restored : bool
        Whether the round was done by an earlier run.
    """
    scores = [
        f", {key[5:]} {value:.4f}"
        for key, value in record.items()
        if key.startswith("eval_") and key != "eval_seconds"
    ]
    logger.info(
        "round %d: %d labels%s", record["round"], record["n_labeled"], "".join(scores)
    )
    progress.report(
        "round",
        record["round"],
        n_rounds,
        record=record,
        restored=restored,
        initial_indices=initial_indices,
    )


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
