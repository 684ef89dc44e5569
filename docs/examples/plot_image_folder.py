"""
A folder of images and a small CNN
==================================

X is an array of file names. ``fit`` decodes the files once, trains the net on those
whose labels it has asked for, and lets the strategy look at the others.
"""

# %%
# The digits, written out as PNG files in one folder a class; your own folder would take
# their place.
import tempfile

import matplotlib.pyplot as plt
import numpy as np

from dalmax_sk import ActiveLearningClassifier, CNNClassifier
from dalmax_sk.images import decode_image, load_image_paths, make_digits_folder
from dalmax_sk.reports import ActiveLearningCurveDisplay, ConfusionHeatmapDisplay

folder = tempfile.TemporaryDirectory()
digits = make_digits_folder(folder.name + "/digits")
train = load_image_paths(digits / "train")
test = load_image_paths(digits / "test", class_names=train.target_names)
print(train.data[0].removeprefix(folder.name), train.target_names[train.target[0]])

# %%
# Thirty labels at random, then five rounds of thirty. ``eval_set`` is scored after each
# round and never trained on.
learner = ActiveLearningClassifier(
    CNNClassifier(image_mode="grey", max_epochs=15, batch_size=32),
    strategy="margin_sampling",
    n_initial=30,
    query_size=30,
    n_rounds=5,
    random_state=0,
)
learner.fit(train.data, train.target, eval_set=(test.data, test.target))
columns = ["round", "n_labeled", "eval_accuracy", "fit_seconds", "query_seconds"]
print(learner.history_frame()[columns].round(3).to_string(index=False))

# %%
figure, ax = plt.subplots(figsize=(6, 3.6))
ActiveLearningCurveDisplay.from_history(learner.history_).plot(ax=ax)
figure.tight_layout()

# %%
# The ten images that each round wanted most, with their true class: rows of
# ``query_history_`` are rows of ``train.data``.
figure, axes = plt.subplots(5, 10, figsize=(8, 4.8))
for number, (row_of_axes, rows) in enumerate(
    zip(axes, learner.query_history_, strict=True), start=1
):
    for ax, row in zip(row_of_axes, rows, strict=False):
        ax.imshow(decode_image(train.data[row], mode="grey").squeeze(), cmap="gray")
        ax.set_title(train.target_names[train.target[row]], fontsize=9, pad=2)
        ax.set(xticks=[], yticks=[])
    row_of_axes[0].set_ylabel(f"round {number}")
figure.tight_layout(h_pad=0.4)

# %%
figure, ax = plt.subplots(figsize=(6, 5))
ConfusionHeatmapDisplay.from_estimator(learner, test.data, test.target).plot(ax=ax)
figure.tight_layout()

# %%
# Which classes did the learner ask for most?
picked = np.concatenate(learner.query_history_)
counts = np.bincount(train.target[picked], minlength=10)
print(dict(zip(train.target_names, counts.tolist(), strict=True)))
folder.cleanup()
