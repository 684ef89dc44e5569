"""
Is it better than random? A comparison with tests
=================================================

:func:`~dalmax_sk.evaluation.compare` turns budget curves into an answer: better, worse
or undecided, how many labels are saved, and how many more seeds would decide what is
undecided.
"""

# %%
# Six seeds of five strategies on the digits.
import textwrap

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import ShuffleSplit

from dalmax_sk.evaluation import budget_curve, compare
from dalmax_sk.reports import CriticalDifferenceDisplay, PenaltyMatrixDisplay

X, y = load_digits(return_X_y=True)
curves = budget_curve(
    LogisticRegression(max_iter=200),
    X / 16,
    y,
    strategies=[
        "random_sampling",
        "margin_sampling",
        "entropy_sampling",
        "core_set_selection",
        "badge",
    ],
    cv=ShuffleSplit(n_splits=1, test_size=0.3, random_state=0),
    seeds=6,
    scoring="accuracy",
    n_initial=20,
    query_size=20,
    n_rounds=6,
)
comparison = compare(curves, baseline="random_sampling")

# %%
# One sentence a strategy:
for sentence in comparison.verdicts.values():
    print(textwrap.fill(sentence, 86, subsequent_indent="    "))

# %%
# The numbers behind the sentences. AUBC is the area under the curve, that is, the
# accuracy averaged over the budgets; the intervals are bootstrap intervals over the
# seeds, and p-values are corrected for the number of strategies.
table = comparison.table.set_index("strategy")
columns = ["aubc", "aubc_difference", "difference_low", "difference_high"]
print(table[[*columns, "p_adjusted"]].round(3).to_string())
print(table[["labels_to_target", "label_saving", "more_seeds"]].round(0).to_string())

# %%
# The penalty matrix counts at how many budgets the strategy of the row beats that of
# the column significantly. The last row is the mean of a column: how often a strategy
# is beaten.
figure, ax = plt.subplots(figsize=(7, 5.4))
PenaltyMatrixDisplay.from_comparison(comparison).plot(ax=ax)
figure.tight_layout()

# %%
# Mean ranks over the seeds; what a bar joins is not told apart by Nemenyi's test, which
# is cautious.
figure, ax = plt.subplots(figsize=(8, 2.8))
CriticalDifferenceDisplay.from_comparison(comparison).plot(ax=ax)
figure.tight_layout()

# %%
# One data set and one split: the answer is about digits and logistic regression, and
# about no more. The seeds vary the initial set and the draws, not the data.
