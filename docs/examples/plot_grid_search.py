"""
A grid search over strategies
=============================

``strategy`` is a parameter of the learner, and the parameters of the strategy and of
the model are reached through it. ``GridSearchCV`` therefore compares strategies like
anything else. Labels stay hidden in each fold, and all candidates spend the same
budget.
"""

# %%
# A pipeline in the learner: the scaler is fitted on the labelled rows of each round.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.strategies import BADGE, CoreSet, RandomSampling, UncertaintySampling

X, y = load_digits(return_X_y=True)
learner = ActiveLearningClassifier(
    make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=300)),
    n_initial=30,
    query_size=20,
    n_rounds=4,
    random_state=0,
)
search = GridSearchCV(
    learner,
    [
        {"strategy": [RandomSampling(), CoreSet(), BADGE()]},
        {
            "strategy": [UncertaintySampling()],
            "strategy__measure": ["margin", "entropy", "least_confidence"],
        },
    ],
    cv=4,
)
search.fit(X, y)
print(search.best_params_)

# %%
# The folds are paired: they have the same training rows, and all strategies begin with
# the same thirty. So it is the *differences* within a fold that tell something.
results = pd.DataFrame(search.cv_results_)
names = [
    params.get("strategy__measure", type(params["strategy"]).__name__)
    for params in results["params"]
]
scores = results[[f"split{k}_test_score" for k in range(4)]].to_numpy() * 100
gains = scores - scores[names.index("RandomSampling")]  # (candidates, folds)
order = np.argsort(gains.mean(axis=1))

figure, ax = plt.subplots(figsize=(7, 3.4))
for level, row in enumerate(order):
    ax.plot(gains[row], [level] * 4, "o", color="0.6")
    ax.plot(gains[row].mean(), level, "D", color="#0072B2", markersize=8)
ax.axvline(0, color="black", linewidth=0.8)
ax.set_yticks(range(len(order)), [names[row] for row in order])
ax.set_xlabel(
    "accuracy with 110 labels, less random's in the same fold\n"
    "(percentage points; grey: folds, blue: their mean)"
)
figure.tight_layout()

# %%
# Four folds of one data set share most of their rows, so they are no sample to test on.
# For curves over the whole budget, several seeds, intervals and tests see
# :doc:`../user_guide/index`.
