"""Labels to a target, and what that saves against a baseline."""

import numpy as np

__all__ = ["labels_to_reach", "saved_labels"]


def labels_to_reach(
    n_labeled: np.ndarray, scores: np.ndarray, target: float | np.ndarray
) -> np.ndarray:
    """Return the number of labels at which curves first reach a target.

    Between two rounds a curve is taken as straight. What it does after it has first
    reached the target does not matter.

    Parameters
    ----------
    n_labeled : ndarray of shape (n_budgets,)
        Increasing.
    scores : ndarray of float of shape (n_curves, n_budgets)
        Higher is better.
    target : float or ndarray of shape (n_curves,)
        The score to reach.

    Returns
    -------
    ndarray of float of shape (n_curves,)
        The first of `n_labeled` where the curve begins at or above the target, ``inf``
        where it never gets there.
    """
    target = np.broadcast_to(np.asarray(target, dtype=float), len(scores))
    reached = scores >= target[:, None]  # (R, B)
    first = reached.argmax(axis=1)
    rows = np.arange(len(scores))
    before = np.maximum(first - 1, 0)
    low, high = scores[rows, before], scores[rows, first]
    # low < target <= high wherever first > 0 and the target is reached
    rise = np.where(high > low, high - low, 1.0)
    share = np.where(first > 0, (target - low) / rise, 0.0)
    labels = n_labeled[before] + share * (n_labeled[first] - n_labeled[before])
    return np.where(reached.any(axis=1), labels, np.inf)


def saved_labels(labels: np.ndarray, baseline_labels: np.ndarray) -> np.ndarray:
    """Return by how many labels a strategy reaches a target earlier than the baseline.

    Parameters
    ----------
    labels, baseline_labels : ndarray of float of shape (n,)
        What :func:`labels_to_reach` returned for both.

    Returns
    -------
    ndarray of float of shape (n,)
        ``inf`` where only the strategy reaches the target, ``-inf`` where only the
        baseline does, NaN where neither does.
    """
    neither = np.isinf(labels) & np.isinf(baseline_labels)
    return np.where(neither, np.nan, baseline_labels - np.where(neither, 0.0, labels))
