"""
When to stop asking
===================

Stopping rules decide from what a run has seen: labels spent, scores, or how the models
of successive rounds agree. The last kind needs no test set, which nobody has who is
still labelling.
"""

# %%
# Each rule ends a run of its own; ``stop_reason_`` says why.
import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.stopping import (
    Budget,
    OverallUncertainty,
    PerformancePlateau,
    StabilizingPredictions,
)

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X / 16, y, test_size=0.4, random_state=0)

rules = {
    "Budget(120)": Budget(120),
    "PerformancePlateau()": PerformancePlateau(),
    "OverallUncertainty(0.4)": OverallUncertainty(0.4),
    "StabilizingPredictions(0.98)": StabilizingPredictions(0.98, n_stop_set=500),
    "no rule": None,
}
ends = {}
for name, rule in rules.items():
    learner = ActiveLearningClassifier(
        LogisticRegression(max_iter=200),
        n_initial=20,
        query_size=20,
        n_rounds=20,
        stopping=rule,
        random_state=0,
    ).fit(X, y, eval_set=(X_test, y_test))
    last = learner.history_[-1]
    ends[name] = last["n_labeled"], 100 * last["eval_accuracy"]
    print(f"{name}: {last['n_labeled']} labels; {learner.stop_reason_}")

# %%
# All runs share their picks as far as they go, for they share the seed: they lie on one
# curve and differ in where they leave it.
history = learner.history_frame()
figure, ax = plt.subplots(figsize=(8, 4.4))
ax.plot(history["n_labeled"], 100 * history["eval_accuracy"], color="0.6")
markers = ["o", "s", "D", "^", "v"]
colors = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "black"]
for (name, end), marker, color in zip(ends.items(), markers, colors, strict=True):
    ax.plot(*end, marker, color=color, markersize=9, label=name)
ax.set(xlabel="labels", ylabel="test accuracy (%)")
ax.grid(alpha=0.4)
ax.legend(loc="lower right")
figure.tight_layout()

# %%
# A threshold fits a kind of model and data, not all of them: try it on a data set like
# yours whose labels you have.
