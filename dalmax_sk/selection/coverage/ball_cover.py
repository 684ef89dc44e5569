"""Greedy maximum coverage by balls of one radius.

Which points lie in whose ball is found by one pass over all pairs and kept as lists,
or, if these would take too much memory, found again when it is needed. As every point
gets covered once, that is at most one more pass.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from dalmax_sk._base import progress
from dalmax_sk._base.limits import limits
from dalmax_sk.selection.coverage.similarity import BoundedFeatures, Similarity
from dalmax_sk.selection.kit.arrays import (
    Array,
    as_points,
    check_count,
    check_max_memory,
    positions_like,
)
from dalmax_sk.selection.kit.distances import exact_nearest, plain_squares
from dalmax_sk.selection.kit.tie_order import TieOrder

__all__ = ["ball_cover"]

# Bytes that a member of a ball takes while the lists of members are made.
_MEMBER_BYTES = 10


def ball_cover(
    X: Any,
    n: int,
    radius: float,
    centers: Any = None,
    *,
    random_state: Any = None,
    max_memory: int = 2**30,
    return_gains: bool = False,
) -> Array | tuple[Array, Array, float]:
    """Pick n points, the ball around each covering most points not yet covered.

    The greedy algorithm for maximum coverage, as ProbCover [1]_ uses it: it covers at
    least 63 % of what n balls can.

    Parameters
    ----------
    X : array-like or torch.Tensor of shape (n_pool, n_features)
        The points, which are the candidates as well; finite.
    n : int
        How many to pick, from 1 to n_pool.
    radius : float
        Points at most this far away are covered, in (0, inf).
    centers : array-like or torch.Tensor of shape (n_centers, n_features), default=None
        Points whose balls cover already, such as the labelled ones.
    random_state : int, RandomState instance or None, default=None
        None breaks ties by the lowest position; a seed breaks them by a random order
        that depends on the points and not on their positions (equal points come in a
        random order of positions). It changes nothing else.
    max_memory : int, default=2**30
        Bytes that temporary blocks and lists may take, besides a few numbers a point.
        The picks do not depend on it; the speed does.
    return_gains : bool, default=False
        Whether to return the gains as well.

    Returns
    -------
    positions : ndarray or torch.Tensor of shape (n,), int64
        Positions in `X` in the order of the picks, all distinct. Once everything is
        covered, the others follow in the order that breaks ties. A tensor on the device
        of `X` if that is a tensor.
    gains : ndarray or torch.Tensor of shape (n,), float64
        The share of the points that each pick covered first, never increasing. Only if
        `return_gains`.
    coverage : float
        The share of the points that is covered after all picks. Only if
        `return_gains`.

    Raises
    ------
    ValueError
        If `X` or `centers` are not two-dimensional, finite and of equal width, if `n`
        is not an integer from 1 to n_pool, or if `radius` is not positive and finite.

    Notes
    -----
    "At most this far" is exact: the squared distance, from differences squared and
    summed in float64, is at most ``radius ** 2``.

    References
    ----------
    .. [1] Ofer Yehuda, Avihu Dekel, Guy Hacohen and Daphna Weinshall. "Active Learning
       Through a Covering Lens". NeurIPS 2022. arXiv:2205.11320

    Examples
    --------
    >>> from dalmax_sk.selection import ball_cover
    >>> X = [[0.0], [1.0], [2.0], [10.0], [11.0], [30.0]]
    >>> ball_cover(X, 2, radius=1.0, return_gains=True)
    (array([1, 3]), array([0.5       , 0.33333333]), 0.8333333333333334)
    """
    max_memory = check_max_memory(max_memory)
    pool, covering, _ = as_points(X, centers, max_memory)
    n = check_count(n, len(pool), "X")
    if not isinstance(radius, int | float | np.number) or not 0 < radius < math.inf:
        raise ValueError(f"radius must be a number in (0, inf), got {radius!r}.")
    rng = None if random_state is None else check_random_state(random_state)

    cover = _BallCover(pool, covering, float(radius), TieOrder(pool, rng), max_memory)
    picks, gains = cover.run(n)
    if not return_gains:
        return positions_like(picks, X)
    share = float(cover.covered.mean())
    return positions_like(picks, X), positions_like(gains / len(pool), X), share


class _Balls:
    """Membership of points in balls around points; each lies in its own."""

    def __init__(self, pool: torch.Tensor, radius: float, max_memory: int) -> None:
        self.pool, self.max_memory = pool, max_memory
        self.square = radius**2
        self.data = BoundedFeatures(pool, Similarity("linear", radius), max_memory)
        size = limits.tile_rows
        # A tile, two of its masks, and the features of both sides.
        itemsize = self.data.offset.element_size()
        while size > 1 and size * (3 * size + 2 * pool.shape[1]) * itemsize > (
            max_memory // 4
        ):
            size //= 2
        self.size = size
        self.scratch = self.data.offset.new_empty(size * size)

    def blocks(self) -> list[slice]:
        size = len(self.pool)
        return [slice(i, min(i + self.size, size)) for i in range(0, size, self.size)]

    def members(self, index: torch.Tensor, block: slice) -> torch.Tensor:
        """Tell which points of a block lie in the balls of ``index``: (k, r) bool."""
        shape = len(index), block.stop - block.start
        tile = self.scratch[: shape[0] * shape[1]].view(shape)
        self.data.nearness_into(
            tile, self.data.features(index), self.data.offset[index], block
        )
        inside = tile >= -1.0
        # Near the rim, the product is not precise enough.
        i, j = (inside & (tile < -1.0 + self.data.slack)).nonzero(as_tuple=True)
        n_bytes = min(self.max_memory, limits.exact_pair_bytes)
        pairs = max(1, n_bytes // (24 * self.pool.shape[1]))
        for i_part, j_part in zip(i.split(pairs), j.split(pairs), strict=True):
            squares = plain_squares(
                self.pool[index[i_part]].to(torch.float64),
                self.pool[block.start + j_part].to(torch.float64),
            )
            inside[i_part, j_part] = squares <= self.square
        return inside

    def pairs_of_blocks(self) -> Iterator[tuple[slice, slice, torch.Tensor]]:
        """Yield blocks and the members of the second in the balls of the first.

        Each pair of blocks comes once, since the relation is symmetric.
        """
        blocks = self.blocks()
        for number, block in enumerate(blocks):
            index = torch.arange(block.start, block.stop, device=self.pool.device)
            for other in blocks[number:]:
                yield block, other, self.members(index, other)


class _BallCover:
    """The state of one greedy run.

    Attributes
    ----------
    covered : ndarray of shape (n_pool,), bool
        Whether a point lies in a ball of centres or picks.
    degree : ndarray of shape (n_pool,), int64
        How many points not yet covered lie in the ball of each; -1 if picked.
    lists : list of (starts, members), or None
        For every block of points the members of their balls, one ball after the other;
        None if they would take too much memory.
    """

    def __init__(
        self,
        pool: torch.Tensor,
        covering: torch.Tensor,
        radius: float,
        ties: TieOrder,
        max_memory: int,
    ) -> None:
        self.pool, self.order = pool, ties.order
        self.balls = _Balls(pool, radius, max_memory)
        self.covered = np.zeros(len(pool), dtype=bool)
        if len(covering):
            everyone = torch.arange(len(pool), device=pool.device)
            squares = exact_nearest(
                pool, everyone, covering, self.balls.data.origin, max_memory
            )
            self.covered = (squares <= self.balls.square).cpu().numpy()
        self.room = int(limits.ball_list_share * max_memory) // _MEMBER_BYTES
        self.lists: list[tuple[np.ndarray, np.ndarray]] | None = None
        self.degree = self._first_pass()

    def _first_pass(self) -> np.ndarray:
        """Count what each ball would cover; keep lists of members if there is room."""
        size, device = len(self.pool), self.pool.device
        uncovered = torch.from_numpy(~self.covered).to(device, torch.float32)
        # In float64 numbers of points are exact, a block's in float32 as well.
        degree = torch.zeros(size, dtype=torch.float64, device=device)
        store: _MemberStore | None = _MemberStore(self.balls.blocks(), self.room)
        for block, other, inside in self.balls.pairs_of_blocks():
            counts = inside.to(torch.float32)
            degree[block] += counts.mv(uncovered[other])
            if other != block:
                degree[other] += counts.T.mv(uncovered[block])
            if store is None:
                continue
            n_more = int(counts.sum()) * (1 if other == block else 2)
            if store.size + n_more > self.room:
                store = None
                continue
            i, j = (part.cpu().numpy() for part in inside.nonzero(as_tuple=True))
            store.add(block, i, j + other.start)
            if other != block:
                store.add(other, j, i + block.start)
        if store is not None:
            self.lists = store.lists()
        return degree.cpu().numpy().astype(np.int64)

    def run(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Make n picks; return them and how many points each covered first."""
        picks: list[int] = []
        gains = np.zeros(n)
        while len(picks) < n:
            most = self.degree.max()
            if most <= 0:
                rest = np.flatnonzero(self.degree == 0)
                rest = rest[self.order[rest].argsort()]
                picks += rest[: n - len(picks)].tolist()
                break
            tied = np.flatnonzero(self.degree == most)
            pick = int(tied[self.order[tied].argmin()])
            gains[len(picks)] = most
            picks.append(pick)
            ball = self._ball(pick)
            new = ball[~self.covered[ball]]
            self.covered[new] = True
            self._subtract(new)
            self.degree[pick] = -1
            progress.report("query", len(picks), n)
        progress.report("query", n, n)
        return np.array(picks), gains

    def _ball(self, point: int) -> np.ndarray:
        """Return the members of a ball."""
        if self.lists is not None:
            starts, members = self.lists[point // self.balls.size]
            at = point % self.balls.size
            return members[starts[at] : starts[at + 1]]
        index = torch.tensor([point], device=self.pool.device)
        found = [
            self.balls.members(index, block)[0].nonzero().squeeze(1) + block.start
            for block in self.balls.blocks()
        ]
        return torch.cat(found).cpu().numpy()

    def _subtract(self, new: np.ndarray) -> None:
        """Lower the degree of all balls that hold points just covered."""
        size = len(self.pool)
        if self.lists is not None:
            step = max(1, self.room // size)
            for start in range(0, len(new), step):
                holders = [self._ball(point) for point in new[start : start + step]]
                self.degree -= np.bincount(np.concatenate(holders), minlength=size)
            return
        index = torch.from_numpy(new).to(self.pool.device)
        for part in index.split(self.balls.size):
            for block in self.balls.blocks():
                inside = self.balls.members(part, block)
                self.degree[block] -= inside.sum(dim=0).cpu().numpy()


class _MemberStore:
    """Members of balls as they are found, in two arrays made beforehand.

    Many small arrays, made between large ones that go again, would leave the large
    ones' places unused; what is not written here takes no memory.
    """

    def __init__(self, blocks: list[slice], room: int) -> None:
        self.size = 0
        self.owner = np.empty(room, dtype=np.int16)  # position in the block
        self.member = np.empty(room, dtype=np.int32)
        self.parts: dict[int, list[slice]] = {}
        self.blocks = blocks

    def add(self, block: slice, owner: np.ndarray, member: np.ndarray) -> None:
        """Add members of the balls of some points of a block."""
        part = slice(self.size, self.size + len(owner))
        self.owner[part], self.member[part] = owner, member
        self.parts.setdefault(block.start, []).append(part)
        self.size = part.stop

    def lists(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return starts (r + 1,) and members of the balls of each block's points."""
        return [self._lists_of(block) for block in self.blocks]

    def _lists_of(self, block: slice) -> tuple[np.ndarray, np.ndarray]:
        parts = self.parts[block.start]
        owner = np.concatenate([self.owner[part] for part in parts])
        members = np.concatenate([self.member[part] for part in parts])
        order = owner.argsort(kind="stable")
        counts = np.bincount(owner, minlength=block.stop - block.start)
        return np.concatenate([[0], counts.cumsum()]), members[order]
