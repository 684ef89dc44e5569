"""Scores of strategies, paired by seed, or an error that names the missing runs."""

import difflib
from collections.abc import Mapping

import numpy as np

from dalmax_sk._base.words import listed
from dalmax_sk.evaluation.curves import BudgetCurves

__all__ = ["paired_scores", "separate_scores"]


def paired_scores(
    curves: BudgetCurves, baseline: str, metric: str | None, on_unequal: str
) -> tuple[list[str], np.ndarray, np.ndarray, list[np.ndarray], BudgetCurves]:
    """Return strategies, seeds (S,), budgets (B,), scores (S, B) of each, curves."""
    names = _strategies_with(curves, baseline)
    if on_unequal == "intersect":
        curves = _common_part(curves)
    _check_same_runs(curves)
    if len(curves.seeds) < 2:
        raise ValueError(
            f"There is one seed only ({curves.seeds[0]}): the spread between seeds, "
            "which intervals, tests and verdicts are made from, is unknown, and folds "
            "of one seed do not replace it. Run at least 3 seeds, better 5; "
            "curves.summary() shows the scores of this one."
        )
    parts = [curves.by_seed(name, metric) for name in names]
    seeds, budgets = _checked(names, parts)
    return names, seeds, budgets, [part[2] for part in parts], curves


def separate_scores(
    curves: BudgetCurves, baseline: str, metric: str | None, on_unequal: str
) -> tuple[list[str], np.ndarray, list[np.ndarray], BudgetCurves]:
    """Return strategies, budgets (B,), scores (S, B) of each, their curves.

    The seeds of one strategy have nothing to do with those of another.
    """
    names = _strategies_with(curves, baseline)
    if on_unequal == "intersect":
        curves = _at_common_budgets(curves)
    parts = [curves.by_seed(name, metric) for name in names]
    for name, (seeds, _, _) in zip(names, parts, strict=True):
        if len(seeds) < 2:
            raise ValueError(
                f"{name!r} has one seed only ({seeds[0]}), and paired=False needs at "
                "least two of every strategy: the spread between seeds is unknown."
            )
    _, budgets = _checked(names, parts)
    return names, budgets, [part[2] for part in parts], curves


def _strategies_with(curves: BudgetCurves, baseline: str) -> list[str]:
    """Return the strategies, or raise ValueError if the baseline lacks, or company."""
    names = curves.strategies
    if baseline not in names:
        # a strategy alone can be no baseline
        close = difflib.get_close_matches(baseline, names if len(names) > 1 else [], 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"The baseline {baseline!r} is not among the results, which have "
            f"{', '.join(map(repr, names))}.{hint}"
        )
    if len(names) == 1:
        raise ValueError(
            f"The results hold {baseline!r} only; there is nothing to compare it with."
        )
    return names


_Part = tuple[np.ndarray, np.ndarray, np.ndarray]


def _checked(names: list[str], parts: list[_Part]) -> tuple[np.ndarray, np.ndarray]:
    """Return seeds and budgets of the first; raise ValueError for unusable scores."""
    _check_same_budgets(dict(zip(names, (part[1] for part in parts), strict=True)))
    budgets = parts[0][1]
    if len(budgets) < 2:
        raise ValueError(
            f"All strategies have only {budgets.tolist()} labels in common; a curve "
            "needs at least two budgets."
        )
    for name, (seeds, _, values) in zip(names, parts, strict=True):
        if not np.isfinite(values).all():
            seed, budget = np.argwhere(~np.isfinite(values))[0]
            raise ValueError(
                f"The scores of {name!r} are not all finite, first at seed "
                f"{seeds[seed]} with {budgets[budget]} labels."
            )
    return parts[0][0], budgets


def _runs_of(curves: BudgetCurves) -> dict[str, set[tuple[int, int]]]:
    frame = curves.frame
    return {
        name: set(zip(rows["split"].tolist(), rows["seed"].tolist(), strict=True))
        for name, rows in frame.groupby("strategy", sort=False)
    }


def _common_part(curves: BudgetCurves) -> BudgetCurves:
    """Return the runs that all strategies have, at the budgets that these runs have.

    Seeds without a split that other seeds have are left out: an experiment that was
    interrupted ends in the middle of a seed.
    """
    frame = curves.frame
    common = set.intersection(*_runs_of(curves).values())
    splits = {split for split, _ in common}
    whole = {
        seed for _, seed in common if all((split, seed) in common for split in splits)
    }
    if common and not whole:
        raise ValueError(
            f"No seed has all the splits {listed(sorted(splits))}: the strategies have "
            f"only (split, seed) {listed(sorted(common))} in common. Run what is "
            "missing."
        )
    common = {run for run in common if run[1] in whole}
    kept = [
        run in common
        for run in zip(frame["split"].tolist(), frame["seed"].tolist(), strict=True)
    ]
    if not any(kept):
        raise ValueError(
            "The strategies have no run (split and seed) in common. Pass paired=False "
            "to compare strategies whose seeds differ."
        )
    return _at_common_budgets(BudgetCurves(frame[kept]))


def _at_common_budgets(curves: BudgetCurves) -> BudgetCurves:
    budgets = curves.budgets()
    if not len(budgets):
        raise ValueError("The runs have no number of labels in common.")
    return BudgetCurves(curves.frame[curves.frame["n_labeled"].isin(budgets)])


def _check_same_runs(curves: BudgetCurves) -> None:
    """Raise ValueError naming the seeds, or splits of seeds, that a strategy lacks."""
    runs = _runs_of(curves)
    every = set.union(*runs.values())
    every_seed = {seed for _, seed in every}
    lacking = []
    for name, own in runs.items():
        seeds = sorted(every_seed - {seed for _, seed in own})
        if seeds:
            word = "seed" if len(seeds) == 1 else "seeds"
            lacking.append(f"{name!r} lacks {word} {listed(seeds)}")
        # splits lacking of a seed that is there
        rest = sorted(run for run in every - own if run[1] not in seeds)
        if rest:
            lacking.append(f"{name!r} lacks (split, seed) {listed(rest)}")
    if lacking:
        raise ValueError(
            "The strategies do not have the same seeds and splits, so they cannot be "
            f"paired: {'; '.join(lacking)}. Run what is missing, or pass "
            'on_unequal="intersect" to compare on the runs that all have, or '
            "paired=False to compare by Welch's t-test, which pairs no seeds."
        )


def _check_same_budgets(budgets: Mapping[str, np.ndarray]) -> None:
    every = set().union(*(of.tolist() for of in budgets.values()))
    lacking = {name: sorted(every - set(of.tolist())) for name, of in budgets.items()}
    if any(lacking.values()):
        raise ValueError(
            "The strategies do not have the same numbers of labels: "
            + "; ".join(f"{n!r} lacks {listed(of)}" for n, of in lacking.items() if of)
            + '. Pass on_unequal="intersect" to compare at those that all have.'
        )
