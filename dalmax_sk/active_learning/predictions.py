"""Predictions of an active learner: at the end, and after each of its rounds."""

import copy

import numpy as np
from sklearn.metrics import accuracy_score, check_scoring
from sklearn.utils import check_consistent_length
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from dalmax_sk._base.fits import classes_of, output, predict
from dalmax_sk._base.sklearn_compat import safe_indexing
from dalmax_sk.active_learning.oracle import as_labels, as_plain, find_missing
from dalmax_sk.pool import align_columns

__all__ = ["PredictionsMixin"]


def _estimator_has(method):
    """Return a check for ``available_if``: does the estimator have `method`?"""

    def check(self):
        # before fit of estimator=None the form of X is unknown; both defaults have
        # predict_proba, so LogisticRegression stands for them
        getattr(getattr(self, "estimator_", None) or self._get_estimator(), method)
        return True

    return check


class PredictionsMixin:
    """Predictions of :class:`~dalmax_sk.ActiveLearningClassifier`."""

    def predict(self, X):
        """Predict class labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            In the form given to ``fit``.

        Returns
        -------
        ndarray of shape (n_samples,)
            Entries of ``classes_``.
        """
        check_is_fitted(self)
        X = self._check_X(X, reset=False)
        return predict(self.estimator_, X, self.classes_)

    def score(self, X, y, sample_weight=None):
        """Return the accuracy on the rows whose labels are known.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            In the form given to ``fit``.
        y : array-like of shape (n_samples,)
            True labels. Rows without one (None, NaN, `missing_label`) are left out.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If `y` has no label at all.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from dalmax_sk import ActiveLearningClassifier
        >>> from sklearn.preprocessing import scale
        >>> X, y = load_iris(return_X_y=True)
        >>> X = scale(X)
        >>> learner = ActiveLearningClassifier(random_state=0).fit(X, y)
        >>> learner.score(X[::50], [0, None, 2])
        1.0
        """
        check_is_fitted(self)
        y = as_labels(y)
        known = ~find_missing(y, self.missing_label)
        if not known.any():
            raise ValueError(
                f"y has no labels to score against: all {len(y)} entries are missing."
            )
        if not known.all():
            check_consistent_length(X, y)
            rows = np.flatnonzero(known)
            X = safe_indexing(self._check_X(X, reset=False), rows)
            if sample_weight is not None:
                sample_weight = np.asarray(sample_weight)[rows]
        return accuracy_score(
            as_plain(y[known]), self.predict(X), sample_weight=sample_weight
        )

    @available_if(_estimator_has("predict_proba"))
    def predict_proba(self, X):
        """Predict class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            In the form given to ``fit``.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``; 0 for a class not labelled yet.
        """
        check_is_fitted(self)
        X = self._check_X(X, reset=False)
        proba = output(self.estimator_, "predict_proba", X)
        return align_columns(proba, classes_of(self.estimator_), self.classes_)

    @available_if(_estimator_has("predict_log_proba"))
    def predict_log_proba(self, X):
        """Predict logarithms of class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            In the form given to ``fit``.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Minus infinity for a class not labelled yet.
        """
        check_is_fitted(self)
        X = self._check_X(X, reset=False)
        values = output(self.estimator_, "predict_log_proba", X)
        seen = classes_of(self.estimator_)
        return align_columns(values, seen, self.classes_, -np.inf)

    @available_if(_estimator_has("decision_function"))
    def decision_function(self, X):
        """Return the estimator's decision values.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            In the form given to ``fit``.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            The smallest finite number for a class not labelled yet.
        """
        check_is_fitted(self)
        X = self._check_X(X, reset=False)
        values = output(self.estimator_, "decision_function", X)
        seen = classes_of(self.estimator_)
        if len(seen) == len(self.classes_):
            return values
        if values.ndim == 1:  # two of more classes seen so far
            values = np.column_stack([-values, values])
        return align_columns(values, seen, self.classes_, np.finfo(values.dtype).min)

    # ----------------------------------------------------------------- after each round

    def staged_predict(self, X):
        """Predict class labels with the model of each round.

        Unless ``store_estimators=True`` kept them, the models of earlier rounds are
        fitted again on the way, each from its own seed and labels, which gives the same
        models and takes as long as their fits did.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            In the form given to ``fit``.

        Yields
        ------
        ndarray of shape (n_samples,)
            Predictions after the initial fit, then after every round.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from dalmax_sk import ActiveLearningClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> learner = ActiveLearningClassifier(n_rounds=3, random_state=0).fit(X, y)
        >>> [int((predicted == y).sum()) for predicted in learner.staged_predict(X)]
        [146, 143, 146, 146]
        """
        for stage in self._stages():
            yield stage.predict(X)

    @available_if(_estimator_has("predict_proba"))
    def staged_predict_proba(self, X):
        """Predict class probabilities with the model of each round.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            In the form given to ``fit``.

        Yields
        ------
        ndarray of shape (n_samples, n_classes)
            As :meth:`predict_proba` gives them; see :meth:`staged_predict` for the
            cost.
        """
        for stage in self._stages():
            yield stage.predict_proba(X)

    def staged_score(self, X, y, sample_weight=None, scoring=None):
        """Score the model of each round.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            In the form given to ``fit``.
        y : array-like of shape (n_samples,)
            True labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the score.
        scoring : str, callable or None, default=None
            As in :func:`~sklearn.model_selection.cross_val_score`; None is accuracy.

        Yields
        ------
        float
            The score after the initial fit, then after every round; see
            :meth:`staged_predict` for the cost.

        See Also
        --------
        dalmax_sk.evaluation.area_under_budget_curve : One number for all of them.
        """
        scorer = check_scoring(self, scoring=scoring)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        for stage in self._stages():
            yield scorer(stage, X, y, **weights)

    def _stages(self):
        """Yield this learner as it was after each round, for predictions only."""
        check_is_fitted(self)
        for estimator in self._staged_estimators():
            stage = copy.copy(self)
            stage.estimator_ = estimator
            yield stage

    def _staged_estimators(self):
        """Yield the fitted estimator of each round, stored or fitted again."""
        if hasattr(self, "estimators_"):
            yield from self.estimators_
            return
        *earlier, _ = self.history_
        estimator = None
        for record in earlier:
            previous = estimator if self.refit == "continue" else None
            labeled = self._labeled_in(record)
            estimator = self._fitted(record["round"], labeled, previous)
            yield estimator
        yield self.estimator_
