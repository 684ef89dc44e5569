"""Average-linkage clustering without a distance matrix, and picks in turn.

With squared Euclidean distances the average over all pairs of two clusters needs only
their means μ, mean squared radii v and sizes: it is ``|μ - μ'|² + v + v'``. Cosine
distances are half the squared distances of normalised points. Memory is that of the
points, and nearest clusters come from matrix products.
"""

import hashlib
import math
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from dalmax_sk._base import progress
from dalmax_sk._base.limits import limits
from dalmax_sk.selection.kit.arrays import (
    Array,
    as_points,
    check_count,
    check_max_memory,
    positions_like,
    row_blocks,
)
from dalmax_sk.selection.kit.distances import block_shape

__all__ = ["average_linkage", "round_robin"]

_METRICS = ("cosine", "sqeuclidean")

_REPORT_EVERY = 500


def average_linkage(
    X: Any,
    *,
    n_clusters: int | None = None,
    threshold: float | None = None,
    metric: str = "sqeuclidean",
    max_memory: int = 2**30,
) -> tuple[Array, np.ndarray]:
    r"""Cluster points from the bottom up by average linkage.

    Starting from one cluster a point, the two clusters A and B with the smallest

    .. math:: d(A, B) = \frac{1}{|A||B|} \sum_{a \in A} \sum_{b \in B} d(a, b)

    are merged until `n_clusters` are left, or until the smallest `d` exceeds
    `threshold`, whichever comes first. The result is that of the definition (UPGMA
    [1]_), not an approximation.

    Parameters
    ----------
    X : array-like or torch.Tensor of shape (n, n_features)
        The points, finite. All is computed in float64.
    n_clusters : int, default=None
        How many clusters to stop at, from 1 to n. None means that only `threshold`
        stops.
    threshold : float, default=None
        The largest `d` at which clusters are merged, at least 0. None means that only
        `n_clusters` stops.
    metric : {"sqeuclidean", "cosine"}, default="sqeuclidean"
        The distance of two points: the squared Euclidean one, or one minus the cosine
        of their angle, from 0 to 2. A point at zero has no angle; its cosine distance
        counts as 1/2.
    max_memory : int, default=2**30
        Bytes that temporary blocks may take, besides one float64 copy of `X` and a few
        numbers a point.

    Returns
    -------
    labels : ndarray or torch.Tensor of shape (n,), int64
        The cluster of each point, numbered by their lowest positions.
    heights : ndarray of float64 of shape (n - number of clusters,)
        The distances `d` of the merges that were made, ascending up to rounding.

    Raises
    ------
    ValueError
        If `X` is not two-dimensional and finite, if neither or a wrong limit is given,
        or if squared distances overflow.

    Notes
    -----
    Ties go to the lowest positions. Time is O(n² · d) for the first nearest neighbours
    and usually a small multiple of it in all: after a merge a neighbour is looked up
    again only when a lower bound on its distance comes up as the smallest, and then
    together with others. A matrix of all distances is never held.

    References
    ----------
    .. [1] Robert R. Sokal and Charles D. Michener. "A statistical method for evaluating
       systematic relationships". University of Kansas Science Bulletin 38, 1958.
    .. [2] Daniel Müllner. "Modern hierarchical, agglomerative clustering algorithms".
       2011. arXiv:1109.2378

    Examples
    --------
    >>> from dalmax_sk.selection import average_linkage
    >>> labels, heights = average_linkage([[0.0], [1.0], [9.0]], n_clusters=1)
    >>> heights.round(3)
    array([ 1. , 72.5])
    >>> average_linkage([[0.0], [1.0], [9.0]], threshold=2.0)[0]
    array([0, 0, 1])
    """
    if metric not in _METRICS:
        raise ValueError(f"metric must be one of {_METRICS}, got {metric!r}.")
    max_memory = check_max_memory(max_memory)
    pool, _, _ = as_points(X, max_memory=max_memory)
    n_clusters = _check_limits(len(pool), n_clusters, threshold)
    merging = _Merging(_as_squared(pool, metric), max_memory)
    merging.merge_copies(n_clusters)
    merging.run(n_clusters, np.inf if threshold is None else float(threshold))
    labels = positions_like(merging.labels(), X)
    return labels, np.array(merging.heights, dtype=np.float64)


def _as_squared(pool: torch.Tensor, metric: str) -> torch.Tensor:
    """Return a float64 copy of the points whose squared distances are those wanted."""
    points = pool.to(torch.float64, copy=True)
    if metric == "cosine":
        # |u - v|² / 2 = 1 - ⟨u, v⟩ for unit vectors.
        lengths = torch.linalg.vector_norm(points, dim=1, keepdim=True)
        points /= lengths.masked_fill_(lengths == 0, 1.0).mul_(math.sqrt(2.0))
    return points


def _check_limits(n: int, n_clusters: int | None, threshold: float | None) -> int:
    """Return the number of clusters to stop at."""
    if n_clusters is None and threshold is None:
        raise ValueError("Give n_clusters, threshold, or both; neither was given.")
    if threshold is not None and not (
        isinstance(threshold, int | float | np.number) and threshold >= 0
    ):
        raise ValueError(
            f"threshold must be a number of at least 0, got {threshold!r}."
        )
    if n_clusters is None:
        return min(1, n)
    if (
        not isinstance(n_clusters, int | np.integer)
        or isinstance(n_clusters, bool)
        or not 1 <= n_clusters <= n
    ):
        raise ValueError(
            f"n_clusters must be an integer from 1 to {n}, the number of points in X, "
            f"got {n_clusters!r}."
        )
    return int(n_clusters)


class _Merging:
    """The clusters of one run, one a row; rows of clusters merged away are unused.

    ``bound`` holds a lower bound on the squared distance of each cluster to all others,
    infinite for unused rows. Where ``nearest`` is not negative, it is the distance to
    that cluster, and ``second`` bounds the distances to all but that one. Average
    linkage keeps lower bounds valid: the distance to a merged cluster lies between
    those to its parts.
    """

    def __init__(self, points: torch.Tensor, max_memory: int) -> None:
        size = len(points)
        self.means = points  # (m, d), changed in place
        # The expansion of distances loses its digits far from zero.
        self.means -= self.means.mean(dim=0)
        self.norms = self.means.square().sum(dim=1)  # (m,) on the device
        self.max_memory = max_memory
        self.radii = np.zeros(size)  # mean squared distance to the mean
        self.sizes = np.ones(size)
        self.bound = np.full(size, -1.0)
        self.second = np.full(size, -1.0)
        self.nearest = np.full(size, -1)
        self.active = np.ones(size, dtype=bool)
        self.n_active = size
        # The lowest position of each row's members, and who was merged into whom.
        self.names = np.arange(size)
        self.parents = np.arange(size)
        self.heights: list[float] = []

    def merge_copies(self, n_clusters: int) -> None:
        """Merge points that are equal, at a distance of 0, while that is allowed."""
        seen: dict[bytes, int] = {}
        gone: list[int] = []
        for block in row_blocks(self.means, limits.checked_rows):
            rows = (self.means[block] + 0.0).cpu().numpy()  # no -0.0
            for i, row in enumerate(rows, start=block.start):
                digest = hashlib.blake2b(row.tobytes(), digest_size=16).digest()
                first = seen.setdefault(digest, i)
                if first != i and self.n_active - len(gone) > n_clusters:
                    gone.append(i)
                    self.parents[i] = first
                    self.sizes[first] += 1
        self.heights += [0.0] * len(gone)
        self.active[gone] = False
        self.n_active -= len(gone)
        self._compact()

    def run(self, n_clusters: int, limit: float) -> None:
        """Merge until ``n_clusters`` are left or distances² exceed ``limit``."""
        if self.n_active <= n_clusters:
            return
        self._scan(np.arange(len(self.means)))
        while self.n_active > n_clusters:
            row = int(self.bound.argmin())
            if self.bound[row] > limit:
                break
            if self.nearest[row] < 0:
                self._scan(self._most_urgent())
                continue
            self._merge(row, int(self.nearest[row]))
            if self.n_active < limits.compact_share * len(self.means):
                self._compact()
            if len(self.heights) % _REPORT_EVERY == 0:
                done = len(self.parents) - self.n_active
                progress.report("query", done, len(self.parents) - n_clusters)

    def _most_urgent(self) -> np.ndarray:
        """Return the rows with the smallest bounds whose nearest is not known."""
        waiting = np.flatnonzero(self.active & (self.nearest < 0))
        if len(waiting) > limits.scan_rows:
            bounds = self.bound[waiting]
            waiting = waiting[
                np.argpartition(bounds, limits.scan_rows)[: limits.scan_rows]
            ]
        return waiting

    def _scan(self, rows: np.ndarray) -> None:
        """Find the nearest and the second nearest cluster of some rows."""
        device = self.means.device
        n_rows, n_columns = block_shape(self.means.shape[1], 8, self.max_memory)
        offset = self.norms + torch.from_numpy(self.radii).to(device)
        offset[torch.from_numpy(~self.active).to(device)] = torch.inf
        for start in range(0, len(rows), n_rows):
            part = rows[start : start + n_rows]
            index = torch.from_numpy(part).to(device)
            own = self.means[index]
            values = own.new_empty((len(part), 0))
            found = index.new_empty((len(part), 0))
            for first in range(0, len(self.means), n_columns):
                others = self.means[first : first + n_columns]
                squares = torch.addmm(
                    offset[first : first + n_columns], own, others.T, alpha=-2.0
                )
                here = torch.arange(first, first + len(others), device=device)
                squares.masked_fill_(index[:, None] == here, torch.inf)
                value, at = torch.topk(squares, min(2, len(others)), largest=False)
                values = torch.cat([values, value], dim=1)
                found = torch.cat([found, at + first], dim=1)
            best = torch.topk(values, 2, largest=False)
            squares = (best.values + self.norms[index][:, None]).cpu()
            two = np.maximum(squares.numpy() + self.radii[part][:, None], 0.0)
            self.bound[part], self.second[part] = two.T
            nearest = found.gather(1, best.indices[:, :1])[:, 0]
            self.nearest[part] = nearest.cpu().numpy()

    def _merge(self, one: int, other: int) -> None:
        """Merge row ``other`` into row ``one``, its nearest."""
        a, b = float(self.sizes[one]), float(self.sizes[other])
        total = a + b
        step = self.means[other] - self.means[one]
        gap = float(step.square().sum())
        self.heights.append(gap + self.radii[one] + self.radii[other])

        # What the parts were at least away from all others holds for the whole.
        mutual = self.nearest[other] == one
        apart = self.second[other] if mutual else self.bound[other]
        self.bound[one] = (a * self.second[one] + b * apart) / total
        self.radii[one] = (a * self.radii[one] + b * self.radii[other]) / total
        self.radii[one] += a * b / total**2 * gap
        self.means[one] += (b / total) * step
        self.norms[one] = self.means[one].square().sum()
        self.sizes[one] = total
        kept, lost = sorted((int(self.names[one]), int(self.names[other])))
        self.parents[lost], self.names[one] = kept, kept

        self.active[other] = False
        self.bound[other] = np.inf
        self.n_active -= 1
        self.nearest[[one, other]] = -1
        orphans = np.flatnonzero((self.nearest == one) | (self.nearest == other))
        if len(orphans):
            self._adopt(orphans, one)

    def _adopt(self, orphans: np.ndarray, row: int) -> None:
        """Tell rows whose nearest was merged whether the merged one still is."""
        index = torch.from_numpy(orphans).to(self.means.device)
        squares = (self.means[index] - self.means[row]).square_().sum(dim=1)
        values = squares.cpu().numpy() + self.radii[orphans] + self.radii[row]
        still = values <= self.second[orphans]
        self.nearest[orphans] = np.where(still, row, -1)
        self.bound[orphans] = np.minimum(values, self.second[orphans])

    def _compact(self) -> None:
        """Drop unused rows."""
        kept = np.flatnonzero(self.active)
        places = np.full(len(self.active) + 1, -1)
        places[kept] = np.arange(len(kept))
        self.nearest = places[self.nearest[kept]]  # the last place is for -1
        index = torch.from_numpy(kept).to(self.means.device)
        self.means, self.norms = self.means[index], self.norms[index]
        for name in ("radii", "sizes", "bound", "second", "active", "names"):
            setattr(self, name, getattr(self, name)[kept])

    def labels(self) -> np.ndarray:
        """Return the cluster of each point, numbered by lowest position."""
        # Parents have lower numbers than their children.
        roots = self.parents
        for point in range(len(roots)):
            roots[point] = roots[roots[point]]
        return np.unique(roots, return_inverse=True)[1].astype(np.int64)


def round_robin(labels: Any, n: int, *, random_state: Any = None) -> np.ndarray:
    """Pick from clusters in turn, the smallest first.

    One random point from each cluster by rising size, then again from those that have
    points left, and so on: the random round-robin of Cluster-Margin [1]_.

    Parameters
    ----------
    labels : array-like or torch.Tensor of int of shape (n_pool,)
        The cluster of each point.
    n : int
        How many to pick, from 1 to n_pool.
    random_state : int, RandomState instance or None, default=None
        Decides the order within clusters, and of clusters of one size.

    Returns
    -------
    positions : ndarray of shape (n,), int64
        Positions in `labels`, all distinct, in the order of the picks.

    Raises
    ------
    ValueError
        If `n` is not an integer from 1 to n_pool.

    References
    ----------
    .. [1] Gui Citovsky, Giulia DeSalvo, Claudio Gentile, Lazaros Karydas, Anand
       Rajagopalan, Afshin Rostamizadeh and Sanjiv Kumar. "Batch Active Learning at
       Scale". NeurIPS 2021. arXiv:2107.14263

    Examples
    --------
    >>> from dalmax_sk.selection import round_robin
    >>> round_robin([0, 0, 1, 1, 1, 2], 3, random_state=0)
    array([5, 1, 2])
    """
    array = np.asarray(labels.cpu() if isinstance(labels, torch.Tensor) else labels)
    if array.ndim != 1:
        raise ValueError(f"labels must be one-dimensional, got shape {array.shape}.")
    n = check_count(n, len(array), "labels")
    rng = check_random_state(random_state)
    _, codes, sizes = np.unique(array, return_inverse=True, return_counts=True)
    # The turn in which each point is its cluster's choice.
    shuffled = rng.permutation(len(array))
    order = shuffled[np.argsort(codes[shuffled], kind="stable")]
    starts = np.cumsum(sizes) - sizes
    turns = np.empty(len(array), dtype=np.int64)
    turns[order] = np.arange(len(array)) - np.repeat(starts, sizes)
    ties = rng.permutation(len(sizes))
    picks = np.lexsort((ties[codes], sizes[codes], turns))[:n]
    return picks.astype(np.int64)
