"""Labels taught by hand: what a person is asked, and what becomes of the answers."""

import warnings
from numbers import Integral

import numpy as np
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted

from dalmax_sk._base import progress
from dalmax_sk.active_learning.oracle import as_labels, as_plain, find_missing
from dalmax_sk.active_learning.schedules import within_limits
from dalmax_sk.active_learning.validation import check_stopping

__all__ = ["TeachingMixin"]


class TeachingMixin:
    """``query`` and ``teach`` of :class:`~dalmax_sk.ActiveLearningClassifier`."""

    def query(self, n=None, return_scores=False, *, fresh=False):
        """Propose rows to be labelled next.

        Rows that were proposed stay proposed until :meth:`teach` answers them or sets
        them aside: asking again gives those that are left, and new ones only if more
        are wanted. New ones are picked with a model that knows all labels: it is fitted
        first if ``teach(..., refit=False)`` came before.

        Parameters
        ----------
        n : int, default=None
            Number of rows. None means the rows that are left of the last proposal, or
            else what `query_size` says for the next round (`n_initial` while nothing is
            labelled).
        return_scores : bool, default=False
            If True, return the strategy's scores as well.
        fresh : bool, default=False
            If True, drop the last proposal and pick anew.

        Returns
        -------
        indices : ndarray of int of shape (n,)
            Rows of the X given to ``fit``, the most wanted first. Fewer than `n`, with
            a warning, if fewer candidates are left or a budget allows fewer.
        scores : ndarray of float or None
            Only if `return_scores`; None if the strategy does not score.

        Raises
        ------
        ValueError
            If no candidates are left, or a budget is spent.
        """
        check_is_fitted(self, "_labels")
        if n is not None and (
            not isinstance(n, Integral) or isinstance(n, bool) or n < 1
        ):
            raise ValueError(f"n must be an int of at least 1, got {n!r}.")
        if not len(self._labels.candidates):
            raise ValueError(
                "No candidates are left: every row is labelled or set aside."
            )
        if fresh:
            self._round.pending = []
        n = self._n_to_propose(n)
        if n > len(self._round.pending):
            if self._round.is_answered and not self._labels.one_class_only:
                self._learn()
            rows, scores = self._pick(n - len(self._round.pending))
            scores = [None] * len(rows) if scores is None else scores.tolist()
            self._round.pending += zip(rows.tolist(), scores, strict=True)
            self._save()
        rows, scores = zip(*self._round.pending[:n], strict=True)
        indices = np.array(rows, dtype=np.int64)
        if not return_scores:
            return indices
        if all(score is None for score in scores):
            return indices, None
        return indices, np.array(scores, dtype=np.float64)  # None becomes NaN

    def _n_to_propose(self, n):
        """Return how many of `n` rows a query by hand may propose."""
        self._rules = check_stopping(self.stopping)  # a budget may have been raised
        if n is None:
            n = len(self._round.pending) or (
                self._next_size() if self.history_ else self._n_initial()
            )
        history, n_labeled = self.history_, len(self._labels.order)
        if not history or history[-1]["n_labeled"] != n_labeled:
            history = [*history, {"round": len(history), "n_labeled": n_labeled}]
        allowed = within_limits(self._rules, history, n)
        if allowed < 1:
            raise ValueError(
                f"A stopping rule allows no further labels; {n_labeled} are known. To "
                "ask for more, raise the budget: set_params(stopping=...)."
            )
        left = min(allowed, len(self._labels.candidates))
        if left < n:
            why = (
                f"a stopping rule allows {allowed} more labels"
                if left == allowed
                else f"{left} candidates are left: all of them are returned"
            )
            warnings.warn(
                f"{n} rows were asked for and {why}.", UserWarning, stacklevel=3
            )
        return left

    def teach(self, indices, labels, *, refit=True, new_classes="error"):
        """Add labels and refit.

        Parameters
        ----------
        indices : array-like of int of shape (n,)
            Rows of the X given to ``fit``. A row that is labelled already is corrected.
        labels : array-like of shape (n,)
            Their labels. A missing value (None, NaN) sets the row aside: it is not
            proposed again. A label that is known cannot be withdrawn so.
        refit : bool, default=True
            If False, the labels are kept and no model is fitted: for answers that come
            one by one. The next ``teach`` with ``refit=True`` (``teach([], [])`` will
            do) and the next :meth:`query` that picks new rows fit it once, on all.
        new_classes : {"error", "add"}, default="error"
            What to do with a label that is not among the classes: an error, which
            keeps a slip of the pen from making a class, or :meth:`add_classes`.

        Returns
        -------
        self : ActiveLearningClassifier
            Refitted, unless no label is new or changed, as where rows are only set
            aside: that is no round; or all labels so far are of one class: then nothing
            can be learned yet, a warning says so and the labels are kept.

        Raises
        ------
        ValueError
            If rows repeat or do not exist, or a label is not among the classes; nothing
            is changed then.

        Examples
        --------
        A person answers one row at a time, and finds a class that nobody knew of:

        >>> from sklearn.datasets import load_iris
        >>> from dalmax_sk import ActiveLearningClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> learner = ActiveLearningClassifier(classes=[0, 1], random_state=0)
        >>> rows = learner.fit(X, [None] * 150).query(12)
        >>> for row in rows:
        ...     learner = learner.teach([row], y[[row]], refit=False, new_classes="add")
        >>> learner.teach([], []).classes_
        array([0, 1, 2])
        >>> learner.n_rounds_, len(learner.labeled_indices_)
        (0, 12)
        """
        check_is_fitted(self, "_labels")
        if new_classes not in ("error", "add"):
            raise ValueError(
                f"new_classes must be 'error' or 'add', got {new_classes!r}."
            )
        indices = self._labels.checked_rows(indices)
        labels = as_labels(labels)
        check_consistent_length(indices, labels)
        is_missing = find_missing(labels, self.missing_label)
        withdrawn = indices[is_missing & np.isin(indices, self._labels.order)]
        if len(withdrawn):
            raise ValueError(
                f"labels are missing for rows {withdrawn[:10].tolist()}, which are "
                "labelled already: a label can be corrected, not withdrawn."
            )
        if new_classes == "add" and not is_missing.all():
            self._add_classes(np.unique(as_plain(labels[~is_missing])))
        codes = self._labels.encode(labels, "labels")
        learned = self._labels.add(indices, codes, len(self.history_))
        self._round.teach(indices.tolist(), learned)
        if not self.history_:  # what the first fit is given
            self.initial_indices_ = self.labeled_indices_
        self._save()
        only_set_aside = len(codes) > 0 and is_missing.all()
        if refit and self._round.is_answered and not only_set_aside:
            self._learn()
        return self

    def _learn(self):
        """Fit on what a person has taught, if anything can be learned of it."""
        if self._labels.one_class_only:
            self._warn_of_one_class()
            return
        with progress.logged(self.verbose):
            self._fit_round()
        self._round.pool = None  # which holds whole arrays
        self.stop_reason_ = self._reason_to_stop()

    def add_classes(self, classes):
        """Add classes that were found while labelling.

        The next fit knows them, and until then their probabilities are 0. A checkpoint
        keeps them.

        Parameters
        ----------
        classes : array-like of shape (n,)
            Labels of the type of the present ones. Those that are known are no error.

        Returns
        -------
        self : ActiveLearningClassifier

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from dalmax_sk import ActiveLearningClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> names = ["setosa"] * 3 + [None] * 97 + ["versicolor"] * 2 + [None] * 48
        >>> learner = ActiveLearningClassifier(random_state=0).fit(X, names)
        >>> learner.add_classes(["virginica"]).teach([149], ["virginica"]).classes_
        array(['setosa', 'versicolor', 'virginica'], dtype='<U10')
        """
        check_is_fitted(self, "_labels")
        self._add_classes(classes)
        self._save()
        return self
