"""Typical points of clusters, and which cluster to take the next one from."""

import heapq
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from dalmax_sk._base import progress
from dalmax_sk.selection.kit.arrays import (
    Array,
    as_matrix,
    check_count,
    check_max_memory,
    positions_like,
    take_rows,
)
from dalmax_sk.selection.kit.distances import (
    block_shape,
    centred,
    plain_squares,
    rounding,
)

__all__ = ["clusters_to_visit", "typicality"]


def typicality(
    X: Any,
    labels: Any = None,
    *,
    n_neighbors: int = 20,
    clusters: Any = None,
    max_memory: int = 2**30,
) -> Array:
    r"""Score how typical points are of their cluster.

    With the K nearest other points of the same cluster,

    .. math:: t(x) = \left( \frac{1}{K} \sum_{k=1}^{K} \|x - x_{(k)}\| \right)^{-1},

    as TypiClust defines it [1]_. Neighbours are exact.

    Parameters
    ----------
    X : array-like or torch.Tensor of shape (n_pool, n_features)
        The points, finite. float32 and float64 are used as they are, half precision is
        read as float32, integers and booleans as float64.
    labels : array-like or torch.Tensor of int of shape (n_pool,), default=None
        The cluster of each point. None means that all are in one.
    n_neighbors : int, default=20
        K; in a cluster of s points the smaller of it and s - 1.
    clusters : sequence of int, default=None
        The clusters whose points are wanted; None means all. Points of others get NaN.
    max_memory : int, default=2**30
        Bytes that temporary blocks may take, besides O(n_pool · n_neighbors) numbers.

    Returns
    -------
    ndarray or torch.Tensor of shape (n_pool,), float64
        Typicality, positive: the inverse of a Euclidean distance. Infinite where all
        K neighbours coincide with the point, and in clusters of one.

    Raises
    ------
    ValueError
        If `X` is not two-dimensional and finite, if `labels` are not one integer a
        point, or if `n_neighbors` is not an integer of at least 1.

    Notes
    -----
    Time is quadratic in the sizes of the clusters: O(d · Σ s²), and a matrix product.

    References
    ----------
    .. [1] Guy Hacohen, Avihu Dekel and Daphna Weinshall. "Active Learning on a Budget:
       Opposite Strategies Suit High and Low Budgets". ICML 2022. arXiv:2202.02794

    Examples
    --------
    >>> from dalmax_sk.selection import typicality
    >>> typicality([[0.0], [2.0], [3.0], [50.0]], [0, 0, 0, 1], n_neighbors=2)
    array([0.4       , 0.66666667, 0.5       ,        inf])
    """
    max_memory = check_max_memory(max_memory)
    pool = as_matrix(X, "X", max_memory)
    if not isinstance(n_neighbors, int | np.integer) or n_neighbors < 1:
        raise ValueError(
            f"n_neighbors must be an integer of at least 1, got {n_neighbors!r}."
        )
    codes = np.zeros(len(pool), np.int64) if labels is None else _as_labels(labels)
    if len(codes) != len(pool):
        raise ValueError(f"labels has {len(codes)} values for {len(pool)} rows of X.")

    scores = torch.full((len(pool),), torch.nan, dtype=torch.float64)
    # Sorting once finds the members of all clusters.
    order = np.argsort(codes, kind="stable")
    names, starts = np.unique(codes[order], return_index=True)
    wanted = None if clusters is None else {int(name) for name in clusters}
    members = np.split(order, starts[1:])
    for done, (name, at) in enumerate(zip(names.tolist(), members, strict=True)):
        if wanted is None or name in wanted:
            index = torch.from_numpy(at).to(pool.device)
            means = _mean_distances(pool, index, int(n_neighbors), max_memory)
            scores[at] = 1.0 / means.cpu()
        progress.report("query", done + 1, len(names))
    return positions_like(scores, X)


def clusters_to_visit(
    sizes: Any,
    n: int,
    *,
    n_labeled: Any = None,
    min_size: int = 5,
    random_state: Any = None,
) -> np.ndarray:
    """Decide from which cluster each of n picks comes.

    Each time it is the cluster with the fewest labelled points, earlier picks counted,
    and of these the largest, as in TypiClust [1]_. Clusters smaller than `min_size` are
    left out until no other has a point left.

    Parameters
    ----------
    sizes : array-like of int of shape (k,)
        How many points each cluster has, labelled ones included.
    n : int
        How many picks, from 1 to the number of points that are not labelled.
    n_labeled : array-like of int of shape (k,), default=None
        How many of them are labelled; None means none. These cannot be picked.
    min_size : int, default=5
        Clusters with fewer points are a last resort.
    random_state : int, RandomState instance or None, default=None
        Decides ties. None draws from NumPy's global generator.

    Returns
    -------
    ndarray of int64 of shape (n,)
        A cluster for each pick, in order. A cluster is named at most as often as it has
        points that are not labelled.

    Raises
    ------
    ValueError
        If `n_labeled` is not from 0 to `sizes`, or `n` is out of range.

    References
    ----------
    .. [1] Guy Hacohen, Avihu Dekel and Daphna Weinshall. "Active Learning on a Budget:
       Opposite Strategies Suit High and Low Budgets". ICML 2022. arXiv:2202.02794

    Examples
    --------
    >>> from dalmax_sk.selection import clusters_to_visit
    >>> clusters_to_visit([50, 70, 90, 4], 4, n_labeled=[0, 0, 1, 0])
    array([1, 0, 2, 1])
    """
    total = np.asarray(sizes, dtype=np.int64)
    known = np.zeros_like(total) if n_labeled is None else np.asarray(n_labeled)
    if known.shape != total.shape or (known < 0).any() or (known > total).any():
        raise ValueError(
            "n_labeled must have one number from 0 to the size of each of the "
            f"{len(total)} clusters, got {known.tolist()} for sizes {total.tolist()}."
        )
    free = total - known
    n = check_count(n, int(free.sum()), "the clusters")
    ties = check_random_state(random_state).permutation(len(total))
    heap = [
        (bool(total[c] < min_size), int(known[c]), -int(total[c]), int(ties[c]), c)
        for c in np.flatnonzero(free).tolist()
    ]
    heapq.heapify(heap)
    visits = np.empty(n, dtype=np.int64)
    for pick in range(n):
        small, labeled, size, tie, cluster = heapq.heappop(heap)
        visits[pick] = cluster
        free[cluster] -= 1
        if free[cluster]:
            heapq.heappush(heap, (small, labeled + 1, size, tie, cluster))
    return visits


def _as_labels(labels: Any) -> np.ndarray:
    array = np.asarray(labels.cpu() if isinstance(labels, torch.Tensor) else labels)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be one-dimensional integers, got shape {array.shape} and "
            f"type {array.dtype}."
        )
    return array


def _mean_distances(
    pool: torch.Tensor, index: torch.Tensor, n_neighbors: int, max_memory: int
) -> torch.Tensor:
    """Return mean distances (s,) of points to their nearest others among ``index``."""
    size = len(index)
    k = min(n_neighbors, size - 1)
    means = torch.zeros(size, dtype=torch.float64, device=pool.device)
    if k == 0:
        return means
    if pool.element_size() * size * pool.shape[1] <= max_memory // 4:
        # Read once, and not once for every block of rows.
        pool, index = take_rows(pool, index), torch.arange(size, device=pool.device)
    # float64, or the nearest neighbours of a dense cluster are a matter of chance.
    rows, columns = block_shape(pool.shape[1], 8, max_memory)
    rows = max(1, min(rows, max_memory // (64 * k)))
    origin = take_rows(pool, index[:rows]).to(torch.float64).mean(dim=0)
    for start in range(0, size, rows):
        own = index[start : start + rows]
        points = centred(take_rows(pool, own), origin, torch.float64)
        values, found = _nearest_others(pool, index, own, points, origin, k, columns)
        means[start : start + rows] = _resolved(
            pool, own, points, values, found, max_memory
        )
    return means


def _nearest_others(
    pool: torch.Tensor,
    index: torch.Tensor,
    own: torch.Tensor,
    points: torch.Tensor,
    origin: torch.Tensor,
    k: int,
    columns: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the k smallest squared distances, and whose they are, both (r, k)."""
    values = points.new_empty((len(own), 0))
    found = own.new_empty((len(own), 0))
    norms = (points * points).sum(dim=1, keepdim=True)
    for others in index.split(columns):
        shifted = centred(take_rows(pool, others), origin, torch.float64)
        squares = torch.addmm(
            (shifted * shifted).sum(dim=1), points, shifted.T, alpha=-2
        )
        squares += norms
        squares.masked_fill_(own[:, None] == others, torch.inf)
        width = min(k, len(others))
        value, at = torch.topk(squares, width, largest=False, sorted=False)
        values = torch.cat([values, value], dim=1)
        found = torch.cat([found, others[at]], dim=1)
        best = torch.topk(values, min(k, values.shape[1]), largest=False, sorted=False)
        values, found = best.values, found.gather(1, best.indices)
    return values, found


def _resolved(
    pool: torch.Tensor,
    own: torch.Tensor,
    points: torch.Tensor,
    values: torch.Tensor,
    found: torch.Tensor,
    max_memory: int,
) -> torch.Tensor:
    """Return mean distances (r,); squares lost in rounding are evaluated exactly."""
    relative, absolute = rounding(pool.shape[1], torch.float64)
    norms = (points * points).sum(dim=1, keepdim=True)
    # Close neighbours are about as far from the origin as the point itself.
    i, j = (values <= 8.0 * relative * norms + absolute).nonzero(as_tuple=True)
    n_pairs = max(1, max_memory // (64 * pool.shape[1]))
    for i_part, j_part in zip(i.split(n_pairs), j.split(n_pairs), strict=True):
        one = take_rows(pool, own[i_part]).to(torch.float64)
        other = take_rows(pool, found[i_part, j_part]).to(torch.float64)
        values[i_part, j_part] = plain_squares(one, other)
    return values.clamp_min_(0.0).sqrt_().mean(dim=1)
