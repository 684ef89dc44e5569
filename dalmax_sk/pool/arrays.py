"""Checks of the arrays that a pool is made of when there is no estimator."""

import numpy as np

from dalmax_sk._base.storage import (
    allocate,
    copy_rows,
    is_mapped,
    row_blocks,
    take_rows,
)
from dalmax_sk.images.forms import as_array
from dalmax_sk.pool.head import LinearHead
from dalmax_sk.selection.kit.arrays import check_max_memory

__all__ = ["check_arrays", "sliced"]

# name -> number of axes
_AXES = {
    "proba": 2,
    "embeddings": 2,
    "labeled_embeddings": 2,
    "labeled_proba": 2,
    "posterior_proba": 3,
}
# What a sum of probabilities may differ from 1 by.
_TOLERANCE = 1e-3


def check_arrays(*, head, y_labeled, classes, max_memory, **arrays):
    """Validate arrays that speak of one pool.

    Parameters
    ----------
    head : tuple of (weight, bias) or None
    y_labeled, classes : array-like or None
    max_memory : int
        Bytes above which an array that has to be made is a temporary file.
    **arrays : array-like or None
        ``proba``, ``embeddings``, ``labeled_embeddings``, ``labeled_proba`` and
        ``posterior_proba``.

    Returns
    -------
    given : dict
        The quantities, as finite floats; ``head`` as a `LinearHead`.
    n_candidates : int
    y_labeled : ndarray of shape (m,) or None
    classes : ndarray of shape (C,) or None
    """
    max_memory = check_max_memory(max_memory)
    given = {
        name: _as_floats(array, name, _AXES[name], max_memory)
        for name, array in arrays.items()
        if array is not None
    }
    sizes = {
        name: array.shape[1] if name == "posterior_proba" else array.shape[0]
        for name, array in given.items()
        if not name.startswith("labeled_")
    }
    if not sizes:
        raise ValueError(
            "Pool.from_arrays needs at least one of proba (n, C), embeddings "
            "(n, d) and samples (K, n, C)."
        )
    if len(set(sizes.values())) > 1:
        raise ValueError(f"Numbers of candidates differ: {sizes}.")
    for name in ("proba", "labeled_proba", "posterior_proba"):
        if name in given:
            _check_probabilities(given[name], name)
    y_labeled = None if y_labeled is None else as_array(y_labeled)
    _check_labeled(given, y_labeled)
    widths = {
        name: given[name].shape[-1]
        for name in ("proba", "labeled_proba", "posterior_proba")
        if name in given
    }
    if head is not None:
        weight = _as_floats(head[0], "head[0]", 2, max_memory)
        bias = _as_floats(head[1], "head[1]", 1, max_memory).astype(np.float64)
        widths["head"] = len(weight)
        if len(bias) != len(weight):
            raise ValueError(f"head has {len(weight)} rows and {len(bias)} biases.")
    if classes is None and widths:
        classes = np.arange(next(iter(widths.values())))
    elif classes is None and y_labeled is not None:
        classes = np.unique(y_labeled)
    classes = None if classes is None else np.asarray(classes)
    if classes is not None and (
        classes.ndim != 1 or len(np.unique(classes)) < len(classes)
    ):
        raise ValueError(
            f"classes must be a 1-D array of distinct labels, got {classes.tolist()}."
        )
    if any(width != len(classes) for width in widths.values()):
        raise ValueError(
            f"classes has {len(classes)} entries, the arrays have {widths} columns."
        )
    if y_labeled is not None and not np.isin(y_labeled, classes).all():
        unknown = np.setdiff1d(y_labeled, classes)[:5].tolist()
        raise ValueError(f"y_labeled holds {unknown}, classes are {classes.tolist()}.")
    if head is not None:
        given |= _with_head(given, weight.astype(np.float64), bias, max_memory)
    return given, next(iter(sizes.values())), y_labeled, classes


def _check_labeled(given, y_labeled):
    """Compare what is said of the labelled samples; none are labelled by default."""
    if "embeddings" in given:
        width = given["embeddings"].shape[1]
        if y_labeled is None or len(y_labeled) == 0:
            if "labeled_proba" not in given:
                given.setdefault(
                    "labeled_embeddings",
                    np.empty((0, width), given["embeddings"].dtype),
                )
        labeled = given.get("labeled_embeddings")
        if labeled is not None and labeled.shape[1] != width:
            raise ValueError(
                f"labeled_embeddings have {labeled.shape[1]} columns, "
                f"embeddings have {width}."
            )
    sizes = {name: len(given[name]) for name in given if name.startswith("labeled_")}
    if y_labeled is not None:
        sizes["y_labeled"] = len(y_labeled)
    if len(set(sizes.values())) > 1:
        raise ValueError(f"Numbers of labelled samples differ: {sizes}.")


def _with_head(given, weight, bias, max_memory):
    """Return the quantities that a given head adds."""
    if "embeddings" not in given or given["embeddings"].shape[1] != weight.shape[1]:
        shape = given["embeddings"].shape if "embeddings" in given else None
        raise ValueError(
            f"head maps {weight.shape[1]} features, embeddings have the shape {shape}."
        )
    head = LinearHead(weight, bias, np.arange(len(weight)), len(weight))
    found = {"head": head, "decision": head}
    embeddings = given["embeddings"]
    if "proba" not in given:
        found["proba"] = allocate(
            (len(embeddings), len(weight)),
            np.float64,
            max_memory=max_memory,
            what=f"the probabilities of {len(embeddings):,} candidates",
        )
        for block in row_blocks(embeddings, along=[found["proba"]]):
            found["proba"][block] = head.proba(embeddings[block])
    elif not all(
        np.allclose(given["proba"][block], head.proba(embeddings[block]), atol=2e-2)
        for block in row_blocks(embeddings)
    ):
        raise ValueError("proba are not the soft-max of head on embeddings.")
    labeled = given.get("labeled_embeddings")
    if "labeled_proba" not in given and labeled is not None:
        found["labeled_proba"] = head.proba(labeled)
    return found


def sliced(array, positions, name, max_memory, *, axis=0):
    """Return the candidates at `positions` of an array of all of them.

    Parameters
    ----------
    array : ndarray of shape (n, ...), or (K, n, ...) if `axis` is 1
    positions : ndarray of int of shape (k,)
    name : str
        Name of the quantity, for the error message of a full disk.
    max_memory : int
        Bytes above which the result is a temporary file if `array` is one.
    axis : {0, 1}, default=0
        Axis of the candidates.

    Returns
    -------
    ndarray
        A copy.
    """
    if not is_mapped(array):
        return array[:, positions] if axis else array[positions]
    shape = (*array.shape[:axis], len(positions), *array.shape[axis + 1 :])
    what = f"the {name} of {len(positions):,} candidates"
    out = allocate(shape, array.dtype, max_memory=max_memory, what=what)
    parts = zip(out, array, strict=True) if axis else [(out, array)]
    for to, whole in parts:
        for block in row_blocks(to):
            to[block] = take_rows(whole, positions[block])
    return out


def _as_floats(array, name, ndim, max_memory):
    """Return `array` as finite floats with `ndim` axes; float32 stays."""
    if hasattr(array, "tocsr"):
        raise TypeError(
            f"{name} is a sparse matrix of shape {array.shape}; a dense array is "
            "expected (toarray() makes one)."
        )
    array = as_array(array)
    if array.dtype.kind not in "biufO":
        raise TypeError(
            f"{name} must hold real numbers, got an array of type {array.dtype}."
        )
    if array.dtype not in (np.float32, np.float64):
        array = _as_float64(array, name, max_memory)
    if array.ndim != ndim:
        raise ValueError(f"{name} has {array.ndim} axes, expected {ndim}.")
    if not all(np.isfinite(block).all() for block in _blocks(array)):
        raise ValueError(f"{name} contains NaN or infinite values.")
    return array


def _as_float64(array, name, max_memory):
    """Return a copy in float64; what is mapped is copied in blocks."""
    if not is_mapped(array):
        return array.astype(np.float64)
    what = f"the entries of {name}, made float64 from {array.dtype},"
    out = allocate(array.shape, np.float64, max_memory=max_memory, what=what)
    copy_rows(array, out)
    return out


def _blocks(array):
    """Go through an array in blocks, along its second axis if it has three."""
    for part in array if array.ndim == 3 else [array]:
        for block in row_blocks(part):
            yield part[block]


def _check_probabilities(proba, name):
    """Refuse what is negative or does not sum to 1 over the last axis (the classes)."""
    least, worst = 0.0, 1.0
    for block in _blocks(proba):
        least = min(least, block.min(initial=0.0))
        totals = block.sum(axis=-1)
        found = totals[np.argmax(abs(totals - 1))]
        worst = found if abs(found - 1) > abs(worst - 1) else worst
    if least < 0:
        raise ValueError(f"{name} contains negative values, the least {least}.")
    if abs(worst - 1) > _TOLERANCE:
        raise ValueError(f"{name} must sum to 1 over the classes; one sums to {worst}.")
