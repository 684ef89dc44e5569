"""Groups of neighbouring points, and bounds on which pairs of groups can interact.

A question about all pairs of points often concerns few of them: what a candidate adds
to a coverage depends only on the points that are nearer to it than to what covers them
already. If points are in groups, whole groups can be left out by their centres.
"""

import numpy as np
import torch

from dalmax_sk._base.limits import limits
from dalmax_sk._base.storage import rows_within
from dalmax_sk.selection.coverage.similarity import new_rows
from dalmax_sk.selection.k_means.lloyd import Lloyd
from dalmax_sk.selection.kit.arrays import row_blocks, take_rows
from dalmax_sk.selection.kit.distances import centred

__all__ = ["GroupPairs", "Groups"]

# Comparisons of squared distances allow for so much of the largest: far more than what
# float64 loses.
_TOLERANCE = 1e-9


class Groups:
    """A copy of the points, sorted by group.

    Groups are those of k-means on a sample; only speed depends on how good they are.

    Parameters
    ----------
    pool : torch.Tensor of shape (n, d)
        The points.
    max_memory : int
        Bytes that blocks may take. A copy of more than a quarter of it is a temporary
        file; on another device than the CPU there is none then, and the groups are
        blocks of rows in their old order.
    most_rows : int
        The most points of a group.

    Attributes
    ----------
    pool : torch.Tensor of shape (n, d)
        The points in their new order, group by group.
    order : ndarray of shape (n,), int64
        Which row each of them was.
    starts : ndarray of shape (G + 1,), int64
        Where each group begins, and the end of the last.
    """

    def __init__(self, pool: torch.Tensor, max_memory: int, most_rows: int) -> None:
        size = len(pool)
        most_groups = max(1, int((limits.group_pair_share * max_memory / 16) ** 0.5))
        rows = min(max(limits.group_rows, -(-2 * size // most_groups)), most_rows)
        room = max(1, max_memory // 4)
        fits = pool.device.type == "cpu" or pool.numel() * pool.element_size() <= room
        if size <= rows or not fits:
            self.pool, self.order = pool, np.arange(size)
            self.starts = _pieces(np.array([size]), rows)
            return
        labels, n_labels = _near_labels(pool, max(2, size // rows), max_memory)
        self.order = labels.argsort(kind="stable")
        self.starts = _pieces(np.bincount(labels, minlength=n_labels), rows)
        self.pool = new_rows(pool, size, room, "the points in another order")
        order = torch.from_numpy(self.order).to(pool.device)
        for block in row_blocks(self.pool, rows_within(self.pool, limits.copy_bytes)):
            self.pool[block] = take_rows(pool, order[block])

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self.starts) - 1

    def rows(self, first: int, last: int | None = None) -> slice:
        """Return the rows of a group, or of those up to and with another one."""
        stop = first if last is None else last
        return slice(int(self.starts[first]), int(self.starts[stop + 1]))

    def spans(self, wanted: np.ndarray, most_rows: int) -> list[tuple[int, int]]:
        """Return runs (first, last) of wanted groups (G,), of at most ``most_rows``.

        A single group may have more rows.
        """
        spans: list[tuple[int, int]] = []
        starts = self.starts.tolist()
        for group in np.flatnonzero(wanted).tolist():
            if (
                spans
                and spans[-1][1] == group - 1
                and starts[group + 1] - starts[spans[-1][0]] <= most_rows
            ):
                spans[-1] = spans[-1][0], group
            else:
                spans.append((group, group))
        return spans


def _near_labels(
    pool: torch.Tensor, n_groups: int, max_memory: int
) -> tuple[np.ndarray, int]:
    """Return labels (n,) of k-means groups, neighbouring ones near each other."""
    # Groups change nothing but the time, so the seed does not matter.
    rng = np.random.RandomState(0)
    row_bytes = pool.shape[1] * pool.element_size()
    room = max(n_groups, max_memory // 8 // row_bytes)
    n_sampled = min(len(pool), limits.group_sample_rows * n_groups, room)
    at = np.sort(rng.choice(len(pool), n_sampled, replace=False))
    sample = take_rows(pool, torch.from_numpy(at).to(pool.device))
    lloyd = Lloyd(sample, max_memory)
    centers, _, _ = lloyd.run(lloyd.plus_plus(n_groups, rng))
    centers = centers[torch.from_numpy(_chain(centers)).to(pool.device)]
    labels = np.empty(len(pool), dtype=np.int64)
    lloyd = Lloyd(pool, max_memory, origin=lloyd.origin)
    for block, _, label, _ in lloyd.nearest(centers):
        labels[block] = label.cpu().numpy()
    return labels, n_groups


def _chain(centers: torch.Tensor) -> np.ndarray:
    """Return an order in which each centre is followed by the nearest one left."""
    points = centers.to(torch.float64).cpu().numpy()
    norms = (points * points).sum(axis=1)
    left = np.ones(len(points), dtype=bool)
    chain = np.zeros(len(points), dtype=np.int64)
    for step in range(len(points) - 1):
        left[chain[step]] = False
        squares = norms - 2.0 * (points @ points[chain[step]])
        chain[step + 1] = np.where(left, squares, np.inf).argmin()
    return chain


def _pieces(counts: np.ndarray, rows: int) -> np.ndarray:
    """Return where to cut so that pieces have from about rows / 2 to ``rows`` rows."""
    cuts = [0]
    end = 0
    for count in counts.tolist():
        end += count
        if end - cuts[-1] > rows:
            # What came before goes by itself, and what is too large is cut evenly.
            if end - count - cuts[-1] >= rows // 2 > 0:
                cuts.append(end - count)
            begin = cuts[-1]
            n_parts = -(-(end - begin) // rows)
            cuts += [begin + (end - begin) * i // n_parts for i in range(1, n_parts)]
        if end - cuts[-1] >= max(1, rows // 2):
            cuts.append(end)
    if cuts[-1] != end:
        cuts.append(end)
    return np.array(cuts, dtype=np.int64)


class GroupPairs:
    r"""Bounds on which candidates are within the reach of which points, by group.

    Each point x has a reach :math:`D_x`: a candidate matters to it only if it is nearer
    than that. With μ and ν the centres of the groups of a candidate c and of x,

    .. math:: |c - x|^2 \ge |c - ν|^2 + |x - μ|^2 - |μ - ν|^2 - 2 |c - μ| |x - ν|,

    because an inner product is at most the product of the lengths. The largest of
    :math:`D_x^2 - |x - μ|^2 + 2 |x - ν| \max_c |c - μ|` over a group of points bounds
    :math:`|c - ν|^2` of all candidates of a group that matter to any of them.

    Parameters
    ----------
    groups : Groups
        The points, which are the candidates as well.
    origin : torch.Tensor of shape (d,)
        A point in the midst of the data.
    max_memory : int
        Bytes that blocks may take.
    """

    def __init__(self, groups: Groups, origin: torch.Tensor, max_memory: int) -> None:
        self.groups, self.origin = groups, origin
        self.device = groups.pool.device
        sizes = np.diff(groups.starts)
        self.group_of = np.repeat(np.arange(len(groups), dtype=np.int32), sizes)
        self.rows = max(
            1, max_memory // 8 // (8 * (4 * len(groups) + groups.pool.shape[1]))
        )
        # Made beforehand: small results between large temporaries would keep the memory
        # of these from being used again.
        new = torch.zeros((), dtype=torch.float64, device=self.device).new_empty
        self.centers = new(len(groups), groups.pool.shape[1])
        self.radius = new(len(groups.pool))  # distances to the centres
        self.largest = new(len(groups))
        for group in range(len(groups)):
            rows = groups.rows(group)
            points = self._points(rows)
            self.centers[group] = points.mean(dim=0)
            points -= self.centers[group]
            self.radius[rows] = points.square_().sum(dim=1).sqrt_()
            self.largest[group] = self.radius[rows].max()
        self.norms = self.centers.square().sum(dim=1)
        reach = self.norms.sqrt() + self.largest
        self.slack = _TOLERANCE * float(4 * reach.max() ** 2)
        self.least = np.zeros((0, 0))  # of squared distances of candidates to centres
        self.limit = np.zeros((0, 0))  # see the class; both (G, G)
        self.widest = np.zeros(0)  # (G,) the largest D_x + |x - ν| of each group

    def _points(self, rows: slice | torch.Tensor) -> torch.Tensor:
        """Return centred points (k, d), float64."""
        return centred(take_rows(self.groups.pool, rows), self.origin, torch.float64)

    def renew(self, squares: np.ndarray) -> None:
        """Set the squared reaches (n,) of all points."""
        groups, count = self.groups, len(self.groups)
        least, limit = torch.full((2, count, count), torch.inf, dtype=torch.float64)
        limit.neg_()
        apart = self._to_centers(self.centers).cpu()
        reach = torch.from_numpy(squares).to(self.device)
        for block in row_blocks(groups.pool, self.rows):
            first, last = self.group_of[block.start], self.group_of[block.stop - 1]
            squared = self._to_centers(self._points(block))
            far = torch.addr(reach[block, None], self.radius[block], 2.0 * self.largest)
            far -= squared
            for group in range(int(first), int(last) + 1):
                rows = groups.rows(group)
                part = slice(
                    max(rows.start, block.start) - block.start,
                    min(rows.stop, block.stop) - block.start,
                )
                near, most = squared[part].amin(dim=0), far[part].amax(dim=0)
                least[group] = torch.minimum(least[group], near.cpu())
                limit[:, group] = torch.maximum(limit[:, group], most.cpu())
        limit += apart
        slack = self.slack + _TOLERANCE * float(squares.max())
        self.least, self.limit = least.numpy(), (limit + slack).numpy()
        widest = np.sqrt(squares) + self.radius.cpu().numpy()
        self.widest = np.maximum.reduceat(widest, groups.starts[:-1])

    def shrink(self, touched: np.ndarray, squares: np.ndarray) -> None:
        """Lower the squared reaches of the points of some groups."""
        at = 0
        for group in touched.tolist():
            rows = self.groups.rows(group)
            size = rows.stop - rows.start
            reach = np.sqrt(squares[at : at + size])
            self.widest[group] = (reach + self.radius[rows].cpu().numpy()).max()
            at += size

    def pairs(self) -> np.ndarray:
        """Tell which pairs of groups (G, G) may interact, in either direction."""
        may = self.least < self.limit
        return may | may.T

    def of_candidates(self, index: torch.Tensor) -> np.ndarray:
        """Tell for which groups each of the candidates (k,) may matter: (k, G)."""
        squared = self._to_centers(self._points(index)).cpu().numpy()
        may = squared < self.limit[self.group_of[index.cpu().numpy()]]
        widest = self.widest**2 * (1.0 + _TOLERANCE) + self.slack
        return may & (squared < widest)

    def _to_centers(self, points: torch.Tensor) -> torch.Tensor:
        """Return squared distances of centred points (k, d) to all centres, (k, G)."""
        squares = torch.addmm(self.norms, points, self.centers.T, alpha=-2.0)
        return squares.add_(points.square().sum(dim=1, keepdim=True)).clamp_min_(0.0)
