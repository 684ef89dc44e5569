"""What the active-learning loop itself costs: everything but fit and query.

    python benchmarks/bench_loop.py [--repeats 5] [--output benchmarks/results/loop.csv]

Times whole ``ActiveLearningClassifier.fit`` runs and subtracts the fits, queries and
evaluations that the history names. The data are those of a typical small job: 20,000
embeddings of 128 features, 10 classes, 500 initial labels, 5 rounds of 250, once with a
linear model and once more with a checkpoint written in every round.
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
from dalmax_sk.strategies import CoreSet, RandomSampling, UncertaintySampling

N_SAMPLES, N_FEATURES, N_CLASSES = 20_000, 128, 10
N_INITIAL, QUERY_SIZE, N_ROUNDS = 500, 250, 5


def one_run(X, y, strategy, checkpoint_dir):
    """Return (seconds a round, seconds of the loop itself a round)."""
    learner = ActiveLearningClassifier(
        LogisticRegression(C=0.01, max_iter=1000),
        strategy,
        n_initial=N_INITIAL,
        query_size=QUERY_SIZE,
        n_rounds=N_ROUNDS,
        checkpoint_dir=checkpoint_dir,
        random_state=0,
    )
    started = time.perf_counter()
    learner.fit(X, y)
    whole = time.perf_counter() - started
    parts = ("fit_seconds", "query_seconds", "eval_seconds")
    named = sum(record[part] for record in learner.history_ for part in parts)
    return whole / (N_ROUNDS + 1), (whole - named) / (N_ROUNDS + 1)


def main():
    """Run the benchmark, print a table and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=None)
    arguments = parser.parse_args()
    X, y = make_classification(
        N_SAMPLES, N_FEATURES, n_informative=40, n_classes=N_CLASSES, random_state=0
    )
    X = X.astype(np.float32)
    rows = []
    for strategy in (RandomSampling(), UncertaintySampling(), CoreSet()):
        for with_checkpoint in (False, True):
            measured = []
            for _ in range(arguments.repeats):
                with tempfile.TemporaryDirectory() as folder:
                    directory = folder if with_checkpoint else None
                    measured.append(one_run(X, y, strategy, directory))
            whole = statistics.median(m[0] for m in measured)
            loop = statistics.median(m[1] for m in measured)
            rows.append(
                {
                    "strategy": type(strategy).__name__,
                    "checkpoint": with_checkpoint,
                    "round_seconds": f"{whole:.4f}",
                    "loop_seconds": f"{loop:.5f}",
                    "loop_percent": f"{100 * loop / whole:.2f}",
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
