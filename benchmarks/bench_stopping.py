"""Where do stopping rules stop, and what is left to gain there?

    python benchmarks/bench_stopping.py [--seeds 5] [--jobs 1] [--page-only]

The digits of scikit-learn: per seed a third is the test set and a sixth the evaluation
set that score rules look at; of the rest 20 images, drawn at random, are labelled at
the start and 20 more in each round, by margin sampling, with logistic regression. Each
rule runs by itself until it stops or all labels are spent. All rules see the same
rounds, for they have no part in the picks.

``stopping_runs.csv`` has one row a run. ``stopping.csv`` has one row a rule: the mean
and standard deviation over seeds of the labels spent and of the accuracy on the test
set; ``below_all``, the points by which that lies below the accuracy with all labels
spent; ``n_stopped``, runs that the rule ended before these were; and the seconds that
the rule added to a run (its own calls, a mean over seeds). The table of the user guide
is written from it; ``--page-only`` writes that and runs nothing.
"""

import argparse
import json
import time
from pathlib import Path

import pandas as pd
from _markdown import table as markdown
from _outputs import describe
from _page_blocks import write_block
from joblib import Parallel, delayed
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk._base.files import replacing, write_text
from dalmax_sk.stopping import (
    AllOf,
    Budget,
    ExpectedError,
    ForecastRule,
    MaxUncertainty,
    OverallUncertainty,
    PerformancePlateau,
    StabilizingPredictions,
    StoppingRule,
    TargetScore,
)
from dalmax_sk.strategies import UncertaintySampling

RESULTS = Path(__file__).parent / "results"
#: Rules by the words that the table and the page show.
RULES = {
    "none": StoppingRule,
    "Budget(300)": lambda: Budget(300),
    "TargetScore(0.95)": lambda: TargetScore(0.95),
    "ForecastRule(0.95)": lambda: ForecastRule(0.95),
    "ForecastRule(0.99, 400)": lambda: ForecastRule(0.99, 400),
    "PerformancePlateau()": PerformancePlateau,
    "PerformancePlateau(patience=5)": lambda: PerformancePlateau(patience=5),
    "StabilizingPredictions(0.97)": lambda: StabilizingPredictions(0.97),
    "StabilizingPredictions(0.98)": lambda: StabilizingPredictions(0.98),
    "StabilizingPredictions(0.99)": lambda: StabilizingPredictions(0.99),
    "OverallUncertainty(0.2)": lambda: OverallUncertainty(0.2),
    "OverallUncertainty(0.05)": lambda: OverallUncertainty(0.05),
    "MaxUncertainty(0.5)": lambda: MaxUncertainty(0.5),
    "ExpectedError(0.1)": lambda: ExpectedError(0.1),
    "AllOf([StabilizingPredictions(0.98), PerformancePlateau()])": lambda: AllOf(
        [StabilizingPredictions(0.98), PerformancePlateau()]
    ),
}


class Timed(StoppingRule):
    """A rule with a clock beside it; says never instead of raising for `none`."""

    def __init__(self, rule):
        self.rule = rule
        self.seconds = 0.0

    def observe(self, pool):
        started = time.perf_counter()
        observed = self.rule.observe(pool)
        self.seconds += time.perf_counter() - started
        return observed

    def should_stop(self, history):
        if type(self.rule) is StoppingRule:
            return None
        started = time.perf_counter()
        reason = self.rule.should_stop(history)
        self.seconds += time.perf_counter() - started
        return reason

    def limit(self, history, n):
        return self.rule.limit(history, n)


def one_run(name, seed):
    """Return one row of the table of runs."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(
        X / 16, y, test_size=1 / 3, stratify=y, random_state=seed
    )
    X, X_eval, y, y_eval = train_test_split(
        X, y, test_size=1 / 4, stratify=y, random_state=seed
    )
    rule = Timed(RULES[name]())
    learner = ActiveLearningClassifier(
        LogisticRegression(max_iter=1000),
        UncertaintySampling("margin"),
        n_initial=20,
        query_size=20,
        n_rounds=None,
        stopping=rule,
        scoring="accuracy",
        random_state=seed,
    )
    started = time.perf_counter()
    learner.fit(X, y, eval_set=(X_eval, y_eval))
    return {
        "rule": name,
        "seed": seed,
        "n_labels": learner.history_[-1]["n_labeled"],
        "n_pool": len(y),
        "test_accuracy": learner.score(X_test, y_test),
        "eval_accuracy": learner.history_[-1]["eval_accuracy"],
        "run_seconds": time.perf_counter() - started,
        "rule_seconds": rule.seconds,
        "reason": learner.stop_reason_,
    }


def summarize(runs):
    """Return one row a rule."""
    full = runs[runs["rule"] == "none"].set_index("seed")["test_accuracy"]
    runs = runs.assign(
        below=100 * (runs["seed"].map(full) - runs["test_accuracy"]),
        stopped=runs["n_labels"] < runs["n_pool"],
    )
    table = runs.groupby("rule", sort=False).agg(
        n_labels=("n_labels", "mean"),
        n_labels_std=("n_labels", "std"),
        test_accuracy=("test_accuracy", "mean"),
        test_accuracy_std=("test_accuracy", "std"),
        below_all=("below", "mean"),
        n_stopped=("stopped", "sum"),
        n_runs=("stopped", "size"),
        rule_seconds=("rule_seconds", "mean"),
    )
    return table.reset_index()


def page_table(table):
    """Return the table of the user guide."""
    shown = pd.DataFrame(
        {
            "labels spent": [
                f"{row.n_labels:.0f} ± {row.n_labels_std:.0f}"
                for row in table.itertuples()
            ],
            "test accuracy (%)": [
                f"{100 * row.test_accuracy:.1f} ± {100 * row.test_accuracy_std:.1f}"
                for row in table.itertuples()
            ],
            "below all labels (points)": [
                f"{x:.1f}" for x in table["below_all"].round(1) + 0.0
            ],
            "stopped": [f"{r.n_stopped} of {r.n_runs}" for r in table.itertuples()],
            "seconds a run": [f"{x:.2f}" for x in table["rule_seconds"]],
        },
        index=pd.Index([f"`{name}`" for name in table["rule"]], name="rule"),
    )
    return markdown(shown)


def main():
    """Parse the command line, run everything, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--page-only", action="store_true")
    options = parser.parse_args()
    if options.page_only:
        table = pd.read_csv(RESULTS / "stopping.csv")
        write_block("stopping.md", "stopping", page_table(table))
        return
    rows = Parallel(n_jobs=options.jobs)(
        delayed(one_run)(name, seed) for name in RULES for seed in range(options.seeds)
    )
    runs = pd.DataFrame(rows)
    table = summarize(runs)
    print(table.round(3).to_string())
    for frame, name in ((runs, "stopping_runs"), (table, "stopping")):
        with replacing(RESULTS / f"{name}.csv") as part:
            frame.round(4).to_csv(part, index=False, lineterminator="\n")
    write_text(
        RESULTS / "stopping.json",
        json.dumps(describe({"seeds": options.seeds}), indent=2) + "\n",
    )
    write_block("stopping.md", "stopping", page_table(table))


if __name__ == "__main__":
    main()
