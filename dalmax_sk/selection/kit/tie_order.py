"""An order that breaks ties, the same wherever in the pool a point stands."""

import hashlib

import numpy as np
import torch

from dalmax_sk._base.limits import limits
from dalmax_sk._base.storage import rows_within
from dalmax_sk.selection.kit.arrays import row_blocks

__all__ = ["TieOrder"]


class TieOrder:
    """In which order tied candidates are preferred, and which rows are equal.

    With a generator the order is that of keyed digests of the rows: random for every
    key, and yet a permuted pool gives the permuted order. That matters where ties are
    common, as in coverage problems: two points that nobody else covers add the same.
    Equal rows come in a random order of positions; without a generator all rows come in
    the order of positions.

    Parameters
    ----------
    pool : torch.Tensor of shape (n, d)
        The candidates.
    rng : RandomState or None
        Source of the key.

    Attributes
    ----------
    order : ndarray of shape (n,), int64
        Rank of each candidate; the smallest is preferred.
    is_first : ndarray of shape (n,), bool
        Whether no equal row has a smaller rank.
    group : ndarray of shape (n,), int64
        The same number for equal rows.
    """

    def __init__(self, pool: torch.Tensor, rng: np.random.RandomState | None) -> None:
        size = len(pool)
        key = b"" if rng is None else rng.bytes(16)
        positions = np.arange(size) if rng is None else rng.permutation(size)
        digests = np.empty((size, 2), dtype=np.uint64)
        for block in row_blocks(pool, rows_within(pool, limits.copy_bytes)):
            # Adding 0 turns -0 into 0: they are equal.
            rows = np.ascontiguousarray((pool[block] + 0.0).cpu())
            joined = b"".join(
                hashlib.blake2b(row, digest_size=16, key=key).digest() for row in rows
            )
            # As numbers that sort as the bytes do.
            digests[block] = np.frombuffer(joined, dtype=">u8").reshape(-1, 2)
        ranked = np.lexsort((positions, digests[:, 1], digests[:, 0]))
        in_order = digests[ranked]
        self.is_first = np.ones(size, dtype=bool)
        self.is_first[ranked[1:]] = (in_order[1:] != in_order[:-1]).any(axis=1)
        self.group = np.empty(size, dtype=np.int64)
        self.group[ranked] = np.cumsum(self.is_first[ranked]) - 1
        self.order = np.arange(size)
        if rng is not None:
            self.order[ranked] = np.arange(size)
