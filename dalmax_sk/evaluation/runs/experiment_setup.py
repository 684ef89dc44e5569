"""The parts of an experiment: learner, strategies, folds, and its description."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import check_consistent_length, get_tags

from dalmax_sk._base.errors import error_context
from dalmax_sk._base.seeds import derive_seed, set_missing_seeds
from dalmax_sk._base.sklearn_compat import check_method_params, num_samples
from dalmax_sk._base.versions import package_versions
from dalmax_sk._base.words import listed
from dalmax_sk.active_learning.checkpoint import (
    describe_value,
    fingerprint_data,
    fingerprint_params,
)
from dalmax_sk.active_learning.classes import find_classes
from dalmax_sk.active_learning.oracle import as_labels, find_missing
from dalmax_sk.active_learning.validation import given_classes
from dalmax_sk.evaluation.runs.run import Fold, take_rows
from dalmax_sk.images import as_paths

__all__ = [
    "as_rows",
    "check_seeds",
    "describe_experiment",
    "describe_strategy",
    "find_folds",
    "make_learner",
    "name_strategies",
    "split_steps",
    "transform_parts",
]

# a version that differs is worth a warning
_PACKAGES = ("scikit-learn", "numpy", "torch", "skorch")


def check_seeds(seeds: Any) -> list[int]:
    """Return the seeds as a list: a number n means 0 to n - 1."""
    if isinstance(seeds, int | np.integer):
        return list(range(int(seeds)))
    values = np.asarray(seeds)
    if values.ndim != 1 or not len(values) or values.dtype.kind not in "iu":
        raise ValueError(
            f"seeds must be a number or a sequence of whole numbers, got {seeds!r}."
        )
    found: list[int] = values.tolist()
    repeated = sorted({seed for seed in found if found.count(seed) > 1})
    outside = [seed for seed in found if not 0 <= seed < 2**32]
    if repeated or outside:
        raise ValueError(
            "seeds must be distinct and in [0, 2**32 - 1]; "
            f"repeated: {listed(repeated)}; outside: {listed(outside)}."
        )
    return found


def as_rows(X: Any, y: Any) -> tuple[Any, np.ndarray]:
    """Return X and y in forms that can be cut into rows."""
    if not hasattr(X, "shape"):
        paths = as_paths(X)
        X = np.asarray(X) if paths is None else paths
    y = as_labels(y)
    check_consistent_length(X, y)
    return X, y


# ------------------------------------------------------------------------- the learner


def split_steps(estimator: Any) -> tuple[Pipeline | None, Any]:
    """Take the steps before an active learner off a pipeline that ends in one.

    Returns
    -------
    steps : Pipeline or None
        The steps before the learner, those of nested pipelines in one row.
    estimator : estimator
        The learner; or, where there is none at the end, the estimator as it was given.
    """
    from dalmax_sk.active_learning import ActiveLearningClassifier

    steps: list[Any] = []
    last = estimator
    while isinstance(last, Pipeline):
        steps += [
            step for _, step in last.steps[:-1] if step not in (None, "passthrough")
        ]
        last = last.steps[-1][1]
    if not isinstance(last, ActiveLearningClassifier):
        return None, estimator
    needy = [
        type(step).__name__ for step in steps if get_tags(step).target_tags.required
    ]
    if needy:
        raise ValueError(
            f"The steps {listed(needy)} before the active learner need labels to be "
            "fitted, and the labels are hidden. Put them inside the learner: "
            "ActiveLearningClassifier(make_pipeline(step, classifier)) fits them on "
            "the labelled rows of each round."
        )
    return (make_pipeline(*steps) if steps else None), last


def make_learner(
    estimator: Any, y: np.ndarray, *, scoring: Any, sizes: Mapping[str, Any]
) -> Any:
    """Return the active learner that every run clones.

    Parameters
    ----------
    estimator : estimator or None
        A learner, or an estimator to wrap in one.
    y : ndarray of shape (n_samples,)
        All labels.
    scoring : object
        As given to ``budget_curve``.
    sizes : dict
        ``n_initial``, ``query_size``, ``n_rounds`` as given; None where not.

    Returns
    -------
    ActiveLearningClassifier
        Without strategy and seed, and told all classes: a fold may lack one.
    """
    from dalmax_sk.active_learning import ActiveLearningClassifier

    given = {name: value for name, value in sizes.items() if value is not None}
    if isinstance(estimator, ActiveLearningClassifier):
        learner = clone(estimator).set_params(strategy=None, random_state=None)
        if scoring is not None:
            given["scoring"] = scoring
        both = [
            name for name in given if name != "scoring" or learner.scoring is not None
        ]
        if both:
            raise ValueError(
                f"{listed(both)} given to budget_curve and by the "
                "ActiveLearningClassifier, which brings its own settings. Set them "
                "there."
            )
        own = [
            name
            for name in ("oracle", "checkpoint_dir")
            if getattr(learner, name) is not None
        ]
        if own:
            raise ValueError(
                f"The ActiveLearningClassifier has {listed(own)}; budget_curve takes "
                "labels from y, and keeps its states beside results=. Set them to None."
            )
        _check_stopping(learner.stopping)
        learner.set_params(scoring=learner.scoring if scoring is None else scoring)
    else:
        learner = ActiveLearningClassifier(estimator, scoring=scoring, **given)
    missing = np.flatnonzero(find_missing(y, learner.missing_label))
    if len(missing):
        raise ValueError(
            "budget_curve needs the labels of all rows, to score and to reveal; y has "
            f"none for rows {listed(missing.tolist())}. Leave these rows out."
        )
    if given_classes(learner.classes, learner.estimator) is None:
        learner.set_params(classes=find_classes(y, None, None))
    return learner


def _check_stopping(stopping: Any) -> None:
    """Raise ValueError if labels of the test fold would decide when a run ends."""
    found = _score_readers(stopping)
    if found:
        raise ValueError(
            f"stopping holds {listed(found)}, which reads scores, and the scores of "
            "budget_curve are those of the test fold: its labels would decide when a "
            "run ends, and the curve would be chosen by what it reports. Take the rule "
            "out, and see in the curves where a score is reached (compare(..., "
            "target=...)); or stop by labels (Budget) or by the pool "
            "(StabilizingPredictions, OverallUncertainty and others)."
        )


def _score_readers(stopping: Any) -> list[Any]:
    """Return the rules that read scores, also those inside of lists and of AllOf."""
    rules = getattr(stopping, "rules", stopping)
    if isinstance(rules, list | tuple):
        return [reader for rule in rules for reader in _score_readers(rule)]
    return [stopping] if getattr(stopping, "reads_scores", False) else []


# ---------------------------------------------------------------------- the strategies


def name_strategies(strategies: Any) -> dict[str, Any]:
    """Return {name: strategy object} of the user's strategies.

    Raises
    ------
    ValueError
        If a strategy is none, a name is unknown, or names repeat.
    """
    from dalmax_sk.strategies import QueryStrategy
    from dalmax_sk.strategies._functions import as_strategy

    if isinstance(strategies, Mapping):
        pairs = list(strategies.items())
        unnamed = [name for name, _ in pairs if not isinstance(name, str) or not name]
        if unnamed:
            raise ValueError(f"strategies: names must be strings, got {unnamed}.")
    else:
        if isinstance(strategies, str | QueryStrategy) or callable(strategies):
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
        try:
            strategy = as_strategy(item)
        except TypeError as error:
            raise ValueError(
                "strategies must hold names of dalmax_sk.strategies.strategy_names(), "
                f"strategy objects or functions, got {item!r}."
            ) from error
        if isinstance(item, str):
            name = name or item.replace("-", "_").lower()
        elif isinstance(item, QueryStrategy):
            name = name or _name_of(item)
        else:
            name = name or getattr(item, "__name__", type(item).__name__)
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


# --------------------------------------------------------------------------- the folds


def find_folds(
    cv: Any, X: Any, y: np.ndarray, groups: Any, params: Mapping[str, Any]
) -> list[Fold]:
    """Return the splits, checked.

    Raises
    ------
    ValueError
        If a split is empty, names rows that do not exist, or has a row in both parts.
    """
    splitter = check_cv(cv, y, classifier=True)
    folds = []
    for number, (train, test) in enumerate(splitter.split(X, y, groups)):
        train, test = _rows(train, len(y), number), _rows(test, len(y), number)
        both = np.intersect1d(train, test)
        if len(both):
            raise ValueError(
                f"cv: split {number} has rows {listed(both.tolist())} in its training "
                "and its test part; scores on rows that were learned from say nothing."
            )
        own = check_method_params(X, params, indices=train) if params else {}
        folds.append(Fold(X, y, train, test, own))
    if not folds:
        raise ValueError("cv gives no split; give at least one (train, test).")
    return folds


def _rows(rows: Any, n_samples: int, number: int) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.dtype.kind == "b" and len(rows) == n_samples:
        rows = np.flatnonzero(rows)
    if rows.ndim != 1 or not len(rows) or rows.dtype.kind not in "iu":
        raise ValueError(
            f"cv: the parts of split {number} must be 1-D arrays of row numbers with "
            f"at least one, got shape {rows.shape} and type {rows.dtype}."
        )
    rows = rows.astype(np.int64)
    outside = rows[(rows < 0) | (rows >= n_samples)]
    values, counts = np.unique(rows, return_counts=True)
    if len(outside) or (counts > 1).any():
        raise ValueError(
            f"cv: split {number} names rows that X, with {n_samples}, does not have "
            f"({listed(outside.tolist())}), or twice "
            f"({listed(values[counts > 1].tolist())})."
        )
    return rows


def transform_parts(steps: Pipeline, fold: Fold, number: int) -> Fold:
    """Return the fold with its X as the steps make it, fitted without labels.

    Fitted once for each split, so that strategies and seeds share the same inputs.
    """
    steps = clone(steps)
    set_missing_seeds(steps, derive_seed(0, number))
    with error_context(
        f"budget_curve, split {number}, fitting the steps before the learner without "
        "labels"
    ):
        train = steps.fit_transform(take_rows(fold.X, fold.train))
        test = steps.transform(take_rows(fold.X, fold.test))
    return Fold(None, fold.y, fold.train, fold.test, fold.params, (train, test))


# --------------------------------------------------------------------- the description


def describe_experiment(
    steps: Pipeline | None, learner: Any, X: Any, y: np.ndarray, folds: Sequence[Fold]
) -> dict[str, Any]:
    """Return the settings that all results in one file share, in JSON values.

    Strategies and seeds are not among them: they can be added later.
    """
    settings = fingerprint_params(learner)
    for name in ("strategy", "random_state"):
        del settings[name]
    # a run may continue with other ones; a finished run may not
    settings |= {
        name: describe_value(getattr(learner, name))
        for name in ("n_rounds", "stopping")
    }
    return {
        "X": fingerprint_data(X),
        "y": fingerprint_data(y),
        "n_samples": num_samples(X),
        "splits": joblib.hash([(fold.train, fold.test) for fold in folds]),
        "n_splits": len(folds),
        "metadata": joblib.hash([fingerprint_data(dict(f.params)) for f in folds]),
        "learner": settings,
        "steps": {} if steps is None else fingerprint_params(steps),
        "versions": package_versions(_PACKAGES),
    }
