"""What budget_curve itself costs, over the fits, queries and scores of its runs.

    python benchmarks/bench_budget_curve.py [--repeats 3]
        [--output benchmarks/results/budget_curve.csv]

The same runs are made three times: by a plain loop over ``learner.fit``, by
``budget_curve``, and by ``budget_curve`` that keeps a results file. Own seconds are the
time of the whole less the fits, queries and scores that the runs name themselves, so a
busy machine slows both sides of the quotient. The data are 20,000 rows of 512 features
in 10 classes, 16,000 of them to pick from, as a table of frozen features might be; 500
initial labels, 5 rounds of 250; 3 strategies and 2 seeds.
"""

import argparse
import csv
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

import dalmax_sk
from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.evaluation import budget_curve

N_SAMPLES, N_FEATURES, N_CLASSES, N_TRAIN = 20_000, 512, 10, 16_000
SIZES = {"n_initial": 500, "query_size": 250, "n_rounds": 5}
STRATEGIES = ["random_sampling", "margin_sampling", "core_set"]
SEEDS = range(2)
PARTS = ("fit_seconds", "query_seconds", "score_seconds")


def make_estimator():
    """Return what every round fits."""
    return LogisticRegression(C=0.01, max_iter=1000)


def plain_loop(X, y):
    """Return (seconds of the whole, seconds of fits, queries and scores)."""
    parts = 0.0
    started = time.perf_counter()
    for seed in SEEDS:
        for strategy in STRATEGIES:
            learner = ActiveLearningClassifier(
                make_estimator(), strategy, random_state=seed, **SIZES
            )
            learner.fit(X[:N_TRAIN], y[:N_TRAIN], eval_set=(X[N_TRAIN:], y[N_TRAIN:]))
            for record in learner.history_:
                parts += record["fit_seconds"] + record["query_seconds"]
                parts += record["eval_seconds"]
    return time.perf_counter() - started, parts


def with_budget_curve(X, y, results):
    """Return (seconds of the whole, seconds of fits, queries and scores)."""
    split = (np.arange(N_TRAIN), np.arange(N_TRAIN, N_SAMPLES))
    started = time.perf_counter()
    curves = budget_curve(
        make_estimator(),
        X,
        y,
        strategies=STRATEGIES,
        cv=[split],
        seeds=SEEDS,
        results=results,
        **SIZES,
    )
    whole = time.perf_counter() - started
    return whole, float(curves.frame[list(PARTS)].sum().sum())


def main():
    """Run the benchmark, print a table and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=None)
    arguments = parser.parse_args()
    X, y = make_classification(
        N_SAMPLES, N_FEATURES, n_informative=40, n_classes=N_CLASSES, random_state=0
    )
    X = X.astype(np.float32)
    measured = {"plain loop": [], "budget_curve": [], "budget_curve, results=": []}
    for _ in range(arguments.repeats):
        measured["plain loop"].append(plain_loop(X, y))
        measured["budget_curve"].append(with_budget_curve(X, y, None))
        with tempfile.TemporaryDirectory() as folder:
            timed = with_budget_curve(X, y, Path(folder) / "results.jsonl")
            measured["budget_curve, results="].append(timed)
    rows = []
    for name, times in measured.items():
        own = statistics.median(whole - parts for whole, parts in times)
        parts = statistics.median(parts for _, parts in times)
        rows.append(
            {
                "runs_by": name,
                "fit_query_score_seconds": f"{parts:.3f}",
                "own_seconds": f"{own:.4f}",
                "own_percent": f"{100 * own / parts:.2f}",
            }
        )
        print(rows[-1])
    if arguments.output is not None:
        write(arguments.output, rows)


def write(path, rows):
    """Write rows as CSV under a header that says where they come from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        file.write(f"# python {' '.join(sys.argv)}\n")
        file.write(
            f"# dalmax_sk {dalmax_sk.__version__}, scikit-learn {sklearn.__version__}, "
            f"numpy {np.__version__}, Python {platform.python_version()}, "
            f"{torch.get_num_threads()} threads, {platform.machine()}\n"
        )
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
