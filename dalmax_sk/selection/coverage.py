"""Greedy maximisation of a coverage, exact and lazy.

The coverage of a set is the (weighted) mean over all points of the similarity to the
nearest member of the set: the facility-location function, which is submodular. What a
candidate would add therefore only shrinks as others are picked, and an old value is an
upper bound. Values come in three grades: bounds from before the latest picks, fresh
bounds from a float32 matrix product, and exact ones. A candidate moves up a grade only
when it might be the next pick.
"""

import math
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
    row_blocks,
    take_rows,
)
from dalmax_sk.selection.distances import exact_nearest, plain_squares
from dalmax_sk.selection.grouping import Groups, Meetings
from dalmax_sk.selection.k_center import as_centers, check_range
from dalmax_sk.selection.similarity import BoundedFeatures, Similarity, unit_rows
from dalmax_sk.selection.tie_order import TieOrder

__all__ = ["greedy_coverage"]

# Candidates whose bounds are renewed together: at first, and at most, per pick.
_FEWEST, _MOST = 32, 1024
# A product with fewer candidates takes as long, because it reads all points.
_PRODUCT = 64
# Points in a tile; their similarities to _MOST candidates take 8 MB in float32.
_TILE_ROWS = 2048
# Share of max_memory for lists of points that candidates may serve, which are kept to be
# looked at again, and the bytes of an entry.
_KEPT_SHARE, _ENTRY_BYTES = 0.375, 16
# A list is written again once so much of it is left.
_SHRUNK = 0.7
# Who stands in a list, as numbers that index.
_INDEX = torch.int64
# Candidates with the largest bounds, among which the next is sought.
_WORK = 8192
# Which groups can meet is found out again when so many times more covers the points.
_RENEWED_AFTER = 4
# Points whose nearest centre is looked for together.
_COVER_ROWS = 32768
# Pairs evaluated exactly at once take at most these bytes.
_EXACT_BYTES = 32 * 2**20


def greedy_coverage(
    X: Any,
    n: int,
    centers: Any = None,
    *,
    kernel: str = "rbf",
    sigma: float = 1.0,
    sample_weight: Any = None,
    random_state: Any = None,
    max_memory: int = 2**30,
    return_gains: bool = False,
) -> Array | tuple[Array, Array, float]:
    r"""Pick n points, each adding most to how well the picks cover all points.

    The greedy maximisation of the generalised coverage [1]_

    .. math:: C(S) = \frac{\sum_x w_x \max_{s \in S \cup L} k(x, s)}{\sum_x w_x},

    which is the facility-location function [2]_. The sum goes over the rows of `X`; L
    are the `centers`. Greedy picks reach at least 63 % of the largest gain over C(∅)
    that n points can have.

    Parameters
    ----------
    X : array-like or torch.Tensor of shape (n_pool, n_features)
        The points, which are the candidates as well; finite.
    n : int
        How many to pick, from 1 to n_pool.
    centers : array-like or torch.Tensor of shape (n_centers, n_features), default=None
        Points that cover already, such as the labelled ones.
    kernel : {"rbf", "cosine"}, default="rbf"
        The similarity k: ``exp(-|x - s|² / sigma²)``, or ``(1 + cos(x, s)) / 2`` with
        rows of zeros at ``1 - |x - s|² / 4`` from the unit vectors of the others.
    sigma : float, default=1.0
        The radius of the RBF kernel, in (0, inf). Unused with ``"cosine"``.
    sample_weight : array-like or torch.Tensor of shape (n_pool,), default=None
        The weights w, finite, at least 0, not all 0. None weighs all points alike.
    random_state : int, RandomState instance or None, default=None
        None breaks ties by the lowest position; a seed breaks them by a random order
        that depends on the points and not on their positions (equal points come in a
        random order of positions). It changes nothing else.
    max_memory : int, default=2**30
        Bytes that temporary blocks may take, besides a few numbers a point. The picks
        do not depend on it; the speed does.
    return_gains : bool, default=False
        Whether to return the gains as well.

    Returns
    -------
    positions : ndarray or torch.Tensor of shape (n,), int64
        Positions in `X` in the order of the picks, all distinct. A tensor on the device
        of `X` if that is a tensor.
    gains : ndarray or torch.Tensor of shape (n,), float64
        What each pick added to the coverage, never increasing, from 1 to 0. Only if
        `return_gains`.
    coverage : float
        The coverage after all picks, from 0 to 1. Only if `return_gains`.

    Raises
    ------
    ValueError
        If `X` or `centers` are not two-dimensional, finite and of equal width, if `n`
        is not an integer from 1 to n_pool, if `sigma` is not positive, if the kernel is
        unknown or the weights are negative, infinite, all 0 or of another number.

    Notes
    -----
    A gain is a sum of float64 terms, each from plain differences of two points, rounded
    once. It does not depend on the order of the points, so ties are exact: equal points
    have equal gains. Similarities below 2**-120 count as 0. Candidates without any gain
    are picked last, in the order that breaks ties.

    References
    ----------
    .. [1] Wonho Bae, Junhyug Noh and Danica J. Sutherland. "Generalized Coverage for
       More Robust Low-Budget Active Learning". ECCV 2024. arXiv:2407.12212
    .. [2] Kai Wei, Rishabh Iyer and Jeff Bilmes. "Submodularity in Data Subset
       Selection and Active Learning". ICML 2015.
    .. [3] Michel Minoux. "Accelerated greedy algorithms for maximizing submodular set
       functions". Optimization Techniques, 1978. doi:10.1007/BFb0006528

    Examples
    --------
    >>> from dalmax_sk.selection import greedy_coverage
    >>> X = [[0.0], [0.1], [0.2], [5.0], [5.1]]
    >>> greedy_coverage(X, 2)
    array([1, 3])
    >>> greedy_coverage(X, 1, centers=[[0.0]])
    array([3])
    """
    max_memory = check_max_memory(max_memory)
    pool = as_matrix(X, "X", max_memory)
    n = check_count(n, len(pool), "X")
    covering = as_centers(centers, pool)
    check_range(pool, covering)
    similarity = _as_similarity(kernel, sigma)
    weight = _as_weight(sample_weight, len(pool))
    if kernel == "cosine":
        pool = unit_rows(pool, max_memory=max(1, max_memory // 4))
        covering = unit_rows(covering)

    rng = None if random_state is None else check_random_state(random_state)
    greedy = _LazyGreedy(
        pool, covering, similarity, weight, TieOrder(pool, rng), max_memory
    )
    picks, gains = greedy.run(n)
    if not return_gains:
        return positions_like(picks, X)
    total = math.fsum(weight)
    coverage = math.fsum(greedy.weight * greedy.best) / total
    return positions_like(picks, X), positions_like(gains / total, X), coverage


def _as_similarity(kernel: str, sigma: float) -> Similarity:
    if kernel == "cosine":
        return Similarity("linear", 2.0)
    if kernel != "rbf":
        raise ValueError(f"kernel must be 'rbf' or 'cosine', got {kernel!r}.")
    if not isinstance(sigma, int | float | np.number) or not 0 < sigma < math.inf:
        raise ValueError(f"sigma must be a number in (0, inf), got {sigma!r}.")
    return Similarity("rbf", float(sigma))


def _as_weight(sample_weight: Any, length: int) -> np.ndarray:
    """Return float64 weights on the host, the largest of which is 1."""
    if sample_weight is None:
        return np.ones(length)
    weight = as_vector(sample_weight, "sample_weight", length).astype(np.float64)
    n_bad = np.count_nonzero((weight < 0) | np.isinf(weight))
    if n_bad:
        raise ValueError(
            f"sample_weight must be finite and at least 0, but {n_bad} of "
            f"{length} weights are not."
        )
    if not weight.any():
        raise ValueError(
            "sample_weight is 0 everywhere, so no point is worth covering. Give at "
            "least one positive weight, or sample_weight=None."
        )
    return weight / weight.max()


class _Kept:
    """The points that candidates may serve better, and how well at most.

    The floor under a similarity only rises, so a list only shrinks. The oldest lists
    give way to new ones.
    """

    def __init__(self, capacity: int, size: int) -> None:
        self.capacity = capacity  # entries of all lists together
        self.lists: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.n_entries = 0
        # How long lists were lately.
        self.length = size

    def __contains__(self, candidate: int) -> bool:
        return candidate in self.lists

    def room(self) -> int:
        """Return for how many candidates at once lists should be made, at least 1."""
        return max(1, self.capacity // (2 * max(1, self.length)))

    def put(
        self, index: np.ndarray, owner: torch.Tensor, points: torch.Tensor, similar: Any
    ) -> None:
        """Keep lists of candidates (k,), given one after the other, owners ascending."""
        counts = torch.bincount(owner, minlength=len(index)).tolist()
        for candidate, where, value in zip(
            index.tolist(), points.split(counts), similar.split(counts), strict=True
        ):
            self._drop(candidate)
            # Copies, because a view would keep all the others.
            self.lists[candidate] = where.clone(), value.clone()
            self.n_entries += len(where)
        self.length = max(1, -(-sum(counts) // len(counts)))
        while self.n_entries > self.capacity and self.lists:
            self._drop(next(iter(self.lists)))

    def _drop(self, candidate: int) -> None:
        found = self.lists.pop(candidate, None)
        if found is not None:
            self.n_entries -= len(found[0])


class _LazyGreedy:
    """The state of one greedy run, in the order of the groups.

    Attributes
    ----------
    best : ndarray of shape (n_pool,), float64
        The similarity of each point to the nearest of centres and picks, exactly.
    bound : ndarray of shape (n_pool,), float64
        At least what each candidate would add; -1 if it is picked.
    fresh, exact : ndarray of shape (n_pool,), int32
        After how many picks the bound was renewed, and after how many it was exact.
    """

    def __init__(
        self,
        pool: torch.Tensor,
        covering: torch.Tensor,
        similarity: Similarity,
        weight: np.ndarray,
        ties: TieOrder,
        max_memory: int,
    ) -> None:
        size = len(pool)
        self.similarity, self.max_memory = similarity, max_memory
        self.tile = self._tile_shape(pool)
        self.groups = Groups(pool, max_memory, min(self.tile))
        self.pool, order = self.groups.pool, self.groups.order
        self.weight, self.order = weight[order], ties.order[order]
        self.data = BoundedFeatures(self.pool, similarity, max_memory)
        self.n_centers = self.n_renewed = len(covering)
        self.best = np.zeros(size)
        if len(covering):
            self._cover(covering)
        self.meetings = Meetings(self.groups, self.data.origin, max_memory)
        self.meetings.renew(similarity.reach_squares(self.best))
        dtype, device = self.data.dtype, pool.device
        tiny = torch.finfo(dtype).tiny
        self._eps = torch.finfo(dtype).eps
        weights = torch.from_numpy(self.weight).to(device)
        self._weight = weights.to(dtype).clamp_min_(tiny)
        self._weight[weights == 0] = 0.0
        self._floor = self._rounded_down(torch.from_numpy(self.best).to(device))
        self.bound = np.full(size, np.inf)
        # Equal points have equal gains, and once one is picked the others have none;
        # so only the first of them by the order of ties has ever to be looked at.
        self.bound[~ties.is_first[order]] = 0.0
        self.fresh = np.full(size, -1, dtype=np.int32)
        self.exact = np.full(size, -1, dtype=np.int32)
        # Fresh memory costs more than the sums that fill it.
        self._scratch = self._floor.new_empty((2, self.tile[0] * self.tile[1]))
        self.kept = _Kept(int(_KEPT_SHARE * max_memory) // _ENTRY_BYTES, size)
        # Those with the largest bounds, and the largest bound of all others, which
        # does not change before they are looked at.
        self.work, self.outside = np.arange(size), -1.0
        self.picks: list[int] = []

    def _tile_shape(self, pool: torch.Tensor) -> tuple[int, int]:
        """Return (candidates, points) of a tile that takes a quarter of the memory."""
        columns, rows = _MOST, _TILE_ROWS
        itemsize = pool.element_size()
        while (
            columns * rows > 1
            and itemsize * (columns * rows + (columns + rows) * pool.shape[1])
            > self.max_memory // 8
        ):
            columns, rows = max(1, columns // 2), max(1, rows // 2)
        return columns, rows

    def _cover(self, covering: torch.Tensor) -> None:
        """Compute how similar the nearest of the centres is to each point."""
        for block in row_blocks(self.pool, _COVER_ROWS):
            points = self.pool[block]
            everyone = torch.arange(len(points), device=points.device)
            squares = exact_nearest(
                points, everyone, covering, self.data.origin, self.max_memory
            )
            self.best[block] = self.similarity.exact(squares)

    def _rounded_down(self, values: torch.Tensor) -> torch.Tensor:
        """Return at most ``values`` in the type of the bounds."""
        return (values * (1.0 - self._eps)).to(self.data.dtype)

    def run(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Make n picks; return them and their gains (times the sum of weights)."""
        gains = np.zeros(n)
        self._first_bounds()
        self._gather()
        while len(self.picks) < n:
            if max(self.outside, self.bound[self.work].max()) <= 0.0:
                # Nobody adds anything any more: the rest by the order of ties.
                rest = np.flatnonzero(self.bound >= 0.0)
                rest = rest[self.order[rest].argsort()]
                self.picks += rest[: n - len(self.picks)].tolist()
                break
            gain, pick, points, similar = self._next()
            gains[len(self.picks)] = gain
            self.picks.append(pick)
            self.bound[pick] = -1.0
            self._take(points, similar)
            progress.report("query", len(self.picks), n)
        progress.report("query", n, n)
        return self.groups.order[self.picks], gains

    def _take(self, points: np.ndarray, similar: np.ndarray) -> None:
        """Let a pick cover points (k,) to which it is so similar."""
        better = similar > self.best[points]
        points, similar = points[better], similar[better]
        self.best[points] = similar
        at = torch.from_numpy(points).to(self.pool.device)
        renewed = torch.from_numpy(similar).to(self.pool.device)
        self._floor[at] = self._rounded_down(renewed)
        n_covering = self.n_centers + len(self.picks)
        if n_covering >= _RENEWED_AFTER * max(1, self.n_renewed):
            self.n_renewed = n_covering
            self.meetings.renew(self.similarity.reach_squares(self.best))
            return
        touched = np.unique(self.meetings.group_of[points])
        parts = [self.best[self.groups.rows(group)] for group in touched.tolist()]
        if parts:
            reach = self.similarity.reach_squares(np.concatenate(parts))
            self.meetings.shrink(touched, reach)

    def _gather(self, least: float = math.inf) -> None:
        """Work on those with the largest bounds, at least on all from ``least`` on."""
        if len(self.bound) <= _WORK:
            self.work, self.outside = np.arange(len(self.bound)), -1.0
            return
        few = np.partition(self.bound, -_WORK)[-_WORK]
        inside = self.bound >= min(few, least)
        self.work = np.flatnonzero(inside)
        self.outside = float(self.bound[~inside].max(initial=-1.0))

    def _next(self) -> tuple[float, int, np.ndarray, np.ndarray]:
        """Find the candidate that adds most, ties by order.

        Returns
        -------
        gain, pick : float, int
        points, similar : ndarray of shape (n_points,)
            Which points it may be nearest to, and its exact similarity to them.
        """
        step = len(self.picks)
        width = _FEWEST
        found: tuple[float, int, np.ndarray, np.ndarray] | None = None
        while True:
            limit = -0.5 if found is None else found[0]
            bounds = self.bound[self.work]
            if found is None and self.outside > bounds.max():
                self._gather()
                continue
            if found is not None and self.outside >= limit:
                # Others may add as much.
                self._gather(limit)
                continue
            rivals = self.work[(bounds >= limit) & (self.exact[self.work] != step)]
            if len(rivals) == 0:
                assert found is not None
                return found
            top = int(rivals[self.bound[rivals].argmax()])
            if self.fresh[top] != step:
                stale = rivals[self.fresh[rivals] != step]
                if len(stale) > width:
                    most = np.argpartition(-self.bound[stale], width)[:width]
                    stale = stale[most]
                self._renew(stale)
                width = min(2 * width, _MOST)
                continue
            if top not in self.kept:
                # Many are tied within the margins: find the points near them together.
                lost = rivals[[rival not in self.kept for rival in rivals.tolist()]]
                lost = lost[np.lexsort((lost != top, -self.bound[lost]))]
                most = min(_PRODUCT, self.tile[0], self.kept.room())
                self._from_products(lost[:most])
            gain, points, similar = self._gain(top)
            self.bound[top], self.exact[top] = gain, step
            if found is None or (gain, -self.order[top]) > (
                found[0],
                -self.order[found[1]],
            ):
                found = gain, top, points, similar

    def _renew(self, index: np.ndarray) -> None:
        """Bring the bounds of the candidates ``index`` up to date."""
        kept = np.array([candidate in self.kept for candidate in index.tolist()])
        if kept.any():
            self._from_kept(index[kept])
        width = self.tile[0]
        missing = self._filled_up(index[~kept])
        missing = missing[np.argsort(-self.bound[missing], kind="stable")]
        for start in range(0, len(missing), width):
            self._from_products(missing[start : start + width])

    def _filled_up(self, index: np.ndarray) -> np.ndarray:
        """Return ``index`` and those that will be looked at soon, if that is free."""
        room = min(_PRODUCT, self.kept.room()) - len(index)
        if len(index) == 0 or room <= 0:
            return index
        may_come = self.work[self.bound[self.work] > 0.0]
        may_come = may_come[self.fresh[may_come] != len(self.picks)]
        others = np.setdiff1d(may_come, index)
        others = others[[candidate not in self.kept for candidate in others.tolist()]]
        if len(others) > room:
            others = others[np.argpartition(-self.bound[others], room)[:room]]
        return np.concatenate([index, others])

    def _from_kept(self, index: np.ndarray) -> None:
        lists = [self.kept.lists[candidate] for candidate in index.tolist()]
        lengths = torch.tensor([len(points) for points, _ in lists])
        # Four numbers an entry at once.
        ends = (lengths.cumsum(0) // max(1, self._scratch.numel() // 4)).tolist()
        start = 0
        for stop in range(1, len(index) + 1):
            if stop == len(index) or ends[stop] != ends[start]:
                self._from_lists(index[start:stop], lists[start:stop])
                start = stop

    def _from_lists(
        self, index: np.ndarray, lists: list[tuple[torch.Tensor, torch.Tensor]]
    ) -> None:
        points = torch.cat([where for where, _ in lists])
        similar = torch.cat([value for _, value in lists])
        lengths = torch.tensor([len(where) for where, _ in lists], device=points.device)
        owner = torch.arange(len(lists), device=points.device).repeat_interleave(
            lengths
        )
        added = similar - self._floor[points]
        still = added > 0.0
        gains = self._sums(owner, points, added.clamp_min_(0.0), len(lists))
        if int(still.sum()) < _SHRUNK * len(still):
            self.kept.put(index, owner[still], points[still], similar[still])
        self._lower(index, gains)

    def _sums(
        self, owner: torch.Tensor, points: torch.Tensor, added: torch.Tensor, k: int
    ) -> torch.Tensor:
        """Return what is added at the points of each of k owners, (k,) float64."""
        terms = added.to(torch.float64) * self._weight[points]
        gains = torch.zeros(k, dtype=torch.float64, device=points.device)
        return gains.index_add_(0, owner, terms)

    def _from_products(self, index: np.ndarray) -> None:
        at = torch.from_numpy(index).to(self.pool.device)
        features, offset = self.data.features(at), self.data.offset[at]
        may = self.meetings.of_candidates(at)  # (k, G)
        gains = torch.zeros(len(index), dtype=torch.float64, device=self.pool.device)
        n_kept = min(len(index), self.kept.room())
        found: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        for first, last in self.groups.spans(may.any(axis=0), self.tile[1]):
            block = self.groups.rows(first, last)
            some = np.flatnonzero(may[:, first : last + 1].any(axis=1))
            which = torch.from_numpy(some).to(at.device)
            tile = self._tile(len(some), block)
            self.data.bound_into(tile, features[which], offset[which], block)
            mine = tile[: int(np.searchsorted(some, n_kept))]
            i, j = (mine > self._floor[block]).nonzero(as_tuple=True)
            found.append((which[i], j.to(_INDEX) + block.start, mine[i, j]))
            gains.index_add_(0, which, self._add_up(tile, block))
        if found:
            owner, points, similar = (
                torch.cat(part) for part in zip(*found, strict=True)
            )
            order = owner.argsort(stable=True)
        else:
            owner = order = at[:0]
            points, similar = at[:0].to(_INDEX), offset[:0]
        self.kept.put(index[:n_kept], owner[order], points[order], similar[order])
        self._lower(index, gains)

    def _add_up(self, tile: torch.Tensor, block: slice) -> torch.Tensor:
        """Return what similarities (k, r) add at the points of a block: (k,) float64.

        The tile is overwritten.
        """
        tile.sub_(self._floor[block]).clamp_min_(0.0)
        return tile.mv(self._weight[block]).to(torch.float64)

    def _lower(self, index: np.ndarray, gains: torch.Tensor) -> None:
        """Take over bounds, after adding what the summation may have lost."""
        raised = gains.cpu().numpy() * (1.0 + (max(self.tile) + 16) * self._eps)
        raised += len(self.pool) * 1e-37
        self.bound[index] = np.minimum(self.bound[index], raised)
        self.fresh[index] = len(self.picks)

    def _tile(self, n_candidates: int, block: slice, which: int = 0) -> torch.Tensor:
        """Return a scratch tile (n_candidates, points of the block)."""
        shape = n_candidates, block.stop - block.start
        return self._scratch[which, : shape[0] * shape[1]].view(shape)

    def _first_bounds(self) -> None:
        """Bound what every candidate adds to the centres; each pair is used twice."""
        device = self.pool.device
        gains = torch.zeros(len(self.pool), dtype=torch.float64, device=device)
        pairs = self.meetings.pairs()
        for group in range(len(self.groups)):
            block = self.groups.rows(group)
            features, offset = self.data.features(block), self.data.offset[block]
            tile = self._tile(len(offset), block)
            self.data.bound_into(tile, features, offset, block)
            gains[block] += self._add_up(tile, block)
            pairs[group, : group + 1] = False
            for first, last in self.groups.spans(pairs[group], self.tile[1]):
                other = self.groups.rows(first, last)
                tile = self._tile(len(offset), other)
                self.data.bound_into(tile, features, offset, other)
                turned = self._tile(len(offset), other, which=1).copy_(tile)
                turned.sub_(self._floor[block, None]).clamp_min_(0.0)
                gains[other] += turned.T.mv(self._weight[block]).to(torch.float64)
                gains[block] += self._add_up(tile, other)
        first = np.flatnonzero(self.bound > 0.0)
        self._lower(first, gains[torch.from_numpy(first).to(device)])

    def _gain(self, candidate: int) -> tuple[float, np.ndarray, np.ndarray]:
        """Return what a candidate adds exactly, and where: see :meth:`_next`."""
        listed, bounds = self.kept.lists.get(candidate, (None, None))
        if listed is None:
            near = self._near(candidate)
        else:
            near = listed[bounds > self._floor[listed]]
        point = self.pool[candidate].to(torch.float64)
        rows = max(1, min(self.max_memory // 4, _EXACT_BYTES) // (24 * len(point)))
        similar = [
            self.similarity.exact(
                plain_squares(take_rows(self.pool, part).to(torch.float64), point)
            )
            for part in near.split(rows)
        ]
        points, alike = near.cpu().numpy(), np.concatenate(similar)
        terms = np.maximum(alike - self.best[points], 0.0) * self.weight[points]
        return math.fsum(terms), points, alike

    def _near(self, candidate: int) -> torch.Tensor:
        """Return the points that a candidate may be nearest to."""
        at = torch.tensor([candidate], device=self.pool.device)
        features, offset = self.data.features(at), self.data.offset[at]
        found = [at[:0]]
        for first, last in self.groups.spans(
            self.meetings.of_candidates(at)[0], self.tile[1]
        ):
            block = self.groups.rows(first, last)
            tile = self._tile(1, block)
            self.data.bound_into(tile, features, offset, block)
            near = (tile[0] > self._floor[block]).nonzero().squeeze(1)
            found.append(near + block.start)
        return torch.cat(found)
