"""
Scores against labels, for several strategies
=============================================

:func:`~dalmax_sk.evaluation.budget_curve` runs strategies on the same splits, seeds and
initial sets and scores them after each round: the learning curve of active learning.
"""

# %%
# Digits, a pipeline, one split into training and test rows, five seeds. Any
# cross-validation splitter would do as well. With ``results="file.jsonl"`` an
# interrupted experiment goes on where it was.
import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from dalmax_sk.evaluation import budget_curve
from dalmax_sk.reports import BudgetCurveDisplay

X, y = load_digits(return_X_y=True)
curves = budget_curve(
    make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=200)),
    X,
    y,
    strategies=["random_sampling", "margin_sampling", "core_set_selection", "badge"],
    cv=ShuffleSplit(n_splits=1, test_size=0.3, random_state=0),
    seeds=5,
    scoring="accuracy",
    n_initial=20,
    query_size=20,
    n_rounds=6,
)
print(curves.summary().round(3).to_string())

# %%
# The band is the interval of the mean over the seeds. The first point is shared: all
# strategies begin with the same rows.
figure, ax = plt.subplots(figsize=(8, 4.2))
BudgetCurveDisplay.from_curves(curves).plot(ax=ax)
figure.tight_layout()

# %%
# Much of the spread is common to all strategies: a lucky initial set helps each of
# them. The *differences* to random choice, seed by seed, are what a comparison rests
# on.
figure, ax = plt.subplots(figsize=(8, 4.2))
BudgetCurveDisplay.from_curves(curves, relative_to="random_sampling").plot(ax=ax)
figure.tight_layout()

# %%
# Every round of every run is a row of ``curves.frame``, with its cost.
columns = ["strategy", "seed", "round", "n_labeled", "fit_seconds", "query_seconds"]
print(curves.frame[[*columns, "score_accuracy"]].head(8).to_string(index=False))
