"""Similarities that fall with the distance, bounded quickly or evaluated exactly.

The exact similarity of two points comes from their exact squared distance (differences,
squared and summed in float64). A matrix product in float32 is many times faster; with a
proven margin of error it gives an upper bound, and few pairs are left to evaluate.
"""

import math
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch

from dalmax_sk._base.limits import limits
from dalmax_sk._base.storage import allocate, rows_within
from dalmax_sk.selection.kit.arrays import (
    Array,
    as_matrix,
    check_max_memory,
    is_mapped,
    origin_of,
    row_blocks,
    take_rows,
)
from dalmax_sk.selection.kit.distances import centred, products_are_float32

__all__ = ["BoundedFeatures", "Similarity", "unit_rows", "unit_tensor"]

# A radial similarity below this counts as 0: float32 cannot hold much less.
_SMALLEST = 2.0**-120
# Above this, the margin of a float32 exponent is too wide to tell candidates apart.
_LOOSE = 0.05


@overload
def unit_rows(X: torch.Tensor, *, max_memory: int = ...) -> torch.Tensor: ...
@overload
def unit_rows(X: Any, *, max_memory: int = ...) -> Array: ...
def unit_rows(X: Any, *, max_memory: int = 2**30) -> Array:
    """Divide rows by their Euclidean lengths.

    Parameters
    ----------
    X : array-like or torch.Tensor of shape (n, d)
        Finite. float32 stays float32; the lengths are computed in float64.
    max_memory : int, default=2**30
        A result of more bytes is a temporary file that is mapped into memory, unless
        `X` is a tensor on another device than the CPU.

    Returns
    -------
    ndarray or torch.Tensor of shape (n, d)
        Rows of length 1; rows of zeros stay zeros. A tensor if `X` is one.

    Examples
    --------
    >>> from dalmax_sk.selection import unit_rows
    >>> unit_rows([[3.0, 4.0], [0.0, 0.0]])
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    max_memory = check_max_memory(max_memory)
    unit = unit_tensor(as_matrix(X, "X", max_memory), max_memory)
    return unit if isinstance(X, torch.Tensor) else unit.numpy()


def unit_tensor(tensor: torch.Tensor, max_memory: int) -> torch.Tensor:
    """Return :func:`unit_rows` of a checked tensor (n, d)."""
    unit = new_rows(tensor, len(tensor), max_memory, "unit vectors of the rows of X")
    n_rows = rows_within(tensor, limits.copy_bytes)
    for block in row_blocks(tensor, n_rows, along=[unit]):
        wide = tensor[block].to(torch.float64)
        # Divided by its largest value first, no row overflows or underflows.
        largest = wide.abs().amax(dim=1, keepdim=True)
        wide = wide / torch.where(largest > 0, largest, torch.ones_like(largest))
        length = torch.linalg.vector_norm(wide, dim=1, keepdim=True)
        unit[block] = wide / torch.where(length > 0, length, torch.ones_like(length))
    return unit


def new_rows(like: torch.Tensor, n: int, max_memory: int, what: str) -> torch.Tensor:
    """Return (n, d) values to be filled, of the type and on the device of ``like``.

    On the CPU, more than ``max_memory`` bytes are a file that is mapped into memory.
    """
    shape = n, *like.shape[1:]
    if like.device.type != "cpu":
        return like.new_empty(shape)
    dtype = torch.empty(0, dtype=like.dtype).numpy().dtype
    array = allocate(shape, dtype, max_memory=max_memory, what=what)
    rows = torch.from_numpy(array)
    is_mapped(array)  # from now on the tensor is known to be a view of the file
    return rows


@dataclass(frozen=True)
class Similarity:
    """How similar two points at a distance are, from 1 (the same) down to 0.

    ``"rbf"`` is ``exp(-distance² / scale²)``; ``"linear"`` is ``1 - distance² /
    scale²``, on unit vectors with scale 2 the same as ``(1 + cosine) / 2``.
    """

    kind: str
    scale: float

    def exact(self, squares: torch.Tensor) -> np.ndarray:
        """Return similarities for exact squared distances (n,), float64 on the host."""
        # NumPy's functions give the same result at every position of an array.
        ratio = squares.cpu().numpy() / self.scale**2
        if self.kind == "linear":
            return np.maximum(1.0 - ratio, 0.0)
        similar = np.exp(-ratio)
        similar[similar < _SMALLEST] = 0.0
        return similar

    def reach_squares(self, similar: np.ndarray) -> np.ndarray:
        """Return squared distances from which on no point is more similar than that."""
        # More than what rounding takes away from a similarity or a logarithm.
        if self.kind == "linear":
            return (1.0 + 1e-14 - similar) * self.scale**2
        lost = -np.log(np.maximum(similar, _SMALLEST))
        return (lost * (1.0 + 1e-14) + 1e-14) * self.scale**2

    def raise_(self, tile: torch.Tensor) -> torch.Tensor:
        """Turn upper bounds on ``-distance² / scale²`` into similarities, in place."""
        if self.kind == "linear":
            return tile.clamp_(-1.0, 0.0).add_(1.0)
        return tile.clamp_max_(0.0).exp_()


class BoundedFeatures:
    """The points of a pool, ready for matrix products that bound similarities.

    With centred points x and c, ``-distance² / scale²`` is ``⟨f_x, f_c⟩ - a_x - a_c``
    for f = √2·x / scale and a = |x|² / scale². Computed in a type of roundoff eps / 2
    it errs by at most ``(d / 2 + 32) · eps · (|x|² + |c|²) / scale²``: an inner product
    of length d errs by d roundoffs of |x||c|, the other steps by a few. The margin is a
    sum of a part for x and one for c, so each ``a`` is lowered by its own.
    """

    def __init__(
        self, pool: torch.Tensor, similarity: Similarity, max_memory: int
    ) -> None:
        self.origin = origin_of(pool)
        self.pool = pool
        self.similarity = similarity
        # Made beforehand: small results between large temporaries would keep the memory
        # of these from being used again.
        norms = torch.empty(len(pool), dtype=torch.float64, device=pool.device)
        for rows in row_blocks(pool, rows_within(pool, limits.copy_bytes)):
            points = centred(pool[rows], self.origin, torch.float64)
            norms[rows] = points.square_().sum(dim=1)
        norms /= similarity.scale**2
        largest = float(norms.max())
        self.dtype = torch.float64
        if products_are_float32(pool.device) and largest < 1e24:
            margin, _ = self._margin(torch.float32)
            if 2 * margin * largest < _LOOSE:
                self.dtype = torch.float32
        margin, constant = self._margin(self.dtype)
        # of two points, each lowered by its margin, which errs by as much again
        self.slack = 4 * (margin * largest + constant)
        self.offset = (norms * (1.0 - margin) - constant).to(self.dtype)  # (n,)
        self.factor = math.sqrt(2.0) / similarity.scale
        size = pool.numel() * self.offset.element_size()
        self.stored = self._features(slice(None)) if 4 * size <= max_memory else None

    def _margin(self, dtype: torch.dtype) -> tuple[float, float]:
        """Return the margin's share of |x|² / scale² and its constant."""
        eps = torch.finfo(dtype).eps
        return (self.pool.shape[1] / 2 + 32) * eps, 32 * eps

    def _features(self, rows: slice | torch.Tensor) -> torch.Tensor:
        sliced = isinstance(rows, slice)
        part = self.pool[rows] if sliced else take_rows(self.pool, rows)
        features = torch.empty(part.shape, dtype=self.dtype, device=part.device)
        wide = torch.promote_types(self.pool.dtype, self.dtype)
        for block in row_blocks(part, rows_within(part, limits.copy_bytes)):
            features[block] = centred(part[block], self.origin, wide).mul_(self.factor)
        return features

    def features(self, rows: slice | torch.Tensor) -> torch.Tensor:
        """Return the features (k, d) of some of the points."""
        return self._features(rows) if self.stored is None else self.stored[rows]

    def bound_into(
        self,
        tile: torch.Tensor,
        features: torch.Tensor,
        offset: torch.Tensor,
        rows: slice,
    ) -> torch.Tensor:
        """Fill ``tile`` (k, r) with bounds on the similarity of k points to ``rows``.

        ``features`` (k, d) and ``offset`` (k,) are those of the k points.
        """
        return self.similarity.raise_(self.nearness_into(tile, features, offset, rows))

    def nearness_into(
        self,
        tile: torch.Tensor,
        features: torch.Tensor,
        offset: torch.Tensor,
        rows: slice,
    ) -> torch.Tensor:
        """Fill ``tile`` (k, r) with upper bounds on ``-distance² / scale²``.

        They lie above the exact values by at most :attr:`slack`.
        """
        torch.mm(features, self.features(rows).T, out=tile)
        return tile.sub_(offset[:, None]).sub_(self.offset[rows])
