"""k-means with one cluster a pick, and the candidate nearest to each centre."""

import heapq
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from dalmax_sk import progress
from dalmax_sk.selection.arrays import (
    Array,
    as_matrix,
    as_vector,
    check_count,
    check_max_memory,
    positions_like,
)
from dalmax_sk.selection.distances import (
    block_shape,
    centred,
    plain_squares,
)

__all__ = ["k_means_select"]

# Lloyd's iterations stop when one lowers the inertia by less than this share of it.
_TOLERANCE = 1e-3
_MAX_ITERATIONS = 100
# Candidates that k-means++ draws at once, and how many for each centre it keeps.
_CANDIDATES = 128
_CANDIDATES_PER_CENTER = 4
# Candidates looked up for a centre whose nearest has gone to another centre: at least,
# and at most, if many centres crowd in one place.
_SHORTLIST = (64, 1024)


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
        Bytes that temporary blocks may take, besides a few numbers a point and three
        copies of the n centres.
    return_distances : bool, default=False
        Whether to return the distances as well.

    Returns
    -------
    positions : ndarray or torch.Tensor of shape (n,), int64
        Positions in `X`, all distinct, the heaviest cluster's first (ties: the lower
        position). A tensor on the device of `X` if that is a tensor.
    distances : ndarray or torch.Tensor of shape (n,), float64
        Distance of each pick to the centre it stands for. Only if `return_distances`.
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
    pool = as_matrix(X, "X")
    n = check_count(n, len(pool), "X")
    max_memory = check_max_memory(max_memory)
    weight = _as_weight(sample_weight, pool)
    rng = check_random_state(random_state)

    mean = pool.mean(dim=0)
    origin = torch.where(torch.isfinite(mean), mean, torch.zeros_like(mean))
    # Relative weights, because the scale may not fit the precision of the points.
    scale = weight.max()
    lloyd = _Lloyd(pool, weight / scale, origin, max_memory)
    centers, labels, inertia = lloyd.run(lloyd.plus_plus(n, rng))

    eligible = weight > 0
    if int(eligible.sum()) < n:
        eligible = torch.ones_like(eligible)
    positions, squares = _nearest_distinct(pool, centers, origin, eligible, max_memory)
    size = torch.zeros(n, dtype=torch.float64, device=pool.device)
    _add_at(size, labels, lloyd.weight)
    # Heaviest first; NumPy's lexsort takes the last key first.
    order = np.lexsort((positions.cpu().numpy(), -size.cpu().numpy()))
    by_size = torch.from_numpy(order).to(pool.device)
    picks = positions_like(positions[by_size], X)
    if not return_distances:
        return picks
    return picks, positions_like(squares[by_size].sqrt(), X), inertia * float(scale)


def _as_weight(sample_weight: Any, pool: torch.Tensor) -> torch.Tensor:
    """Return float64 weights beside the pool."""
    if sample_weight is None:
        return torch.ones(len(pool), dtype=torch.float64, device=pool.device)
    weight = as_vector(sample_weight, "sample_weight", len(pool))
    n_bad = np.count_nonzero((weight < 0) | np.isinf(weight))
    if n_bad:
        raise ValueError(
            f"sample_weight must be finite and at least 0, but {n_bad} of "
            f"{len(weight)} weights are not."
        )
    if not (weight > 0).any():
        raise ValueError(
            "sample_weight is 0 everywhere, so no point says where clusters are. Give "
            "at least one positive weight, or sample_weight=None."
        )
    return torch.from_numpy(weight).to(pool.device, torch.float64)


def _add_at(total: torch.Tensor, index: torch.Tensor, values: torch.Tensor) -> None:
    """Add ``values`` to ``total[index]`` in place, in the same order on every call."""
    if total.device.type == "cpu":
        total.index_add_(0, index, values)
    else:
        # index_add_ on a GPU adds in any order; this sorts first.
        total.index_put_((index,), values, accumulate=True)


class _Lloyd:
    """k-means of a weighted pool; all centres are relative to ``origin``."""

    def __init__(
        self,
        pool: torch.Tensor,
        weight: torch.Tensor,
        origin: torch.Tensor,
        max_memory: int,
    ) -> None:
        self.pool = pool
        self.weight = weight
        self.origin = origin
        self.max_memory = max_memory
        self.block = block_shape(pool.shape[1], pool.element_size(), max_memory)

    def _nearest(
        self, centers: torch.Tensor
    ) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Yield, block by block, rows, centred points, nearest centres and squares."""
        rows, columns = self.block
        width = min(columns, len(centers))
        tile = torch.empty(
            min(rows, len(self.pool)) * width,
            dtype=self.pool.dtype,
            device=self.pool.device,
        )
        norms = (centers * centers).sum(dim=1)
        scaled = centers * -2.0
        for block in self._blocks():
            points = centred(self.pool[block], self.origin, self.pool.dtype)
            best = torch.full_like(points[:, 0], torch.inf)
            label = torch.zeros_like(best, dtype=torch.int64)
            for first in range(0, len(centers), columns):
                others = scaled[first : first + columns]
                part = tile[: len(points) * len(others)].view(len(points), -1)
                torch.mm(points, others.T, out=part)
                part.add_(norms[first : first + columns])
                value, index = part.min(dim=1)
                closer = value < best
                best = torch.where(closer, value, best)
                label = torch.where(closer, index + first, label)
            squares = best + (points * points).sum(dim=1)
            yield block, points, label, squares.clamp_min_(0.0)

    def run(self, centers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
        """Iterate from ``centers`` (k, d); return centres, labels (n,) and inertia."""
        labels = torch.zeros(len(self.pool), dtype=torch.int64, device=self.pool.device)
        squares = torch.zeros_like(self.weight)
        previous = np.inf
        for iteration in range(_MAX_ITERATIONS):
            sums = torch.zeros_like(centers, dtype=torch.float64)
            totals = torch.zeros_like(sums[:, 0])
            for block, points, label, square in self._nearest(centers):
                weight = self.weight[block]
                labels[block], squares[block] = label, square.to(torch.float64)
                _add_at(sums, label, points * weight[:, None])
                _add_at(totals, label, weight)
            squares *= self.weight
            inertia = float(squares.sum())
            settled = previous - inertia <= _TOLERANCE * inertia
            if settled or iteration == _MAX_ITERATIONS - 1:
                progress.report("iteration", iteration + 1, iteration + 1)
                break
            progress.report("iteration", iteration + 1, inertia=inertia)
            previous = inertia
            means = sums / totals.clamp_min(torch.finfo(torch.float64).tiny)[:, None]
            centers = self._refill(means, totals, squares).to(centers.dtype)
        return centers, labels, inertia

    def _refill(
        self, means: torch.Tensor, totals: torch.Tensor, squares: torch.Tensor
    ) -> torch.Tensor:
        """Move centres without points to the points that cost most."""
        empty = (totals == 0).nonzero().squeeze(1)
        if len(empty):
            costly = torch.topk(squares, len(empty)).indices
            means[empty] = centred(self.pool[costly], self.origin, torch.float64)
        return means

    def plus_plus(self, k: int, rng: np.random.RandomState) -> torch.Tensor:
        """Choose k of the points as first centres, by greedy k-means++ in batches.

        k-means++ draws a point with probability ∝ weight · squared distance to the
        nearest centre. The greedy variant draws several and keeps the one that lowers
        the inertia most. Here a batch of candidates is drawn at once and a quarter of
        them are kept, the most useful first, each given those before it. A candidate's
        gain only shrinks as centres are added, so an old gain is an upper bound and
        few have to be computed again.
        """
        weight = self.weight.to(self.pool.dtype)
        picks = self._draw(self.weight, 1, rng).tolist()
        cost = self._columns(picks)[0]  # (n,)
        while len(picks) < k:
            cost[picks] = 0.0
            mass = cost.to(torch.float64) * self.weight
            if not float(mass.sum()) > 0.0:
                # Fewer distinct points than centres: any point will do for the rest.
                picks += rng.choice(len(self.pool), k - len(picks)).tolist()
                break
            candidates = np.unique(self._draw(mass, _CANDIDATES, rng)).tolist()
            stored, gains = self._first_gains(candidates, cost, weight)
            fresh = np.zeros(len(gains), dtype=np.int64)
            n_kept = min(-(-len(gains) // _CANDIDATES_PER_CENTER), k - len(picks))
            for step in range(n_kept):
                best = int(gains.argmax())
                while fresh[best] < step:
                    column = self._column(stored, candidates, best)
                    gain = (cost - column).clamp_min_(0.0).dot(weight)
                    gains[best], fresh[best] = float(gain), step
                    best = int(gains.argmax())
                picks.append(candidates[best])
                column = self._column(stored, candidates, best)
                torch.minimum(cost, column, out=cost)
                gains[best] = -1.0
            progress.report("query", len(picks), k)
        return centred(self.pool[picks], self.origin, self.pool.dtype)

    def _draw(
        self, mass: torch.Tensor, n: int, rng: np.random.RandomState
    ) -> np.ndarray:
        """Draw n positions, with replacement, with probability ∝ ``mass`` (n_pool,)."""
        # On the host: a GPU's cumulative sum is not the same on every call.
        cumulative = mass.cpu().numpy().cumsum()
        at = rng.random_sample(n) * cumulative[-1]
        # side="right" never finds a position whose mass is 0, but rounding may step
        # past the last one that has any.
        found = np.searchsorted(cumulative, at, side="right")
        last = np.searchsorted(cumulative, cumulative[-1], side="left")
        return np.minimum(found, last)

    def _columns(self, index: list[int]) -> torch.Tensor:
        """Return the squared distances of the points ``index`` (p,) to all: (p, n)."""
        own = centred(self.pool[index], self.origin, self.pool.dtype)
        norms = (own * own).sum(dim=1, keepdim=True)
        squares = own.new_empty((len(own), len(self.pool)))
        for block in self._blocks():
            points = centred(self.pool[block], self.origin, self.pool.dtype)
            offset = (points * points).sum(dim=1)
            squares[:, block] = torch.addmm(offset, own, points.T, alpha=-2.0)
        return squares.add_(norms).clamp_min_(0.0)

    def _first_gains(
        self, index: list[int], cost: torch.Tensor, weight: torch.Tensor
    ) -> tuple[torch.Tensor | None, np.ndarray]:
        """Return the columns of all candidates, if memory allows, and their gains.

        The gain of a candidate is by how much it would lower the weighted ``cost`` (n,)
        as the next centre.
        """
        # A column and, block by block, what it would save.
        per_column = 2 * len(self.pool) * self.pool.element_size()
        width = max(1, min(len(index), self.max_memory // per_column))
        gains = np.empty(len(index))
        columns = None
        for start in range(0, len(index), width):
            columns = self._columns(index[start : start + width])
            rows = self.block[0]
            gain = torch.zeros_like(columns[:, 0])
            for part, now, mass in zip(
                columns.split(rows, dim=1),
                cost.split(rows),
                weight.split(rows),
                strict=True,
            ):
                gain += (now - part).clamp_min_(0.0).mv(mass)
            gains[start : start + width] = gain.cpu().numpy()
        return (columns if width == len(index) else None), gains

    def _column(
        self, stored: torch.Tensor | None, index: list[int], which: int
    ) -> torch.Tensor:
        """Return the squared distances of the candidate ``index[which]``: (n,)."""
        return self._columns([index[which]])[0] if stored is None else stored[which]

    def _blocks(self) -> Iterator[slice]:
        rows = self.block[0]
        for start in range(0, len(self.pool), rows):
            yield slice(start, min(start + rows, len(self.pool)))


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
        least, most = _SHORTLIST
        length = min(max(least, len(losers) + 1), most, int(free.sum()))
        look_up([center, *sorted(losers)], length)

    positions = positions.to(pool.device)
    squares = torch.empty(len(centers), dtype=torch.float64, device=pool.device)
    rows = block_shape(pool.shape[1], 8, max_memory)[0]
    for part, at, own in zip(
        squares.split(rows), positions.split(rows), centers.split(rows), strict=True
    ):
        points = centred(pool[at], origin, torch.float64)
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
        for start in range(0, len(pool), rows):
            points = centred(pool[start : start + rows], origin, torch.float64)
            offset = (points * points).sum(dim=1)
            offset[~free[start : start + rows]] = torch.inf
            squares = torch.addmm(offset, own, points.T, alpha=-2.0)
            if length == 1:
                value, at = squares.min(dim=1, keepdim=True)
            else:
                width = min(length, len(points))
                value, at = torch.topk(squares, width, largest=False)
            values = torch.cat([values, value + norms[:, None]], dim=1)
            index = torch.cat([index, at + start], dim=1)
            best = torch.topk(values, min(length, values.shape[1]), largest=False)
            values, index = best.values, index.gather(1, best.indices)
        found_values.append(values.clamp_min(0.0))
        found_index.append(index)
    return torch.cat(found_values), torch.cat(found_index)
