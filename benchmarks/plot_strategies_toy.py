"""Draw the picks of every strategy on one 2-D toy set.

    python benchmarks/plot_strategies_toy.py docs/images

Writes ``strategies_toy.png``, all of them in one figure, and ``strategies/<name>.png``
for each.
"""

import sys
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression

from dalmax_sk.pool import Pool
from dalmax_sk.strategies import get_strategy, list_strategies

CENTRES = [[-4, 0], [0, 3], [4, 0]]
REGIONS = ListedColormap(["#e8f0f8", "#fdf3e1", "#e9f5ec"])
N_PICKS = 20
#: The main name of each class, one panel each.
NAMES = [
    next(entries).name
    for _, entries in groupby(list_strategies(), key=attrgetter("class_name"))
]
#: A variant that has a picture on the page of its class.
VARIANTS = ["entropy_sampling"]


def make_data():
    """Return X, y, the labelled rows and a model of them."""
    X, y = make_blobs(600, centers=CENTRES, cluster_std=1.1, random_state=0)
    labeled = np.concatenate([np.flatnonzero(y == c)[:2] for c in range(3)])
    return X, y, labeled, LogisticRegression().fit(X[labeled], y[labeled])


def draw(axes, name, data):
    """Draw the model's regions, the candidates, the labelled and the picked."""
    X, y, labeled, model = data
    pool = Pool(model, X, labeled, y[labeled], random_state=0)
    picks = pool.indices[get_strategy(name).query(pool, N_PICKS)]
    x1, x2 = np.meshgrid(
        *(
            np.linspace(low - 0.4, high + 0.4, 200)
            for low, high in zip(X.min(0), X.max(0), strict=True)
        )
    )
    region = model.predict(np.column_stack([x1.ravel(), x2.ravel()])).reshape(x1.shape)
    axes.pcolormesh(
        x1, x2, region, cmap=ListedColormap(["#e8f0f8", "#fdf3e1", "#e9f5ec"])
    )
    axes.scatter(*X.T, s=5, c="0.7", label="candidates")
    axes.scatter(
        *X[labeled].T, s=34, marker="s", c="#0072B2", label=f"labelled ({len(labeled)})"
    )
    axes.scatter(*X[picks].T, s=22, c="#D55E00", label=f"picks ({N_PICKS})")
    axes.set_title(name, fontsize=10)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])


def main(folder):
    """Write the figures below `folder`."""
    data = make_data()
    (folder / "strategies").mkdir(parents=True, exist_ok=True)
    n_rows = -(-len(NAMES) // 4)
    figure = Figure(figsize=(11, 1.85 * n_rows + 0.4), layout="constrained")
    grid = figure.subplots(n_rows, 4).ravel()
    for axes in grid[len(NAMES) :]:
        axes.set_axis_off()
    for axes, name in zip(grid, NAMES, strict=False):
        draw(axes, name, data)
    for name in NAMES + VARIANTS:
        single = Figure(figsize=(5, 3.6), layout="constrained")
        axes = single.subplots()
        draw(axes, name, data)
        single.legend(
            *axes.get_legend_handles_labels(), loc="outside lower center", ncols=3
        )
        single.savefig(folder / "strategies" / f"{name}.png", dpi=80)
    figure.legend(
        *grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=3
    )
    figure.savefig(folder / "strategies_toy.png", dpi=80)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
