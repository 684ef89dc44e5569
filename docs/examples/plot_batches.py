"""
Ten near-copies in one batch, and what helps
============================================

The candidates that a model is least sure of often resemble each other. A batch of the
top scores then buys the same label ten times. Three remedies: a stochastic batch, a
guard around the strategy, and a strategy that looks at diversity itself.
"""

# %%
# Two classes, and right on the boundary between them a clump of forty points, as frames
# of one video would be.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.linear_model import LogisticRegression

from dalmax_sk.pool import Pool
from dalmax_sk.strategies import BADGE, Filtered, UncertaintySampling

rng = np.random.default_rng(1)
left = rng.normal((-1.6, 0), (1.0, 1.4), size=(200, 2))
right = rng.normal((1.6, 0), (1.0, 1.4), size=(200, 2))
X = np.concatenate([left, right])
y = np.repeat([0, 1], 200)
labeled = np.r_[0:5, 200:205]
model = LogisticRegression().fit(X[labeled], y[labeled])

height = 2.0  # where the boundary crosses this height, there lies the clump
(weight,), (bias,) = model.coef_, model.intercept_
center = (-(bias + weight[1] * height) / weight[0], height)
X = np.concatenate([X, rng.normal(center, 0.06, size=(40, 2))])
pool = Pool(model, X, labeled, y[labeled], random_state=0)

# %%
# ``batch="power"`` draws the batch with probabilities that grow with the scores instead
# of taking the largest. :class:`~dalmax_sk.strategies.Filtered` hides near-duplicates
# of what is picked or labelled, here within a distance of 0.4.
strategies = {
    "margin, the top ten": UncertaintySampling(),
    'margin, batch="power"': UncertaintySampling(batch="power", beta=4),
    "margin in Filtered": Filtered(
        UncertaintySampling(), near_duplicates=0.4, metric="euclidean"
    ),
    "BADGE": BADGE(),
}

figure, axes = plt.subplots(1, 4, figsize=(12, 3.6), sharex=True, sharey=True)
for ax, (title, strategy) in zip(axes, strategies.items(), strict=True):
    picks = pool.indices[strategy.query(pool, n=10)]
    in_clump = np.count_nonzero(picks >= 400)
    DecisionBoundaryDisplay.from_estimator(
        model, X, ax=ax, response_method="predict", alpha=0.12
    )
    ax.scatter(*X.T, s=5, color="0.6")
    ax.scatter(*X[labeled].T, s=35, marker="s", color="black")
    ax.scatter(*X[picks].T, s=60, color="#D55E00", edgecolor="white")
    ax.set_title(f"{title}\n{in_clump} of 10 in the clump")
    ax.set(xlabel="", ylabel="", xticks=[], yticks=[])
figure.tight_layout()

# %%
# The remedies compose: any strategy may stand in ``Filtered``, and any strategy that
# scores candidates one by one has ``batch=``.
