"""Lloyd's k-means from a greedy k-means++ start, in blocks."""

from collections.abc import Iterator

import numpy as np
import torch

from dalmax_sk._base import progress
from dalmax_sk._base.limits import limits
from dalmax_sk.selection.k_means.seeding import sample_proportional
from dalmax_sk.selection.kit.arrays import origin_of, row_blocks, take_rows
from dalmax_sk.selection.kit.distances import block_shape, centred

__all__ = ["Lloyd", "add_at"]

# Lloyd's iterations stop when one lowers the inertia by less than this share of it.
_TOLERANCE = 1e-3
_MAX_ITERATIONS = 100
# Candidates that k-means++ draws for each centre it keeps.
_CANDIDATES_PER_CENTER = 4
# Vectors of one number a point in addition to the columns of distances, about.
_COLUMNS_BESIDES = 6


def add_at(total: torch.Tensor, index: torch.Tensor, values: torch.Tensor) -> None:
    """Add ``values`` to ``total[index]`` in place, in the same order on every call."""
    if total.device.type == "cpu":
        total.index_add_(0, index, values)
    else:
        # index_add_ on a GPU adds in any order; this sorts first.
        total.index_put_((index,), values, accumulate=True)


class Lloyd:
    """k-means of a pool; all centres are relative to ``origin``.

    Parameters
    ----------
    pool : torch.Tensor of shape (n, d)
        The points, checked.
    max_memory : int
        Bytes that blocks may take.
    weight : torch.Tensor of shape (n,), float64, default=None
        None weighs all points alike.
    origin : torch.Tensor of shape (d,), default=None
        None takes the mean of the pool.
    """

    def __init__(
        self,
        pool: torch.Tensor,
        max_memory: int,
        *,
        weight: torch.Tensor | None = None,
        origin: torch.Tensor | None = None,
    ) -> None:
        if weight is None:
            weight = torch.ones(len(pool), dtype=torch.float64, device=pool.device)
        self.pool = pool
        self.weight = weight
        self.unweighted = bool((weight == 1.0).all())
        self.origin = origin_of(pool) if origin is None else origin
        self.max_memory = max_memory
        self.block = block_shape(pool.shape[1], pool.element_size(), max_memory)

    def nearest(
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
        for block in self.blocks():
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
            part = torch.empty_like(centers)
            totals = torch.zeros_like(sums[:, 0])
            for block, points, label, square in self.nearest(centers):
                weight = self.weight[block]
                labels[block], squares[block] = label, square.to(torch.float64)
                if self.unweighted:
                    # A block in the precision of the points, five times as fast.
                    add_at(part.zero_(), label, points)
                    sums += part
                else:
                    add_at(sums, label, points * weight[:, None])
                add_at(totals, label, weight)
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
            points = take_rows(self.pool, costly)
            means[empty] = centred(points, self.origin, torch.float64)
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
        cost = self.columns(picks)[0]  # (n,)
        columns = _Columns(self)
        while len(picks) < k:
            cost[picks] = 0.0
            mass = cost.to(torch.float64) * self.weight
            if not float(mass.sum()) > 0.0:
                # Fewer distinct points than centres: any point will do for the rest.
                picks += rng.choice(len(self.pool), k - len(picks)).tolist()
                break
            candidates = np.unique(
                self._draw(mass, limits.seeding_candidates, rng)
            ).tolist()
            gains = columns.first_gains(candidates, cost, weight)
            fresh = np.zeros(len(gains), dtype=np.int64)
            n_kept = min(-(-len(gains) // _CANDIDATES_PER_CENTER), k - len(picks))
            for step in range(n_kept):
                best = int(gains.argmax())
                while fresh[best] < step:
                    gain = (cost - columns.get(best, gains)).clamp_min_(0.0).dot(weight)
                    gains[best], fresh[best] = float(gain), step
                    best = int(gains.argmax())
                picks.append(candidates[best])
                torch.minimum(cost, columns.get(best, gains), out=cost)
                gains[best] = -1.0
            progress.report("query", len(picks), k)
        return centred(self._rows(picks), self.origin, self.pool.dtype)

    def _draw(
        self, mass: torch.Tensor, n: int, rng: np.random.RandomState
    ) -> np.ndarray:
        """Draw n positions, with replacement, with probability ∝ ``mass`` (n_pool,)."""
        # On the host: a GPU's cumulative sum is not the same on every call.
        return sample_proportional(mass.cpu().numpy(), n, rng)

    def columns(
        self, index: list[int], out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the squared distances of the points ``index`` (p,) to all: (p, n)."""
        own = centred(self._rows(index), self.origin, self.pool.dtype)
        norms = (own * own).sum(dim=1, keepdim=True)
        squares = own.new_empty((len(own), len(self.pool))) if out is None else out
        for block in self.blocks():
            points = centred(self.pool[block], self.origin, self.pool.dtype)
            offset = (points * points).sum(dim=1)
            torch.addmm(offset, own, points.T, alpha=-2.0, out=squares[:, block])
        return squares.add_(norms).clamp_min_(0.0)

    def _rows(self, index: list[int]) -> torch.Tensor:
        at = torch.tensor(index, dtype=torch.int64, device=self.pool.device)
        return take_rows(self.pool, at)

    def blocks(self) -> Iterator[slice]:
        return row_blocks(self.pool, self.block[0])


class _Columns:
    """Squared distances of the candidates of a batch to all points.

    If memory does not allow to hold all columns, the most promising ones are held, and
    computed together when one of them is missing.
    """

    def __init__(self, lloyd: Lloyd) -> None:
        self.lloyd, pool = lloyd, lloyd.pool
        self.index: list[int] = []
        # All columns that are held, and a few vectors of the same length.
        column_bytes = len(pool) * pool.element_size()
        room = lloyd.max_memory // column_bytes - _COLUMNS_BESIDES
        self.width = max(1, min(limits.seeding_candidates, room, len(pool)))
        self.held: dict[int, int] = {}  # number of a candidate -> row
        # Fresh memory costs more than the sums that fill it.
        self.rows = pool.new_empty((self.width, len(pool)))

    def first_gains(
        self, index: list[int], cost: torch.Tensor, weight: torch.Tensor
    ) -> np.ndarray:
        """Return by how much each of ``index`` would lower the weighted cost (n,)."""
        self.index = index
        gains = np.empty(len(self.index))
        for start in range(0, len(self.index), self.width):
            stop = min(start + self.width, len(self.index))
            columns = self._compute(list(range(start, stop)))
            rows = self.lloyd.block[0]
            gain = torch.zeros_like(columns[:, 0])
            for part, now, mass in zip(
                columns.split(rows, dim=1),
                cost.split(rows),
                weight.split(rows),
                strict=True,
            ):
                gain += (now - part).clamp_min_(0.0).mv(mass)
            gains[start:stop] = gain.cpu().numpy()
        return gains

    def get(self, which: int, gains: np.ndarray) -> torch.Tensor:
        """Return the column (n_pool,) of a candidate that has the largest gain."""
        if which not in self.held:
            self._compute(np.argsort(-gains, kind="stable")[: self.width].tolist())
        return self.rows[self.held[which]]

    def _compute(self, which: list[int]) -> torch.Tensor:
        self.held = {number: row for row, number in enumerate(which)}
        index = [self.index[number] for number in which]
        return self.lloyd.columns(index, out=self.rows[: len(which)])
