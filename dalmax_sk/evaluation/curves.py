"""The results of an experiment: scores of strategies at growing numbers of labels."""

import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from dalmax_sk._base.files import replacing
from dalmax_sk._base.words import counted, listed
from dalmax_sk.evaluation.runs.curves_table import (
    KEY,
    PREFIX,
    check_known,
    checked,
    metric_names,
    read_table,
)
from dalmax_sk.evaluation.runs.run_folders import read_runs

__all__ = ["BudgetCurves"]


class BudgetCurves:
    """Scores of several strategies at growing numbers of labels.

    One row a round; what belongs to one strategy, split and seed is a *run*. The unit
    of all statistics is the seed: the splits of one seed share their data and are
    averaged before anything is compared.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns ``strategy`` (str), ``split`` (int), ``seed`` (int), ``round`` (int, 0
        for the initial set), ``n_labeled`` (int), and ``score_<metric>`` (float, higher
        is better) for at least one metric. The costs ``fit_seconds``,
        ``query_seconds``, ``score_seconds`` (float) and ``peak_bytes`` (largest
        resident memory of the process so far) may be absent or NaN where they were not
        measured. Other columns are kept.

    Attributes
    ----------
    frame : pandas.DataFrame
        The rows by strategy (in order of first appearance), split, seed and round; the
        columns in the order above, costs filled with NaN where they were absent.
    metrics : list of str
        Names of the scores without ``score_``; the first is the default metric.
    strategies : list of str
        The strategies in order of first appearance.
    seeds, splits : list of int
        Sorted.

    Raises
    ------
    ValueError
        If columns are missing, rows repeat, or entries are not of their kind; all such
        columns or rows are named.

    See Also
    --------
    budget_curve : Runs an experiment and returns its curves.

    Examples
    --------
    >>> import pandas as pd
    >>> from dalmax_sk.evaluation import BudgetCurves
    >>> curves = BudgetCurves(
    ...     pd.DataFrame(
    ...         {
    ...             "strategy": "random_sampling",
    ...             "split": 0,
    ...             "seed": [0, 0, 1, 1],
    ...             "round": [0, 1, 0, 1],
    ...             "n_labeled": [10, 20, 10, 20],
    ...             "score_accuracy": [0.5, 0.75, 0.25, 0.75],
    ...         }
    ...     )
    ... )
    >>> curves
    BudgetCurves(1 strategy, 1 split, 2 seeds, 10 to 20 labels, scores: accuracy)
    >>> seeds, budgets, values = curves.by_seed("random_sampling")
    >>> values
    array([[0.5 , 0.75],
           [0.25, 0.75]])
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = checked(frame)

    # ----------------------------------------------------------------- reading, writing

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file of :meth:`to_csv`.

        Parameters
        ----------
        path : path-like
            A CSV file with the columns of ``frame``.

        Returns
        -------
        BudgetCurves

        Raises
        ------
        ValueError
            If the file holds no such table.
        """
        frame = read_table(path)
        try:
            return cls(frame)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write ``frame`` as CSV, all or nothing.

        Parameters
        ----------
        path : path-like
            File to write; its folder must exist. It is replaced.

        Returns
        -------
        pathlib.Path
        """
        with replacing(path) as part:
            self.frame.to_csv(part, index=False, lineterminator="\n", encoding="utf-8")
        return Path(path)

    @classmethod
    def from_results(cls, path: str | os.PathLike[str]) -> Self:
        """Read the results file of :func:`~dalmax_sk.evaluation.budget_curve`.

        Runs that were cut off are left out, so that what is read can be compared; run
        the experiment again to finish them.

        Parameters
        ----------
        path : path-like
            The JSON-lines file given as ``results=``.

        Returns
        -------
        BudgetCurves

        Raises
        ------
        ValueError
            If the file was not written by ``budget_curve``, or holds no finished run.
        """
        from dalmax_sk.evaluation.runs.results_file import read_frame

        return cls(read_frame(path))

    @classmethod
    def from_runs(cls, directories: Iterable[str | os.PathLike[str]]) -> Self:
        """Read runs of ``dalmax train-al``.

        Parameters
        ----------
        directories : iterable of path-like
            Folders of runs (with ``run.json`` and ``history.csv``), or results folders
            that hold some below ``active_learning/``. Rounds of an unfinished run count
            as far as they go.

        Returns
        -------
        BudgetCurves
            ``split`` is 0, the seed is the run's, the scores are those on its test
            images.

        Raises
        ------
        ValueError
            If a folder holds no run, two runs have one strategy and seed, or the runs
            differ in images or settings, so that their curves do not compare.
        """
        return cls(read_runs(directories))

    # --------------------------------------------------------------------- what is held

    @property
    def metrics(self) -> list[str]:
        """Names of the scores; the first is the default metric."""
        return metric_names(self.frame)

    @property
    def strategies(self) -> list[str]:
        """The strategies in order of first appearance."""
        return list(dict.fromkeys(self.frame["strategy"].tolist()))

    @property
    def seeds(self) -> list[int]:
        """The seeds, sorted."""
        return sorted(set(self.frame["seed"].tolist()))

    @property
    def splits(self) -> list[int]:
        """The splits, sorted."""
        return sorted(set(self.frame["split"].tolist()))

    def budgets(self, strategy: str | None = None) -> np.ndarray:
        """Return the numbers of labels that all runs have in common.

        Parameters
        ----------
        strategy : str, default=None
            Look at the runs of one strategy only.

        Returns
        -------
        ndarray of int of shape (n_budgets,)
            Sorted; empty if the runs have none in common.
        """
        frame = self.frame if strategy is None else self._of(strategy)
        n_runs = frame.groupby(KEY[:-1]).ngroups
        counts = frame["n_labeled"].value_counts()  # no run has a number twice
        return np.sort(counts.index[counts == n_runs].to_numpy(dtype=np.int64))

    def matrix(
        self, strategy: str, metric: str | None = None
    ) -> tuple[list[tuple[int, int]], np.ndarray, np.ndarray]:
        """Return the scores of all runs of a strategy.

        Parameters
        ----------
        strategy : str
            One of ``strategies``.
        metric : str, default=None
            One of ``metrics``; None takes the first.

        Returns
        -------
        runs : list of tuple of int
            (split, seed) of each row of `values`.
        budgets : ndarray of int of shape (n_budgets,)
            Numbers of labels.
        values : ndarray of float of shape (n_runs, n_budgets)

        Raises
        ------
        ValueError
            If the runs do not have the same numbers of labels; those that are not
            common to all are named.
        """
        column = self._score_column(metric)
        frame = self._of(strategy)
        table = frame.pivot(index=["split", "seed"], columns="n_labeled", values=column)
        budgets = table.columns.to_numpy(dtype=np.int64)
        common = self.budgets(strategy)
        if len(common) < len(budgets):
            single = np.setdiff1d(budgets, common).tolist()
            raise ValueError(
                f"The runs of {strategy!r} do not have the same numbers of labels: "
                f"{listed(single)} occur in some only, {listed(common.tolist())} in "
                "all. Use select(max_labels=...) if some runs are shorter than others."
            )
        runs = [(int(split), int(seed)) for split, seed in table.index]
        return runs, budgets, table.to_numpy(dtype=float)

    def by_seed(
        self, strategy: str, metric: str | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the scores of a strategy, averaged over the splits of each seed.

        Parameters
        ----------
        strategy : str
            One of ``strategies``.
        metric : str, default=None
            One of ``metrics``; None takes the first.

        Returns
        -------
        seeds : ndarray of int of shape (n_seeds,)
        budgets : ndarray of int of shape (n_budgets,)
        values : ndarray of float of shape (n_seeds, n_budgets)

        Raises
        ------
        ValueError
            If runs differ in their numbers of labels, or seeds in their splits.
        """
        runs, budgets, values = self.matrix(strategy, metric)
        splits_of: dict[int, list[int]] = {}
        for split, seed in runs:
            splits_of.setdefault(seed, []).append(split)
        wanted = sorted({split for split, _ in runs})
        lacking = {
            seed: sorted(set(wanted) - set(splits))
            for seed, splits in sorted(splits_of.items())
            if len(splits) < len(wanted)
        }
        if lacking:
            raise ValueError(
                f"The seeds of {strategy!r} do not have the same splits: "
                + ", ".join(f"seed {s} lacks {listed(m)}" for s, m in lacking.items())
                + ". Finish the experiment, or leave these seeds out with "
                "select(seeds=[...])."
            )
        seeds = np.array(sorted(splits_of), dtype=np.int64)
        of_run = np.array([seed for _, seed in runs])  # (R,)
        means = [values[of_run == seed].mean(axis=0) for seed in seeds]
        return seeds, budgets, np.stack(means)

    def select(
        self,
        strategies: Iterable[str] | None = None,
        seeds: Iterable[int] | None = None,
        max_labels: int | None = None,
    ) -> "BudgetCurves":
        """Return a part of the results.

        Parameters
        ----------
        strategies : iterable of str, default=None
            Strategies to keep, in the order wanted; None keeps all.
        seeds : iterable of int, default=None
            Seeds to keep; None keeps all.
        max_labels : int, default=None
            Leave out rounds with more labels than that.

        Returns
        -------
        BudgetCurves

        Raises
        ------
        ValueError
            If a strategy or seed is not among the results, or nothing would be left.
        """
        frame = self.frame
        if strategies is not None:
            names = [strategies] if isinstance(strategies, str) else list(strategies)
            _check_part("strategies", names, self.strategies)
            frame = pd.concat([self._of(name) for name in dict.fromkeys(names)])
        if seeds is not None:
            wanted = list(seeds)
            _check_part("seeds", wanted, self.seeds)
            frame = frame[frame["seed"].isin(wanted)]
        if max_labels is not None:
            frame = frame[frame["n_labeled"] <= max_labels]
            if frame.empty:
                raise ValueError(
                    f"max_labels={max_labels} leaves nothing: the curves begin at "
                    f"{self.frame['n_labeled'].min()} labels."
                )
        return BudgetCurves(frame)

    def summary(self, metric: str | None = None) -> pd.DataFrame:
        """Return mean and standard deviation over the seeds at each number of labels.

        Parameters
        ----------
        metric : str, default=None
            One of ``metrics``; None takes the first.

        Returns
        -------
        pandas.DataFrame
            One row a strategy. Columns of two levels: ``"mean"`` and ``"std"`` (with
            n - 1; NaN for a single seed), then the number of labels (NaN where the
            strategy has no such round).

        Examples
        --------
        >>> import pandas as pd
        >>> from dalmax_sk.evaluation import BudgetCurves
        >>> frame = pd.DataFrame(
        ...     {
        ...         "strategy": "random_sampling",
        ...         "split": 0,
        ...         "seed": [0, 1],
        ...         "round": 0,
        ...         "n_labeled": 10,
        ...         "score_accuracy": [0.5, 0.75],
        ...     }
        ... )
        >>> BudgetCurves(frame).summary()["mean"]
        n_labeled           10
        strategy
        random_sampling  0.625
        """
        columns: dict[str, dict[str, pd.Series]] = {"mean": {}, "std": {}}
        for strategy in self.strategies:
            seeds, budgets, values = self.by_seed(strategy, metric)
            alone = len(seeds) == 1
            spread = np.full(len(budgets), np.nan) if alone else values.std(0, ddof=1)
            columns["mean"][strategy] = pd.Series(values.mean(axis=0), index=budgets)
            columns["std"][strategy] = pd.Series(spread, index=budgets)
        table = pd.concat(
            {name: pd.DataFrame(of).sort_index().T for name, of in columns.items()},
            axis=1,
        )
        table.columns.names = [None, "n_labeled"]
        table.index.name = "strategy"
        return table

    # ------------------------------------------------------------------------- protocol

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        labels = self.frame["n_labeled"]
        return (
            f"BudgetCurves({counted(len(self.strategies), 'strategy')}, "
            f"{counted(len(self.splits), 'split')}, "
            f"{counted(len(self.seeds), 'seed')}, {labels.min()} to {labels.max()} "
            f"labels, scores: {', '.join(self.metrics)})"
        )

    def _repr_html_(self) -> str:
        # rows that cannot be averaged are still worth showing
        frame = self.frame.groupby(["strategy", "n_labeled"], sort=False)
        table = frame[PREFIX + self.metrics[0]].agg(["mean", "count"]).reset_index()
        caption = escape(f"{self!r}; mean {self.metrics[0]} over all runs")
        return f"<p>{caption}</p>" + table.to_html(index=False, float_format="%.4f")

    # -------------------------------------------------------------------------- private

    def _of(self, strategy: str) -> pd.DataFrame:
        check_known("strategy", [strategy], self.strategies)
        return self.frame[self.frame["strategy"] == strategy]

    def _score_column(self, metric: str | None) -> str:
        if metric is None:
            metric = self.metrics[0]
        check_known("metric", [metric], self.metrics)
        return PREFIX + metric


def _check_part(what: str, wanted: Sequence[object], known: Sequence[object]) -> None:
    if not wanted:
        raise ValueError(
            f"{what} is empty, which leaves nothing; give at least one of "
            f"{listed([repr(name) for name in known], 30)}, or None to keep all."
        )
    check_known(what, wanted, known)
