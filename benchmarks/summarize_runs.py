"""Turn the folders that ``dalmax train-al`` wrote into one table over seeds.

    python benchmarks/summarize_runs.py RESULTS/seed_* [--csv FILE] [--figure FILE]

Each folder is a ``--dir_results``; all runs below ``active_learning/`` in it are read.
Prints two Markdown tables: test accuracy at each number of labels, mean ± sample
standard deviation over the seeds, and mean wall seconds. ``--against random_sampling``
prints one table instead: each strategy's last accuracy, its mean accuracy over all
rounds but the first, the difference of that to the baseline's, paired by seed, and what
the queries cost. Runs that are not finished are named and left out.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

# colour-blind-safe (Okabe and Ito), with a line style each for print
STYLES = [
    ("#000000", "--", "o"),
    ("#D55E00", "-", "s"),
    ("#0072B2", "-", "^"),
    ("#009E73", "-", "D"),
    ("#CC79A7", "-", "v"),
    ("#E69F00", "-", "P"),
]


def read_runs(folders):
    """Return one row a round of every finished run below `folders`."""
    rows = []
    for folder in folders:
        for run_json in sorted(Path(folder).glob("active_learning/*/run.json")):
            run = json.loads(run_json.read_text(encoding="utf-8"))
            if run["status"] != "finished":
                print(f"left out, {run['status']}: {run_json.parent}")
                continue
            history = pd.read_csv(run_json.with_name("history.csv"))
            history["strategy"] = run["config"]["type"]
            history["seed"] = run["seed"]
            history["total_seconds"] = run["total_seconds"]
            rows.append(history)
    if not rows:
        raise SystemExit(f"No finished runs below {', '.join(map(str, folders))}.")
    return pd.concat(rows, ignore_index=True)


def accuracy_table(runs):
    """Return accuracy in percent, mean ± sd over seeds, strategies × labels."""
    grouped = runs.groupby(["strategy", "n_labeled"])["eval_accuracy"]
    text = grouped.agg(lambda a: f"{100 * a.mean():.1f} ± {100 * a.std(ddof=1):.1f}")
    return text.unstack()


def seconds_table(runs):
    """Return seconds a run, mean over seeds, in its parts."""
    per_run = runs.groupby(["strategy", "seed"]).agg(
        fit=("fit_seconds", "sum"),
        query=("query_seconds", "sum"),
        evaluation=("eval_seconds", "sum"),
        whole=("total_seconds", "first"),
    )
    return per_run.groupby("strategy").mean().map("{:.1f}".format)


def with_spread(values, form):
    """Return mean ± standard deviation over the seeds; of one seed the value."""
    values = values.dropna()
    text = format(values.mean(), form)
    if len(values) == 1:
        return text
    return f"{text} ± {format(values.std(ddof=1), form.lstrip('+'))}"


def comparison_table(runs, baseline):
    """Return one row a strategy: accuracy, paired difference to `baseline`, cost."""
    asked = runs[runs["round"] > 0]
    mean = asked.groupby(["strategy", "seed"])["eval_accuracy"].mean().unstack()
    last = asked[asked["n_labeled"] == asked["n_labeled"].max()]
    last = last.groupby(["strategy", "seed"])["eval_accuracy"].first().unstack()
    gain = 100 * (mean - mean.loc[baseline])
    seconds = asked.groupby("strategy")["query_seconds"].mean()
    peak = runs.groupby("strategy")["peak_bytes"].max() / 2**20
    order = gain.mean(axis=1).sort_values(ascending=False).index
    return pd.DataFrame(
        {
            f"accuracy at {asked['n_labeled'].max()}": [
                with_spread(100 * last.loc[s], ".1f") for s in order
            ],
            "mean accuracy": [f"{100 * mean.loc[s].mean():.2f}" for s in order],
            f"less {baseline}'s": [with_spread(gain.loc[s], "+.2f") for s in order],
            "query (s)": [f"{seconds[s]:.2f}" for s in order],
            "peak of the process (MB)": [f"{peak[s]:.0f}" for s in order],
        },
        index=order,
    )


def markdown(table, corner):
    """Return a table as Markdown."""
    lines = [
        f"| {corner} | " + " | ".join(map(str, table.columns)) + " |",
        "|" + "---|" * (len(table.columns) + 1),
    ]
    lines += [f"| {name} | " + " | ".join(row) + " |" for name, row in table.iterrows()]
    return "\n".join(lines)


def draw(runs, path):
    """Draw mean accuracy against labels, a band of one standard deviation each."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    names = sorted(runs["strategy"].unique(), key=lambda s: (s != "random_sampling", s))
    for name, (colour, line, marker) in zip(names, STYLES, strict=False):
        by_size = runs[runs["strategy"] == name].groupby("n_labeled")["eval_accuracy"]
        mean, sd = 100 * by_size.mean(), 100 * by_size.std(ddof=1)
        axes.plot(mean, line, color=colour, marker=marker, ms=4, label=name)
        axes.fill_between(
            mean.index, mean - sd, mean + sd, color=colour, alpha=0.12, lw=0
        )
    n_seeds = runs["seed"].nunique()
    axes.set_xlabel("labelled images")
    axes.set_ylabel("test accuracy (%)")
    axes.set_title(f"mean over {n_seeds} seeds, band: one standard deviation", size=10)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def main():
    """Read, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--csv", type=Path, help="write all rounds of all runs here")
    parser.add_argument("--figure", type=Path, help="draw the curves into this file")
    parser.add_argument("--against", help="compare all with this strategy instead")
    arguments = parser.parse_args()
    runs = read_runs(arguments.folders)
    if arguments.against:
        print(markdown(comparison_table(runs, arguments.against), "strategy"))
    else:
        print(markdown(accuracy_table(runs), "strategy / labels"), end="\n\n")
        print(markdown(seconds_table(runs), "seconds a run"))
    print(f"\n{np.unique(runs['seed']).size} seeds")
    if arguments.csv:
        runs.to_csv(arguments.csv, index=False)
    if arguments.figure:
        draw(runs, arguments.figure)


if __name__ == "__main__":
    main()
