"""Questions about near neighbours, answered exactly and block by block.

Distances are those of float64 differences. Matrix products only bound them; the few
pairs that the bounds leave open are evaluated exactly.
"""

from typing import Any

import numpy as np
import torch

from dalmax_sk._base.limits import limits
from dalmax_sk.selection.kit.arrays import (
    Array,
    check_max_memory,
    measured_matrix,
    measured_pair,
    origin_of,
    positions_like,
    row_blocks,
    take_rows,
)
from dalmax_sk.selection.kit.distances import (
    block_shape,
    expanded_squares,
    plain_squares,
    products_are_float32,
    rounding,
)

__all__ = ["greedy_apart", "kth_neighbor_distances", "near_any"]

_METRICS = ("euclidean", "cosine")


def near_any(
    X: Any,
    others: Any,
    threshold: float,
    *,
    metric: str = "euclidean",
    max_memory: int = 2**30,
) -> np.ndarray:
    """Tell which rows lie within a distance of any of the others.

    Parameters
    ----------
    X : array-like or torch.Tensor of shape (n, n_features)
        The rows in question, finite.
    others : array-like or torch.Tensor of shape (k, n_features)
        The rows they are compared with; there may be none.
    threshold : float
        The distance, at least 0; one that equals it counts as near.
    metric : {"euclidean", "cosine"}, default="euclidean"
        The cosine distance of u and v is half the squared Euclidean distance of
        ``u/|u|`` and ``v/|v|``, which is 1 - cos(u, v), from 0 to 2. A row of zeros is
        at 0 from another and at 1/2 from all the rest.
    max_memory : int, default=2**30
        Bytes that temporary blocks may take. The result does not depend on it.

    Returns
    -------
    ndarray of bool of shape (n,)

    Raises
    ------
    ValueError
        If the arrays are not two-dimensional, finite and of equal width, or if
        `threshold` or `metric` is not as above.

    Examples
    --------
    >>> from dalmax_sk.selection import near_any
    >>> near_any([[0.0], [1.0], [5.0]], [[1.5]], 0.5)
    array([False,  True, False])
    """
    pool, rest, largest = measured_pair(X, others, "others")
    points = _Points(pool, largest, metric, max_memory)
    return points.near_any(pool, rest, points.square_limit(threshold)).cpu().numpy()


def greedy_apart(
    X: Any,
    threshold: float,
    n: int | None = None,
    *,
    groups: Any = None,
    quotas: Any = None,
    metric: str = "euclidean",
    max_memory: int = 2**30,
) -> Array:
    """Walk through rows and keep those that are apart from all kept before.

    Parameters
    ----------
    X : array-like or torch.Tensor of shape (n_rows, n_features)
        The rows in the order of the walk, finite.
    threshold : float
        No two kept rows are within this distance; one that equals it is too near. A
        negative threshold keeps rows apart in no way.
    n : int, default=None
        Stop after `n` rows. None goes through all rows.
    groups : array-like of int of shape (n_rows,), default=None
        Group of each row.
    quotas : array-like of int of shape (n_groups,), default=None
        How many rows of each group may be kept. Given with `groups`, or not at all.
    metric : {"euclidean", "cosine"}, default="euclidean"
        As in :func:`near_any`.
    max_memory : int, default=2**30
        Bytes that temporary blocks may take. The result does not depend on it.

    Returns
    -------
    ndarray or torch.Tensor of shape (n_kept,), int64
        Positions of the kept rows, ascending.

    Examples
    --------
    >>> from dalmax_sk.selection import greedy_apart
    >>> greedy_apart([[0.0], [0.1], [3.0], [3.1], [9.0]], 0.5)
    array([0, 2, 4])
    >>> greedy_apart([[0.0], [1.0], [2.0]], 0.5, groups=[0, 0, 1], quotas=[1, 1])
    array([0, 2])
    """
    pool, largest = measured_matrix(X, "X")
    points = _Points(pool, largest, metric, max_memory)
    limit = points.square_limit(threshold) if threshold >= 0 else None
    if n is not None and not (_is_whole(n) and n >= 1):
        raise ValueError(f"n must be an integer of at least 1, or None, got {n!r}.")
    wanted = len(pool) if n is None else min(n, len(pool))
    group = np.zeros(len(pool), dtype=np.int64) if groups is None else np.array(groups)
    room = np.array([wanted]) if quotas is None else np.array(quotas)
    kept: list[int] = []
    for start in range(0, len(pool), limits.walk_rows):
        block = np.arange(start, min(start + limits.walk_rows, len(pool)))
        block = block[room[group[block]] > 0]
        if limit is not None and kept and len(block):
            before = take_rows(pool, torch.tensor(kept, device=pool.device))
            near = points.near_any(take_rows(pool, block), before, limit)
            block = block[~near.cpu().numpy()]
        within = np.zeros((len(block), len(block)), dtype=bool)
        if limit is not None and len(block):
            rows = points.rows(take_rows(pool, block))
            within = points.all_within(rows, rows, limit).cpu().numpy()
        free = np.ones(len(block), dtype=bool)
        for i, position in enumerate(block.tolist()):
            if len(kept) == wanted:
                break
            if free[i] and room[group[position]] > 0:
                kept.append(position)
                room[group[position]] -= 1
                free &= ~within[i]
        if len(kept) == wanted:
            break
    return positions_like(np.array(kept, dtype=np.int64), X)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def kth_neighbor_distances(
    X: Any,
    k: int,
    reference: Any = None,
    *,
    metric: str = "euclidean",
    max_memory: int = 2**30,
) -> Array:
    """Return the distance of each row to its k-th nearest neighbour.

    Parameters
    ----------
    X : array-like or torch.Tensor of shape (n, n_features)
        The rows in question, finite.
    k : int
        Which neighbour, from 1 to the number of reference rows.
    reference : array-like or torch.Tensor of shape (m, n_features), default=None
        Where the neighbours are. None means the other rows of `X`: a row is no
        neighbour of itself, a duplicate of it is.
    metric : {"euclidean", "cosine"}, default="euclidean"
        As in :func:`near_any`.
    max_memory : int, default=2**30
        Bytes that temporary blocks may take. The result does not depend on it.

    Returns
    -------
    ndarray or torch.Tensor of shape (n,), float64
        A tensor on the device of `X` if that is a tensor.

    Raises
    ------
    ValueError
        If the arrays are not two-dimensional, finite and of equal width, or if there
        are fewer than k neighbours.

    Notes
    -----
    Every distance is that of a pair, evaluated in float64. Which neighbour is the k-th
    is decided in float64 too, so two whose squared distances agree to about 13 digits
    of the squared norms may change places.

    Examples
    --------
    >>> from dalmax_sk.selection import kth_neighbor_distances
    >>> kth_neighbor_distances([[0.0], [1.0], [3.0], [9.0]], 2)
    array([3., 2., 3., 8.])
    """
    pool, others, largest = measured_pair(
        X, X if reference is None else reference, "reference"
    )
    points = _Points(pool, largest, metric, max_memory)
    available = len(others) - (reference is None)
    if not (_is_whole(k) and 1 <= k <= available):
        raise ValueError(
            f"k must be from 1 to {available}, the number of neighbours a row has, "
            f"got {k!r}."
        )
    rows, _ = block_shape(pool.shape[1], 8, points.max_memory)
    n_kept = min(k + limits.spare_neighbors, available)
    # the kept neighbours are evaluated exactly: a copy of each and their differences
    each = 24 * n_kept * (pool.shape[1] + 2)
    rows = max(1, min(rows, points.max_memory // (2 * each)))
    squares = torch.empty(len(pool), dtype=torch.float64, device=pool.device)
    for at in torch.arange(len(pool), device=pool.device).split(rows):
        own = at if reference is None else None
        squares[at] = points.kth_squares(take_rows(pool, at), others, k, n_kept, own)
    if metric == "cosine":
        found = squares / 2
    else:
        # NumPy's square root is correctly rounded; torch's may be one digit off
        found = torch.from_numpy(np.sqrt(squares.cpu().numpy())).to(pool.device)
    return found if isinstance(X, torch.Tensor) else found.cpu().numpy()


class _Points:
    """Rows in the geometry of a metric, and exact answers about blocks of them."""

    def __init__(
        self, pool: torch.Tensor, largest: float, metric: str, max_memory: int
    ) -> None:
        if metric not in _METRICS:
            raise ValueError(f"metric must be one of {_METRICS}, got {metric!r}.")
        self.metric = metric
        self.max_memory = check_max_memory(max_memory)
        self.origin = origin_of(pool).to(torch.float64)
        if metric == "cosine":
            self.origin.zero_()
        # beyond that size float32 squares may overflow
        self.use_float32 = products_are_float32(pool.device) and (
            metric == "cosine" or largest < 1e12
        )

    def square_limit(self, threshold: float) -> float:
        """Return the largest squared distance of rows that are near."""
        if not threshold >= 0:
            raise ValueError(f"threshold must be at least 0, got {threshold!r}.")
        return 2.0 * threshold if self.metric == "cosine" else float(threshold) ** 2

    def rows(self, part: torch.Tensor) -> torch.Tensor:
        """Return rows as float64, of unit length if angles count."""
        part = part.to(torch.float64)
        if self.metric == "cosine":
            # the largest entry first: squares of tiny or huge values leave the range
            largest = part.abs().amax(dim=1, keepdim=True)
            part = part / torch.where(largest > 0, largest, 1.0)
            lengths = torch.linalg.vector_norm(part, dim=1, keepdim=True)
            part = part / torch.where(lengths > 0, lengths, 1.0)
        return part

    def _bounds(
        self, first: torch.Tensor, second: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return approximate squares (r, c) and their margins of error (r, 1)."""
        squares, margin = expanded_squares(first - self.origin, second - self.origin)
        return squares, margin[:, None]

    def near_any(
        self, pool: torch.Tensor, rest: torch.Tensor, limit: float
    ) -> torch.Tensor:
        """Tell which rows of ``pool`` (n, d) are near any row of ``rest`` (k, d)."""
        near = torch.zeros(len(pool), dtype=torch.bool, device=pool.device)
        rows, columns = block_shape(pool.shape[1], 8, self.max_memory)
        for there in row_blocks(rest, columns):
            second = self.rows(rest[there])
            for at in torch.arange(len(pool), device=pool.device).split(rows):
                at = at[~near[at]]
                if len(at):
                    first = self.rows(take_rows(pool, at))
                    near[at] = self.any_within(first, second, limit)
        return near

    def any_within(
        self, first: torch.Tensor, second: torch.Tensor, limit: float
    ) -> torch.Tensor:
        """Tell which rows of ``first`` are near any row of ``second``, (r,)."""
        squares, margin = self._bounds(first, second)
        near = (squares + margin <= limit).any(dim=1)
        # what the bounds leave open, the most likely first: mostly one look a row
        squares[squares - margin > limit] = torch.inf
        while True:
            best, j = squares.min(dim=1)
            open_rows = (~near & torch.isfinite(best)).nonzero().squeeze(1)
            if len(open_rows) == 0:
                return near
            for i in open_rows.split(self._pairs(first)):
                near[i] = plain_squares(first[i], second[j[i]]) <= limit
            squares[open_rows, j[open_rows]] = torch.inf

    def all_within(
        self, first: torch.Tensor, second: torch.Tensor, limit: float
    ) -> torch.Tensor:
        """Tell which pairs of rows are near, (r, c)."""
        squares, margin = self._bounds(first, second)
        within = squares + margin <= limit
        i, j = ((squares - margin <= limit) & ~within).nonzero(as_tuple=True)
        for some in torch.arange(len(i), device=i.device).split(self._pairs(first)):
            exact = plain_squares(first[i[some]], second[j[some]])
            within[i[some], j[some]] = exact <= limit
        return within

    def _pairs(self, rows: torch.Tensor) -> int:
        """Return how many pairs may be evaluated at once."""
        n_bytes = min(self.max_memory, limits.exact_pair_bytes)
        return max(1, n_bytes // (32 * rows.shape[1]))

    def kth_squares(
        self,
        part: torch.Tensor,
        others: torch.Tensor,
        k: int,
        n_kept: int,
        own: torch.Tensor | None,
    ) -> torch.Tensor:
        """Return the k-th smallest squared distance from each row to the others.

        ``own`` are the rows' own positions among the others, which do not count.
        """
        first = self.rows(part)
        if not self.use_float32:
            return self._kept_squares(first, others, k, n_kept, own, torch.float64)[0]
        kth, sure = self._kept_squares(first, others, k, n_kept, own, torch.float32)
        again = (~sure).nonzero().squeeze(1)
        if len(again):
            mine = None if own is None else own[again]
            kth[again] = self._kept_squares(
                first[again], others, k, n_kept, mine, torch.float64
            )[0]
        return kth

    def _kept_squares(
        self,
        first: torch.Tensor,
        others: torch.Tensor,
        k: int,
        n_kept: int,
        own: torch.Tensor | None,
        dtype: torch.dtype,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the k-th smallest exact square among the kept, and whether it is sure.

        It is sure if nobody who was not kept can be nearer.
        """
        values, index, margin = self._nearest(first, others, n_kept, own, dtype)
        exact = torch.empty_like(values, dtype=torch.float64)
        for column in range(n_kept):
            rows = self.rows(take_rows(others, index[:, column]))
            exact[:, column] = plain_squares(first, rows)
        kth = exact.kthvalue(k, dim=1).values
        sure = (kth <= values[:, -1].to(torch.float64) - margin) | (kth == 0)
        if n_kept == len(others) - (own is not None):
            sure[:] = True
        return kth, sure

    def _nearest(
        self,
        first: torch.Tensor,
        others: torch.Tensor,
        n_kept: int,
        own: torch.Tensor | None,
        dtype: torch.dtype,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the nearest others by approximate squares: values, who, margins."""
        columns = block_shape(first.shape[1], 8, self.max_memory)[1]
        shifted = (first - self.origin).to(dtype)
        norms = (shifted * shifted).sum(dim=1)
        size = len(first)
        values = torch.full((size, n_kept), torch.inf, dtype=dtype, device=first.device)
        index = torch.zeros((size, n_kept), dtype=torch.int64, device=first.device)
        largest = torch.zeros((), dtype=dtype, device=first.device)
        for there in row_blocks(others, columns):
            start, n_others = there.start, there.stop - there.start
            second = (self.rows(others[there]) - self.origin).to(dtype)
            other_norms = (second * second).sum(dim=1)
            largest = torch.maximum(largest, other_norms.max())
            squares = torch.addmm(other_norms, shifted, second.T, alpha=-2.0)
            squares += norms[:, None]
            if own is not None:
                here = ((own >= start) & (own < there.stop)).nonzero().squeeze(1)
                squares[here, own[here] - start] = torch.inf
            best, where = squares.topk(min(n_kept, n_others), dim=1, largest=False)
            joined = torch.cat([values, best], dim=1)
            values, order = joined.topk(n_kept, dim=1, largest=False)
            index = torch.cat([index, where + start], dim=1).gather(1, order)
        relative, absolute = rounding(first.shape[1], dtype)
        reach = norms.sqrt().to(torch.float64) + largest.sqrt().to(torch.float64)
        return values, index, relative * reach.square() + absolute
