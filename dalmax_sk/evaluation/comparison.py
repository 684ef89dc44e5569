"""Comparison of strategies with a baseline: differences, tests, labels saved, ranks."""

import os
from dataclasses import dataclass
from html import escape
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from dalmax_sk._base.files import write_text
from dalmax_sk._base.sklearn_compat import Interval, StrOptions, validate_params
from dalmax_sk.evaluation.curves import BudgetCurves
from dalmax_sk.evaluation.metrics import area_under_budget_curve
from dalmax_sk.evaluation.statistics.comparison_columns import (
    area_columns,
    difference_columns,
    label_columns,
    separate_difference_columns,
)
from dalmax_sk.evaluation.statistics.pairing import paired_scores, separate_scores
from dalmax_sk.evaluation.statistics.ranks import (
    critical_difference,
    friedman_p_value,
    pairwise_wins,
    rank_groups,
    rank_rows,
    separate_wins,
)
from dalmax_sk.evaluation.statistics.resampling import resample_weights
from dalmax_sk.evaluation.statistics.verdicts import Wording

__all__ = ["Comparison", "compare", "comparison_files"]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Comparison:
    """Result of :func:`compare`.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a strategy, the highest area first. Columns:

        - ``strategy``, ``n_seeds``;
        - ``aubc``: mean area under the budget curve (normalized: of the scale of the
          score), with its interval ``aubc_low``, ``aubc_high``; ``final_score``: mean
          score at the last budget;
        - ``aubc_difference`` to the baseline, with its interval ``difference_low``,
          ``difference_high``;
        - ``p_value`` of the test, ``p_adjusted`` after the correction;
        - ``verdict``: ``"better"``, ``"worse"``, ``"undecided"`` or ``"baseline"``;
        - ``more_seeds``: about how many more seeds would decide an undecided one, if
          the differences stay what they are (``inf``: more than 50; NaN: decided, or
          nothing to test); of each of the two if they are not paired. With Holm's
          correction no fewer than what strategies of smaller p-values need, for it
          decides in that order;
        - ``labels_to_target``: labels with which the mean curve first reaches the
          target (``inf``: not reached), interval ``labels_low``, ``labels_high``;
        - ``label_saving``: labels saved against the baseline (``inf``: only the
          strategy reaches the target, ``-inf``: only the baseline, NaN: neither),
          interval ``saving_low``, ``saving_high``; ``saving_ratio``: saved labels over
          the baseline's, NaN where not finite. The intervals of labels are NaN with
          too few seeds (at 95 %: fewer than five) or resamples for them;
        - ``mean_rank`` over the seeds, 1 is best (NaN if not paired);
        - ``fit_seconds``, ``query_seconds``: means a round.

        What compares with the baseline is NaN in its own row.
    penalty_matrix : pandas.DataFrame
        Entry (i, j): share of the budgets at which i beats j. The first budget does not
        count if it is round 0 of every run: the initial set, which all share.
    penalty : pandas.Series
        For each strategy the mean of its column over the others: how often it is
        beaten. Lower is better.
    ranks : pandas.DataFrame
        Rank of each strategy's area (columns, best mean rank first) at each seed
        (rows); 1 is best, ties share. No rows if strategies are not paired: they share
        no seeds to be ranked at.
    friedman_p : float
        Friedman's test that all rank alike; NaN with fewer than three strategies, or if
        not paired.
    critical_difference : float
        Nemenyi's: mean ranks that differ by less are not told apart. NaN if not paired.
    groups : list of list of str
        Largest sets of strategies that are not told apart, best first. Empty if not
        paired.
    verdicts : dict of str to str
        Plain sentences about each strategy, in the order of the table.
    baseline, metric : str
        Name of the baseline, and of the score.
    target : float
        The score of ``labels_to_target``.
    curves : BudgetCurves
        The results that were compared.
    wording : Wording
        Turns numbers into words; for reports.
    """

    table: pd.DataFrame
    penalty_matrix: pd.DataFrame
    ranks: pd.DataFrame
    friedman_p: float
    critical_difference: float
    groups: list[list[str]]
    baseline: str
    metric: str
    target: float
    curves: BudgetCurves
    wording: Wording

    @property
    def verdicts(self) -> dict[str, str]:
        """Plain sentences about each strategy."""
        return {
            row["strategy"]: self.wording.verdict(row)
            for row in self.table.to_dict("records")
        }

    @property
    def paired(self) -> bool:
        """Whether strategies were paired by seed."""
        return self.wording.paired

    @property
    def seed_words(self) -> str:
        """The number of seeds in words."""
        least, most = self.table["n_seeds"].min(), self.table["n_seeds"].max()
        if self.paired:
            return f"{least} seeds"
        return f"{least if least == most else f'{least} to {most}'} seeds each"

    @property
    def penalty(self) -> pd.Series:
        """Mean share of the budgets at which the others beat each strategy."""
        return self.penalty_matrix.sum() / (len(self.penalty_matrix) - 1)

    def summary(self) -> str:
        """Return the comparison as text: what was compared, and the sentences.

        Returns
        -------
        str
            Several lines.
        """
        lines = [
            f"{len(self.table)} strategies, {self.seed_words}, {self.metric} over "
            f"{self.wording.first:,} to {self.wording.last:,} labels; "
            f"{self.wording.test_name}."
        ]
        lines += [f"- {sentence}" for sentence in self.verdicts.values()]
        if self.paired:
            means = self.ranks.mean().items()
            ranked = ", ".join(f"{name} {r:.2f}" for name, r in means)
            lines.append(
                f"Mean ranks: {ranked}. Ranks that differ by less than "
                f"{self.critical_difference:.2f} are not told apart (Nemenyi); "
                f"{self._friedman()}."
            )
        return "\n".join(lines)

    def to_csv(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Write the tables as CSV files and the sentences as text.

        A number that is infinite in ``table`` (a target not reached, more seeds than is
        practical) is an empty cell; the sentences say which.

        Parameters
        ----------
        directory : path-like
            Folder to write to; made if it is missing. Files of the same names are
            replaced.

        Returns
        -------
        list of pathlib.Path
            ``comparison.csv``, ``penalty_matrix.csv``, ``ranks.csv`` (if paired) and
            ``verdicts.txt``.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        return [
            write_text(directory / name, text)
            for name, text in comparison_files(self).items()
        ]

    def _friedman(self) -> str:
        if np.isnan(self.friedman_p):
            return "Friedman's test needs three strategies"
        return f"Friedman's test that all rank alike: p = {self.friedman_p:.2g}"

    def __repr__(self) -> str:
        counts = self.table["verdict"].value_counts()
        found = ", ".join(
            f"{counts.get(word, 0)} {word}" for word in ("better", "worse", "undecided")
        )
        return (
            f"Comparison({found} against {self.baseline}; {self.metric}, "
            f"{self.seed_words})"
        )

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{escape(text)}</li>" for text in self.verdicts.values())
        table = self.table.to_html(index=False, float_format="%.4g", escape=True)
        return f"<p>{escape(repr(self))}</p><ul>{items}</ul>{table}"


def comparison_files(comparison: Comparison) -> dict[str, str]:
    """Return the texts of the files of a comparison by their names."""
    finite = comparison.table.replace([np.inf, -np.inf], np.nan)
    files = {
        "comparison.csv": finite.to_csv(index=False, lineterminator="\n"),
        "penalty_matrix.csv": comparison.penalty_matrix.to_csv(lineterminator="\n"),
    }
    if comparison.paired:
        files["ranks.csv"] = comparison.ranks.to_csv(lineterminator="\n")
    return files | {"verdicts.txt": comparison.summary() + "\n"}


@validate_params(
    {
        "curves": [BudgetCurves],
        "baseline": [str],
        "metric": [str, None],
        "target": [Interval(Real, None, None, closed="neither"), None],
        "paired": ["boolean"],
        "test": [StrOptions({"t", "wilcoxon", "permutation"})],
        "correction": [StrOptions({"holm", "bonferroni"}), None],
        "confidence_level": [Interval(Real, 0.5, 1, closed="left")],
        "power": [Interval(Real, 0.5, 1, closed="left")],
        "n_bootstrap": [Interval(Integral, 199, None, closed="left")],
        "on_unequal": [StrOptions({"raise", "intersect"})],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def compare(
    curves: BudgetCurves,
    baseline: str = "random_sampling",
    *,
    metric: str | None = None,
    target: float | None = None,
    paired: bool = True,
    test: str = "t",
    correction: str | None = "holm",
    confidence_level: float = 0.95,
    power: float = 0.8,
    n_bootstrap: int = 9999,
    on_unequal: str = "raise",
    random_state: Any = 0,
) -> Comparison:
    """Compare strategies with a baseline over several seeds.

    The areas under each seed's curve are compared (the score averaged over the
    budgets). The unit is the seed: splits of one seed share their data and are averaged
    first, and strategies are paired by seed, for they share its initial set. Curves
    whose seeds differ, such as published ones, are compared with ``paired=False``.

    Parameters
    ----------
    curves : BudgetCurves
        Results of the baseline and at least one more strategy, at two seeds or more.
    baseline : str, default="random_sampling"
        The strategy to compare with.
    metric : str, default=None
        One of ``curves.metrics``; None takes the first.
    target : float, default=None
        Score for the labels-to-target. None takes the baseline's mean score at the last
        budget, and the intervals then allow for its uncertainty.
    paired : bool, default=True
        Whether a seed is the same experiment for all strategies, with one initial set.
        False treats the seeds of a strategy as a sample of its own: Welch's t-test and
        a bootstrap that resamples each of the two by itself, with as many seeds each as
        there are, two at least. The sentences say so. There are no ranks then, and what
        seeds have in common does not drop out: more of them are needed.
    test : {"t", "wilcoxon", "permutation"}, default="t"
        Paired test of the areas; with ``paired=False`` only ``"t"``, Welch's. Student's
        needs differences that are roughly normal; the other two do not, but with n
        seeds their p-value cannot be less than ``2 / 2**n``: 0.0625 with five seeds, so
        they need six to find anything at 95 %, and more once corrected. Above 14 seeds
        their flips of signs are drawn, `n_bootstrap` of them, and the smallest p-value
        is ``1 / (n_bootstrap + 1)``.
    correction : {"holm", "bonferroni"} or None, default="holm"
        For as many tests as there are strategies besides the baseline, so that the
        chance of *any* false "better" or "worse" is at most ``1 - confidence_level``.
    confidence_level : float in [0.5, 1), default=0.95
        Of the intervals (each by itself), the tests (all together) and the ranks.
    power : float in [0.5, 1), default=0.8
        With which chance ``more_seeds`` would decide.
    n_bootstrap : int, default=9999
        Bootstrap resamples of the seeds, at least 199, and flips of signs with more
        than 14 seeds. All ``n**n`` resamples are taken if they are no more than that
        (five seeds: 3,125).
    on_unequal : {"raise", "intersect"}, default="raise"
        Behaviour if strategies do not have the same runs or budgets: raise, or take
        the runs (split and seed) that all strategies have, without the seeds that then
        lack a split which another seed has, and the budgets that all these runs have;
        with ``paired=False`` the budgets only.
    random_state : int, RandomState instance or None, default=0
        Source of the resamples.

    Returns
    -------
    Comparison
        Table, sentences, penalty matrix and ranks.

    Raises
    ------
    ValueError
        If the baseline or metric is not among the results, nothing is left to compare
        with it, there is one seed only, strategies differ in runs or budgets, scores
        are not finite, or all are fractions and the target is none.

    See Also
    --------
    budget_curve : Runs the experiment.
    BudgetCurves.summary : Means and standard deviations, also of a single seed.

    Notes
    -----
    Intervals are bootstrap intervals over the seeds, corrected for small numbers of
    them [1]_: the plain percentile and BCa intervals cover only some 84 % where 95 % is
    meant with five seeds. The correction of the p-values is Holm's [2]_. The penalty
    matrix follows [3]_, except that the initial set (round 0 of all runs) is left out,
    where paired strategies are equal by construction. Friedman's test and Nemenyi's
    critical difference follow [4]_ with seeds in the place of data sets: they speak of
    new seeds on this data set, not of new data sets.

    References
    ----------
    .. [1] T. C. Hesterberg, "What Teachers Should Know About the Bootstrap", The
       American Statistician 69 (2015). https://doi.org/10.1080/00031305.2015.1089789
    .. [2] S. Holm, "A Simple Sequentially Rejective Multiple Test Procedure",
       Scandinavian Journal of Statistics 6 (1979). https://www.jstor.org/stable/4615733
    .. [3] J. T. Ash, C. Zhang, A. Krishnamurthy, J. Langford and A. Agarwal, "Deep
       Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds", ICLR 2020.
       https://arxiv.org/abs/1906.03671
    .. [4] J. Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets",
       Journal of Machine Learning Research 7 (2006).
       https://www.jmlr.org/papers/v7/demsar06a.html

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from dalmax_sk.evaluation import BudgetCurves, compare
    >>> rows = [
    ...     {
    ...         "strategy": strategy,
    ...         "split": 0,
    ...         "seed": seed,
    ...         "round": number,
    ...         "n_labeled": 100 + 100 * number,
    ...         "score_accuracy": 0.5 + gain * number + seed**2 / 1000,
    ...     }
    ...     for strategy, gain in [("random_sampling", 0.05), ("badge", 0.06)]
    ...     for seed in range(4)
    ...     for number in range(5)
    ... ]
    >>> rows[-1]["score_accuracy"] += 0.01
    >>> comparison = compare(BudgetCurves(pd.DataFrame(rows)))
    >>> comparison
    Comparison(1 better, 0 worse, 0 undecided against random_sampling; ...)
    >>> print(comparison.verdicts["badge"])
    badge is better than random_sampling: ...
    """
    if paired:
        names, seeds, budgets, scores, curves = paired_scores(
            curves, baseline, metric, on_unequal
        )
    elif test != "t":
        raise ValueError(
            f"test={test!r} is a test of differences at the same seeds: with "
            "paired=False only test='t' is possible, Welch's t-test."
        )
    else:
        names, budgets, scores, curves = separate_scores(
            curves, baseline, metric, on_unequal
        )
    metric = curves.metrics[0] if metric is None else metric
    lowest = min(of.min() for of in scores)
    highest = max(of.max() for of in scores)
    is_fraction = bool(lowest >= 0 and highest <= 1)
    if is_fraction and target is not None and not 0 <= target <= 1:
        hint = f" Did you mean {target / 100:g}?" if 1 < target <= 100 else ""
        raise ValueError(
            f"target={target:g} is no score that {metric} could reach: the scores lie "
            f"between {lowest:.4g} and {highest:.4g}, as fractions of 1."
            f"{hint}"
        )
    random_state = check_random_state(random_state)
    if paired:
        weights = [resample_weights(len(seeds), n_bootstrap, random_state)] * len(names)
    else:
        weights = [
            resample_weights(len(of), n_bootstrap, random_state, exact=False)
            for of in scores
        ]
    areas = [np.asarray(area_under_budget_curve(budgets, of)) for of in scores]
    base = names.index(baseline)
    wording = Wording(
        metric=metric,
        is_fraction=is_fraction,
        baseline=baseline,
        target=float(scores[base][:, -1].mean() if target is None else target),
        target_is_final=target is None,
        first=int(budgets[0]),
        last=int(budgets[-1]),
        confidence_level=confidence_level,
        power=power,
        test=test,
        correction=correction,
        n_comparisons=len(names) - 1,
        paired=paired,
        baseline_seeds=len(scores[base]),
    )
    first = curves.frame[curves.frame["n_labeled"] == budgets[0]]
    n_shared = int((first["round"] == 0).all())  # budgets at which all are equal
    if paired:
        compared = difference_columns(
            np.stack(areas), base, weights[0], wording, n_bootstrap, random_state
        )
        ranks = pd.DataFrame(
            rank_rows(np.stack(areas).T), pd.Index(seeds, name="seed"), names
        )
        difference = critical_difference(len(names), len(seeds), 1 - confidence_level)
        wins = pairwise_wins(np.stack(scores)[:, :, n_shared:], confidence_level)
    else:
        compared = separate_difference_columns(areas, base, weights, wording)
        ranks = pd.DataFrame(
            columns=names, index=pd.Index([], name="seed"), dtype=float
        )
        difference = np.nan
        wins = separate_wins([of[:, n_shared:] for of in scores], confidence_level)
    mean_ranks = ranks.mean()
    costs = curves.frame.groupby("strategy")[["fit_seconds", "query_seconds"]].mean()
    columns: dict[str, Any] = {
        "strategy": names,
        "n_seeds": [len(of) for of in scores],
        **area_columns(areas, scores, weights, confidence_level),
        **compared,
        **label_columns(budgets, scores, base, weights, wording),
        "mean_rank": mean_ranks.to_numpy(),
        **{name: costs.loc[names, name].to_numpy() for name in costs.columns},
    }
    by_area = np.argsort(-columns["aubc"], kind="stable")
    by_rank = np.argsort(mean_ranks.to_numpy(), kind="stable")
    return Comparison(
        table=pd.DataFrame(columns).iloc[by_area].reset_index(drop=True),
        penalty_matrix=pd.DataFrame(wins, names, names),
        ranks=ranks[[names[i] for i in by_rank]],
        friedman_p=friedman_p_value(ranks.to_numpy()) if paired else np.nan,
        critical_difference=difference,
        groups=rank_groups(mean_ranks.to_numpy(), names, difference) if paired else [],
        baseline=baseline,
        metric=metric,
        target=wording.target,
        curves=curves,
        wording=wording,
    )
