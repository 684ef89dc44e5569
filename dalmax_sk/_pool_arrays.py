"""Checks of the arrays that a pool is made of when there is no estimator."""

import numpy as np

from dalmax_sk.head import LinearHead

__all__ = ["check_arrays"]

# name -> number of axes
_AXES = {
    "proba": 2,
    "embeddings": 2,
    "labeled_embeddings": 2,
    "labeled_proba": 2,
    "samples": 3,
}


def check_arrays(*, head, y_labeled, classes, **arrays):
    """Validate arrays that speak of one pool.

    Parameters
    ----------
    head : tuple of (weight, bias) or None
    y_labeled, classes : array-like or None
    **arrays : array-like or None
        ``proba``, ``embeddings``, ``labeled_embeddings``, ``labeled_proba`` and
        ``samples``.

    Returns
    -------
    given : dict
        The quantities, as finite floats; ``head`` as a `LinearHead`.
    n_candidates : int
    y_labeled : ndarray of shape (m,) or None
    classes : ndarray of shape (C,) or None
    """
    given = {
        name: _as_floats(array, name, _AXES[name])
        for name, array in arrays.items()
        if array is not None
    }
    sizes = {
        name: array.shape[1] if name == "samples" else array.shape[0]
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
    for name in ("proba", "labeled_proba", "samples"):
        if name in given:
            _check_probabilities(given[name], name)
    y_labeled = None if y_labeled is None else np.asarray(y_labeled)
    _check_labeled(given, y_labeled)
    widths = {
        name: given[name].shape[-1]
        for name in ("proba", "labeled_proba", "samples")
        if name in given
    }
    if head is not None:
        weight, bias = _as_floats(head[0], "head[0]", 2), head[1]
        bias = _as_floats(bias, "head[1]", 1).astype(np.float64)
        widths["head"] = len(weight)
        if len(bias) != len(weight):
            raise ValueError(f"head has {len(weight)} rows and {len(bias)} biases.")
    if classes is None and widths:
        classes = np.arange(next(iter(widths.values())))
    elif classes is None and y_labeled is not None:
        classes = np.unique(y_labeled)
    classes = None if classes is None else np.asarray(classes)
    if any(width != len(classes) for width in widths.values()):
        raise ValueError(
            f"classes has {len(classes)} entries, the arrays have {widths} columns."
        )
    if y_labeled is not None and not np.isin(y_labeled, classes).all():
        unknown = np.setdiff1d(y_labeled, classes)[:5].tolist()
        raise ValueError(f"y_labeled holds {unknown}, classes are {classes.tolist()}.")
    if head is not None:
        given |= _with_head(given, weight.astype(np.float64), bias)
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


def _with_head(given, weight, bias):
    """Return the quantities that a given head adds."""
    if "embeddings" not in given or given["embeddings"].shape[1] != weight.shape[1]:
        shape = given["embeddings"].shape if "embeddings" in given else None
        raise ValueError(
            f"head maps {weight.shape[1]} features, embeddings have the shape {shape}."
        )
    head = LinearHead(weight, bias, np.arange(len(weight)), len(weight))
    found = {"head": head, "decision": head}
    if "proba" not in given:
        found["proba"] = head.proba(given["embeddings"])
    elif not np.allclose(given["proba"], head.proba(given["embeddings"]), atol=2e-2):
        raise ValueError("proba are not the soft-max of head on embeddings.")
    labeled = given.get("labeled_embeddings")
    if "labeled_proba" not in given and labeled is not None:
        found["labeled_proba"] = head.proba(labeled)
    return found


def _as_floats(array, name, ndim):
    """Return `array` as finite floats with `ndim` axes; float32 stays."""
    array = np.asarray(array)
    if array.dtype != np.float32:
        array = array.astype(np.float64)
    if array.ndim != ndim:
        raise ValueError(f"{name} has {array.ndim} axes, expected {ndim}.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} contains NaN or infinite values.")
    return array


def _check_probabilities(proba, name):
    if proba.size and proba.min() < 0:
        raise ValueError(f"{name} contains negative values, the least {proba.min()}.")
    totals = proba.sum(axis=-1)
    if not np.allclose(totals, 1, atol=1e-3):
        worst = totals.flat[np.argmax(abs(totals - 1))]
        raise ValueError(f"{name} must sum to 1 over the classes; one sums to {worst}.")
