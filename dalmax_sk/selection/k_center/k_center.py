"""Greedy k-center (farthest-first traversal), exact and lazy.

A candidate's distance to its nearest centre only shrinks as centres are added, so an
old value is an upper bound. The traversal therefore runs on a small *working set* of
the candidates with the largest bounds, whose distances it keeps exact, and looks at the
others only when the best in the working set falls to the largest bound outside it. On
typical embeddings one working set serves a thousand picks, and the cost is that of the
first pass, one matrix product.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from dalmax_sk._base import progress
from dalmax_sk._base.limits import limits
from dalmax_sk.selection.k_center.farthest_first import greedy_on_cpu, greedy_on_device
from dalmax_sk.selection.kit.arrays import (
    Array,
    as_points,
    check_count,
    check_max_memory,
    origin_of,
    positions_like,
    row_blocks,
    take_rows,
)
from dalmax_sk.selection.kit.distances import (
    block_shape,
    bound_nearest,
    centred,
    exact_nearest,
    products_are_float32,
)

__all__ = ["distance_bounds", "k_center_greedy"]

# Candidates per pick that the greedy runs on between two looks at the whole pool.
_WORKING_SET_PER_PICK = 2
# Above this share of the current best squared distance, float32 bounds are too loose to
# tell who may be next, and exact values are computed instead.
_LOOSE = 0.01


def k_center_greedy(
    X: Any,
    n: int,
    centers: Any = None,
    *,
    random_state: Any = None,
    max_memory: int = 2**30,
    return_distances: bool = False,
    nearest: np.ndarray | None = None,
) -> Array | tuple[Array, Array, float]:
    """Pick n points, each the farthest from all centres so far.

    The farthest-first traversal [1]_ that the core-set approach to active learning [2]_
    uses: its picks cover the pool with a radius of at most twice the smallest possible.
    The picks are those of the definition, evaluated in float64 with plain differences;
    bounds and matrix products only skip what cannot change them.

    Parameters
    ----------
    X : array-like or torch.Tensor of shape (n_pool, n_features)
        The candidates, finite. float32 and float64 are used as they are, half precision
        is read as float32, integers and booleans as float64.
    n : int
        How many to pick, from 1 to n_pool.
    centers : array-like or torch.Tensor of shape (n_centers, n_features), default=None
        Points that are centres already, such as the labelled ones. Without any (None,
        or no row) the first pick is the candidate nearest to the pool's mean if
        `random_state` is None, else a random one.
    random_state : int, RandomState instance or None, default=None
        None breaks ties by the lowest position; a seed breaks them by a random order of
        the candidates and draws the first pick where there are no centres. It changes
        nothing else.
    max_memory : int, default=2**30
        Bytes that temporary blocks may take, besides O(n_pool + n_centers) for a few
        numbers a point. The picks do not depend on it.
    return_distances : bool, default=False
        Whether to return the distances as well.
    nearest : ndarray of shape (n_pool,), float64, default=None
        Distance of each candidate to the nearest of `centers`, or more than it, as
        :func:`distance_bounds` gives it: the first pass, the longest, is spared. The
        picks do not depend on it.

    Returns
    -------
    positions : ndarray or torch.Tensor of shape (n,), int64
        Positions in `X` in the order of the picks, all distinct, even if points
        coincide. A tensor on the device of `X` if that is a tensor.
    distances : ndarray or torch.Tensor of shape (n,), float64
        Distance of each pick to its nearest centre when it was picked, never
        increasing; infinite for the first pick if there was no centre. Only if
        `return_distances`.
    radius : float
        The largest distance of any candidate to its nearest centre after all picks (the
        covering radius). Only if `return_distances`.

    Raises
    ------
    ValueError
        If `X` or `centers` are not two-dimensional, finite, and of equal width, or hold
        values whose squared distances overflow, if `n` is not an integer from 1 to
        n_pool, or if `nearest` is of another shape.

    Notes
    -----
    Ties are exact: two squared distances are equal, or they are not. Distances that are
    equal in exact arithmetic but not in float64 are no ties.

    An `X` that is mapped from a file (``numpy.memmap``) is read in blocks and
    never copied whole; resident memory stays at the blocks and about 50 bytes a row.

    References
    ----------
    .. [1] Teofilo F. Gonzalez. "Clustering to minimize the maximum intercluster
       distance". Theoretical Computer Science 38, 1985.
       doi:10.1016/0304-3975(85)90224-5
    .. [2] Ozan Sener and Silvio Savarese. "Active Learning for Convolutional Neural
       Networks: A Core-Set Approach". ICLR 2018. arXiv:1708.00489

    Examples
    --------
    >>> from dalmax_sk.selection import k_center_greedy
    >>> X = [[0.0], [1.0], [6.0], [10.0]]
    >>> k_center_greedy(X, 2, centers=[[0.0]])
    array([3, 2])
    >>> k_center_greedy(X, 2, centers=[[0.0]], return_distances=True)
    (array([3, 2]), array([10.,  4.]), 1.0)
    """
    max_memory = check_max_memory(max_memory)
    pool, labeled, largest = as_points(X, centers, max_memory)
    n = check_count(n, len(pool), "X")
    if nearest is not None and np.shape(nearest) != (len(pool),):
        raise ValueError(
            f"nearest must hold one distance for each row of X, {len(pool)}; got the "
            f"shape {np.shape(nearest)}."
        )

    rng = None if random_state is None else check_random_state(random_state)
    traversal = _FarthestFirst(pool, labeled, n, rng, max_memory, largest, nearest)
    if len(labeled) == 0:
        first = rng.randint(len(pool)) if rng is not None else traversal.most_central()
        traversal.add(first, np.inf)
    # One pick beyond the n asked for would lie at the covering radius.
    extra = 1 if return_distances and n < len(pool) else 0
    traversal.run(n + extra)

    picks = torch.tensor(traversal.picks[:n], dtype=torch.int64, device=pool.device)
    if not return_distances:
        return positions_like(picks, X)
    # NumPy's square root is correctly rounded; torch's may be one digit off.
    distances = torch.from_numpy(np.sqrt(traversal.squares)).to(pool.device)
    radius = float(distances[n]) if extra else 0.0
    return positions_like(picks, X), positions_like(distances[:n], X), radius


def distance_bounds(
    X: Any, centers: Any, index: np.ndarray | None = None, *, max_memory: int = 2**30
) -> np.ndarray:
    """Return the distance of each point to the nearest centre, rounded up.

    One matrix product in float32, and its margin of error: the first pass of
    :func:`k_center_greedy`.

    Parameters
    ----------
    X : array-like or torch.Tensor of shape (n_pool, n_features)
        The points, finite.
    centers : array-like or torch.Tensor of shape (n_centers, n_features)
    index : ndarray of int of shape (n,), default=None
        The points that are meant; None means all.
    max_memory : int, default=2**30
        Bytes that temporary blocks may take.

    Returns
    -------
    ndarray of shape (n,), float64
        Infinite if there is no centre.

    See Also
    --------
    k_center_greedy : Takes them as ``nearest``.

    Examples
    --------
    >>> import numpy as np
    >>> from dalmax_sk.selection import distance_bounds
    >>> X = np.array([[0.0], [1.0], [9.0]])
    >>> distance_bounds(X, centers=X[:1])[1:].round(2)
    array([1., 9.])
    """
    pool, others, largest = as_points(X, centers, max_memory)
    if not len(others):
        return np.full(len(pool) if index is None else len(index), np.inf)
    which = np.arange(len(pool)) if index is None else np.asarray(index)
    rows = torch.from_numpy(which).to(pool.device)
    fast = _fits_float32(pool.device, largest)
    measure = bound_nearest if fast else exact_nearest
    found = measure(pool, rows, others, origin_of(pool), max_memory)
    squares = (found[0] if isinstance(found, tuple) else found).cpu().numpy()
    distances = np.sqrt(squares)
    too_small = distances * distances < squares
    distances[too_small] = np.nextafter(distances[too_small], np.inf)
    return distances


def _fits_float32(device: torch.device, largest: float) -> bool:
    """Tell whether float32 gives true bounds: beyond some size its squares overflow."""
    return products_are_float32(device) and largest < 1e12


class _FarthestFirst:
    """The state of one traversal.

    For every candidate ``bound`` holds an upper bound on its exact squared distance to
    the nearest of the first ``upto`` centres (the labelled ones, then the picks), and
    ``exact`` tells whether the bound is that distance. Picked candidates have a bound
    of minus infinity.
    """

    def __init__(
        self,
        pool: torch.Tensor,
        labeled: torch.Tensor,
        n: int,
        rng: np.random.RandomState | None,
        max_memory: int,
        largest: float,
        nearest: np.ndarray | None,
    ) -> None:
        device, size = pool.device, len(pool)
        self.pool = pool
        self.labeled = labeled
        self.max_memory = max_memory
        self.n_asked = n
        self.picks: list[int] = []
        self.squares: list[float] = []
        known = np.full(size, np.inf) if nearest is None else np.square(nearest)
        self.bound = torch.from_numpy(known).to(device)
        upto = 0 if nearest is None else len(labeled)
        self.upto = torch.full((size,), upto, dtype=torch.int32, device=device)
        self.exact = torch.zeros(size, dtype=torch.bool, device=device)
        # Ties go to the smallest priority number.
        order = np.arange(size) if rng is None else rng.permutation(size)
        self.priority = torch.from_numpy(order).to(device)
        self.working_size = _working_set_size(n, pool.shape[1], max_memory)

        self.origin = origin_of(pool)
        self.use_float32 = _fits_float32(device, largest)

    @property
    def n_centers(self) -> int:
        return len(self.labeled) + len(self.picks)

    def most_central(self) -> int:
        """Return the candidate nearest to the pool's mean, ties by priority."""
        everyone = torch.arange(len(self.pool), device=self.pool.device)
        # In blocks, so that it is the same whether the pool is mapped from a file.
        total = torch.zeros_like(self.origin, dtype=torch.float64)
        for block in row_blocks(self.pool):
            total += self.pool[block].sum(dim=0, dtype=torch.float64)
        squares = exact_nearest(
            self.pool,
            everyone,
            (total / len(self.pool))[None],
            self.origin,
            self.max_memory,
        )
        nearest = (squares == squares.min()).nonzero().squeeze(1)
        return int(nearest[self.priority[nearest].argmin()])

    def add(self, position: int, square: float) -> None:
        """Make a candidate the next centre, whose squared distance was ``square``."""
        self.picks.append(position)
        self.squares.append(square)
        self.bound[position] = -torch.inf

    def run(self, n: int) -> None:
        """Pick until there are ``n`` picks."""
        if self.working_size < len(self.pool) and len(self.picks) < n:
            self._refresh((self.bound > -torch.inf).nonzero().squeeze(1))
        while len(self.picks) < n:
            members, outside, outside_priority = self._working_set()
            self._refresh(members, exactly=True)
            n_before = len(self.picks)
            chosen, squares, bound = self._greedy(
                members, n - n_before, outside, outside_priority
            )
            self.picks += members[chosen].tolist()
            self.squares += squares
            self.bound[members] = bound
            self.upto[members] = self.n_centers
            # one pick beyond those asked for may be made, for the radius
            progress.report("query", min(len(self.picks), self.n_asked), self.n_asked)
            if len(self.picks) == n:
                break
            if len(self.picks) == n_before:
                # Bounds alone cannot tell who is next: from here on, exact values.
                self.use_float32 = False
            best = float(bound.max())
            # A picked candidate's bound is minus infinity, which `best` may be as well.
            rivals = (self.bound >= best) & (self.bound > -torch.inf)
            self._refresh(rivals.nonzero().squeeze(1))

    def _working_set(self) -> tuple[torch.Tensor, float, int]:
        """Choose the candidates with the largest bounds, equal ones by priority.

        Returns
        -------
        members : torch.Tensor of shape (n_members,), int64
            Their positions, by priority.
        outside : float
            The largest bound among all others, minus infinity if there are none.
        outside_priority : int
            The smallest priority number among the others that have this bound.
        """
        left = (self.bound > -torch.inf).nonzero().squeeze(1)
        bound, priority = self.bound[left], self.priority[left]
        size = min(self.working_size, len(left))
        threshold = torch.topk(bound, size, sorted=False).values.min()
        inside = bound > threshold
        tied = (bound == threshold).nonzero().squeeze(1)
        tied = tied[priority[tied].argsort()]
        inside[tied[: size - int(inside.sum())]] = True

        members = left[inside]
        members = members[self.priority[members].argsort()]
        if size == len(left):
            return members, -np.inf, -1
        bound, priority = bound[~inside], priority[~inside]
        outside = bound.max()
        return members, float(outside), int(priority[bound == outside].min())

    def _refresh(self, index: torch.Tensor, *, exactly: bool = False) -> None:
        """Bring bounds up to date with all centres, exact ones if so asked."""
        exactly = exactly or not self.use_float32
        if exactly:
            # An exact distance to some centres is completed by those that came later;
            # a mere bound is started afresh.
            inexact = index[~self.exact[index]]
            self.bound[inexact] = torch.inf
            self.upto[inexact] = 0
            self.exact[inexact] = True
        upto = self.upto[index]
        largest_margin = 0.0
        for start in torch.unique(upto).tolist():
            part = index[upto == start]
            for centers in self._centers_from(start):
                if exactly:
                    squares = exact_nearest(
                        self.pool, part, centers, self.origin, self.max_memory
                    )
                else:
                    squares, margin = bound_nearest(
                        self.pool, part, centers, self.origin, self.max_memory
                    )
                    largest_margin = max(largest_margin, margin)
                    # A distance stays exact if these centres are certainly farther.
                    self.exact[part] &= squares - 2 * margin >= self.bound[part]
                self.bound[part] = torch.minimum(self.bound[part], squares)
        self.upto[index] = self.n_centers
        if largest_margin > _LOOSE * float(self.bound.max()):
            self.use_float32 = False

    def _centers_from(self, start: int) -> Iterator[torch.Tensor]:
        """Yield the centres from number ``start`` on, in blocks of shape (k, d)."""
        labeled = self.labeled[start:]
        if len(labeled):
            yield labeled
        picks = self.picks[max(0, start - len(self.labeled)) :]
        columns = block_shape(self.pool.shape[1], 8, self.max_memory)[1]
        for begin in range(0, len(picks), columns):
            part = torch.tensor(picks[begin : begin + columns], dtype=torch.int64)
            yield take_rows(self.pool, part.to(self.pool.device))

    def _greedy(
        self,
        members: torch.Tensor,
        n: int,
        outside: float,
        outside_priority: int,
    ) -> tuple[list[int], list[float], torch.Tensor]:
        """Run the traversal on the working set while it is sure of its picks.

        A pick is sure if its distance exceeds every bound outside, or equals the
        largest and comes first by priority.

        Returns
        -------
        chosen : list of int
            Positions among ``members``, at most ``n``.
        squares : list of float
            Their squared distances when they were picked.
        bound : torch.Tensor of shape (n_members,), float64
            The members' squared distances afterwards, minus infinity if picked.
        """
        points = take_rows(self.pool, members).to(torch.float64)  # (w, d)
        greedy = greedy_on_cpu if points.device.type == "cpu" else greedy_on_device
        ahead = self.priority[members] < outside_priority
        shifted = centred(points, self.origin, torch.float64)
        return greedy(points, shifted, self.bound[members], n, outside, ahead)


def _working_set_size(n: int, n_features: int, max_memory: int) -> int:
    """Return how many candidates to keep exact, within half of the memory."""
    least, most = limits.working_set
    size = min(max(least, _WORKING_SET_PER_PICK * n), most)
    # Two float64 matrices of pairwise distances, three copies of the points.
    while size > 1 and 16 * size * size + 24 * size * n_features > max_memory // 2:
        size //= 2
    return size
