"""
A labelling session
===================

Nobody knows the labels yet. The learner proposes images, a person answers, the model is
fitted again, and so on: ``query`` and ``teach``. Here the person is played by the
labels of the digits.
"""

# %%
# No label is known: every entry of y is the value that means "missing".
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from dalmax_sk import ActiveLearningClassifier

digits = load_digits()
X = digits.data / 16
nobody_knows = np.full(len(X), -1)

learner = ActiveLearningClassifier(
    LogisticRegression(max_iter=300),
    strategy="margin_sampling",
    classes=range(10),
    missing_label=-1,
    n_initial=20,
    random_state=0,
).fit(X, nobody_knows)


# %%
# What the person sees: the images, with the two classes that the model hesitates
# between. For the first query there is no model yet, so that the images are drawn at
# random.
def show(rows, title):
    figure, axes = plt.subplots(2, 10, figsize=(10, 2.8))
    for ax, row in zip(axes.flat, rows, strict=True):
        ax.imshow(digits.images[row], cmap="gray_r")
        ax.axis("off")
        if hasattr(learner, "estimator_"):
            first, second = learner.predict_proba(X[[row]])[0].argsort()[:-3:-1]
            ax.set_title(f"{first} or {second}?", fontsize=10)
    figure.suptitle(title)
    figure.tight_layout()


def ask(rows):
    return digits.target[rows]


rows = learner.query(20)
show(rows, "to begin with: drawn at random")
learner.teach(rows, ask(rows))

# %%
# From the second query on the model says where it hesitates.
accuracies = [learner.score(X, digits.target)]
for number in range(1, 8):
    rows = learner.query(20)
    if number in (1, 7):
        n_labels = len(learner.labeled_indices_)
        show(rows, f"with {n_labels} labels: the closest calls")
    learner.teach(rows, ask(rows))
    accuracies.append(learner.score(X, digits.target))

# %%
# Late in the session the images are the hard ones for a person as well. An answer of
# ``None`` sets an image aside; teaching a row again corrects it.
figure, ax = plt.subplots(figsize=(6, 3.4))
ax.plot(20 * np.arange(1, 9), 100 * np.array(accuracies), "o-", color="#0072B2")
ax.set(xlabel="labels given", ylabel="accuracy on all images (%)")
ax.grid(alpha=0.4)
figure.tight_layout()
