"""Scores of strategies against numbers of labels, paired and resumable."""

import itertools
import logging
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from numbers import Integral
from typing import Any

from joblib import effective_n_jobs
from joblib.parallel import get_active_backend
from sklearn.base import clone
from sklearn.utils.parallel import Parallel, delayed

from dalmax_sk._base import progress
from dalmax_sk._base.processes import explain_worker_death
from dalmax_sk._base.sklearn_compat import (
    HasMethods,
    Interval,
    RealNotInt,
    validate_parameter_constraints,
)
from dalmax_sk._base.words import listed
from dalmax_sk.evaluation.curves import BudgetCurves
from dalmax_sk.evaluation.runs.experiment_setup import (
    as_rows,
    check_seeds,
    describe_experiment,
    describe_strategy,
    find_folds,
    make_learner,
    name_strategies,
    split_steps,
    transform_parts,
)
from dalmax_sk.evaluation.runs.results_file import ResultsFile, records_frame
from dalmax_sk.evaluation.runs.run import Fold, Run, execute_run, short_hash
from dalmax_sk.images.outputs import check_outside_images

__all__ = ["budget_curve"]

logger = logging.getLogger("dalmax_sk")

_SIZES = [
    Interval(Integral, 1, None, closed="left"),
    Interval(RealNotInt, 0, 1, closed="right"),
]
_CONSTRAINTS: dict[str, Any] = {
    "estimator": [HasMethods(["fit", "predict"]), None],
    "cv": ["cv_object"],
    "seeds": [Interval(Integral, 1, None, closed="left"), "array-like", range],
    "groups": ["array-like", None],
    "scoring": [str, callable, list, tuple, dict, None],
    "n_initial": [*_SIZES, None],
    "query_size": [*_SIZES, "array-like", callable, None],
    "n_rounds": [Interval(Integral, 0, None, closed="left"), None],
    "params": [dict, None],
    "results": [str, os.PathLike, None],
    "n_jobs": [
        Interval(Integral, None, -1, closed="right"),
        Interval(Integral, 1, None, closed="left"),
        None,
    ],
    "pre_dispatch": [Integral, str],
    "verbose": ["verbose"],
}


def budget_curve(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    strategies: Any,
    cv: Any = None,
    seeds: int | Sequence[int] = 5,
    groups: Any = None,
    scoring: Any = None,
    n_initial: int | float | None = None,
    query_size: Any = None,
    n_rounds: int | None = None,
    params: Mapping[str, Any] | None = None,
    results: str | os.PathLike[str] | None = None,
    n_jobs: int | None = None,
    pre_dispatch: int | str = "2*n_jobs",
    verbose: int = 0,
) -> BudgetCurves:
    """Score strategies at growing numbers of labels.

    For every split of the data, every seed and every strategy, an
    :class:`~dalmax_sk.ActiveLearningClassifier` runs on the training fold and is scored
    on the test fold after each round. The labels of the training fold are hidden from
    it and revealed as it asks for them; those of the test fold are only scored on. (A
    function or rule of your own given as the learner's `stopping` could read these
    scores; it should not.) All strategies share splits, seeds and initial sets, so
    their results are paired.

    Parameters
    ----------
    estimator : classifier, Pipeline, ActiveLearningClassifier or None
        The model. A classifier, a pipeline that ends in one, or None (the learner's
        default) is fitted on the labelled rows of each round. An
        :class:`~dalmax_sk.ActiveLearningClassifier` brings its own settings; its
        `strategy` and `random_state` are replaced, and stopping rules that read scores
        (:class:`~dalmax_sk.stopping.TargetScore`,
        :class:`~dalmax_sk.stopping.PerformancePlateau`,
        :class:`~dalmax_sk.stopping.ForecastRule`; all with ``reads_scores``) are
        refused. The steps of a pipeline
        that ends in such a learner are fitted once for each split, on the rows of the
        training fold **without their labels**.
    X : array-like of shape (n_samples, ...)
        Image paths (1-D), images (3-D or 4-D) or a table (2-D).
    y : array-like of shape (n_samples,)
        The labels of all rows.
    strategies : list of str or QueryStrategy, or dict of str to these
        Names of :func:`~dalmax_sk.strategies.strategy_names`, or
        objects. The keys of a dict are the names in the results; otherwise an object
        has the registry's name, or if its parameters are its own, the text of them.
    cv : int, cross-validation generator or iterable, default=None
        As in :func:`~sklearn.model_selection.cross_validate`: None and numbers mean
        stratified folds, not shuffled. One pair ``[(train, test)]`` is enough.
    seeds : int or sequence of int, default=5
        Values of the learner's `random_state`; a number n means 0 to n - 1. The seed is
        the unit of every comparison later, so that a test needs several.
    groups : array-like of shape (n_samples,), default=None
        Groups for a splitter such as :class:`~sklearn.model_selection.GroupKFold`.
    scoring : str, callable, list, tuple, dict or None, default=None
        As in :func:`~sklearn.model_selection.cross_validate`. None means accuracy,
        balanced accuracy, macro and weighted F1.
    n_initial : int or float, default=None
        Size of the initial set, a number or a fraction of the training fold; None means
        the learner's default.
    query_size : int, float, sequence or callable, default=None
        Labels to ask for in each round, as the learner takes it; None means its
        default.
    n_rounds : int, default=None
        Rounds of querying; None means the learner's default.
    params : dict, default=None
        Metadata for ``fit`` of the learner, which routes it to the estimator's (needs
        ``sklearn.set_config(enable_metadata_routing=True)``). Entries with one value a
        row of X are cut to the labelled rows.
    results : str or path-like, default=None
        A file that keeps the results, one line a round. Called again with the same data
        and settings, ``budget_curve`` skips runs that are in the file, continues
        those that were interrupted, and adds further strategies and seeds. States of
        interrupted runs lie in a folder ``<results>.runs`` next to it.
    n_jobs : int, default=None
        Runs at a time. None means 1 unless in a :func:`joblib.parallel_config` context,
        -1 all processors.
    pre_dispatch : int or str, default="2*n_jobs"
        Runs handed to the workers in advance, as in :class:`joblib.Parallel`.
    verbose : int, default=0
        1 logs each run as it ends (and the rounds of those that this process runs
        itself), 2 more.

    Returns
    -------
    BudgetCurves
        The runs of `strategies` and `seeds`, one row a round.

    Raises
    ------
    ValueError
        If data or parameters do not fit each other, or `results` is of another
        experiment. An exception in a run passes through with strategy, split and seed
        added to its message; runs that ended before it are in the results file.
    RuntimeError
        If a worker process dies, for want of memory for instance.

    See Also
    --------
    compare : Tell from the curves which strategy is better.
    sklearn.model_selection.learning_curve : Scores against random training sets.

    Notes
    -----
    A single run can be repeated with
    ``learner.set_params(strategy=..., random_state=seed).fit(X[train], y[train])``.

    Strategies of one split and seed come together and splits of one seed, so that
    nearly all of what an interrupted experiment leaves is paired. The seeds that it was
    at may lack strategies or splits; :func:`compare` leaves those out with
    ``on_unequal="intersect"``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from dalmax_sk.evaluation import budget_curve
    >>> X, y = load_iris(return_X_y=True)
    >>> curves = budget_curve(
    ...     LogisticRegression(max_iter=500),
    ...     X,
    ...     y,
    ...     strategies=["random_sampling", "margin_sampling"],
    ...     cv=3,
    ...     seeds=2,
    ...     scoring="accuracy",
    ...     n_initial=6,
    ...     query_size=6,
    ...     n_rounds=3,
    ... )
    >>> curves
    BudgetCurves(2 strategies, 3 splits, 2 seeds, 6 to 24 labels, scores: accuracy)
    """
    # not the decorator, which would give its name to wrong parameters of strategies
    given = locals()
    validate_parameter_constraints(
        _CONSTRAINTS, {name: given[name] for name in _CONSTRAINTS}, "budget_curve"
    )
    named = name_strategies(strategies)
    all_seeds = check_seeds(seeds)
    steps, last = split_steps(estimator)
    X, y = as_rows(X, y)
    sizes = {"n_initial": n_initial, "query_size": query_size, "n_rounds": n_rounds}
    learner = make_learner(last, y, scoring=scoring, sizes=sizes)
    learner.set_params(verbose=max(learner.verbose, verbose - 1))
    folds = find_folds(cv, X, y, groups, params or {})
    described = {name: describe_strategy(strategy) for name, strategy in named.items()}
    runs = [
        Run(name, split, seed, short_hash(described[name]))
        for seed in all_seeds
        for split in range(len(folds))
        for name in named
    ]
    file = None
    if results is not None:
        check_outside_images(results, X, "results")
        file = ResultsFile(results, describe_experiment(steps, learner, X, y, folds))
        file.open(described)
    with progress.logged(verbose), nullcontext() if file is None else closing(file):
        done = {} if file is None else file.finished(runs)
        left = [run for run in runs if run not in done]
        if steps is not None:
            needed = {run.split for run in left}
            folds = [
                transform_parts(steps, fold, number) if number in needed else fold
                for number, fold in enumerate(folds)
            ]
        if file is not None and left:
            file.begin_session(described, all_seeds)
        if done:
            logger.info("%d of %d runs are done already", len(done), len(runs))
        progress.report("run", len(done), len(runs))
        tasks = _tasks(left, learner, named, folds, file)
        # closed at once when something is raised, which stops the workers
        with closing(_run_all(tasks, n_jobs, pre_dispatch)) as outcomes:
            _collect(outcomes, done, runs, file)
    order = list(named)
    runs.sort(key=lambda run: order.index(run.strategy))
    return BudgetCurves(records_frame([row for run in runs for row in done[run]]))


def _tasks(
    runs: Sequence[Run],
    learner: Any,
    strategies: Mapping[str, Any],
    folds: Sequence[Fold],
    file: ResultsFile | None,
) -> Iterator[Any]:
    """Yield the workers' tasks, one a run."""
    for run in runs:
        own = clone(learner).set_params(
            strategy=strategies[run.strategy], random_state=run.seed
        )
        folder = None if file is None else file.state_folder(run)
        yield delayed(execute_run)(run, own, folds[run.split], folder, os.getpid())


def _run_all(
    tasks: Iterator[Any], n_jobs: int | None, pre_dispatch: int | str
) -> Generator[tuple[Run, list[dict[str, Any]]], None, None]:
    """Yield runs and their records, as soon as they are there."""
    backend, _ = get_active_backend()
    if backend.supports_return_generator:
        yield from Parallel(
            n_jobs=n_jobs, pre_dispatch=pre_dispatch, return_as="generator_unordered"
        )(tasks)
        return
    # a backend that returns everything at the end is given as much as it runs at once
    while batch := list(itertools.islice(tasks, effective_n_jobs(n_jobs))):
        yield from Parallel(n_jobs=n_jobs)(batch)


def _collect(
    outcomes: Iterator[tuple[Run, list[dict[str, Any]]]],
    done: dict[Run, list[dict[str, Any]]],
    runs: Sequence[Run],
    file: ResultsFile | None,
) -> None:
    """Add each run that ends to `done` and to the file, and report it."""
    kept = "Nothing is kept without results=."
    if file is not None:
        kept = (
            f"Finished runs are in {file.path}, and the others go on from their "
            "last round when the same call is made again."
        )
    while True:
        left = [str(run) for run in runs if run not in done]
        doing = (
            f"budget_curve, {len(done)} of {len(runs)} runs done, at the first of "
            f"{listed(left)}"
        )
        with explain_worker_death(doing, kept):
            outcome = next(outcomes, None)
        if outcome is None:
            return
        run, records = outcome
        if file is not None:
            file.add(run, records)
        done[run] = records
        logger.info("run %d of %d ended: %s", len(done), len(runs), run)
        progress.report(
            "run",
            len(done),
            len(runs),
            strategy=run.strategy,
            split=run.split,
            seed=run.seed,
            records=records,
        )
