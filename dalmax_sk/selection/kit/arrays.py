"""The way into and out of the selection kernels: checked tensors, positions.

Every kernel computes with torch tensors, because one code then serves the CPU and the
GPU; NumPy arrays share their memory with the tensor and are not copied. That holds for
arrays that are mapped from a file as well: kernels read those in blocks, through
`row_blocks` and `take_rows`.
"""

import math
import operator
import warnings
from typing import Any

import numpy as np
import torch

from dalmax_sk._base.limits import limits
from dalmax_sk._base.storage import (
    allocate,
    copy_rows,
    is_mapped,
    row_blocks,
    take_rows,
)

__all__ = [
    "Array",
    "as_matrix",
    "as_points",
    "as_type",
    "as_vector",
    "as_weight",
    "check_count",
    "check_max_memory",
    "check_range",
    "concatenate",
    "is_mapped",
    "measured_matrix",
    "measured_pair",
    "origin_of",
    "positions_like",
    "row_blocks",
    "take_rows",
]

#: What goes into a kernel and comes out of it.
Array = np.ndarray | torch.Tensor


def as_matrix(X: Any, name: str, max_memory: int = 2**30) -> torch.Tensor:
    """Return ``X`` as a finite (n, d) floating-point tensor on its own device.

    float32 and float64 stay as they are, half precision becomes float32 (exactly),
    integers and booleans become float64. What is mapped from a file stays there; if its
    type has to change, the copy is a temporary file above ``max_memory`` bytes.
    """
    return measured_matrix(X, name, max_memory)[0]


def measured_matrix(
    X: Any, name: str, max_memory: int = 2**30
) -> tuple[torch.Tensor, float]:
    """Return the tensor of :func:`as_matrix` and its largest absolute value.

    Both come from one scan of the data. Functions behind the public ones take such
    tensors as they are, so that no kernel scans the same rows twice.
    """
    tensor = _as_tensor(X, name, max_memory)
    if tensor.ndim != 2:
        raise ValueError(
            f"{name} must be two-dimensional, one row a point, got shape "
            f"{tuple(tensor.shape)}. A single feature needs {name}.reshape(-1, 1)."
        )
    if tensor.shape[1] == 0:
        raise ValueError(f"{name} has no features, got shape {tuple(tensor.shape)}.")
    whole = None if is_mapped(tensor) else max(1, len(tensor))
    largest = 0.0
    for block in row_blocks(tensor, whole):
        low, high = tensor[block].aminmax()  # NaN if any value is; no temporary
        value = max(-float(low), float(high))
        if not math.isfinite(value):
            raise ValueError(
                f"{name} must be finite, but {_count_bad(tensor)} of its {len(tensor)} "
                "rows hold NaN or infinity. Remove or impute them first."
            )
        largest = max(largest, value)
    return tensor, largest


def _count_bad(tensor: torch.Tensor) -> int:
    """Return how many rows hold NaN or infinity."""
    return sum(
        int((~torch.isfinite(tensor[block])).any(dim=1).sum())
        for block in row_blocks(tensor, limits.checked_rows)
    )


def measured_pair(
    X: Any, others: Any, name: str, max_memory: int = 2**30
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Return two matrices of one width on the device of `X`, and the largest value.

    ``others``, called ``name`` in errors, may be None or have no rows: (0, d) then.
    """
    pool, largest = measured_matrix(X, "X", max_memory)
    if others is X:
        return pool, pool, largest
    if others is None or len(others) == 0:
        return pool, pool[:0], largest
    rest, most = measured_matrix(others, name, max_memory)
    if rest.shape[1] != pool.shape[1]:
        raise ValueError(
            f"{name} has {rest.shape[1]} features, but X has {pool.shape[1]}; both "
            "must come from the same feature space."
        )
    return pool, rest.to(pool.device), max(largest, most)


def as_points(
    X: Any, centers: Any = None, max_memory: int = 2**30
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Return points and centres, whose squared distances are finite, as a pair."""
    pool, rest, largest = measured_pair(X, centers, "centers", max_memory)
    check_range(largest, pool.shape[1], "X or centers hold" if len(rest) else "X holds")
    return pool, rest, largest


def check_range(largest: float, n_features: int, who: str) -> None:
    """Refuse values whose squared distances are infinite in float64."""
    # |x - c| is at most twice the largest value in each feature, and the expansion adds
    # up a few such squares.
    limit = np.sqrt(np.finfo(np.float64).max / (16 * n_features))
    if not largest <= limit:
        raise ValueError(
            f"{who} values as large as {largest:g}, but squared distances overflow "
            f"float64 above {limit:g}. Rescale the features."
        )


def as_vector(values: Any, name: str, length: int | None = None) -> np.ndarray:
    """Return ``values`` as an (n,) floating-point array without NaN, on the host."""
    array = _as_tensor(values, name).cpu().numpy()
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {array.shape}.")
    if length is not None and len(array) != length:
        raise ValueError(f"{name} has {len(array)} values for {length} rows of X.")
    n_missing = int(np.isnan(array).sum())
    if n_missing:
        raise ValueError(f"{name} holds NaN in {n_missing} of {len(array)} places.")
    return array


def as_weight(sample_weight: Any, length: int) -> np.ndarray:
    """Return weights (length,) as float64 on the host, ones for None."""
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
            "sample_weight is 0 everywhere, so no point counts. Give at least one "
            "positive weight, or sample_weight=None."
        )
    return weight


def as_type(
    tensor: torch.Tensor, dtype: torch.dtype, name: str, max_memory: int
) -> torch.Tensor:
    """Return ``tensor`` in another type, itself if it has that already.

    A copy of what is mapped from a file is a temporary file above ``max_memory`` bytes.
    """
    if tensor.dtype == dtype or not is_mapped(tensor):
        return tensor.to(dtype)
    like = torch.empty(0, dtype=dtype).numpy()
    what = f"the entries of {name}, made {like.dtype},"
    out = allocate(tuple(tensor.shape), like.dtype, max_memory=max_memory, what=what)
    copy = _sharing(out)
    copy_rows(tensor, copy)
    return copy


def origin_of(tensor: torch.Tensor) -> torch.Tensor:
    """Return the mean of each column (d,), 0 where it overflows the type of ``tensor``.

    Distances do not depend on the origin, but their expansions lose digits far from it.
    The mean of what is mapped from a file is summed in float64, block by block, so its
    last bits may be others than those of an array in memory.
    """
    if is_mapped(tensor):
        total = torch.zeros(tensor.shape[1], dtype=torch.float64)
        for block in row_blocks(tensor, limits.checked_rows):
            total += tensor[block].sum(dim=0, dtype=torch.float64)
        mean = (total / len(tensor)).to(tensor.dtype)
    else:
        mean = tensor.mean(dim=0)
    return torch.where(torch.isfinite(mean), mean, torch.zeros_like(mean))


def concatenate(first: np.ndarray, second: np.ndarray, max_memory: int) -> np.ndarray:
    """Return the rows of one array and then those of another.

    Parameters
    ----------
    first, second : ndarray of shape (n, d) and (m, d)
        Mapped from a file or not.
    max_memory : int
        A result of more bytes is a temporary file that is mapped into memory.

    Returns
    -------
    ndarray of shape (n + m, d)
        `first` itself if `second` has no rows, else a copy.
    """
    if len(second) == 0:
        return first
    out = allocate(
        (len(first) + len(second), *first.shape[1:]),
        np.result_type(first, second),
        max_memory=max_memory,
        what=f"the embeddings of {len(first)} candidates and {len(second)} others",
    )
    copy_rows(first, out[: len(first)])
    copy_rows(second, out[len(first) :])
    return out


def check_count(n: Any, available: int, name: str) -> int:
    """Return ``n`` as an int, at least 1 and at most the ``available`` rows."""
    try:
        count = 0 if isinstance(n, bool | np.bool_) else operator.index(n)
    except TypeError:
        count = 0
    if not 1 <= count <= available:
        raise ValueError(
            f"n must be an integer from 1 to {available}, the number of candidates in "
            f"{name}, got {n!r}."
        )
    return count


def check_max_memory(max_memory: Any) -> int:
    """Return ``max_memory`` in bytes as an int of at least one."""
    try:
        limit = operator.index(max_memory)
    except TypeError:
        limit = 0
    if limit < 1:
        raise ValueError(
            f"max_memory must be a positive integer of bytes, got {max_memory!r}."
        )
    return limit


def positions_like(positions: torch.Tensor | np.ndarray, like: Any) -> Array:
    """Return positions as a tensor on the device of ``like``, or as an array."""
    tensor = torch.as_tensor(positions)
    if isinstance(like, torch.Tensor):
        return tensor.to(like.device)
    return tensor.cpu().numpy()


def _as_tensor(values: Any, name: str, max_memory: int = 2**30) -> torch.Tensor:
    """Return ``values`` as a float32 or float64 tensor, sharing memory if it can."""
    if isinstance(values, torch.Tensor):
        if values.is_complex():
            raise ValueError(f"{name} must hold real numbers, got {values.dtype}.")
        tensor = values.detach()
    else:
        array = np.asarray(values)
        if array.dtype.kind not in "biuf":
            raise ValueError(
                f"{name} must hold real numbers in a dense array, got dtype "
                f"{array.dtype}."
            )
        if is_mapped(array):
            array = _converted_in_blocks(array, name, max_memory)
        if array.dtype.kind != "f" or array.dtype.itemsize > 8:
            array = array.astype(np.float64)
        if not array.dtype.isnative or any(stride < 0 for stride in array.strides):
            array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
        tensor = _sharing(array)
    if not tensor.is_floating_point():
        return tensor.to(torch.float64)
    if tensor.dtype not in (torch.float32, torch.float64):
        return tensor.to(torch.float32)
    return tensor


def _sharing(array: np.ndarray) -> torch.Tensor:
    """Return the tensor that shares an array's memory, known to be mapped if it is."""
    is_mapped(array)
    with warnings.catch_warnings():
        # Torch warns that one could write into a read-only array; no kernel does.
        warnings.filterwarnings("ignore", "The given NumPy array is not writ")
        return torch.from_numpy(array)


def _converted_in_blocks(array: np.ndarray, name: str, max_memory: int) -> np.ndarray:
    """Return a mapped array in a type and layout that torch takes, itself if it can."""
    narrow = array.dtype.kind == "f" and array.dtype.itemsize <= 4
    wanted = np.dtype("float32" if narrow else "float64")
    if array.dtype == wanted and all(stride >= 0 for stride in array.strides):
        return array
    out = allocate(
        array.shape,
        wanted,
        max_memory=max_memory,
        what=f"the entries of {name}, made {wanted} from {array.dtype},",
    )
    copy_rows(array, out)
    return out
