"""Draw the picks of every strategy on one 2-D toy set.

python benchmarks/plot_strategies_toy.py docs/images/strategies_toy.png
"""

import sys

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression

from dalmax_sk.pool import Pool
from dalmax_sk.strategies import (
    CoreSet,
    DiversitySampling,
    RandomSampling,
    UncertaintySampling,
)

CENTRES = [[-4, 0], [0, 3], [4, 0]]
STRATEGIES = [
    ("RandomSampling()", RandomSampling()),
    ("UncertaintySampling()", UncertaintySampling()),
    (
        'UncertaintySampling(batch="power", beta=4)',
        UncertaintySampling(batch="power", beta=4),
    ),
    ("DiversitySampling()", DiversitySampling()),
    ('DiversitySampling("margin")', DiversitySampling("margin")),
    ("CoreSet()", CoreSet()),
]


def main(path):
    """Write the figure to `path`."""
    X, y = make_blobs(600, centers=CENTRES, cluster_std=1.1, random_state=0)
    labeled = np.concatenate([np.flatnonzero(y == c)[:2] for c in range(3)])
    model = LogisticRegression().fit(X[labeled], y[labeled])
    figure = Figure(figsize=(11, 5.8), layout="constrained")
    for axes, (title, strategy) in zip(
        figure.subplots(2, 3, sharex=True, sharey=True).flat, STRATEGIES, strict=True
    ):
        pool = Pool(model, X, labeled, y[labeled], random_state=0)
        picks = pool.indices[strategy.query(pool, 20)]
        axes.scatter(*X.T, s=8, c="0.8", label="candidates")
        axes.scatter(*X[labeled].T, s=50, marker="s", c="#0072B2", label="labelled (6)")
        axes.scatter(*X[picks].T, s=36, marker="o", c="#D55E00", label="picks (20)")
        axes.set_title(title, fontsize=11)
        axes.set_aspect("equal")
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper center", ncols=3
    )
    figure.supxlabel("feature 1")
    figure.supylabel("feature 2")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main(sys.argv[1])
