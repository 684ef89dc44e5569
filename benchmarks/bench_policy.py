"""The learned policy on data it has never seen, against random and margin sampling.

    python benchmarks/bench_policy.py [--seeds 50] [--jobs 1] [--output RUNS.csv]

Digits (balanced, and with rare classes) and breast cancer played no part in training
the default policy (``train_default_policy.py``). Per seed: a random third is the test
set, the initial labels are random and the same for all strategies, the model is
logistic regression. The score of a run is its test accuracy averaged over the rounds
after the first, in per cent. Strategies are compared seed by seed; the interval is the
95 % confidence interval of the mean difference (Student's t).
"""

import argparse
import csv
import sys
import time
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from scipy import stats
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.strategies import (
    ActiveLearningByLearning,
    RandomSampling,
    ReinforcementLearningSampling,
    UncertaintySampling,
)

#: name -> (labels at the start, labels a round, rounds)
PROTOCOLS = {
    "digits": (20, 10, 12),
    "digits_large_batches": (50, 50, 6),
    "digits_rare_classes": (20, 10, 12),
    "breast_cancer": (6, 4, 10),
}


def strategies(protocol):
    """Return {name: strategy}."""
    _, query_size, n_rounds = protocol
    return {
        "random": RandomSampling(),
        "margin": UncertaintySampling("margin"),
        "policy": ReinforcementLearningSampling(n_episodes=0),
        "policy_top": ReinforcementLearningSampling(n_episodes=0, batch="top"),
        "policy_trained_on": ReinforcementLearningSampling(n_episodes=10),
        "policy_from_scratch": ReinforcementLearningSampling(policy=None),
        "albl": ActiveLearningByLearning(budget=query_size * n_rounds),
    }


def load(name, seed):
    """Return X_train, X_test, y_train, y_test; the training rows are the pool."""
    if name == "breast_cancer":
        X, y = load_breast_cancer(return_X_y=True)
    else:
        X, y = load_digits(return_X_y=True)
        X = X / 16
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=1 / 3, stratify=y, random_state=seed
    )
    if name == "breast_cancer":
        scaler = StandardScaler().fit(X_train)
        X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)
    if name == "digits_rare_classes":
        # of the classes 5 to 9 one in ten stays in the pool, the test set is balanced
        rng = np.random.RandomState(seed)
        keep = (y_train < 5) | (rng.rand(len(y_train)) < 0.1)
        X_train, y_train = X_train[keep], y_train[keep]
    return X_train, X_test, y_train, y_test


def one_run(name, strategy_name, seed):
    """Return one row of the table of runs."""
    protocol = PROTOCOLS[name]
    X_train, X_test, y_train, y_test = load(name, seed)
    n_initial, query_size, n_rounds = protocol
    learner = ActiveLearningClassifier(
        LogisticRegression(max_iter=2000),
        strategies(protocol)[strategy_name],
        n_initial=n_initial,
        query_size=query_size,
        n_rounds=n_rounds,
        random_state=seed,
    ).fit(X_train, y_train, eval_set=(X_test, y_test))
    scores = [record["eval_accuracy"] for record in learner.history_]
    seconds = [record["query_seconds"] for record in learner.history_[1:]]
    return {
        "data": name,
        "strategy": strategy_name,
        "seed": seed,
        "mean_accuracy": round(100 * float(np.mean(scores[1:])), 4),
        "final_accuracy": round(100 * scores[-1], 4),
        "median_query_seconds": round(float(np.median(seconds)), 4),
    }


def difference(rows, name, strategy, other, column="mean_accuracy"):
    """Return mean paired difference and half the width of its 95 % interval."""
    values = {
        (row["strategy"], row["seed"]): row[column]
        for row in rows
        if row["data"] == name
    }
    seeds = sorted({seed for who, seed in values if who == strategy})
    pairs = np.array([values[strategy, s] - values[other, s] for s in seeds])
    half = stats.t.ppf(0.975, len(pairs) - 1) * pairs.std(ddof=1) / np.sqrt(len(pairs))
    return pairs.mean(), half


def report(rows):
    """Print one table a data set."""
    for name in dict.fromkeys(row["data"] for row in rows):
        print(
            f"\n{name}\n{'strategy':22s} mean acc  - random         - margin    query s"
        )
        here = [row for row in rows if row["data"] == name]
        for strategy in dict.fromkeys(row["strategy"] for row in here):
            mine = [row for row in here if row["strategy"] == strategy]
            mean = np.mean([row["mean_accuracy"] for row in mine])
            seconds = np.median([row["median_query_seconds"] for row in mine])
            gaps = "  ".join(
                "{:+5.2f} ± {:4.2f}  ".format(*difference(rows, name, strategy, other))
                for other in ("random", "margin")
            )
            print(f"{strategy:22s} {mean:7.2f}  {gaps} {seconds:7.3f}")


def main():
    """Run, print the tables, write the runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--data", nargs="*", default=list(PROTOCOLS))
    parser.add_argument("--strategies", nargs="*", default=None)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--output", type=Path, default=None)
    arguments = parser.parse_args()
    names = arguments.strategies or list(strategies(PROTOCOLS["digits"]))
    started = time.perf_counter()
    rows = Parallel(n_jobs=arguments.jobs)(
        delayed(one_run)(data, name, seed)
        for data in arguments.data
        for name in names
        for seed in range(arguments.seeds)
    )
    report(rows)
    print(f"\n{len(rows)} runs in {time.perf_counter() - started:.0f} s")
    if arguments.output is not None:
        with open(arguments.output, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
