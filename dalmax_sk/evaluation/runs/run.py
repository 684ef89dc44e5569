"""The runs of an experiment: one strategy on one split with one seed.

A worker gets everything that a run needs and returns records; only the process that
called ``budget_curve`` writes files.
"""

import hashlib
import json
import math
import os
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from dalmax_sk._base.errors import error_context
from dalmax_sk._base.history import round_scores
from dalmax_sk._base.limits import limits
from dalmax_sk._base.processes import end_with_parent
from dalmax_sk._base.sklearn_compat import safe_indexing
from dalmax_sk.active_learning.checkpoint import Checkpoint, SpoiledStateError

__all__ = [
    "Fold",
    "Run",
    "execute_run",
    "short_hash",
    "take_rows",
]


@dataclass(frozen=True)
class Run:
    """One run of an experiment.

    Attributes
    ----------
    strategy : str
        Name of the strategy.
    split, seed : int
        Number of the split; the seed.
    settings : str
        Short hash of the strategy's class and parameters.
    """

    strategy: str
    split: int
    seed: int
    settings: str

    @property
    def key(self) -> tuple[str, int, int]:
        """Strategy, split and seed."""
        return self.strategy, self.split, self.seed

    def __str__(self) -> str:
        return f"strategy {self.strategy!r}, split {self.split}, seed {self.seed}"


@dataclass(frozen=True)
class Fold:
    """One split of the data, and how to take its parts.

    Attributes
    ----------
    X, y : array-like
        All rows.
    train, test : ndarray of int
        Row numbers.
    params : dict
        Metadata for ``fit``; where it has a value a row, those of `train`.
    parts : tuple of (X_train, X_test) or None
        The two parts, transformed by the steps before the learner if there are any;
        `X` is None then.
    """

    X: Any
    y: np.ndarray
    train: np.ndarray
    test: np.ndarray
    params: Mapping[str, Any]
    parts: tuple[Any, Any] | None = None

    def train_part(self) -> tuple[Any, np.ndarray]:
        """Return X and y to learn from."""
        X = take_rows(self.X, self.train) if self.parts is None else self.parts[0]
        return X, self.y[self.train]

    def test_part(self) -> tuple[Any, np.ndarray]:
        """Return X and y to score on."""
        X = take_rows(self.X, self.test) if self.parts is None else self.parts[1]
        return X, self.y[self.test]


def take_rows(X: Any, rows: np.ndarray) -> Any:
    """Return rows of X: a view, where they follow on one another."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        part = slice(rows[0], rows[-1] + 1)
        return X.iloc[part] if hasattr(X, "iloc") else X[part]
    return safe_indexing(X, rows)


class RunCheckpoint(Checkpoint, os.PathLike[str]):
    """The state of an unfinished run.

    Parameters
    ----------
    directory : Path
        A folder named by a hash of the experiment and the run.
    """

    # a state that a power cut spoils costs one run, and the results file is synced
    sync = False

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._directory = directory
        self._written = time.monotonic()

    def read(self, expected: Mapping[str, Any], n_samples: int, n_classes: int) -> Any:
        """Return the stored state, or None if there is none or it is spoiled."""
        try:
            return super().read(expected, n_samples, n_classes)
        except SpoiledStateError as error:
            warnings.warn(
                f"{self.path} is spoiled ({error.__cause__!r}), maybe by a crash. It "
                "is deleted, and its run begins anew.",
                UserWarning,
                stacklevel=2,
            )
            self.path.unlink()
            return None

    def write(self, state: Mapping[str, Any]) -> None:
        """Keep the state, unless the one before is hardly older."""
        now = time.monotonic()
        if now - self._written >= limits.seconds_between_states:
            super().write(state)
            self._written = now

    def __fspath__(self) -> str:
        return os.fspath(self._directory)

    @property
    def identity(self) -> dict[str, Any]:
        """The folder's name in the place of hashes of the data, once for all runs."""
        return {
            "data": self._directory.name,
            "eval_set": None,
            "fit_params": None,
            "classes": [],
            "params": {},
        }


def execute_run(
    run: Run, learner: Any, fold: Fold, checkpoint_dir: Path | None, caller: int
) -> tuple[Run, list[dict[str, Any]]]:
    """Execute one run.

    Parameters
    ----------
    run : Run
    learner : ActiveLearningClassifier
        With the run's strategy and seed; a clone of it is fitted.
    fold : Fold
    checkpoint_dir : path or None
        Folder of the run's state until it ends.
    caller : int
        The number of the process that wants the run. A worker that it started ends with
        it: another process may go on with the run at once.

    Returns
    -------
    run : Run
    records : list of dict
        One a round; see :mod:`dalmax_sk.evaluation.runs.results_file`.
    """
    if os.getppid() == caller:
        end_with_parent(caller)
    with error_context(f"budget_curve, {run}"):
        checkpoint = None if checkpoint_dir is None else RunCheckpoint(checkpoint_dir)
        learner = clone(learner).set_params(checkpoint_dir=checkpoint)
        X, y = fold.train_part()
        learner.fit(X, y, eval_set=fold.test_part(), **fold.params)
    rounds = learner.history_
    return run, [_record(run, r, learner, fold.train, len(rounds)) for r in rounds]


def _record(
    run: Run, entry: Mapping[str, Any], learner: Any, train: np.ndarray, n_rounds: int
) -> dict[str, Any]:
    """Return the record of one round, with row numbers of the whole X."""
    first = entry["round"] == 0
    queried = learner.initial_indices_ if first else entry["queried"]
    return {
        "strategy": run.strategy,
        "split": run.split,
        "seed": run.seed,
        "round": entry["round"],
        "n_labeled": entry["n_labeled"],
        "fit_seconds": entry["fit_seconds"],
        "query_seconds": entry["query_seconds"],
        "score_seconds": entry["eval_seconds"],
        "peak_bytes": entry["peak_bytes"],
        "scores": {
            # JSON has no word for NaN and infinity
            name: value if math.isfinite(value) else None
            for name, value in round_scores(entry).items()
        },
        "queried": train[np.asarray(queried, dtype=np.int64)].tolist(),
        "n_records": n_rounds,
        "settings": run.settings,
    }


def short_hash(value: Any) -> str:
    """Return a hash of a JSON-able value, 16 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
