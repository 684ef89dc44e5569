"""What going on from the last round's weights costs and saves, against fresh nets.

    python benchmarks/bench_refit.py --results RUNS/refit
    python benchmarks/bench_refit.py --results RUNS/refit_cifar10 \
        --dir-train cifar10/train --dir-test cifar10/test --per-class 1000

Without folders of images the digits that scikit-learn brings are used: 1,300 to pick
from, 497 to test on, 50 labels at first and eight rounds of 50. With folders (CIFAR-10
here), 200 labels at first and three rounds of 200. The ways to refit, each with all the
epochs and with half of them:

- ``scratch``: a fresh net each round, the baseline;
- ``continue``: ``refit="continue"``, the present weights as they are;
- ``shrink-perturb 0.4``: the same with ``shrink_perturb=(0.4, 0.1)``, where the program
  of Ash & Adams (2020) begins;
- ``shrink-perturb 0.8``: with ``(0.8, 0.1)``, which leaves more of the old weights.

Rows are picked at random, so that in each round all ways are trained on the same rows:
what differs is the net alone. The ways take turns within each seed, so that a machine
that is busy for a while slows all of them. Run the same command again after a stop: it
goes on. Seconds of fits are those that the learner itself measures.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from _image_data import load_image_arrays
from _outputs import print_outputs, write_outputs
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from dalmax_sk import ActiveLearningClassifier, CNNClassifier
from dalmax_sk.evaluation import BudgetCurves, budget_curve

N_DIGITS = 1300
SHRINK_PERTURB = ((0.4, 0.1), (0.8, 0.1))
NET = {"lr": 3e-3, "batch_size": 32}
DIGITS = {"n_initial": 50, "query_size": 50, "n_rounds": 8}
IMAGES = {"n_initial": 200, "query_size": 200, "n_rounds": 3}


def make_ways(epochs, fewer, net, sizes):
    """Return {name: learner} of all ways to refit; the first is the baseline.

    Parameters
    ----------
    epochs, fewer : int
    net : dict
        Other parameters of the net.
    sizes : dict
        Of the initial set and the rounds.
    """
    ways = {}
    for n_epochs in (epochs, fewer):
        for name, refit, params in (
            ("scratch", "scratch", {}),
            ("continue", "continue", {}),
            *(
                (f"shrink-perturb {pair[0]}", "continue", {"shrink_perturb": pair})
                for pair in SHRINK_PERTURB
            ),
        ):
            clf = CNNClassifier("small_cnn", max_epochs=n_epochs, **net, **params)
            plural = "s" if n_epochs > 1 else ""
            ways[f"{name}, {n_epochs} epoch{plural}"] = ActiveLearningClassifier(
                clf, refit=refit, **sizes
            )
    return ways


def make_parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, required=True, help="a folder")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--name", help="refit_digits or refit_images if not given")
    parser.add_argument("--dir-train", type=Path)
    parser.add_argument("--dir-test", type=Path)
    parser.add_argument("--per-class", type=int, help="images of each class to use")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--fewer", type=int, default=10)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--amp", action="store_true")
    return parser


def load(arguments):
    """Return what the runs are about: name, X, y, split and sizes."""
    if arguments.dir_train is None:
        digits = load_digits()
        split = train_test_split(
            np.arange(len(digits.target)),
            train_size=N_DIGITS,
            stratify=digits.target,
            random_state=0,
        )
        return "digits", digits.images, digits.target, split, DIGITS
    X, y, split = load_image_arrays(
        arguments.dir_train, arguments.dir_test, arguments.per_class
    )
    return "images", X, y, split, IMAGES


def run(arguments):
    """Run what is missing; return a name, the curves of all ways, and the settings."""
    name, X, y, split, sizes = load(arguments)
    if arguments.rounds is not None:
        sizes = sizes | {"n_rounds": arguments.rounds}
    net = NET | {"device": arguments.device, "amp": arguments.amp}
    ways = make_ways(arguments.epochs, arguments.fewer, net, sizes)
    arguments.results.mkdir(parents=True, exist_ok=True)
    frames = []
    for seed in range(arguments.seeds):
        for number, (way, learner) in enumerate(ways.items()):
            curves = budget_curve(
                learner,
                X,
                y,
                strategies={way: "random_sampling"},
                cv=[split],
                seeds=[seed],
                scoring="accuracy",
                results=arguments.results / f"{name}_{number}_{seed}.jsonl",
            )
            frames.append(curves.frame)
    order = {way: number for number, way in enumerate(ways)}
    frame = pd.concat(frames)
    frame = frame.sort_values("strategy", key=lambda s: s.map(order), kind="stable")
    settings = {
        "data": name,
        "net": "small_cnn" + "".join(f", {key}={net[key]}" for key in net),
        "shrink_perturb": SHRINK_PERTURB,
        "n_pool": len(split[0]),
        "n_test": len(split[1]),
    } | sizes
    return arguments.name or f"refit_{name}", BudgetCurves(frame), settings


def main(words=None):
    """Run the experiment, write its files and print what they say."""
    arguments = make_parser().parse_args(words)
    name, curves, settings = run(arguments)
    baseline = curves.strategies[0]
    comparison = write_outputs(
        curves, name, arguments.output, settings, baseline=baseline
    )
    print_outputs(curves, comparison)


if __name__ == "__main__":
    main()
