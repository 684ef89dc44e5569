"""The largest radius at which balls hardly ever mix clusters."""

import math
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from dalmax_sk._base.limits import limits
from dalmax_sk.selection.coverage.similarity import BoundedFeatures, Similarity
from dalmax_sk.selection.k_means.lloyd import Lloyd
from dalmax_sk.selection.kit.arrays import (
    as_points,
    check_count,
    check_max_memory,
    origin_of,
)
from dalmax_sk.selection.kit.distances import exact_nearest
from dalmax_sk.selection.kit.tie_order import TieOrder

__all__ = ["pure_ball_radius"]


def pure_ball_radius(
    X: Any,
    n_clusters: int,
    *,
    purity: float = 0.95,
    random_state: Any = None,
    max_memory: int = 2**30,
) -> float:
    """Return the largest radius at which most balls lie in one cluster.

    ProbCover's rule [1]_: a ball around a point is pure if all points in it have the
    label of its centre, k-means clusters taking the place of labels. The radius is the
    largest at which at least a share `purity` of the balls is pure.

    Parameters
    ----------
    X : array-like or torch.Tensor of shape (n_pool, n_features)
        The points, finite.
    n_clusters : int
        Number of clusters, from 1 to n_pool; as a rule the number of classes.
    purity : float, default=0.95
        The share of pure balls, in (0, 1].
    random_state : int, RandomState instance or None, default=None
        Source of the k-means start.
    max_memory : int, default=2**30
        Bytes that temporary blocks may take, besides copies of the points.

    Returns
    -------
    float
        Exact for these clusters: not a value of a grid. Infinite if all points are in
        one cluster, so that every ball is pure.

    Raises
    ------
    ValueError
        If `X` is not two-dimensional and finite, a parameter is out of its range, or no
        positive radius reaches the purity.

    References
    ----------
    .. [1] Ofer Yehuda, Avihu Dekel, Guy Hacohen and Daphna Weinshall. "Active Learning
       Through a Covering Lens". NeurIPS 2022. arXiv:2205.11320

    Examples
    --------
    Two clusters, 3 apart: balls of almost that radius are pure.

    >>> from dalmax_sk.selection import pure_ball_radius
    >>> X = [[0.0], [1.0], [4.0], [5.0]]
    >>> round(pure_ball_radius(X, 2, random_state=0), 6)
    3.0
    >>> round(pure_ball_radius(X, 2, purity=0.5, random_state=0), 6)
    4.0
    """
    max_memory = check_max_memory(max_memory)
    pool, _, _ = as_points(X, max_memory=max_memory)
    n_clusters = check_count(n_clusters, len(pool), "X")
    if not isinstance(purity, int | float | np.number) or not 0 < purity <= 1:
        raise ValueError(f"purity must be a number in (0, 1], got {purity!r}.")
    lloyd = Lloyd(pool, max_memory)
    start = lloyd.plus_plus(n_clusters, check_random_state(random_state))
    _, clusters, _ = lloyd.run(start)
    # Equal points may lie between two centres at the same distance; rounding must not
    # put them into different clusters.
    group = TieOrder(pool, None).group
    first = np.unique(group, return_index=True)[1]
    labels = clusters.cpu().numpy()[first[group]]
    return _radius(pool, labels, float(purity), max_memory)


def _radius(
    pool: torch.Tensor, labels: np.ndarray, purity: float, max_memory: int
) -> float:
    """Return the largest radius at which enough balls hold one label only."""
    # A ball is pure if its radius is below the distance to the nearest other label.
    n_pure = max(1, math.ceil(purity * len(pool) - 1e-9))
    square = _nth_largest_gap(pool, labels, n_pure, max_memory)
    if square == 0:
        raise ValueError(
            f"No positive radius has a purity of {purity:g}: too many points coincide "
            "with points of another cluster. Lower the purity, or give a radius."
        )
    radius = math.sqrt(square)
    while radius**2 >= square and radius < math.inf:
        radius = math.nextafter(radius, 0.0)
    return radius


def _nth_largest_gap(
    pool: torch.Tensor, labels: np.ndarray, n: int, max_memory: int
) -> float:
    """Return the n-th largest squared distance of a point to the nearest other label.

    A matrix product bounds all of them; those that may be the n-th are evaluated.
    """
    order = labels.argsort(kind="stable")
    sorted_pool = pool[torch.from_numpy(order).to(pool.device)]
    ends = np.flatnonzero(np.diff(labels[order], append=-1)) + 1  # of each label
    if len(ends) == 1:
        return math.inf
    low, slack = _gaps(sorted_pool, ends, max_memory)  # (n_pool,)
    descending = np.sort(low)[::-1]
    least, most = descending[n - 1], descending[n - 1] + slack
    # Above `most` even the lower bound tells that a gap is larger than the n-th; one
    # whose upper bound is below `least` is smaller.
    unsure = np.flatnonzero((low + slack >= least) & (low <= most))
    n_above = int((low > most).sum())
    exact = np.full(len(unsure), np.inf)
    origin = origin_of(sorted_pool)
    for start, end in zip(np.append(0, ends[:-1]), ends, strict=True):
        mine = (unsure >= start) & (unsure < end)
        if not mine.any():
            continue
        index = torch.from_numpy(unsure[mine]).to(pool.device)
        for block in (*_blocks(0, start), *_blocks(end, len(pool))):
            squares = exact_nearest(
                sorted_pool, index, sorted_pool[block], origin, max_memory
            )
            exact[mine] = np.minimum(exact[mine], squares.cpu().numpy())
    return float(np.sort(exact)[::-1][n - 1 - n_above])


def _gaps(
    pool: torch.Tensor, ends: np.ndarray, max_memory: int
) -> tuple[np.ndarray, float]:
    """Return lower bounds on squared distances to the nearest other label, and slack.

    ``pool`` is sorted by label; ``ends`` holds the end of each label's rows.
    """
    mean = pool.mean(dim=0)
    spread = float(
        torch.maximum(pool.amax(dim=0) - mean, mean - pool.amin(dim=0)).max()
    )
    scale = spread * math.sqrt(pool.shape[1]) or 1.0
    data = BoundedFeatures(pool, Similarity("linear", scale), max_memory)
    size = limits.tile_rows
    itemsize = data.offset.element_size()
    while size > 1 and 2 * size * (size + pool.shape[1]) * itemsize > max_memory // 2:
        size //= 2
    scratch = data.offset.new_empty(size * size)
    nearest = data.offset.new_full((len(pool),), -torch.inf)
    for start, end in zip(np.append(0, ends[:-1]), ends, strict=True):
        for block in _blocks(start, end, size):
            features, offset = data.features(block), data.offset[block]
            for other in _blocks(end, len(pool), size):
                shape = len(offset), other.stop - other.start
                tile = scratch[: shape[0] * shape[1]].view(shape)
                data.nearness_into(tile, features, offset, other)
                nearest[block] = torch.maximum(nearest[block], tile.amax(dim=1))
                nearest[other] = torch.maximum(nearest[other], tile.amax(dim=0))
    low = -nearest.to(torch.float64).cpu().numpy() * scale**2
    return np.maximum(low, 0.0), data.slack * scale**2


def _blocks(start: Any, end: Any, size: int | None = None) -> list[slice]:
    start, end, size = int(start), int(end), size or limits.tile_rows
    return [slice(i, min(i + size, end)) for i in range(start, end, size)]
