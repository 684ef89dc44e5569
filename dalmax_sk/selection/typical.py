"""Typical points of clusters, and which cluster to take the next one from."""

import heapq
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from dalmax_sk._base import progress
from dalmax_sk._base.words import counted
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

__all__ = ["clusters_to_visit", "most_typical", "typicality"]


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
    _check_neighbors(n_neighbors)
    zeros = np.zeros(len(pool), np.int64)
    codes = zeros if labels is None else _as_labels(labels, len(pool))
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
    min_size: int = 6,
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
    min_size : int, default=6
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
    >>> clusters_to_visit([50, 70, 90, 5], 4, n_labeled=[0, 0, 1, 0])
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


def most_typical(
    X: Any,
    labels: Any,
    visits: Any,
    *,
    n_neighbors: int = 20,
    random_state: Any = None,
    max_memory: int = 2**30,
) -> tuple[Array, Array]:
    """Pick the most typical point that is left of each cluster visited.

    Typicality as in :func:`typicality`, among the points of the cluster that have not
    been picked. The number of neighbours is at most half of these, as in the program
    of TypiClust's authors [1]_, so that the typical point of a small cluster lies in
    its dense part and not in its middle.

    Parameters
    ----------
    X : array-like or torch.Tensor of shape (n_pool, n_features)
        The points that can be picked, as for :func:`typicality`.
    labels : array-like or torch.Tensor of int of shape (n_pool,)
        The cluster of each point.
    visits : sequence of int of shape (n,)
        The cluster of each pick, as :func:`clusters_to_visit` decides; none more often
        than it has points.
    n_neighbors : int, default=20
        K; among s points that are left the smaller of it and ``s // 2``, at least 1.
    random_state : int, RandomState instance or None, default=None
        Decides ties. None draws from NumPy's global generator.
    max_memory : int, default=2**30
        Bytes that temporary blocks may take.

    Returns
    -------
    positions : ndarray or torch.Tensor of shape (n,), int64
        The picks.
    scores : ndarray or torch.Tensor of shape (n,), float64
        Their typicality when they were picked.

    Raises
    ------
    ValueError
        If `X` is not two-dimensional and finite, if `labels` are not one integer a
        point, if `n_neighbors` is not an integer of at least 1, or if a cluster is
        visited more often than it has points.

    References
    ----------
    .. [1] Guy Hacohen, Avihu Dekel and Daphna Weinshall. "Active Learning on a Budget:
       Opposite Strategies Suit High and Low Budgets". ICML 2022. arXiv:2202.02794

    Examples
    --------
    >>> from dalmax_sk.selection import most_typical
    >>> X = [[0.0], [2.0], [3.0], [3.5], [9.0], [50.0]]
    >>> most_typical(X, [0, 0, 0, 0, 0, 1], [0, 1, 0], n_neighbors=2)[0]
    array([2, 5, 1])
    """
    max_memory = check_max_memory(max_memory)
    pool = as_matrix(X, "X", max_memory)
    _check_neighbors(n_neighbors)
    codes = _as_labels(labels, len(pool))
    # by cluster, then in random order
    order = np.lexsort(
        (check_random_state(random_state).permutation(len(codes)), codes)
    )
    names, starts = np.unique(codes[order], return_index=True)
    members = dict(zip(names.tolist(), np.split(order, starts[1:]), strict=True))
    for name, n_visits in zip(*np.unique(visits, return_counts=True), strict=True):
        if n_visits > (n_points := len(members.get(name, ()))):
            raise ValueError(
                f"visits names cluster {name} {n_visits} times, but it has "
                f"{counted(n_points, 'point')}."
            )
    left: dict[int, _Left] = {}
    positions = torch.empty(len(visits), dtype=torch.int64)
    scores = torch.empty(len(visits), dtype=torch.float64)
    for pick, name in enumerate(np.asarray(visits).tolist()):
        if name not in left:
            left[name] = _Left(pool, members[name], n_neighbors, max_memory)
        positions[pick], scores[pick] = left[name].pop()
        progress.report("query", pick + 1, len(visits))
    return positions_like(positions, X), positions_like(scores, X)


class _Left:
    """The points that are left of one cluster.

    While K stays, the mean distance of a point can only grow as others are picked: what
    was computed before is a lower bound, and only the smallest need be brought up to
    date.
    """

    def __init__(
        self, pool: torch.Tensor, members: np.ndarray, n_neighbors: int, max_memory: int
    ) -> None:
        self.pool, self.n_neighbors, self.max_memory = pool, n_neighbors, max_memory
        self.members = torch.from_numpy(members).to(pool.device)
        self.k = 0

    def pop(self) -> tuple[int, float]:
        """Return the most typical point, of ties the first, and take it away."""
        k = max(1, min(self.n_neighbors, len(self.members) // 2))
        if k != self.k:
            self.k = k
            self.means = self._means()
            self.is_exact = torch.ones(len(self.means), dtype=torch.bool)
        while not self.is_exact[best := int(self.means.argmin())]:
            self.means[best] = self._means(torch.tensor([best]))[0]
            self.is_exact[best] = True
        found = int(self.members[best]), float(1.0 / self.means[best])
        keep = torch.arange(len(self.means)) != best
        self.members, self.means = (
            self.members[keep.to(self.pool.device)],
            self.means[keep],
        )
        self.is_exact = torch.zeros(len(self.means), dtype=torch.bool)
        return found

    def _means(self, own: torch.Tensor | None = None) -> torch.Tensor:
        return _mean_distances(
            self.pool, self.members, self.k, self.max_memory, own
        ).cpu()


def _check_neighbors(n_neighbors: Any) -> None:
    if not isinstance(n_neighbors, int | np.integer) or n_neighbors < 1:
        raise ValueError(
            f"n_neighbors must be an integer of at least 1, got {n_neighbors!r}."
        )


def _as_labels(labels: Any, n: int) -> np.ndarray:
    array = np.asarray(labels.cpu() if isinstance(labels, torch.Tensor) else labels)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be one-dimensional integers, got shape {array.shape} and "
            f"type {array.dtype}."
        )
    if len(array) != n:
        raise ValueError(f"labels has {len(array)} values for {n} rows of X.")
    return array


def _mean_distances(
    pool: torch.Tensor,
    index: torch.Tensor,
    n_neighbors: int,
    max_memory: int,
    own: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return mean distances of points to their nearest others among ``index`` (s,).

    The points are those at the places ``own`` of ``index``; None means all.
    """
    own = torch.arange(len(index)) if own is None else own
    own = own.to(pool.device)
    k = min(n_neighbors, len(index) - 1)
    means = torch.zeros(len(own), dtype=torch.float64, device=pool.device)
    if k == 0:
        return means
    if pool.element_size() * len(index) * pool.shape[1] <= max_memory // 4:
        # Read once, and not once for every block of rows.
        pool, index = take_rows(pool, index), torch.arange(len(index)).to(pool.device)
    # float64, or the nearest neighbours of a dense cluster are a matter of chance.
    rows, columns = block_shape(pool.shape[1], 8, max_memory)
    rows = max(1, min(rows, max_memory // (64 * k)))
    origin = take_rows(pool, index[:rows]).to(torch.float64).mean(dim=0)
    for start in range(0, len(own), rows):
        rows_of_block = index[own[start : start + rows]]
        points = centred(take_rows(pool, rows_of_block), origin, torch.float64)
        values, found = _nearest_others(
            pool, index, rows_of_block, points, origin, k, columns
        )
        means[start : start + rows] = _resolved(
            pool, rows_of_block, points, values, found, max_memory
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
