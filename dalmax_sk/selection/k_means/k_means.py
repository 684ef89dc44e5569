"""k-means with one cluster a pick, and the candidate nearest to each centre."""

import heapq
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from dalmax_sk._base.limits import limits
from dalmax_sk.selection.k_means.lloyd import Lloyd, add_at
from dalmax_sk.selection.kit.arrays import (
    Array,
    as_matrix,
    as_weight,
    check_count,
    check_max_memory,
    positions_like,
    row_blocks,
    take_rows,
)
from dalmax_sk.selection.kit.distances import (
    block_shape,
    centred,
    plain_squares,
)

__all__ = ["k_means_clusters", "k_means_select"]


def k_means_select(
    X: Any,
    n: int,
    *,
    sample_weight: Any = None,
    random_state: Any = None,
    max_memory: int = 2**30,
    return_distances: bool = False,
) -> Array | tuple[Array, Array, float]:
    """Cluster the points into n clusters and pick the candidate nearest each centre.

    The clusters are those of Lloyd's k-means [1]_ from a greedy k-means++ start [2]_
    [3]_, computed in the precision of `X` and stopped when an iteration lowers the
    inertia by less than 0.1 %. Weights draw the centres towards the points that
    matter, for instance uncertain ones [4]_.

    Parameters
    ----------
    X : array-like or torch.Tensor of shape (n_pool, n_features)
        The candidates, finite. float32 and float64 are used as they are, half precision
        is read as float32, integers and booleans as float64.
    n : int
        How many clusters, and picks, from 1 to n_pool.
    sample_weight : array-like or torch.Tensor of shape (n_pool,), default=None
        Weight of each candidate in the clustering, finite, at least 0, and not all 0.
        Candidates of weight 0 are picked only if fewer than `n` have a positive weight.
    random_state : int, RandomState instance or None, default=None
        Source of the k-means++ start. The draws do not depend on the device.
    max_memory : int, default=2**30
        Bytes that temporary blocks may take, besides a few numbers a point and four
        copies of the n centres.
    return_distances : bool, default=False
        Whether to return the distances as well.

    Returns
    -------
    positions : ndarray or torch.Tensor of shape (n,), int64
        Positions in `X`, all distinct, the heaviest cluster's first (ties: the lower
        position). A tensor on the device of `X` if that is a tensor.
    distances : ndarray or torch.Tensor of shape (n,), float64
        Distance of each pick to the centre of its cluster. Only if `return_distances`.
    inertia : float
        Weighted sum of the squared distances of all points to their nearest centre.
        Only if `return_distances`.

    Raises
    ------
    ValueError
        If `X` is not two-dimensional and finite, if `n` is not an integer from 1 to
        n_pool, or if the weights are negative, infinite, all 0, or of another number.

    Notes
    -----
    Picks are distinct even where centres coincide, as they do if there are fewer than n
    distinct points: of all pairs of a free centre and a free candidate the nearest is
    matched first, until every centre has a candidate.

    References
    ----------
    .. [1] Stuart P. Lloyd. "Least squares quantization in PCM". IEEE Transactions on
       Information Theory 28, 1982. doi:10.1109/TIT.1982.1056489
    .. [2] David Arthur and Sergei Vassilvitskii. "k-means++: The Advantages of Careful
       Seeding". SODA 2007.
    .. [3] Christoph Grunau, Ahmet Alper Özüdoğru, Václav Rozhoň and Jakub Tětek. "A
       Nearly Tight Analysis of Greedy k-means++". SODA 2023. arXiv:2207.07949
    .. [4] Fedor Zhdanov. "Diverse mini-batch Active Learning". 2019. arXiv:1901.05954

    Examples
    --------
    >>> from dalmax_sk.selection import k_means_select
    >>> X = [[0.0], [1.0], [2.0], [10.0], [11.5]]
    >>> k_means_select(X, 2, random_state=0)
    array([1, 3])
    """
    max_memory = check_max_memory(max_memory)
    pool = as_matrix(X, "X", max_memory)
    n = check_count(n, len(pool), "X")
    weight = _as_weight(sample_weight, pool)
    lloyd, centers, labels, inertia = _cluster(
        pool, n, weight, random_state, max_memory
    )
    eligible = weight > 0
    if int(eligible.sum()) < n:
        eligible = torch.ones_like(eligible)
    positions, squares = _nearest_distinct(
        pool, centers, lloyd.origin, eligible, max_memory
    )
    size = torch.zeros(n, dtype=torch.float64, device=pool.device)
    add_at(size, labels, lloyd.weight)
    # Heaviest first; NumPy's lexsort takes the last key first.
    order = np.lexsort((positions.cpu().numpy(), -size.cpu().numpy()))
    by_size = torch.from_numpy(order).to(pool.device)
    picks = positions_like(positions[by_size], X)
    if not return_distances:
        return picks
    return picks, positions_like(squares[by_size].sqrt(), X), inertia


def k_means_clusters(
    X: Any,
    n: int,
    *,
    sample_weight: Any = None,
    random_state: Any = None,
    max_memory: int = 2**30,
) -> tuple[Array, Array, float]:
    """Cluster the points by k-means.

    The clusters are those of :func:`k_means_select`.

    Parameters
    ----------
    X : array-like or torch.Tensor of shape (n_pool, n_features)
        The points, finite.
    n : int
        How many clusters, from 1 to n_pool.
    sample_weight : array-like or torch.Tensor of shape (n_pool,), default=None
        Weight of each point, finite, at least 0, and not all 0.
    random_state : int, RandomState instance or None, default=None
        Source of the k-means++ start. The draws do not depend on the device.
    max_memory : int, default=2**30
        Bytes that temporary blocks may take, besides a few numbers a point and four
        copies of the centres.

    Returns
    -------
    labels : ndarray or torch.Tensor of shape (n_pool,), int64
        The cluster of each point, from 0 to n - 1. Clusters are empty if there
        are fewer distinct points than clusters.
    centers : ndarray or torch.Tensor of shape (n, n_features)
        Their centres, in the precision of `X`.
    inertia : float
        Weighted sum of the squared distances of all points to their centre.

    Raises
    ------
    ValueError
        As :func:`k_means_select` does.

    Examples
    --------
    >>> from dalmax_sk.selection import k_means_clusters
    >>> X = [[0.0], [1.0], [10.0], [11.5]]
    >>> labels, centers, inertia = k_means_clusters(X, 2, random_state=0)
    >>> labels[0] == labels[1] != labels[2] == labels[3]
    np.True_
    >>> sorted(centers.ravel().tolist()), inertia
    ([0.5, 10.75], 1.625)
    """
    max_memory = check_max_memory(max_memory)
    pool = as_matrix(X, "X", max_memory)
    n = check_count(n, len(pool), "X")
    weight = _as_weight(sample_weight, pool)
    lloyd, centers, labels, inertia = _cluster(
        pool, n, weight, random_state, max_memory
    )
    centers = (centers.to(torch.float64) + lloyd.origin).to(pool.dtype)
    return positions_like(labels, X), positions_like(centers, X), inertia


def _cluster(
    pool: torch.Tensor,
    n: int,
    weight: torch.Tensor,
    random_state: Any,
    max_memory: int,
) -> tuple[Lloyd, torch.Tensor, torch.Tensor, float]:
    """Return the clustering, its centres (n, d), labels (n_pool,) and inertia."""
    # Relative weights, because the scale may not fit the precision of the points.
    scale = weight.max()
    lloyd = Lloyd(pool, max_memory, weight=weight / scale)
    start = lloyd.plus_plus(n, check_random_state(random_state))
    centers, labels, inertia = lloyd.run(start)
    return lloyd, centers, labels, inertia * float(scale)


def _as_weight(sample_weight: Any, pool: torch.Tensor) -> torch.Tensor:
    """Return weights (n_pool,), float64, on the device of the pool."""
    return torch.from_numpy(as_weight(sample_weight, len(pool))).to(pool.device)


def _nearest_distinct(
    pool: torch.Tensor,
    centers: torch.Tensor,
    origin: torch.Tensor,
    eligible: torch.Tensor,
    max_memory: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Match each centre to a candidate of its own, the nearest pairs first.

    Returns positions (k,) and exact squared distances (k,), one a centre.
    """
    free = eligible.clone()
    positions = torch.full((len(centers),), -1, dtype=torch.int64)
    taken: set[int] = set()
    shortlists: dict[int, list[tuple[float, int]]] = {}
    heap: list[tuple[float, int, int]] = []

    def look_up(which: list[int], length: int) -> None:
        chosen = torch.tensor(which, device=pool.device)
        values, index = _shortlist(
            pool, centers[chosen], origin, free, length, max_memory
        )
        for center, value, candidate in zip(
            which, values.tolist(), index.tolist(), strict=True
        ):
            pairs = sorted(zip(value, candidate, strict=True), reverse=True)
            shortlists[center] = pairs
            heapq.heappush(heap, (*pairs.pop(), center))

    look_up(list(range(len(centers))), 1)
    while heap:
        _, candidate, center = heapq.heappop(heap)
        if candidate not in taken:
            taken.add(candidate)
            free[candidate] = False
            positions[center] = candidate
            continue
        pairs = shortlists[center]
        while pairs and pairs[-1][1] in taken:
            pairs.pop()
        if pairs:
            heapq.heappush(heap, (*pairs.pop(), center))
            continue
        # Everybody whose nearest has gone is looked up in the same pass.
        losers = {c for _, p, c in heap if p in taken and not shortlists[c]}
        heap = [entry for entry in heap if entry[2] not in losers]
        heapq.heapify(heap)
        least, most = limits.shortlist
        length = min(max(least, len(losers) + 1), most, int(free.sum()))
        look_up([center, *sorted(losers)], length)

    positions = positions.to(pool.device)
    squares = torch.empty(len(centers), dtype=torch.float64, device=pool.device)
    rows = block_shape(pool.shape[1], 8, max_memory)[0]
    for part, at, own in zip(
        squares.split(rows), positions.split(rows), centers.split(rows), strict=True
    ):
        points = centred(take_rows(pool, at), origin, torch.float64)
        part.copy_(plain_squares(points, own.to(torch.float64)))
    return positions, squares


def _shortlist(
    pool: torch.Tensor,
    centers: torch.Tensor,
    origin: torch.Tensor,
    free: torch.Tensor,
    length: int,
    max_memory: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the ``length`` nearest free candidates of each centre.

    Returns approximate squared distances and positions, both (k, length).
    """
    # float64, because in float32 the nearest of the points close to a centre is a
    # matter of chance if the centres lie far apart.
    rows, columns = block_shape(pool.shape[1], 8, max_memory)
    found_values, found_index = [], []
    for own in centers.to(torch.float64).split(columns):
        norms = (own * own).sum(dim=1)
        values = torch.empty((len(own), 0), dtype=own.dtype, device=pool.device)
        index = torch.empty((len(own), 0), dtype=torch.int64, device=pool.device)
        for block in row_blocks(pool, rows):
            points = centred(pool[block], origin, torch.float64)
            offset = (points * points).sum(dim=1)
            offset[~free[block]] = torch.inf
            squares = torch.addmm(offset, own, points.T, alpha=-2.0)
            if length == 1:
                value, at = squares.min(dim=1, keepdim=True)
            else:
                width = min(length, len(points))
                value, at = torch.topk(squares, width, largest=False)
            values = torch.cat([values, value + norms[:, None]], dim=1)
            index = torch.cat([index, at + block.start], dim=1)
            best = torch.topk(values, min(length, values.shape[1]), largest=False)
            values, index = best.values, index.gather(1, best.indices)
        found_values.append(values.clamp_min(0.0))
        found_index.append(index)
    return torch.cat(found_values), torch.cat(found_index)
