"""The smallest distance between two different points."""

from typing import Any

import numpy as np
import torch

from dalmax_sk.selection.kit.arrays import as_matrix, check_max_memory, origin_of
from dalmax_sk.selection.kit.distances import (
    block_shape,
    centred,
    expanded_squares,
    plain_squares,
)

__all__ = ["min_distance"]


def min_distance(X: Any, *, max_memory: int = 2**30) -> float:
    """Return the smallest Euclidean distance between two rows that differ.

    Parameters
    ----------
    X : array-like or torch.Tensor of shape (n, d)
        The points, finite.
    max_memory : int, default=2**30
        Bytes that temporary blocks may take, besides one copy of the points.

    Returns
    -------
    float
        Exact: from differences squared and summed in float64. Infinite if fewer than
        two rows differ.

    Raises
    ------
    ValueError
        If `X` is not two-dimensional and finite.

    Examples
    --------
    >>> from dalmax_sk.selection import min_distance
    >>> min_distance([[0.0], [3.0], [0.0], [5.0]])
    2.0
    """
    max_memory = check_max_memory(max_memory)
    # A matrix product tells only roughly how far apart two points are; among distinct
    # ones, few pairs come near the smallest and have to be evaluated exactly.
    points = torch.unique(as_matrix(X, "X"), dim=0)
    if len(points) < 2:
        return float("inf")
    origin = origin_of(points)
    rows, columns = block_shape(points.shape[1], 8, max_memory)
    size = min(rows, columns)
    pairs = max(1, max_memory // (64 * points.shape[1]))
    best = np.inf
    for start in range(0, len(points), size):
        own = points[start : start + size].to(torch.float64)
        shifted = centred(own, origin, torch.float64)
        for begin in range(start, len(points), size):
            others = points[begin : begin + size].to(torch.float64)
            squares, margin = expanded_squares(
                shifted, centred(others, origin, torch.float64)
            )
            if begin == start:
                squares.fill_diagonal_(torch.inf)
            limit = min(float((squares + margin[:, None]).min()), best)
            near = squares - margin[:, None] <= limit
            i, j = near.nonzero(as_tuple=True)
            for i_part, j_part in zip(i.split(pairs), j.split(pairs), strict=True):
                exact = plain_squares(own[i_part], others[j_part])
                exact = exact[exact > 0]  # or else too small for float64
                if len(exact):
                    best = min(best, float(exact.min()))
    return float(np.sqrt(best))
