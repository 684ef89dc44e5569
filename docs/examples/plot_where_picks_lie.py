"""
Where the picks lie
===================

A strategy's choice can be looked at: the picks of each round among all images, in two
dimensions. Three strategies on the digits, in one and the same picture of the data.
"""

# %%
# The picture is made once, by t-SNE of the pixels, so that the strategies can be
# compared. :class:`~dalmax_sk.reports.SelectionDisplay` would otherwise take the first
# two principal components of the model's embeddings.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.reports import SelectionDisplay

rows = np.random.default_rng(0).permutation(1797)[:800]
X, y = load_digits(return_X_y=True)
X, y = X[rows] / 16, y[rows]
picture = TSNE(max_iter=500, random_state=0).fit_transform(X)

names = ["margin_sampling", "core_set_selection", "typi_clust"]
learners = {
    name: ActiveLearningClassifier(
        LogisticRegression(max_iter=200),
        strategy=name,
        n_initial=10,
        query_size=15,
        n_rounds=4,
        random_state=0,
    ).fit(X, y)
    for name in names
}

# %%
# Margin works between the clusters, where classes meet, and leaves whole clusters alone
# that it can tell already. Core-set goes for what is unlike everything labelled.
# TypiClust visits the middle of one cluster after another.
for name, learner in learners.items():
    figure, ax = plt.subplots(figsize=(8, 4.6))
    SelectionDisplay.from_arrays(
        picture,
        learner.query_history_,
        initial=learner.initial_indices_,
        axis_names=("t-SNE, first coordinate", "t-SNE, second coordinate"),
    ).plot(ax=ax)
    ax.set_title(f"{name}: {100 * learner.score(X, y):.0f} % with 70 labels")
    figure.tight_layout()

# %%
# The same by class. Few picks of a class mean that the model had few doubts about it.
figure, ax = plt.subplots(figsize=(8, 4.6))
SelectionDisplay.from_arrays(
    picture,
    learners["margin_sampling"].query_history_,
    y=y,
    axis_names=("t-SNE, first coordinate", "t-SNE, second coordinate"),
).plot(ax=ax, color_by="class")
figure.tight_layout()
