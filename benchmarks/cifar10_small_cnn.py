"""Real CIFAR-10, a small CNN from random weights, a hundred labels a query.

    python benchmarks/cifar10_small_cnn.py --dir-train cifar10/train \
        --dir-test cifar10/test --results RUNS/small_cnn/results.jsonl

Ten strategies and five seeds through ``budget_curve``: 200 random initial labels, eight
rounds of 100, all 50,000 training images as pool, all 10,000 test images as test set.
In each round every strategy but random looks at a fresh random 10,000 of the candidates
(``Filtered(strategy, subsample=10_000)``), which bounds the pass of the net; random
choice among a random part is random choice among all. The net is fitted from scratch in
each round: 20 epochs of Adam, learning rate .003 on a cosine, batches of 32, bfloat16,
no augmentation. Learning rate and batch size were chosen among six settings on 2,000
training images with random labelled sets, before any strategy was run.

The results file is resumable: run the same command again after a stop. All strategies
of a seed come together, so that an interrupted experiment is still a paired one.
"""

import argparse
from pathlib import Path

from _image_data import load_image_arrays
from _outputs import print_outputs, write_outputs

from dalmax_sk import CNNClassifier
from dalmax_sk.evaluation import budget_curve
from dalmax_sk.strategies import Filtered, get_strategy

STRATEGIES = (
    "random_sampling",
    "uncertainty_sampling",
    "entropy_sampling",
    "bayesian_sampling",
    "core_set_selection",
    "diversity_sampling",
    "typi_clust",
    "badge",
    "cluster_margin",
    "galaxy",
)


def make_strategies(names, n_candidates):
    """Return {name: strategy}, each looking at `n_candidates` random candidates."""
    return {
        name: get_strategy(name)
        if name == "random_sampling"
        else Filtered(get_strategy(name), subsample=n_candidates)
        for name in names
    }


def make_parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir-train", type=Path, required=True)
    parser.add_argument("--dir-test", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True, help="JSON lines")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--name", default="cifar10_small_cnn")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--n-initial", type=int, default=200)
    parser.add_argument("--query-size", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--candidates", type=int, default=10_000)
    parser.add_argument("--per-class", type=int, help="images of each class to use")
    parser.add_argument("--jobs", type=int, default=1)
    return parser


def run(arguments):
    """Run what is missing of the experiment; return its curves and settings."""
    X, y, split = load_image_arrays(
        arguments.dir_train, arguments.dir_test, arguments.per_class
    )
    net = {"max_epochs": arguments.epochs, "lr": 3e-3, "batch_size": 32, "amp": True}
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    curves = budget_curve(
        CNNClassifier("small_cnn", device="cpu", **net),
        X,
        y,
        strategies=make_strategies(arguments.strategies, arguments.candidates),
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
        "net": "small_cnn" + "".join(f", {key}={net[key]}" for key in net),
        "n_pool": len(split[0]),
        "n_test": len(split[1]),
        "n_initial": arguments.n_initial,
        "query_size": arguments.query_size,
        "n_rounds": arguments.rounds,
        "n_candidates": arguments.candidates,
    }
    return curves, settings


def main(words=None):
    """Run the experiment, write its files and print what they say."""
    arguments = make_parser().parse_args(words)
    curves, settings = run(arguments)
    comparison = write_outputs(curves, arguments.name, arguments.output, settings)
    print_outputs(curves, comparison)


if __name__ == "__main__":
    main()
