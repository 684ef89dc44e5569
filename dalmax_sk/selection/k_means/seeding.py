"""k-means++ seeding of points, or of outer products that are never formed.

The gradient of a classifier's last layer is an outer product ``a ⊗ h``. Inner products
of such points factorise, ``⟨a ⊗ h, b ⊗ g⟩ = ⟨a, b⟩⟨h, g⟩``, so that all distances come
from the two small factors.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from dalmax_sk._base import progress
from dalmax_sk._base.limits import limits
from dalmax_sk.selection.kit.arrays import (
    Array,
    as_type,
    check_count,
    check_max_memory,
    check_range,
    measured_matrix,
    origin_of,
    positions_like,
    row_blocks,
    take_rows,
)
from dalmax_sk.selection.kit.distances import (
    block_shape,
    centred,
    products_are_float32,
    rounding,
)

__all__ = ["k_means_plus_plus", "sample_proportional"]

_FIRST = ("uniform", "largest")
_METHODS = ("rejection", "sequential")
# Beyond this size float32 squares may overflow.
_LARGEST_FLOAT32 = 1e9


def k_means_plus_plus(
    X: Any,
    n: int,
    *,
    coefficients: Any = None,
    bias: bool = False,
    first: str = "uniform",
    method: str = "rejection",
    random_state: Any = None,
    max_memory: int = 2**30,
    return_distances: bool = False,
) -> Array | tuple[Array, Array]:
    r"""Draw n distinct points by k-means++ seeding.

    Each pick is drawn with probability proportional to its squared distance to the
    nearest pick so far [1]_. With `coefficients` the points are the outer products
    :math:`g_i = a_i \otimes h_i` of the rows of `coefficients` and of `X`, as BADGE
    [2]_ needs them; their :math:`C \cdot d` numbers are never stored.

    Parameters
    ----------
    X : array-like or torch.Tensor of shape (n_pool, n_features)
        The points, or their second factors, finite. float32 and float64 are used as
        they are, half precision is read as float32, integers and booleans as float64.
    n : int
        How many to pick, from 1 to n_pool.
    coefficients : array-like or torch.Tensor of shape (n_pool, C), default=None
        First factors of the points, finite. None means that `X` holds the points.
    bias : bool, default=False
        Whether to append a constant 1 to each row of `X`, as a layer with a bias does.
        Without `coefficients` it changes nothing.
    first : {"uniform", "largest"}, default="uniform"
        How to choose the first pick: every point alike, as k-means++ does, or the one
        of the largest Euclidean norm (ties at random).
    method : {"rejection", "sequential"}, default="rejection"
        ``"rejection"`` proposes from distances that may be out of date, which are upper
        bounds, and accepts with the ratio of the true one to the old one: the picks
        have the same distribution and all distances are updated only once in up to 64
        picks, by a matrix product. ``"sequential"`` updates all distances after each
        pick and draws by inversion, one uniform number a pick. The two draw
        differently, so one seed gives different picks.
    random_state : int, RandomState instance or None, default=None
        Source of the draws. They do not depend on the device.
    max_memory : int, default=2**30
        Bytes that temporary blocks may take, besides O(n_pool) for a few numbers a
        point and one copy of `coefficients`. Arrays that are mapped from a file are
        read in blocks; what has to be copied of them is a temporary file as well.
    return_distances : bool, default=False
        Whether to return the distances as well.

    Returns
    -------
    positions : ndarray or torch.Tensor of shape (n,), int64
        Positions in `X` in the order of the picks, all distinct. Where every remaining
        point coincides with a pick, the rest are drawn uniformly. A tensor on the
        device of `X` if that is a tensor.
    distances : ndarray or torch.Tensor of shape (n,), float64
        Distance of each pick to the nearest earlier one; of the first, its norm. Only
        if `return_distances`.

    Raises
    ------
    ValueError
        If `X` or `coefficients` are not two-dimensional, finite and of equal length, or
        hold values whose squares overflow; if `n` is not an integer from 1 to n_pool;
        or for an unknown `first` or `method`.

    Notes
    -----
    Time is O(n_pool · n · (d + C)) in matrix products. Distances are computed in the
    precision of `X`; those too small for it to resolve are evaluated again in float64
    from differences, so that a copy of a pick has a distance of exactly zero and is
    drawn only if nothing else is left.

    References
    ----------
    .. [1] David Arthur and Sergei Vassilvitskii. "k-means++: The Advantages of Careful
       Seeding". SODA 2007.
    .. [2] Jordan T. Ash, Chicheng Zhang, Akshay Krishnamurthy, John Langford and Alekh
       Agarwal. "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower
       Bounds". ICLR 2020. arXiv:1906.03671

    Examples
    --------
    >>> from dalmax_sk.selection import k_means_plus_plus
    >>> X = [[0.0], [0.0], [5.0], [5.0]]
    >>> sorted(k_means_plus_plus(X, 2, random_state=0) // 2)  # one of each place
    [np.int64(0), np.int64(1)]
    """
    if first not in _FIRST:
        raise ValueError(f"first must be one of {_FIRST}, got {first!r}.")
    if method not in _METHODS:
        raise ValueError(f"method must be one of {_METHODS}, got {method!r}.")
    max_memory = check_max_memory(max_memory)
    pool, largest = measured_matrix(X, "X", max_memory)
    n = check_count(n, len(pool), "X")
    factors = None
    if coefficients is not None:
        factors, most = measured_matrix(coefficients, "coefficients", max_memory)
        factors = factors.to(pool.device)
        largest = max(largest, 1.0) * most
        if len(factors) != len(pool):
            raise ValueError(
                f"coefficients has {len(factors)} rows for {len(pool)} rows of X."
            )
    check_range(largest, pool.shape[1], "X or coefficients hold")
    rng = check_random_state(random_state)

    points = _Points(pool, factors, bool(bias), largest, max_memory)
    seeding = _Seeding(points, rng)
    seeding.start(first)
    (seeding.reject if method == "rejection" else seeding.step)(n)
    seeding.fill(n)

    picks = positions_like(np.array(seeding.picks, dtype=np.int64), X)
    if not return_distances:
        return picks
    distances = torch.from_numpy(np.sqrt(np.array(seeding.squares)))
    return picks, positions_like(distances, X)


def sample_proportional(
    mass: np.ndarray, n: int, rng: np.random.RandomState
) -> np.ndarray:
    """Draw n positions, with replacement, with probability ∝ ``mass`` (n_pool,).

    Inversion: one uniform number a position. At least one mass must be positive.
    """
    cumulative = mass.cumsum()
    at = rng.random_sample(n) * cumulative[-1]
    # side="right" never finds a position whose mass is 0, but rounding may step past
    # the last one that has any.
    found = np.searchsorted(cumulative, at, side="right")
    last = np.searchsorted(cumulative, cumulative[-1], side="left")
    return np.minimum(found, last)


class _Points:
    """Points, or outer products of two factors, and the distances between them."""

    def __init__(
        self,
        pool: torch.Tensor,
        factors: torch.Tensor | None,
        bias: bool,
        largest: float,
        max_memory: int,
    ) -> None:
        self.pool = pool
        quick = (
            pool.dtype == torch.float32
            and largest < _LARGEST_FLOAT32
            and products_are_float32(pool.device)
        )
        #: The precision of the products, and what they may be wrong by.
        self.dtype = torch.float32 if quick else torch.float64
        self.factors = None
        if factors is not None:
            self.factors = as_type(factors, self.dtype, "coefficients", max_memory)
        self.bias = 1.0 if bias else 0.0
        width = 0 if factors is None else factors.shape[1]
        self.relative, self.absolute = rounding(pool.shape[1] + width, self.dtype)
        self.max_memory = max_memory
        self.n_rows = block_shape(
            pool.shape[1] + width, self.dtype.itemsize, max_memory
        )[0]

        # Differences do not care where zero is, but norms and outer products do.
        self.origin = None
        if factors is None:
            self.origin = origin_of(pool)
        self.squared_norms = torch.empty(
            len(pool), dtype=torch.float64, device=pool.device
        )
        for block in self.blocks():
            self.squared_norms[block] = self._squared_norms(block)

    def __len__(self) -> int:
        return len(self.pool)

    def blocks(self) -> Iterator[slice]:
        along = [] if self.factors is None else [self.factors]
        return row_blocks(self.pool, self.n_rows, along=along)

    def rows(self, at: Any, dtype: torch.dtype) -> torch.Tensor:
        """Return second factors, centred if they are the points themselves."""
        points = self._at(self.pool, at)
        if self.origin is None:
            return points.to(dtype)
        return centred(points, self.origin, dtype)

    @staticmethod
    def _at(rows: torch.Tensor, at: Any) -> torch.Tensor:
        """Return some rows: a block as it lies there, scattered ones as a copy."""
        return rows[at] if isinstance(at, slice) else take_rows(rows, at)

    def _squared_norms(self, at: Any) -> torch.Tensor:
        # Of the centred points, or of the outer products.
        norms = self.rows(at, torch.float64).square().sum(dim=1)
        if self.factors is not None:
            squares = self._at(self.factors, at).to(torch.float64).square().sum(dim=1)
            norms = (norms + self.bias) * squares
        return norms

    def sizes(self) -> torch.Tensor:
        """Return squared Euclidean norms (n,), float64."""
        if self.origin is None:
            return self.squared_norms
        sizes = torch.empty_like(self.squared_norms)
        for block in self.blocks():
            sizes[block] = self.pool[block].to(torch.float64).square().sum(dim=1)
        return sizes

    def update_distances(self, squares: torch.Tensor, centers: torch.Tensor) -> None:
        """Lower ``squares`` (n,) to the squared distances to ``centers`` (k,)."""
        own = self.rows(centers, self.dtype)
        weights = None if self.factors is None else take_rows(self.factors, centers)
        norms = self.squared_norms[centers].to(self.dtype)
        largest = self.squared_norms[centers].max().sqrt()
        for block in self.blocks():
            rest = self.squared_norms[block]
            tile = self._products(own, weights, block)  # (k, rows)
            tile.mul_(-2.0).add_(norms[:, None])
            nearest = tile.amin(dim=0).to(torch.float64) + rest
            margin = self.relative * (rest.sqrt() + largest).square() + self.absolute
            # What is lost in rounding, unless nothing is left to lose.
            unclear = ((nearest <= margin) & (squares[block] > 0.0)).nonzero()[:, 0]
            if len(unclear):
                nearest[unclear] = self._resolve(
                    unclear + block.start,
                    centers,
                    tile[:, unclear].to(torch.float64) + rest[unclear],
                    margin[unclear],
                )
            nearest.clamp_min_(0.0)
            torch.minimum(squares[block], nearest, out=squares[block])

    def _products(
        self, own: torch.Tensor, weights: torch.Tensor | None, block: slice
    ) -> torch.Tensor:
        """Return inner products (k, rows) of some points with those of a block."""
        points = self.rows(block, self.dtype)
        if len(own) == 1 and points.device.type == "cpu":
            # NumPy's product of a matrix and a vector is about three times as fast.
            tile = torch.from_numpy(points.numpy() @ own[0].numpy())[None]
        else:
            tile = own @ points.T
        if weights is not None and self.factors is not None:
            tile.add_(self.bias).mul_(weights @ self.factors[block].T)
        return tile

    def _resolve(
        self,
        index: torch.Tensor,
        centers: torch.Tensor,
        tile: torch.Tensor,
        margin: torch.Tensor,
    ) -> torch.Tensor:
        """Return nearest squared distances of ``index`` (u,), small ones exactly.

        ``tile`` (k, u) holds the approximate ones, wrong by at most ``margin`` (u,).
        """
        j, i = (tile <= margin).nonzero(as_tuple=True)
        nearest = tile.masked_fill(tile <= margin, torch.inf).amin(dim=0)
        width = self.pool.shape[1] + (
            0 if self.factors is None else self.factors.shape[1]
        )
        n_pairs = max(1, min(self.max_memory, limits.exact_pair_bytes) // (32 * width))
        for i_part, j_part in zip(i.split(n_pairs), j.split(n_pairs), strict=True):
            exact = self.pairs(index[i_part], centers[j_part])
            nearest.scatter_reduce_(0, i_part, exact, reduce="amin")
        return nearest

    def pairs(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return squared distances of matching points (p,), from their differences.

        With a ⊗ h − b ⊗ g = (a − b) ⊗ h + b ⊗ (h − g) every term is zero if the
        points are copies of each other, and small if they are close.
        """
        points = take_rows(self.pool, one).to(torch.float64)
        steps = points - take_rows(self.pool, other).to(torch.float64)
        squares = steps.square().sum(dim=1)
        if self.factors is None:
            return squares
        factors = take_rows(self.factors, other).to(torch.float64)
        turns = take_rows(self.factors, one).to(torch.float64) - factors
        norms = points.square().sum(dim=1) + self.bias
        squares *= factors.square().sum(dim=1)
        squares += turns.square().sum(dim=1) * norms
        squares += 2.0 * (turns * factors).sum(dim=1) * (steps * points).sum(dim=1)
        return squares.clamp_min_(0.0)

    def pairwise_squares(self, one: torch.Tensor, other: torch.Tensor) -> np.ndarray:
        """Return squared distances (p, q) of a few points, on the host, in float64."""
        tile = self.rows(one, torch.float64) @ self.rows(other, torch.float64).T
        if self.factors is not None:
            left = take_rows(self.factors, one).to(torch.float64)
            right = take_rows(self.factors, other).to(torch.float64)
            tile = (tile + self.bias) * (left @ right.T)
        norms, others = self.squared_norms[one], self.squared_norms[other]
        squares = norms[:, None] + others - 2.0 * tile
        relative, absolute = rounding(self.pool.shape[1], torch.float64)
        reach = norms.sqrt()[:, None] + others.sqrt()
        i, j = (squares <= relative * reach.square() + absolute).nonzero(as_tuple=True)
        squares[i, j] = self.pairs(one[i], other[j])
        return squares.cpu().numpy()


class _Seeding:
    """One run of k-means++.

    ``current`` holds the squared distance of each point to the nearest of the first
    picks, all but the ``recent`` ones: an upper bound on the true one.
    """

    def __init__(self, points: _Points, rng: np.random.RandomState) -> None:
        self.points = points
        self.rng = rng
        self.picks: list[int] = []
        self.squares: list[float] = []
        self.recent: list[int] = []
        self.current = torch.full_like(points.squared_norms, torch.inf)

    def start(self, first: str) -> None:
        """Make the first pick."""
        sizes = self.points.sizes()
        if first == "uniform":
            pick = int(self.rng.randint(len(sizes)))
        else:
            largest = (sizes == sizes.max()).nonzero()[:, 0]
            pick = int(largest[self.rng.randint(len(largest))])
        self._add(pick, float(sizes[pick]))
        self._refresh()

    def step(self, n: int) -> None:
        """Draw one pick after another until there are n, or all distances are 0."""
        while len(self.picks) < n:
            mass = self.current.cpu().numpy()
            if not mass.any():
                return
            pick = int(sample_proportional(mass, 1, self.rng)[0])
            self._add(pick, float(mass[pick]))
            self._refresh()
            progress.report("query", len(self.picks), n)

    def reject(self, n: int) -> None:
        """Draw by rejection until there are n picks, or all distances are 0."""
        while len(self.picks) < n:
            mass = self.current.cpu().numpy()
            if not mass.any():
                return
            n_proposed = 0
            while (
                len(self.picks) < n
                and len(self.recent) < limits.picks_per_refresh
                and n_proposed < limits.proposals_per_refresh
            ):
                proposals = sample_proportional(mass, limits.proposals, self.rng)
                chances = self.rng.random_sample(limits.proposals)
                self._accept(proposals, chances, mass[proposals], n)
                n_proposed += limits.proposals
            if len(self.picks) < n:
                self._refresh()
            progress.report("query", len(self.picks), n)

    def _accept(
        self, proposals: np.ndarray, chances: np.ndarray, old: np.ndarray, n: int
    ) -> None:
        """Go through proposals in order, accepting each with its true distance."""
        device = self.points.pool.device
        index = torch.from_numpy(proposals).to(device)
        known = torch.tensor(self.recent, dtype=torch.int64, device=device)
        table = self.points.pairwise_squares(
            index, torch.cat([index, known])
        )  # (p, p + known)
        size = len(proposals)
        now = np.minimum(old, table[:, size:].min(axis=1, initial=np.inf))
        for i, pick in enumerate(proposals.tolist()):
            if len(self.picks) == n or len(self.recent) == limits.picks_per_refresh:
                return
            # A copy of an accepted proposal, or itself again, has a distance of 0.
            if chances[i] * old[i] < now[i]:
                self._add(pick, float(now[i]))
                np.minimum(now, table[:, i], out=now)

    def fill(self, n: int) -> None:
        """Draw what is missing uniformly: every point coincides with a pick."""
        if len(self.picks) < n:
            left = np.setdiff1d(np.arange(len(self.points)), self.picks)
            rest = self.rng.permutation(left)[: n - len(self.picks)].tolist()
            self.picks += rest
            self.squares += [0.0] * len(rest)

    def _add(self, pick: int, square: float) -> None:
        self.picks.append(pick)
        self.squares.append(square)
        self.recent.append(pick)

    def _refresh(self) -> None:
        """Bring all distances up to date."""
        recent = torch.tensor(self.recent, device=self.current.device)
        self.current[recent] = 0.0
        self.points.update_distances(self.current, recent)
        self.recent = []
