"""The lazy greedy algorithm for coverage, which looks at few pairs and misses none.

Values come in three grades: bounds from before the latest picks, fresh bounds from a
float32 matrix product, and exact ones. A candidate moves up a grade only when it might
be the next pick. Points are sorted into groups, and groups that are too far apart to
matter to each other are left out.
"""

import math

import numpy as np
import torch

from dalmax_sk._base import progress
from dalmax_sk._base.limits import limits
from dalmax_sk.selection.coverage.groups import GroupPairs, Groups
from dalmax_sk.selection.coverage.similarity import BoundedFeatures, Similarity
from dalmax_sk.selection.coverage.similarity_cache import (
    SimilarityListCache,
    SimilarityRowCache,
)
from dalmax_sk.selection.kit.arrays import row_blocks, take_rows
from dalmax_sk.selection.kit.distances import exact_nearest, plain_squares
from dalmax_sk.selection.kit.tie_order import TieOrder

__all__ = ["LazyGreedy"]

# The reach of the groups is computed anew when this many times more covers the points.
_RENEWED_AFTER = 4


class LazyGreedy:
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
        self.group_pairs = GroupPairs(self.groups, self.data.origin, max_memory)
        self.group_pairs.renew(similarity.reach_squares(self.best))
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
        self.cache = self._make_cache()
        # Those with the largest bounds, and the largest bound of all others, which
        # does not change before they are looked at.
        self.work, self.outside = np.arange(size), -1.0
        self.picks: list[int] = []

    def _make_cache(self) -> SimilarityRowCache | SimilarityListCache:
        """Return a cache of similarities: of rows if there is room, else of lists."""
        size = len(self.pool)
        n_bytes = int(limits.similarity_share * self.max_memory)
        capacity = n_bytes // (size * self._floor.element_size())
        if capacity < min(limits.similarity_rows, size):
            return SimilarityListCache(n_bytes, self._floor, self._weight)
        return SimilarityRowCache(
            min(capacity, 4 * limits.renewed_candidates[1], size),
            self._floor,
            self._weight,
        )

    def _tile_shape(self, pool: torch.Tensor) -> tuple[int, int]:
        """Return (candidates, points) of a tile that takes a quarter of the memory."""
        columns, rows = limits.renewed_candidates[1], limits.tile_rows
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
        for block in row_blocks(self.pool, limits.cover_rows):
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
            self._cover_by_pick(points, similar)
            progress.report("query", len(self.picks), n)
        progress.report("query", n, n)
        return self.groups.order[self.picks], gains

    def _cover_by_pick(self, points: np.ndarray, similar: np.ndarray) -> None:
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
            self.group_pairs.renew(self.similarity.reach_squares(self.best))
            return
        touched = np.unique(self.group_pairs.group_of[points])
        parts = [self.best[self.groups.rows(group)] for group in touched.tolist()]
        if parts:
            reach = self.similarity.reach_squares(np.concatenate(parts))
            self.group_pairs.shrink(touched, reach)

    def _gather(self, least: float = math.inf) -> None:
        """Work on those with the largest bounds, at least on all from ``least`` on."""
        if len(self.bound) <= limits.lazy_candidates:
            self.work, self.outside = np.arange(len(self.bound)), -1.0
            return
        few = np.partition(self.bound, -limits.lazy_candidates)[-limits.lazy_candidates]
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
        width = limits.renewed_candidates[0]
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
                    stale = stale[np.argpartition(-self.bound[stale], width)[:width]]
                self._renew(stale)
                width = min(2 * width, limits.renewed_candidates[1])
                continue
            if not self.cache.has(np.array([top]))[0]:
                # Many are tied within the margins: find the points near them together.
                lost = rivals[~self.cache.has(rivals)]
                lost = lost[np.lexsort((lost != top, -self.bound[lost]))]
                most = min(limits.product_candidates, self.tile[0], self.cache.room())
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
        cached = self.cache.has(index)
        again = index[cached]
        for part in np.split(
            again,
            range(
                limits.renewed_candidates[1], len(again), limits.renewed_candidates[1]
            ),
        ):
            if len(part):
                self._lower(part, self.cache.gains(part))
        width = self.tile[0]
        missing = self._filled_up(index[~cached])
        missing = missing[np.argsort(-self.bound[missing], kind="stable")]
        for start in range(0, len(missing), width):
            self._from_products(missing[start : start + width])

    def _filled_up(self, index: np.ndarray) -> np.ndarray:
        """Return ``index`` and those that will be looked at soon, if that is free."""
        room = min(limits.product_candidates, self.cache.room()) - len(index)
        if len(index) == 0 or room <= 0:
            return index
        may_come = self.work[self.bound[self.work] > 0.0]
        may_come = may_come[self.fresh[may_come] != len(self.picks)]
        may_come = may_come[~self.cache.has(may_come)]
        others = may_come[~np.isin(may_come, index)]
        if len(others) > room:
            others = others[np.argpartition(-self.bound[others], room)[:room]]
        return np.concatenate([index, others])

    def _from_products(self, index: np.ndarray) -> None:
        at = torch.from_numpy(index).to(self.pool.device)
        features, offset = self.data.features(at), self.data.offset[at]
        may = self.group_pairs.of_candidates(at)  # (k, G)
        gains = torch.zeros(len(index), dtype=torch.float64, device=self.pool.device)
        self.cache.begin(index)
        for first, last in self.groups.spans(np.any(may, axis=0), self.tile[1]):
            block = self.groups.rows(first, last)
            some = np.flatnonzero(may[:, first : last + 1].any(axis=1))
            which = torch.from_numpy(some).to(at.device)
            tile = self._tile(len(some), block)
            self.data.bound_into(tile, features[which], offset[which], block)
            self.cache.add(which, block, tile)
            gains.index_add_(0, which, self._add_up(tile, block))
        self.cache.end()
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
        pairs = self.group_pairs.pairs()
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
                turned = self._tile(len(offset), other, which=1)
                torch.sub(tile, self._floor[block, None], out=turned).clamp_min_(0.0)
                gains[other] += turned.T.mv(self._weight[block]).to(torch.float64)
                gains[block] += self._add_up(tile, other)
        index = np.flatnonzero(self.bound > 0.0)
        self._lower(index, gains[torch.from_numpy(index).to(device)])

    def _gain(self, candidate: int) -> tuple[float, np.ndarray, np.ndarray]:
        """Return what a candidate adds exactly, and where: see :meth:`_next`."""
        is_cached = self.cache.has(np.array([candidate]))[0]
        near = self.cache.near(candidate) if is_cached else self._near(candidate)
        point = self.pool[candidate].to(torch.float64)
        rows = max(
            1, min(self.max_memory // 4, limits.exact_pair_bytes) // (24 * len(point))
        )
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
            self.group_pairs.of_candidates(at)[0], self.tile[1]
        ):
            block = self.groups.rows(first, last)
            tile = self._tile(1, block)
            self.data.bound_into(tile, features, offset, block)
            near = (tile[0] > self._floor[block]).nonzero().squeeze(1)
            found.append(near + block.start)
        return torch.cat(found)
