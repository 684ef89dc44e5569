"""The tables of the result pages, as words, from the files of the benchmarks."""

import numpy as np
import pandas as pd
from summarize_runs import accuracy_table, seconds_table
from summarize_runs import comparison_table as runs_against

#: What a strategy is called in the sources of published figures.
PUBLISHED_NAMES = {
    "random_sampling": "random",
    "uncertainty_sampling": "margin",
    "entropy_sampling": "entropy",
    "least_confidence_sampling": "least confidence",
    "bayesian_sampling": "BALD",
    "core_set_selection": "k-center",
    "badge": "BADGE",
    "typi_clust": "TypiClust",
}


#: What the columns of `comparison_table` are, for the page.
TABLE_KEY = (
    "Area: accuracy in percent, averaged over the numbers of labels (area under the "
    "curve). Difference: of that to {baseline}'s, in points, paired by seed. In "
    "brackets: 95 % bootstrap intervals over the seeds. p: of the paired t-test, after "
    "Holm's correction. Labels needed: those with which the mean curve reaches what "
    "{baseline} reaches at the end ('more': it does not). Rank: mean over the seeds, 1 "
    "is best."
)


def accuracy_by_labels(runs, strategies):
    """Accuracy in percent, mean ± sd over seeds, strategies × numbers of labels."""
    return _named(accuracy_table(runs).loc[list(strategies)], "strategy / labels")


def run_seconds_table(runs, strategies):
    """Mean seconds a run of the command line, in its parts."""
    n_rounds = runs["round"].nunique()
    names = {
        "fit": f"fit ({n_rounds} ×)",
        "query": f"query ({n_rounds - 1} ×)",
        "evaluation": f"test ({n_rounds} ×)",
    }
    table = seconds_table(runs).loc[list(strategies)].rename(columns=names)
    return _named(table, "seconds a run")


def every_strategy_table(runs):
    """Each strategy's accuracy, difference to random sampling and costs."""
    return runs_against(runs, "random_sampling").rename_axis("strategy")


def _named(table, corner):
    words = {"uncertainty_sampling": "uncertainty_sampling (margin)"}
    return table.rename(index=words).rename_axis(corner)


def comparison_table(found, baseline):
    """What `compare` found, a strategy a row, the highest area first.

    In per cent and points; `TABLE_KEY` says what the columns are.

    Parameters
    ----------
    found : DataFrame
        ``Comparison.table``, indexed by strategy.
    baseline : str
    """
    rows = {}
    for name, row in found.iterrows():
        is_baseline = name == baseline
        rows[name] = {
            "verdict": row["verdict"],
            "difference": ""
            if is_baseline
            else _interval(row, "aubc_difference", "difference_", "{:+.1f}"),
            "p": "" if is_baseline else _p_value(row["p_adjusted"]),
            "area": _interval(row, "aubc", "aubc_", "{:.1f}"),
            "at the end": f"{100 * row['final_score']:.1f}",
            "labels needed": _labels(row["labels_to_target"]),
            "rank": f"{row['mean_rank']:.1f}",
        }
    return pd.DataFrame(rows).T.rename_axis("strategy")


def _interval(row, value, bounds, form):
    value, low, high = (
        form.format(100 * row[name]).replace("-", "−")
        for name in (value, f"{bounds}low", f"{bounds}high")
    )
    return f"{value} [{low}, {high}]"


def _p_value(p):
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _labels(n):
    return f"{n:,.0f}" if np.isfinite(n) else "more"


def unit_length_table(plain, unit, baseline):
    """Differences of areas on features as they are, and on features of equal length."""
    rows = {
        name: {
            "standardised": _interval(
                plain.loc[name], "aubc_difference", "difference_", "{:+.1f}"
            ),
            "of equal length": _interval(
                row, "aubc_difference", "difference_", "{:+.1f}"
            ),
        }
        for name, row in unit.iterrows()
        if name != baseline
    }
    rows = {f"{baseline} (area)": _both_areas(plain, unit, baseline), **rows}
    return pd.DataFrame(rows).T.rename_axis("less random's, points")


def _both_areas(plain, unit, baseline):
    return {
        "standardised": f"{100 * plain.loc[baseline, 'aubc']:.1f}",
        "of equal length": f"{100 * unit.loc[baseline, 'aubc']:.1f}",
    }


def picks_table(picks):
    """What kind of images were picked, in per cent of the picks."""
    table = (100 * picks.set_index("strategy")).round(0).astype(int)
    table.columns = [
        "among the longest tenth",
        "the same, rounds 1 to 5",
        "wrong with 10,000 labels",
        "rarest class",
        "commonest class",
    ]
    return table.rename_axis("% of the picks")


def times_table(times):
    """Mean seconds a run of an experiment, and of one query."""
    shown = pd.DataFrame(
        {
            "fit": times["fit"].map("{:.1f}".format),
            "query": times["query"].map("{:.1f}".format),
            "score": times["score"].map("{:.1f}".format),
            "whole": times["whole"].map("{:.1f}".format),
            "one query": times["query_round"].map("{:.2f}".format),
        }
    )
    return shown.rename_axis("seconds a run")


def published_table(published, ours):
    """Published areas (mean ± sd), and ours in columns beside them where there are any.

    Parameters
    ----------
    published : dict of str to dict of str to (float, float)
        regime -> method -> mean and standard deviation.
    ours : dict of str to dict of str to ndarray of shape (n_seeds,)
    """
    table = {}
    for regime, methods in published.items():
        table[f"{regime}, published"] = {
            method: f"{mean:.4f} ± {sd:.4f}" for method, (mean, sd) in methods.items()
        }
        if regime in ours:
            table[f"{regime}, ours"] = {
                method: _mean_and_sd(values) for method, values in ours[regime].items()
            }
    return _filled(table, "not run").rename_axis("method")


def _mean_and_sd(values):
    spread = f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else ""
    return f"{values.mean():.4f}{spread}"


def beside_published_table(ours, published):
    """Differences of areas to random sampling in points: ours, then published ones.

    Parameters
    ----------
    ours : dict of str to dict of str to ndarray of shape (n_seeds,)
        experiment -> strategy -> areas.
    published : dict of str to dict of str to float or (float, float)
        source -> method -> area, or its mean and standard deviation.
    """
    table = {}
    for title, areas in ours.items():
        base = areas["random_sampling"].mean()
        # "_10k": on a random part of the candidates
        names = {name: name.removesuffix("_10k") for name in areas}
        table[f"{title} (ours)"] = {
            PUBLISHED_NAMES[names[name]]: _points(values.mean() - base)
            for name, values in areas.items()
            if names[name] in PUBLISHED_NAMES
        }
    for source, figures in published.items():
        means = {m: float(np.atleast_1d(value)[0]) for m, value in figures.items()}
        table[source] = {
            method: _points(mean - means["random"]) for method, mean in means.items()
        }
    methods = [method for method in PUBLISHED_NAMES.values() if method != "random"]
    return _filled(table, "–", methods).rename_axis("less random's, points of AUBC")


def _filled(columns, filler, rows=None):
    """Return {column: {row: word}} as a table with `filler` where there is no word."""
    if rows is None:
        rows = list(dict.fromkeys(row for words in columns.values() for row in words))
    filled = {
        name: [words.get(row, filler) for row in rows]
        for name, words in columns.items()
    }
    return pd.DataFrame(filled, index=rows)


def _points(difference):
    return f"{100 * difference:+.1f}".replace("-", "−")


def loop_table(rows):
    """Seconds a round, and what of it is the loop's own."""
    shown = pd.DataFrame(
        {
            "checkpoint": rows["checkpoint"].map({True: "yes", False: "no"}),
            "seconds a round": rows["round_seconds"].map("{:.3f}".format),
            "of these the loop": rows["loop_seconds"].map("{:.4f}".format),
            "share": rows["loop_percent"].map("{:.2f} %".format),
        }
    )
    shown.index = pd.Index(rows["strategy"], name="strategy")
    return shown


def budget_curve_table(rows):
    """Seconds of fits, queries and scores, and what was spent besides."""
    shown = pd.DataFrame(
        {
            "fits, queries, scores (s)": rows["fit_query_score_seconds"].map(
                "{:.1f}".format
            ),
            "all else (s)": rows["own_seconds"].map("{:.3f}".format),
            "share": rows["own_percent"].map("{:.2f} %".format),
        }
    )
    shown.index = pd.Index(rows["runs_by"], name="runs by")
    return shown
