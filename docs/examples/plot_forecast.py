"""
How many labels will it take?
=============================

:func:`~dalmax_sk.evaluation.forecast` fits curves to the scores so far and says how
many labels a target needs, with an interval. Here the run then goes on, so that the
forecast can be compared with what happened.
"""

# %%
# Eight rounds of twenty random labels; the score on ``eval_set`` after each.
import tempfile

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.evaluation import forecast
from dalmax_sk.reports import ForecastDisplay

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X / 16, y, test_size=0.4, random_state=0)
folder = tempfile.TemporaryDirectory()
settings = {
    "strategy": "random_sampling",
    "n_initial": 20,
    "query_size": 20,
    "random_state": 0,
    "checkpoint_dir": folder.name,
}
learner = ActiveLearningClassifier(
    LogisticRegression(max_iter=200), n_rounds=8, **settings
)
learner.fit(X, y, eval_set=(X_test, y_test))
outlook = forecast(learner.history_, target=0.93)
print(outlook.summary())

# %%
# The band is where a score measured there should lie.
figure, ax = plt.subplots(figsize=(8, 4.2))
ForecastDisplay.from_forecast(outlook).plot(ax=ax)
figure.tight_layout()

# %%
# The run goes on from its checkpoint to 500 labels.
learner = ActiveLearningClassifier(
    LogisticRegression(max_iter=200), n_rounds=24, **settings
)
learner.fit(X, y, eval_set=(X_test, y_test))
history = learner.history_frame()
later = history[history["n_labeled"] > 180]
predicted = outlook.predict(later["n_labeled"])
inside = later["eval_accuracy"].between(
    predicted["low"].to_numpy(), predicted["high"].to_numpy()
)
print(f"{inside.sum()} of {len(later)} later scores lie within the band")
reached = history.loc[history["eval_accuracy"] >= 0.93, "n_labeled"]
print("93 % reached with", reached.iloc[0] if len(reached) else "more", "labels")

figure, ax = plt.subplots(figsize=(8, 4.2))
ForecastDisplay.from_forecast(outlook).plot(ax=ax)
ax.plot(
    later["n_labeled"],
    100 * later["eval_accuracy"],
    "x",
    color="black",
    label="what happened",
)
ax.legend()
figure.tight_layout()
folder.cleanup()
