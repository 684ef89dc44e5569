"""The record of an active learner: labels in order, picks, one entry a round."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

__all__ = ["HistoryMixin"]


class HistoryMixin:
    """The record of :class:`~dalmax_sk.ActiveLearningClassifier`."""

    @property
    def labeled_indices_(self):
        """Rows of X whose labels are known, in the order of acquisition."""
        check_is_fitted(self, "_labels")
        return self._labels.order.copy()

    @property
    def n_rounds_(self):
        """Rounds of querying done."""
        return len(self.query_history_)

    @property
    def query_history_(self):
        """Rows picked in each round."""
        check_is_fitted(self, "history_")
        return [
            np.array(record["queried"], dtype=np.int64) for record in self.history_[1:]
        ]

    def history_frame(self):
        """Return ``history_`` as a table of its scalars.

        Returns
        -------
        pandas.DataFrame
            One row a round; lists (``queried``, ``fit_history`` …) are left out.
        """
        import pandas as pd

        check_is_fitted(self, "history_")
        return pd.DataFrame(
            [
                {key: value for key, value in record.items() if np.isscalar(value)}
                for record in self.history_
            ]
        )

    def _labeled_in(self, record):
        """Return the rows and labels that the fit of a round was given."""
        return self._labels.as_of(record["round"], record["n_labeled"])
