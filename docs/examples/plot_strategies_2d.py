"""
What strategies pick, in two dimensions
=======================================

Six strategies choose ten points each to be labelled next, from the same pool and with
the same model. What they look at decides what they take: the boundary between the
classes, the shape of the pool, or both.
"""

# %%
# Three clouds of points, one of them small, and a few labels. The model is a logistic
# regression, so that its boundaries are straight lines.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_blobs
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.linear_model import LogisticRegression

from dalmax_sk.pool import Pool
from dalmax_sk.strategies import get_strategy

X, y = make_blobs(
    [250, 250, 40],
    centers=[(-2, 0), (2, 0), (0.5, 3.5)],
    cluster_std=[1.1, 1.1, 0.5],
    random_state=3,
)
labeled = np.concatenate([np.flatnonzero(y == k)[:3] for k in range(3)])
model = LogisticRegression().fit(X[labeled], y[labeled])

# %%
# A :class:`~dalmax_sk.pool.Pool` is what a strategy sees: the model, the candidates and
# the labels known so far. ``query`` returns positions among the candidates, and
# ``pool.indices`` turns them into rows of X.
pool = Pool(model, X, labeled, y[labeled], random_state=0)
names = [
    "random_sampling",
    "margin_sampling",
    "core_set_selection",
    "typi_clust",
    "badge",
    "uherding",
]

figure, axes = plt.subplots(2, 3, figsize=(9.6, 6.4), sharex=True, sharey=True)
for ax, name in zip(axes.flat, names, strict=True):
    picks = pool.indices[get_strategy(name).query(pool, n=10)]
    DecisionBoundaryDisplay.from_estimator(
        model, X, ax=ax, response_method="predict", alpha=0.12
    )
    ax.scatter(*X.T, s=6, color="0.6", label="candidates")
    ax.scatter(*X[labeled].T, s=40, marker="s", color="black", label="labelled")
    ax.scatter(*X[picks].T, s=60, color="#D55E00", edgecolor="white", label="picked")
    ax.set_title(name)
    ax.set(xlabel="", ylabel="", xticks=[], yticks=[])
figure.legend(
    *axes[0, 0].get_legend_handles_labels(), loc="lower center", ncols=3, frameon=False
)
figure.tight_layout(rect=(0, 0.05, 1, 1))

# %%
# - ``random_sampling`` follows the density; the small cloud gets little.
# - ``margin_sampling`` sits on the boundaries, often several times at one place.
# - ``core_set_selection`` goes to the rim: it wants no candidate far from a label.
# - ``typi_clust`` takes the middle of dense regions that hold no label yet.
# - ``badge`` wants doubtful points that differ from each other.
# - ``uherding`` covers the pool, and the more so where the model is unsure.
#
# Each strategy has :doc:`a page of its own <../user_guide/strategies>`.
