"""Cached bounds on the similarities of some candidates to all points.

A candidate is looked at again and again while others are picked, and what it is similar
to does not change. Of a small pool whole rows are kept; of a large one only the points
that a candidate may serve better than what covers them already.
"""

from collections.abc import Iterator

import numpy as np
import torch

from dalmax_sk._base.limits import limits

__all__ = ["SimilarityListCache", "SimilarityRowCache"]

# Bytes of an entry of a list: a point and a similarity, which may be float64.
_ENTRY_BYTES = 16
# A list is written again once so much of it is left.
_SHRUNK = 0.7


def _entries_above(
    tile: torch.Tensor, floor: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows and columns where a tile (r, s) exceeds a floor (s,), row by row."""
    if tile.device.type != "cpu":
        i, j = (tile > floor).nonzero(as_tuple=True)
        return i, j
    # NumPy finds few among many several times as fast.
    flat = np.flatnonzero(np.greater(tile.numpy(), floor.numpy()))
    rows, columns = np.divmod(flat, tile.shape[1])
    return torch.from_numpy(rows), torch.from_numpy(columns)


class SimilarityRowCache:
    """Whole rows of the matrix of similarities; the oldest give way to new ones.

    Parameters
    ----------
    capacity : int
        How many rows.
    floor : torch.Tensor of shape (n,)
        The similarity that a candidate has to exceed at each point. It may rise.
    weight : torch.Tensor of shape (n,)
        What an excess at each point counts.
    """

    def __init__(
        self, capacity: int, floor: torch.Tensor, weight: torch.Tensor
    ) -> None:
        size = len(floor)
        self.capacity, self.floor, self.weight = capacity, floor, weight
        self.rows = floor.new_empty((capacity, size))
        self.slot = np.full(size, -1)  # of each candidate
        self.owner = np.full(capacity, -1)
        self.next = 0
        self._filling: torch.Tensor | None = None
        self._end = 0  # of what is filled

    def has(self, index: np.ndarray) -> np.ndarray:
        """Tell which candidates (k,) are in the cache."""
        return self.slot[index] >= 0

    def room(self) -> int:
        """Return how many candidates should be kept at once."""
        return max(1, self.capacity // 4)

    def begin(self, index: np.ndarray) -> None:
        """Make room for the candidates (k,), or for none if they are too many."""
        self._filling, self._end = None, 0
        if len(index) > self.capacity:
            return
        if self.next + len(index) > self.capacity:
            self.next = 0
        slots = np.arange(self.next, self.next + len(index))
        self.next += len(index)
        evicted = self.owner[slots]
        self.slot[evicted[evicted >= 0]] = -1
        self.owner[slots], self.slot[index] = index, slots
        self._filling = self.rows[int(slots[0]) : int(slots[0]) + len(index)]

    def add(self, which: torch.Tensor, block: slice, tile: torch.Tensor) -> None:
        """Take over similarities (r, s) of the r candidates ``which`` to a block."""
        if self._filling is None:
            return
        self._filling[:, self._end : block.start] = 0.0
        self._end = block.stop
        if len(which) < len(self._filling):
            self._filling[:, block] = 0.0
            self._filling[which, block] = tile
        else:
            self._filling[:, block] = tile

    def end(self) -> None:
        """Finish what was begun."""
        if self._filling is not None:
            self._filling[:, self._end :] = 0.0
            self._filling = None

    def gains(self, index: np.ndarray) -> torch.Tensor:
        """Return what candidates (k,) in the cache add, float64."""
        slots = torch.from_numpy(self.slot[index]).to(self.floor.device)
        gains = torch.zeros(len(index), dtype=torch.float64, device=slots.device)
        rows = max(1, limits.similarity_entries // len(index))
        for start in range(0, len(self.floor), rows):
            block = slice(start, start + rows)
            tile = self.rows[:, block].index_select(0, slots)
            tile.sub_(self.floor[block]).clamp_min_(0.0)
            gains += tile.mv(self.weight[block]).to(torch.float64)
        return gains

    def near(self, candidate: int) -> torch.Tensor:
        """Return the points that a candidate may serve better."""
        row = self.rows[self.slot[candidate]]
        return (row > self.floor).nonzero().squeeze(1)


class SimilarityListCache:
    """Points that candidates may serve better than the floor, and how well at most.

    Parameters as of :class:`SimilarityRowCache`, except that the capacity is in bytes.
    As the floor only rises, a list only shrinks.
    """

    def __init__(self, n_bytes: int, floor: torch.Tensor, weight: torch.Tensor) -> None:
        self.capacity = n_bytes // _ENTRY_BYTES  # entries of all lists together
        self.floor, self.weight = floor, weight
        self.lists: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.cached = np.zeros(len(floor), dtype=bool)
        self.n_entries = 0
        self.length = len(floor)  # of lists lately
        self._index = np.arange(0)
        self._found: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def has(self, index: np.ndarray) -> np.ndarray:
        """Tell which candidates (k,) are in the cache."""
        return self.cached[index]

    def room(self) -> int:
        """Return how many candidates should be kept at once."""
        return max(1, self.capacity // (4 * max(1, self.length)))

    def begin(self, index: np.ndarray) -> None:
        """Make room for the first of the candidates (k,), as many as there is for."""
        self._index, self._found = index[: self.room()], []

    def add(self, which: torch.Tensor, block: slice, tile: torch.Tensor) -> None:
        """Take over similarities (r, s) of the r candidates ``which`` to a block."""
        n_mine = int((which < len(self._index)).sum())
        if n_mine:
            i, j = _entries_above(tile[:n_mine], self.floor[block])
            self._found.append((which[i], j + block.start, tile[i, j]))

    def end(self) -> None:
        """Finish what was begun."""
        found, self._found = self._found, []
        if not found:
            nothing = torch.zeros(0, dtype=torch.int64, device=self.floor.device)
            found = [(nothing, nothing, self.floor[:0])]
        owner, points, similar = (torch.cat(part) for part in zip(*found, strict=True))
        order = owner.argsort(stable=True)
        self._put(self._index, owner[order], points[order], similar[order])

    def gains(self, index: np.ndarray) -> torch.Tensor:
        """Return what candidates (k,) in the cache add, float64."""
        return torch.cat([self._gains(part) for part in self._parts(index)])

    def near(self, candidate: int) -> torch.Tensor:
        """Return the points that a candidate may serve better."""
        points, similar = self.lists[candidate]
        return points[similar > self.floor[points]]

    def _parts(self, index: np.ndarray) -> Iterator[np.ndarray]:
        """Yield parts of the candidates whose lists are not too long together."""
        ends = (
            np.cumsum([len(self.lists[i][0]) for i in index.tolist()])
            // limits.similarity_entries
        )
        yield from np.split(index, np.flatnonzero(np.diff(ends)) + 1)

    def _gains(self, index: np.ndarray) -> torch.Tensor:
        lists = [self.lists[candidate] for candidate in index.tolist()]
        points = torch.cat([where for where, _ in lists])
        similar = torch.cat([value for _, value in lists])
        device = points.device
        lengths = torch.tensor([len(where) for where, _ in lists], device=device)
        owner = torch.arange(len(lists), device=device).repeat_interleave(lengths)
        added = similar - self.floor[points]
        still = added > 0.0
        terms = added.clamp_min_(0.0).to(torch.float64) * self.weight[points]
        gains = torch.zeros(len(lists), dtype=torch.float64, device=device)
        gains.index_add_(0, owner, terms)
        if int(still.sum()) < _SHRUNK * len(still):
            self._put(index, owner[still], points[still], similar[still])
        return gains

    def _put(
        self,
        index: np.ndarray,
        owner: torch.Tensor,
        points: torch.Tensor,
        similar: torch.Tensor,
    ) -> None:
        """Keep lists of candidates (k,), one after the other, owners ascending."""
        counts = torch.bincount(owner, minlength=len(index)).tolist()
        for candidate, where, value in zip(
            index.tolist(), points.split(counts), similar.split(counts), strict=True
        ):
            self._drop(candidate)
            # Copies, because a view would keep all the others.
            self.lists[candidate] = where.clone(), value.clone()
            self.n_entries += len(where)
        self.cached[index] = True
        self.length = max(1, -(-sum(counts) // len(counts)))
        while self.n_entries > self.capacity and len(self.lists) > 1:
            self._drop(next(iter(self.lists)))

    def _drop(self, candidate: int) -> None:
        found = self.lists.pop(candidate, None)
        if found is not None:
            self.n_entries -= len(found[0])
            self.cached[candidate] = False
