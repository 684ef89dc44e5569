"""Squared distances to the nearest centre, in blocks: quickly bounded, or exact.

The exact squared distance of two points means here: their differences, squared and
summed in float64. The expansion ``|x|² - 2⟨x, c⟩ + |c|²`` is a matrix product and much
faster, but only an approximation. It is used with a proven margin of error, to bound
distances and to tell which few pairs have to be evaluated exactly.
"""

import numpy as np
import torch

from dalmax_sk._base.limits import limits
from dalmax_sk.selection.kit.arrays import take_rows

__all__ = [
    "block_shape",
    "bound_nearest",
    "centred",
    "exact_nearest",
    "expanded_squares",
    "plain_squares",
    "products_are_float32",
]


def block_shape(n_features: int, itemsize: int, max_memory: int) -> tuple[int, int]:
    """Return (rows, columns) of a tile of pairwise distances that fits the memory.

    Counted are the tile with one copy and, for either side, three copies of its points.
    The smallest tile is one by one.
    """
    limit = min(max_memory, limits.distance_bytes)
    rows, columns = limits.distance_tile_rows, limits.distance_tile_columns
    while (
        rows * columns > 1
        and itemsize * (2 * rows * columns + 3 * (rows + columns) * n_features) > limit
    ):
        rows, columns = max(1, rows // 2), max(1, columns // 2)
    return rows, columns


def centred(
    points: torch.Tensor, origin: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """Return ``points - origin`` in ``dtype``, subtracted in the widest of the types.

    The expansion of a squared distance loses all its digits when the data lie far from
    zero; around their own mean they do not.
    """
    wide = torch.promote_types(torch.promote_types(points.dtype, origin.dtype), dtype)
    return (points.to(wide) - origin.to(wide)).to(dtype)


def plain_squares(points: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return the exact squared distance between matching rows.

    ``points`` is float64 of shape (n, d), ``others`` (n, d) or (d,). On the CPU NumPy
    adds up, so that the result is that of ``((x - c) ** 2).sum(axis=1)`` to the last
    bit.
    """
    if points.device.type == "cpu":
        difference = points.numpy() - others.numpy()
        return torch.from_numpy(np.square(difference, out=difference).sum(axis=1))
    return (points - others).square_().sum(dim=1)


def rounding(n_features: int, dtype: torch.dtype) -> tuple[float, float]:
    """Return (relative, absolute) bounds on the error of an expanded distance.

    For centred x and c the expansion computed in ``dtype`` differs from the exact value
    (with its own rounding) by at most ``relative · (|x| + |c|)² + absolute``: an inner
    product of length d errs by at most d units of roundoff [1]_, the remaining terms by
    a few more, and what is too small for the type is lost.

    References
    ----------
    .. [1] Nicholas J. Higham. "Accuracy and Stability of Numerical Algorithms", 2nd
       edition, section 3.1. SIAM 2002. doi:10.1137/1.9780898718027
    """
    info = torch.finfo(dtype)
    return (n_features + 16) * info.eps, 4 * n_features * info.tiny


def expanded_squares(
    points: torch.Tensor, others: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return approximate squared distances (n, k) and the margin of error of each row.

    ``points`` (n, d) and ``others`` (k, d) are centred and float64.
    """
    relative, absolute = rounding(points.shape[1], points.dtype)
    norms = (points * points).sum(dim=1)
    other_norms = (others * others).sum(dim=1)
    squares = torch.addmm(other_norms, points, others.T, alpha=-2.0)
    squares += norms[:, None]
    reach = norms.sqrt() + other_norms.max().sqrt()
    return squares, relative * reach.square() + absolute


def products_are_float32(device: torch.device) -> bool:
    """Tell whether a float32 matrix product on ``device`` keeps float32's digits.

    TF32, bfloat16 products and autocast do not, and then bounds computed in float32
    would be wrong. Several switches in two generations of torch turn them on, so this
    looks at a product instead of the switches.
    """
    matrix = torch.full((128, 128), 1 + 2.0**-12, dtype=torch.float32, device=device)
    product = torch.mm(matrix, matrix, out=torch.empty_like(matrix))
    return abs(float(product[0, 0]) / (128 * (1 + 2.0**-12) ** 2) - 1) < 1e-5


def bound_nearest(
    pool: torch.Tensor,
    index: torch.Tensor,
    centers: torch.Tensor,
    origin: torch.Tensor,
    max_memory: int,
) -> tuple[torch.Tensor, float]:
    """Return upper bounds on exact squared distances to the nearest centre.

    Parameters
    ----------
    pool : torch.Tensor of shape (n_pool, d)
        The points.
    index : torch.Tensor of shape (n,), int64
        The points that are meant.
    centers : torch.Tensor of shape (k, d)
        The centres.
    origin : torch.Tensor of shape (d,)
        A point in the midst of the data.
    max_memory : int
        Bytes that blocks may take.

    Returns
    -------
    bounds : torch.Tensor of shape (n,), float64
        One bound a point, computed in float32.
    margin : float
        The most that a bound lies above the float32 value.
    """
    rows, columns = block_shape(pool.shape[1], 4, max_memory)
    relative, absolute = rounding(pool.shape[1], torch.float32)
    device = pool.device
    bounds = torch.full((len(index),), torch.inf, dtype=torch.float64, device=device)
    # One tile for all blocks: fresh memory costs more than the sums that fill it.
    size = min(rows, len(index)) * min(columns, len(centers))
    tile = torch.empty(size, dtype=torch.float32, device=device)
    margin = 0.0
    for others in centers.split(columns):
        shifted_others = centred(others, origin, torch.float32)
        other_norms = (shifted_others * shifted_others).sum(dim=1)
        shifted_others *= -2.0
        for at, bound in zip(index.split(rows), bounds.split(rows), strict=True):
            shifted = centred(take_rows(pool, at), origin, torch.float32)
            norms = (shifted * shifted).sum(dim=1)
            part = tile[: len(at) * len(others)].view(len(at), len(others))
            torch.mm(shifted, shifted_others.T, out=part)
            nearest = part.add_(other_norms).amin(dim=1) + norms
            reach = norms.sqrt() + other_norms.max().sqrt()
            slack = relative * reach.double().square() + absolute
            torch.minimum(bound, nearest + slack, out=bound)
            margin = max(margin, float(slack.max()))
    return bounds, margin


def exact_nearest(
    pool: torch.Tensor,
    index: torch.Tensor,
    centers: torch.Tensor,
    origin: torch.Tensor,
    max_memory: int,
) -> torch.Tensor:
    """Return exact squared distances to the nearest centre, float64 of shape (n,).

    A float64 matrix product tells which centres may be the nearest, usually one a
    point; those pairs are evaluated exactly. Parameters as in :func:`bound_nearest`, on
    any device.
    """
    rows, columns = block_shape(pool.shape[1], 8, max_memory)
    pairs = max(1, min(max_memory, limits.distance_bytes) // (32 * pool.shape[1]))
    nearest = torch.full(
        (len(index),), torch.inf, dtype=torch.float64, device=pool.device
    )
    for given in centers.split(columns):
        others = given.to(torch.float64)  # not all of them at once
        shifted_others = centred(others, origin, torch.float64)
        for at, best in zip(index.split(rows), nearest.split(rows), strict=True):
            points = take_rows(pool, at).to(torch.float64)
            squares, margin = expanded_squares(
                centred(points, origin, torch.float64), shifted_others
            )
            # A centre can be the nearest only if its approximate distance is within
            # both margins of the smallest, and within one of the best so far.
            limit = torch.minimum(squares.amin(dim=1) + 2 * margin, best + margin)
            i, j = (squares <= limit[:, None]).nonzero(as_tuple=True)
            for i_part, j_part in zip(i.split(pairs), j.split(pairs), strict=True):
                exact = plain_squares(points[i_part], others[j_part])
                best.scatter_reduce_(0, i_part, exact, reduce="amin")
    return nearest
