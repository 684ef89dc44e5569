"""Simulated labelling: data whose labels are known play a pool that hides them."""

import numpy as np
from scipy.special import softmax

from dalmax_sk.strategies.reinforcement.features import (
    candidate_features,
    nearest_by_class,
    neighbour_distance,
)

__all__ = ["LabelingEpisode", "fit_softmax_regression", "reduce_dimension"]

# Directions that the proxy learner sees at most.
_MAX_DIMENSION = 32


def fit_softmax_regression(X, codes, n_classes, *, l2=1.0, n_steps=60):
    r"""Fit the proxy learner: multinomial logistic regression with an L2 penalty.

    Minimises :math:`-\sum_i \log p_{y_i}(x_i) + \frac{l2}{2} \|W\|^2` (scikit-learn's
    objective with ``C = 1 / l2``; the bias, one more column, is penalised as well) by
    Nesterov's accelerated gradient with the step 1/L, L the bound
    :math:`\frac12 \lambda_{\max}(X^\top X) + l2` of the curvature [1]_.

    Parameters
    ----------
    X : ndarray of shape (m, d)
        Features, roughly centred and of unit scale.
    codes : ndarray of int of shape (m,)
        Classes from 0 to `n_classes` - 1. Classes that are missing get no special
        treatment: their probability becomes small.
    n_classes : int
        The number of classes C.
    l2 : float, default=1.0
        Strength of the penalty.
    n_steps : int, default=60
        Steps; the same number always, so that a fit costs the same always.

    Returns
    -------
    ndarray of shape (d + 1, C)
        Weights, the bias last.

    References
    ----------
    .. [1] Y. Nesterov, "A Method of Solving a Convex Programming Problem with
       Convergence Rate O(1/k²)", Soviet Mathematics Doklady 27, 1983.
    """
    A = np.column_stack([X, np.ones(len(X))])
    target = np.eye(n_classes)[codes]
    curvature = 0.5 * np.linalg.norm(A, 2) ** 2 + l2
    root = np.sqrt(l2 / curvature)
    momentum = (1 - root) / (1 + root)  # for a strongly convex function
    W = ahead = np.zeros((A.shape[1], n_classes))
    for _ in range(n_steps):
        gradient = A.T @ (softmax(A @ ahead, axis=1) - target) + l2 * ahead
        moved = ahead - gradient / curvature
        ahead = moved + momentum * (moved - W)
        W = moved
    return W


def reduce_dimension(X, dimension=_MAX_DIMENSION):
    """Return `X` centred, scaled and on at most `dimension` principal directions.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Any scale.
    dimension : int, default=32
        Directions kept.

    Returns
    -------
    ndarray of shape (n, min(n, d, dimension)), float64
        Columns have unit variance on average; all zero if the rows are all alike.
    """
    X = np.asarray(X, dtype=np.float64)
    largest = abs(X).max(initial=0.0)
    X = X - X.mean(axis=0)
    if abs(X).max(initial=0.0) <= 1e-9 * largest:
        return np.zeros((len(X), min(*X.shape, dimension)))
    if X.shape[1] > dimension:
        left, singular, _ = np.linalg.svd(X, full_matrices=False)
        X = left[:, :dimension] * singular[:dimension]
    return X / np.sqrt(np.mean(X**2))


class LabelingEpisode:
    """One simulated run of active learning with a proxy learner.

    The rows of `X` are split at random into a labelled start, a pool and a held-out
    part. Each :meth:`step` labels some of the pool, refits the proxy learner (logistic
    regression on `X`) and pays the gain of its held-out score.

    Parameters
    ----------
    X : ndarray of shape (N, d)
        Features; :func:`reduce_dimension` makes any fit.
    codes : ndarray of int of shape (N,)
        Classes from 0 to `n_classes` - 1.
    n_classes : int
        The number of classes C.
    n_initial : int
        Size of the labelled start. It holds at least two classes if the rows left for
        training do.
    random_state : RandomState instance
        Draws the split.
    held_out : float, default=0.4
        Fraction of the rows that measure the score, in (0, 1).

    Attributes
    ----------
    pool : ndarray of int
        Rows of `X` that may be picked.
    labeled : ndarray of int
        Rows that are labelled, in order.
    score : float
        Held-out accuracy of the proxy learner now.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from dalmax_sk.strategies.reinforcement import LabelingEpisode, reduce_dimension
    >>> X, y = load_iris(return_X_y=True)
    >>> rng = np.random.RandomState(0)
    >>> episode = LabelingEpisode(reduce_dimension(X), y, 3, 6, random_state=rng)
    >>> episode.features.shape, len(episode.labeled)
    ((84, 14), 6)
    >>> before = episode.score
    >>> reward = episode.step(np.array([0, 1, 2]))
    >>> bool(np.isclose(episode.score, before + reward)), len(episode.pool)
    (True, 81)
    """

    def __init__(self, X, codes, n_classes, n_initial, *, random_state, held_out=0.4):
        n = len(X)
        self._X, self._codes, self._n_classes = X, np.asarray(codes), n_classes
        order = random_state.permutation(n)
        n_held_out = max(1, round(held_out * n))
        if n - n_held_out <= n_initial:
            raise ValueError(
                f"An episode on {n} rows with {n_held_out} held out has "
                f"{n - n_held_out} left for a start of {n_initial} and a pool. Give "
                "more rows or a smaller start."
            )
        self._held_out, rest = order[:n_held_out], order[n_held_out:]
        rest = _two_classes_first(rest, self._codes, n_initial)
        self.labeled, self.pool = rest[:n_initial], rest[n_initial:]
        # of the pool as it is at first: candidates that leave change it little
        self._neighbours = np.zeros(n)
        self._neighbours[self.pool], self._floor = neighbour_distance(
            X[self.pool], random_state=random_state
        )
        self._nearest = np.full((n, n_classes), np.inf)
        self._see(self.labeled)
        self._fit()

    def step(self, picks):
        """Label positions `picks` of the pool; return the gain of the score, a float.

        Parameters
        ----------
        picks : ndarray of int
            Distinct positions in ``pool`` (which then shrinks).
        """
        before = self.score
        rows = self.pool[picks]
        self.labeled = np.concatenate([self.labeled, rows])
        self.pool = np.delete(self.pool, picks)
        self._see(rows)
        self._fit()
        return self.score - before

    @property
    def features(self):
        """Features of the candidates now, the input of a policy, (len(pool), 14)."""
        return candidate_features(
            self._proba(self.pool),
            self._neighbours[self.pool],
            self._nearest[self.pool],
            np.bincount(self._codes[self.labeled], minlength=self._n_classes),
            self._floor,
        )

    def _see(self, rows):
        """Update the distances to the nearest labelled sample of each class."""
        found, _ = nearest_by_class(
            self._X, self._X[rows], self._codes[rows], self._n_classes
        )
        np.minimum(self._nearest, found, out=self._nearest)

    def _fit(self):
        self._weights = fit_softmax_regression(
            self._X[self.labeled], self._codes[self.labeled], self._n_classes
        )
        predicted = self._proba(self._held_out).argmax(axis=1)
        self.score = float(np.mean(predicted == self._codes[self._held_out]))

    def _proba(self, rows):
        logits = self._X[rows] @ self._weights[:-1] + self._weights[-1]
        return softmax(logits, axis=1)


def _two_classes_first(rows, codes, n_initial):
    """Return `rows` with a second class within the first `n_initial`, if there is one.

    A learner that has seen one class only can say nothing of the candidates.
    """
    if n_initial < 2 or len(np.unique(codes[rows[:n_initial]])) > 1:
        return rows
    others = np.flatnonzero(codes[rows] != codes[rows[0]])
    if not len(others):
        return rows
    rows = rows.copy()
    last, first = n_initial - 1, others[0]
    rows[[last, first]] = rows[[first, last]]
    return rows
