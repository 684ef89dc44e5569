"""Train the policy that comes with the package.

    python benchmarks/train_default_policy.py [--episodes 2000] [--output POLICY.json]

Training data: iris, wine and diabetes (above or below the median) from scikit-learn,
and problems of ``make_classification`` with 2 to 8 classes, balanced and not. The
digits and breast cancer data sets are left out: ``bench_policy.py`` measures on them.
A few minutes on one core. The same arguments give the same policy up to rounding.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_diabetes, load_iris, load_wine, make_classification
from sklearn.preprocessing import StandardScaler

from dalmax_sk._base import progress
from dalmax_sk.strategies.reinforcement import FEATURE_NAMES, train_policy

SEED = 20260101
N_SYNTHETIC = 16
DEFAULT_OUTPUT = (
    Path(__file__).parents[1]
    / "dalmax_sk"
    / "strategies/reinforcement"
    / "default_policy.json"
)


def training_sets():
    """Return [(X, y)], standardised."""
    X, y = load_diabetes(return_X_y=True)
    sets = [
        load_iris(return_X_y=True),
        load_wine(return_X_y=True),
        (X, y > np.median(y)),
    ]
    rng = np.random.RandomState(SEED)
    for _ in range(N_SYNTHETIC):
        n_classes = rng.randint(2, 9)
        n_informative = rng.randint(4, 13)
        balanced = rng.rand() < 0.6
        sets.append(
            make_classification(
                n_samples=600,
                n_features=n_informative + rng.randint(0, 15),
                n_informative=n_informative,
                n_redundant=0,
                n_classes=n_classes,
                n_clusters_per_class=rng.randint(1, 3),
                class_sep=rng.uniform(0.7, 2.0),
                flip_y=rng.uniform(0, 0.05),
                weights=None if balanced else rng.dirichlet(np.full(n_classes, 3.0)),
                random_state=rng.randint(10**6),
            )
        )
    return [(StandardScaler().fit_transform(X), y) for X, y in sets]


def main():
    """Train, say how it went, write the policy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=2000)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    arguments = parser.parse_args()
    gains = []

    def listener(stage, done, total, info):
        gains.append(info["gain"])
        if done % 100 == 0:
            mean = np.mean(gains[-100:])
            print(f"{done:5d} of {total} episodes, mean gain {mean:.4f}", flush=True)

    started = time.perf_counter()
    with progress.listen(listener):
        policy = train_policy(
            training_sets(),
            n_episodes=arguments.episodes,
            learning_rate=arguments.learning_rate,
            random_state=SEED,
        )
    policy.training["data"] = (
        "iris, wine, diabetes (above the median) and "
        f"{N_SYNTHETIC} problems of make_classification"
    )
    policy.training["script"] = "benchmarks/train_default_policy.py"
    policy.training["seed"] = SEED
    policy.save(arguments.output)
    print(f"{time.perf_counter() - started:.0f} s; wrote {arguments.output}")
    for name, weight in zip(FEATURE_NAMES, policy.linear, strict=True):
        print(f"{name:20s} {weight:6.2f}")


if __name__ == "__main__":
    sys.exit(main())
