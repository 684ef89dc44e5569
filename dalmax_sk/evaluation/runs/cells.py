"""The cells of an experiment: one strategy on one split with one seed.

A cell is run by a worker, which gets everything it needs and returns records; only the
process that called ``budget_curve`` writes files.
"""

import hashlib
import json
import math
import os
import re
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from dalmax_sk._base.limits import limits
from dalmax_sk._base.sklearn_compat import safe_indexing
from dalmax_sk.active_learning.checkpoint import (
    Checkpoint,
    SpoiledStateError,
    fingerprint_params,
)

__all__ = [
    "Cell",
    "Fold",
    "describe_strategy",
    "name_strategies",
    "naming",
    "run_cell",
    "short_hash",
    "take_rows",
]


@dataclass(frozen=True)
class Cell:
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
        What the steps before the learner made of the two parts, if there are any;
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


class CellCheckpoint(Checkpoint, os.PathLike[str]):
    """The state of a cell while it runs.

    Parameters
    ----------
    directory : Path
        A folder named by a hash of the experiment and the cell.
    """

    # A state that a power cut spoils is one cell's, and the file of results is synced.
    sync = False

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._directory = directory
        self._written = time.monotonic()

    def read(self, expected: Mapping[str, Any]) -> Any:
        """Return the stored state, or None if there is none or it is spoiled."""
        try:
            return super().read(expected)
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
        """What tells the run from others: data need not be hashed for every cell."""
        known: dict[str, Any] = {
            "eval_set": None,
            "fit_params": None,
            "classes": [],
            "params": {},
        }
        return {"data": self._directory.name, **known}


def run_cell(
    cell: Cell, learner: Any, fold: Fold, checkpoint_dir: Path | None
) -> tuple[Cell, list[dict[str, Any]]]:
    """Run one cell.

    Parameters
    ----------
    cell : Cell
    learner : ActiveLearningClassifier
        With the cell's strategy and seed; fitted here.
    fold : Fold
    checkpoint_dir : path or None
        Where the cell keeps its state while it runs.

    Returns
    -------
    cell : Cell
    records : list of dict
        One a round; see :mod:`dalmax_sk.evaluation.runs.results_file`.
    """
    with naming(cell):
        checkpoint = None if checkpoint_dir is None else CellCheckpoint(checkpoint_dir)
        learner = clone(learner).set_params(checkpoint_dir=checkpoint)
        X, y = fold.train_part()
        learner.fit(X, y, eval_set=fold.test_part(), **fold.params)
    rounds = learner.history_
    return cell, [_record(cell, r, learner, fold.train, len(rounds)) for r in rounds]


def _record(
    cell: Cell, entry: Mapping[str, Any], learner: Any, train: np.ndarray, n_rounds: int
) -> dict[str, Any]:
    """Return what is kept of one round; row numbers become those of the whole X."""
    first = entry["round"] == 0
    queried = learner.initial_indices_ if first else entry["queried"]
    return {
        "strategy": cell.strategy,
        "split": cell.split,
        "seed": cell.seed,
        "round": entry["round"],
        "n_labeled": entry["n_labeled"],
        "fit_seconds": entry["fit_seconds"],
        "query_seconds": entry["query_seconds"],
        "score_seconds": entry["eval_seconds"],
        "peak_bytes": entry["peak_bytes"],
        "scores": {
            # JSON has no word for what is not finite
            key.removeprefix("eval_"): value if math.isfinite(value) else None
            for key, value in entry.items()
            if key.startswith("eval_") and key != "eval_seconds"
        },
        "queried": train[np.asarray(queried, dtype=np.int64)].tolist(),
        "n_records": n_rounds,
        "settings": cell.settings,
    }


@contextmanager
def naming(what: object) -> Iterator[None]:
    """Add what was being done to the message of any exception that leaves the block."""
    try:
        yield
    except Exception as error:
        context = f"[budget_curve, {what}]"
        first = error.args[0] if error.args else None
        if isinstance(first, str) and str(error) == first:
            error.args = (f"{first} {context}", *error.args[1:])
        else:
            error.add_note(context)
        raise


# ---------------------------------------------------------------------- the strategies


def name_strategies(strategies: Any) -> dict[str, Any]:
    """Return {name: strategy object} of what the user gave.

    Raises
    ------
    ValueError
        If a strategy is none, a name is unknown, or names repeat.
    """
    from dalmax_sk.strategies import QueryStrategy, get_strategy

    if isinstance(strategies, Mapping):
        pairs = list(strategies.items())
        unnamed = [name for name, _ in pairs if not isinstance(name, str) or not name]
        if unnamed:
            raise ValueError(f"strategies: names must be strings, got {unnamed}.")
    else:
        if isinstance(strategies, str | QueryStrategy):
            strategies = [strategies]
        if not isinstance(strategies, Iterable):
            raise ValueError(
                "strategies must be a list, a dict or one strategy, got "
                f"{strategies!r}."
            )
        pairs = [(None, item) for item in strategies]
    if not pairs:
        raise ValueError("strategies is empty; give at least one.")

    named: dict[str, Any] = {}
    repeated: list[str] = []
    for name, item in pairs:
        if isinstance(item, str):
            strategy = get_strategy(item)
            name = name or item.replace("-", "_").lower()
        elif isinstance(item, QueryStrategy):
            strategy = item
            name = name or _name_of(item)
        else:
            raise ValueError(
                "strategies must hold names of dalmax_sk.strategies.strategy_names() "
                f"or strategy objects, got {item!r}."
            )
        if name in named:
            repeated.append(name)
        named[name] = strategy
    if repeated:
        raise ValueError(
            f"strategies holds {', '.join(map(repr, repeated))} more than once; name "
            "them apart with a dict {name: strategy}."
        )
    for strategy in named.values():
        strategy._validate_params()
    return named


def _name_of(strategy: Any) -> str:
    """Return the registry's name of a strategy, or else its class and parameters."""
    from dalmax_sk.strategies import get_strategy, strategy_names

    described = describe_strategy(strategy)
    names = [
        name
        for name in strategy_names()
        if describe_strategy(get_strategy(name)) == described
    ]
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(strategy).__name__).lower()
    if snake in names or not names:
        text = " ".join(repr(strategy).split()).removesuffix("()")
        return snake if snake in names else text
    return names[0]


def describe_strategy(strategy: Any) -> dict[str, str]:
    """Return {parameter: text} of a strategy, with its class under ``"class"``."""
    return {"class": type(strategy).__qualname__, **fingerprint_params(strategy)}


def short_hash(value: Any) -> str:
    """Return 16 letters that tell one JSON-able value from another."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
