"""The definitions of the kernels, in plain loops and float64."""

from types import SimpleNamespace

import numpy as np
import pytest


def squares(X, center):
    """Squared distances of all rows to one point."""
    difference = np.asarray(X, dtype=np.float64) - np.asarray(center, dtype=np.float64)
    return (difference**2).sum(axis=1)


def k_center(X, n, centers=None, first=None):
    """Farthest-first traversal: picks, distances when picked, covering radius."""
    nearest = np.full(len(X), np.inf)
    for center in [] if centers is None else centers:
        nearest = np.minimum(nearest, squares(X, center))
    picks, distances = [], []
    for _ in range(n):
        left = [i for i in range(len(X)) if i not in picks]
        pick = max(left, key=lambda i: (nearest[i], -i))
        if not picks and first is not None:
            pick = first
        picks.append(pick)
        distances.append(np.sqrt(nearest[pick]))
        nearest = np.minimum(nearest, squares(X, X[pick]))
    return np.array(picks), np.array(distances), np.sqrt(nearest.max())


def nearest_distinct(X, centers, eligible):
    """Match centres to candidates, the nearest free pair first."""
    table = np.stack([squares(X, center) for center in centers])
    table[:, ~eligible] = np.inf
    match = np.full(len(centers), -1)
    for _ in range(len(centers)):
        center, point = np.unravel_index(table.argmin(), table.shape)
        match[center] = point
        table[center], table[:, point] = np.inf, np.inf
    return match


@pytest.fixture(scope="session")
def definition():
    return SimpleNamespace(
        squares=squares, k_center=k_center, nearest_distinct=nearest_distinct
    )
