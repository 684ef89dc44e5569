"""The last layer of a classifier: what turns embeddings into class scores."""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from dalmax_sk._base.fits import classes_of
from dalmax_sk._base.storage import is_mapped, row_blocks
from dalmax_sk.pool.network import is_net

__all__ = ["LinearHead", "find_head"]


@dataclass(frozen=True)
class LinearHead:
    """A linear map from embeddings to the scores of the classes a model has seen.

    Parameters
    ----------
    weight : ndarray of shape (S, d), float64
        One row for each of the S classes that the model was fitted on.
    bias : ndarray of shape (S,), float64
    columns : ndarray of int of shape (S,)
        Which of the `n_classes` classes the rows stand for, ascending.
    n_classes : int
        Number C of all classes, seen or not.

    Examples
    --------
    >>> import numpy as np
    >>> head = LinearHead(np.eye(2), np.zeros(2), columns=np.array([0, 2]), n_classes=3)
    >>> head.logits(np.array([[1.0, 3.0]]))
    array([[1., 3.]])
    >>> head.proba(np.array([[0.0, 0.0]]))
    array([[0.5, 0. , 0.5]])
    """

    weight: np.ndarray
    bias: np.ndarray
    columns: np.ndarray
    n_classes: int

    def logits(self, embeddings):
        """Return the class scores (n, S), float64, of embeddings (n, d)."""
        if not is_mapped(embeddings):
            return np.asarray(embeddings, dtype=np.float64) @ self.weight.T + self.bias
        scores = np.empty((len(embeddings), len(self.weight)))
        for rows in row_blocks(embeddings):  # not all in float64 at once
            block = np.asarray(embeddings[rows], dtype=np.float64)
            scores[rows] = block @ self.weight.T + self.bias
        return scores

    def proba(self, embeddings):
        """Return the soft-max (n, C) of the scores; 0 for classes never seen."""
        proba = np.zeros((len(embeddings), self.n_classes))
        proba[:, self.columns] = softmax(self.logits(embeddings), axis=1)
        return proba


def find_head(estimator, classes):
    """Return the linear map at the end of a fitted classifier, or None.

    Parameters
    ----------
    estimator : CNNClassifier or estimator with ``coef_`` and ``intercept_``
        A binary model with one row of coefficients w gets the two rows -w/2 and w/2,
        whose soft-max is the logistic function.
    classes : ndarray of shape (C,)
        All classes, sorted.

    Returns
    -------
    LinearHead or None
        None if the estimator has no such map, or one of another number of rows than
        classes. Whether the soft-max of its scores are the estimator's probabilities is
        for the caller to check.

    Raises
    ------
    ValueError
        If a weight is not finite.
    """
    weight = bias = None
    seen = classes_of(estimator) if hasattr(estimator, "classes_") else []
    if is_net(estimator):
        layer = estimator.module_.get_classifier()
        weight = layer.weight.detach().cpu().double().numpy()
        bias = None if layer.bias is None else layer.bias.detach().cpu().double()
        bias = np.zeros(len(weight)) if bias is None else bias.numpy()
    elif hasattr(estimator, "coef_") and hasattr(estimator, "intercept_"):
        weight = estimator.coef_
        if hasattr(weight, "toarray"):  # of a model that was made sparse
            weight = weight.toarray()
        weight = np.atleast_2d(np.asarray(weight, dtype=np.float64))
        bias = np.asarray(estimator.intercept_, dtype=np.float64)
        bias = np.broadcast_to(bias, len(weight))
        if len(weight) == 1 and len(seen) == 2:
            weight = np.concatenate([-weight, weight]) / 2
            bias = np.concatenate([-bias, bias]) / 2
    if weight is None or len(weight) != len(seen):
        return None
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise ValueError(
            f"{type(estimator).__name__} has weights that are NaN or infinite in its "
            "last layer: the training diverged (a lower learning rate helps)."
        )
    columns = np.searchsorted(classes, seen)
    return LinearHead(weight, bias, columns, len(classes))
