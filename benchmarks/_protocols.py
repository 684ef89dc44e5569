"""What the scripts of published protocols share: run, write, put beside the figures."""

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from _image_data import load_image_arrays
from _markdown import table as markdown
from _outputs import print_outputs, write_outputs

from dalmax_sk import ActiveLearningClassifier, CNNClassifier
from dalmax_sk.evaluation import BudgetCurves, budget_curve

#: What makes a set-up small.
TOY = (
    "per_class",
    "architecture",
    "epochs",
    "n_initial",
    "query_size",
    "rounds",
    "held_out",
)


@dataclass(frozen=True)
class Protocol:
    """A published set-up.

    ``methods`` maps the source's name of a method to the strategy's name here, and
    ``net_of`` to parameters of the net that only this method has.
    """

    name: str
    n_initial: int
    query_size: int
    n_rounds: int
    net: dict
    methods: dict
    seeds: tuple
    initial_strategy: str = "random"
    n_held_out: int = 0
    net_of: dict = field(default_factory=dict)
    deviations: tuple = ()
    estimator: type = CNNClassifier

    def strategies_by_net(self, wanted):
        """Return a list of (method names, parameters of their net)."""
        groups = {}
        for method in wanted:
            own = self.net_of.get(method, {})
            groups.setdefault(tuple(sorted(own.items())), []).append(method)
        return [(methods, self.net | dict(own)) for own, methods in groups.items()]


def make_parser(description, methods):
    """Return the command line that all protocols share.

    The last group makes a set-up small enough for a look on a CPU; what comes out of it
    compares with nothing.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--dir-train", type=Path, required=True)
    parser.add_argument("--dir-test", type=Path, required=True)
    parser.add_argument(
        "--results", type=Path, required=True, help="folder of the resumable records"
    )
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--methods", nargs="+", choices=methods, default=list(methods))
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--device", default="auto")
    toy = parser.add_argument_group("toy size")
    toy.add_argument("--per-class", type=int, help="images of each class to use")
    toy.add_argument("--architecture", help="another net")
    for option in TOY[2:]:
        toy.add_argument(f"--{option.replace('_', '-')}", type=int)
    return parser


def run(protocol, arguments):
    """Run what is missing of a protocol and write its files.

    Returns
    -------
    curves : BudgetCurves
        Under the source's names of the methods.
    """
    name = protocol.name
    if any(getattr(arguments, option) is not None for option in TOY):
        name += "_toy"  # so that no page takes it for the real one
    print(f"{name} differs from the published set-up in this:")
    print(*(f"- {line}" for line in protocol.deviations), sep="\n", flush=True)
    held_out = _or(arguments.held_out, protocol.n_held_out)
    X, y, split = load_image_arrays(
        arguments.dir_train, arguments.dir_test, arguments.per_class, held_out
    )
    seeds = list(arguments.seeds or protocol.seeds)
    arguments.results.mkdir(parents=True, exist_ok=True)
    frames = []
    for number, (methods, net) in enumerate(
        protocol.strategies_by_net(arguments.methods)
    ):
        learner = make_learner(protocol, arguments, net)
        curves = budget_curve(
            learner,
            X,
            y,
            strategies={method: protocol.methods[method] for method in methods},
            cv=[split],
            seeds=seeds,
            scoring="accuracy",
            n_jobs=1,
            results=arguments.results / f"{name}_net_{number}.jsonl",
            verbose=1,
        )
        frames.append(curves.frame)
    curves = BudgetCurves(pd.concat(frames, ignore_index=True))
    curves = curves.select(strategies=arguments.methods)
    learner = make_learner(protocol, arguments, protocol.net)
    settings = {
        "data": "CIFAR-10",
        "net": describe_net(protocol.net),
        "n_initial": learner.n_initial,
        "query_size": learner.query_size,
        "n_rounds": learner.n_rounds,
        "n_pool": len(split[0]),
        "n_test": len(split[1]),
        "deviations": protocol.deviations,
    }
    comparison = write_outputs(
        curves, name, arguments.output, settings, baseline="random"
    )
    print_outputs(curves, comparison)
    return curves


def make_learner(protocol, arguments, net):
    """Return the learner of a protocol, made small where the arguments say so."""
    net = dict(net)
    if arguments.epochs is not None:
        net["max_epochs"] = arguments.epochs
    if arguments.architecture is not None:
        net["architecture"] = arguments.architecture
    return ActiveLearningClassifier(
        protocol.estimator(**net, device=arguments.device),
        n_initial=_or(arguments.n_initial, protocol.n_initial),
        query_size=_or(arguments.query_size, protocol.query_size),
        n_rounds=_or(arguments.rounds, protocol.n_rounds),
        initial_strategy=protocol.initial_strategy,
    )


def describe_net(net):
    """Return the parameters of a net in words."""
    return ", ".join(
        f"{key}={getattr(value, '__name__', value)}" for key, value in net.items()
    )


def beside_published(ours, published, name):
    """Return a Markdown table: ours, the published mean and sd, and the difference.

    Parameters
    ----------
    ours : dict of str to ndarray of shape (n_seeds,)
        In the unit of `published`.
    published : dict of str to float or (float, float)
        Mean, or mean and standard deviation.
    name : str
        What the figures are.
    """
    rows = []
    for method, values in ours.items():
        mean, *sd = np.atleast_1d(published[method]).tolist()
        own = f"{values.mean():.4f}"
        if len(values) > 1:
            own += f" ± {values.std(ddof=1):.4f}"
        rows.append(
            {
                "method": method,
                f"{name}, ours": own,
                "published": " ± ".join(f"{value:.4f}" for value in (mean, *sd)),
                "ours less published": f"{values.mean() - mean:+.4f}",
            }
        )
    return markdown(pd.DataFrame(rows).set_index("method"))


def _or(value, default):
    return default if value is None else value
