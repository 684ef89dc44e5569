"""What the strategies of frozen_features.py picked: far out, ambiguous, one-sided?

    python benchmarks/frozen_features_picks.py --dir-train cifar10/train \
        --dir-test cifar10/test --cache RUNS/features \
        --results RUNS/frozen_features/results.jsonl

Give it the flags of the experiment, and its results file. "Longest" are the images
whose feature vector is among the longest tenth of the pool; "wrong" are those that the
same linear head gets wrong when it is fitted on the labels of every fifth image of the
pool: what is hard even with 10,000 labels.
"""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
from frozen_features import load_features, make_head, make_parser

EARLY = 5


def read_picks(path):
    """Return {strategy: list of (round, rows)} of all seeds, initial sets left out."""
    picks = defaultdict(list)
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record.get("round", 0) > 0:
            picks[record["strategy"]].append((record["round"], record["queried"]))
    return picks


def describe(picks, X, y):
    """Return a row for each strategy, and one for the pool.

    Parameters
    ----------
    picks : dict of str to list of (int, list of int)
    X : ndarray of shape (n_pool, n_features)
    y : ndarray of int of shape (n_pool,)
    """
    length = np.linalg.norm(X, axis=1)
    longest = length > np.quantile(length, 0.9)
    wrong = make_head().fit(X[::5], y[::5]).predict(X) != y
    chosen = {"(the pool)": [(1, np.arange(len(X)))], **picks}
    rows = []
    for strategy, batches in chosen.items():
        every = np.concatenate([rows for _, rows in batches])
        early = np.concatenate([rows for number, rows in batches if number <= EARLY])
        shares = np.bincount(y[every], minlength=y.max() + 1) / len(every)
        rows.append(
            {
                "strategy": strategy,
                "longest": longest[every].mean(),
                f"longest_rounds_1_to_{EARLY}": longest[early].mean(),
                "wrong": wrong[every].mean(),
                "rarest_class": shares.min(),
                "commonest_class": shares.max(),
            }
        )
    return pd.DataFrame(rows)


def main():
    """Describe the picks and write the table."""
    parser = make_parser()
    arguments = parser.parse_args()
    if arguments.results is None:
        parser.error("--results is needed: the file that frozen_features.py wrote")
    X, y, (pool, _) = load_features(arguments)
    table = describe(read_picks(arguments.results), X[pool], y[pool])
    table.to_csv(arguments.output / f"{arguments.name}_picks.csv", index=False)
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
