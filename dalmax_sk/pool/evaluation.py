"""Outputs of an estimator for rows of X, block by block, in memory or on the disk."""

import math

import numpy as np
from sklearn.utils import get_tags

from dalmax_sk._base.fits import as_labels_of, classes_of, output
from dalmax_sk._base.limits import limits
from dalmax_sk._base.pipelines import (
    final_step,
    last_step,
    transformed,
    without_last,
    wrapped_model,
)
from dalmax_sk._base.sklearn_compat import safe_indexing
from dalmax_sk._base.storage import (
    allocate,
    copy_rows,
    is_mapped,
    row_blocks,
    rows_within,
    take_rows,
)
from dalmax_sk.images import as_paths
from dalmax_sk.pool.needs import MissingCapabilityError, missing

__all__ = [
    "align_columns",
    "can_give",
    "embedding_fingerprint",
    "evaluate_rows",
    "name_of",
    "rows_of",
]


def align_columns(values, seen_classes, classes, fill=0.0):
    """Spread columns of the classes an estimator saw over the full class list.

    Parameters
    ----------
    values : ndarray of shape (n, n_seen)
        One column for each entry of `seen_classes`.
    seen_classes : ndarray of shape (n_seen,)
        Sorted class labels the estimator was fitted on; a subset of `classes`.
    classes : ndarray of shape (n_classes,)
        Sorted class labels wanted.
    fill : float, default=0.0
        Value of the columns of classes never seen.

    Returns
    -------
    ndarray of shape (n, n_classes)
    """
    columns = np.searchsorted(classes, as_labels_of(seen_classes, classes))
    if np.array_equal(columns, np.arange(len(classes))):
        return values
    if values.ndim != 2 or values.shape[1] != len(columns):
        raise ValueError(
            f"The estimator gives an array of shape {values.shape} for the "
            f"{len(columns)} classes that it has seen; one column a class is expected."
        )
    aligned = np.full((len(values), len(classes)), fill, dtype=values.dtype)
    aligned[:, columns] = values
    return aligned


def name_of(estimator):
    """Return the name of an estimator's class, for messages."""
    return "no estimator" if estimator is None else type(estimator).__name__


def rows_of(X, rows, max_memory, what):
    """Return rows of X; those of an array go to the disk if they are too large.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
    rows : ndarray of int of shape (n,)
    max_memory : int
        Bytes above which a numeric array is a temporary file, see `allocate`.
    what : str
        What the rows are, for the error message of a full disk.

    Returns
    -------
    array-like of shape (n, ...)
    """
    if not _is_numeric(X):
        return safe_indexing(X, rows)
    if _row_bytes(X) * len(rows) <= max_memory:
        return take_rows(X, rows)
    if is_mapped(X) and _consecutive(rows):
        return X[rows[0] : rows[-1] + 1]
    out = allocate((len(rows), *X.shape[1:]), X.dtype, max_memory=max_memory, what=what)
    for block in row_blocks(out):
        out[block] = take_rows(X, rows[block])
    return out


def evaluate_rows(
    estimator, X, rows, requires, *, classes, max_memory, owner, prefix="", who=None
):
    """Return the outputs of an estimator for rows of X, from one pass over them.

    Parameters
    ----------
    estimator : estimator or None
        Fitted; None can give embeddings only, the rows themselves.
    X : array-like of shape (n_samples, ...)
    rows : ndarray of int of shape (n,)
        The rows that are meant.
    requires : set of {"proba", "embeddings", "decision_values"}
        The outputs that are wanted.
    classes : ndarray of shape (C,)
        The classes that the columns of probabilities stand for.
    max_memory : int
        Bytes above which a result is a temporary file, see `allocate`.
    owner : str
        Who wants it, for error messages.
    prefix : {"", "labeled_"}, default=""
        Beginning of the names of the quantities in error messages.
    who : str, default=None
        What takes the rows, for error messages; None names the estimator.

    Returns
    -------
    found : dict
        ``"proba"``, float64 of shape (n, C); ``"embeddings"`` of shape (n, d);
        ``"decision_values"``, float64 of shape (n, S) for S classes seen.

    Raises
    ------
    MissingCapabilityError
        If the estimator cannot give what is needed.
    ValueError
        If what it gives is not finite.
    SpillError
        If a result fits neither `max_memory` nor the disk.
    """
    final = last_step(estimator)
    if "proba" in requires and not hasattr(final, "predict_proba"):
        lacks = (
            name_of(final) if final is not None else "a pool without a fitted estimator"
        )
        raise missing(owner, f"{prefix}proba", lacks)
    whose = f"{len(rows):,} {'labelled samples' if prefix else 'candidates'}"
    found = {
        need: _BlockBuffer(need, len(rows), max_memory, whose, final)
        for need in requires
    }
    n_rows = _rows_of_a_block(X, len(rows), estimator)
    for start in range(0, max(1, len(rows)), n_rows):
        # before the steps, so that little is in memory: they may widen a row
        block = _plain_rows(X, rows[start : start + n_rows])
        if estimator is not None:
            block = transformed(estimator, block)
        if "decision_values" in requires:
            values = _decision_values(final, block, owner)
            found["decision_values"].put(start, start + len(values), values)
        outputs = requires - {"decision_values"}
        if not outputs:
            continue
        inputs = None
        if "embeddings" in requires and not _gives_embeddings(final):
            inputs = _embed(
                final,
                block,
                len(rows),
                max_memory,
                who or name_of(estimator),
                owner,
                prefix,
            )
        for first, stop, proba, embeddings in _evaluate_block(
            final, block, outputs, inputs
        ):
            if "proba" in requires:
                proba = np.asarray(proba, dtype=np.float64)
                proba = align_columns(proba, classes_of(final), classes)
                found["proba"].put(start + first, start + stop, proba)
            if "embeddings" in requires:
                found["embeddings"].put(start + first, start + stop, embeddings)
    return {need: array.finished() for need, array in found.items()}


def embedding_fingerprint(estimator, X):
    """Return the fingerprint of the embeddings of all rows of X.

    It is equal in two rounds of a run if and only if no row has another embedding.

    Parameters
    ----------
    estimator : estimator or None
    X : array-like
        All samples; compared by identity, so both rounds must be of one run.

    Returns
    -------
    hashable or None
        None if the embeddings may have changed, or nothing is known of them. The steps
        before a classifier leave them as they are if they learn nothing (their tag
        ``requires_fit`` is False) and draw nothing (no ``random_state``), or if they
        have an ``embedding_fingerprint_`` that says what they depend on. A classifier
        that makes embeddings itself has to have one.
    """
    tokens = []
    while hasattr(estimator, "steps") or _inside(estimator) is not None:
        if not hasattr(estimator, "steps"):
            estimator = _inside(estimator)
            continue
        for _, step in estimator.steps[:-1]:
            if step is None or step == "passthrough":
                continue
            token = getattr(step, "embedding_fingerprint_", None)
            stateless = not get_tags(step).requires_fit
            if token is None and (not stateless or _draws(step)):
                return None
            tokens.append(token)
        estimator = estimator.steps[-1][1]
    if _gives_embeddings(estimator):
        token = getattr(estimator, "embedding_fingerprint_", None)
        if token is None:
            return None
        tokens.append(token)
    return ("embeddings", id(X), *tokens)


def _inside(estimator):
    """Return the model whose inputs are the embeddings of a fitted wrapper, or None."""
    final = last_step(estimator)
    if final is not estimator:
        return getattr(estimator, "best_estimator_", final)
    return None if _gives_embeddings(final) else wrapped_model(final)


class _BlockBuffer:
    """An array of one row a sample that comes in blocks.

    What comes through an estimator is checked for NaN and infinity; raw inputs without
    one are checked by the kernels.
    """

    def __init__(self, need, n_rows, max_memory, whose, final):
        self.what = "probabilities" if need == "proba" else need.replace("_", " ")
        self.n_rows = n_rows
        self.max_memory = max_memory
        self.whose = whose
        self.final = final
        self.array = None
        self.n_bad = 0

    def put(self, start, stop, block):
        """Store the rows from `start` to `stop`."""
        block = np.asarray(block)
        if self.final is not None:
            self.n_bad += _count_bad(block)
        if (start, stop) == (0, self.n_rows) and (
            block.nbytes <= self.max_memory or is_mapped(block)
        ):
            self.array = block
            return
        if self.array is None:
            self.array = allocate(
                (self.n_rows, *block.shape[1:]),
                block.dtype,
                max_memory=self.max_memory,
                what=f"the {self.what} of {self.whose}",
            )
        copy_rows(block, self.array[start:stop])

    def finished(self):
        """Return the array, unless a model that has diverged made it."""
        if self.n_bad:
            raise ValueError(
                f"{name_of(self.final)} has {self.what} that are NaN or infinite for "
                f"{self.n_bad} of {self.n_rows} samples: either X holds such values "
                "(put an imputer before the classifier: make_pipeline(SimpleImputer(), "
                "...)), or the training diverged (a lower learning rate helps)."
            )
        return self.array


def _count_bad(block):
    """Return how many rows of floats hold NaN or infinity."""
    with np.errstate(over="ignore", invalid="ignore"):
        # a sum is cheap, and finite only if every term is; it may overflow without
        if block.dtype.kind != "f" or np.isfinite(block.sum()):
            return 0
    return int((~np.isfinite(block)).any(axis=1).sum())


def can_give(estimator, X, need):
    """Tell whether an estimator, fitted or not, can give a quantity of a pool.

    Parameters
    ----------
    estimator : estimator
    X : array-like of shape (n_samples, ...)
        What it is fitted on.
    need : str
        As `Pool.prepare` takes them.

    Returns
    -------
    bool or None
        None if only a fit can tell.
    """
    methods = {
        "proba": "predict_proba",
        "labeled_proba": "predict_proba",
        "decision_values": "decision_function",
    }
    if "|" in need:
        found = [can_give(estimator, X, option) for option in need.split("|")]
        return True if True in found else (None if None in found else False)
    if need in methods:
        if hasattr(estimator, methods[need]):
            return True
        # some have their methods only once they are fitted
        return False if hasattr(estimator, "predict") else None
    inner = final_step(estimator)[1]
    if need in ("embeddings", "labeled_embeddings"):
        return _gives_embeddings(inner) or bool(without_last(estimator)) or None
    is_net = hasattr(inner, "iter_batches")
    if need == "network" and not is_net:
        return False
    return True if is_net and inner is last_step(estimator) else None


def _decision_values(final, block, owner):
    """Return decision values (b, S), float64: one column for each class seen."""
    values = np.asarray(output(final, "decision_function", block), dtype=np.float64)
    if values.ndim == 1:  # of two classes: they differ by the value itself
        values = np.stack([-values / 2, values / 2], axis=1)
    n_seen = len(classes_of(final))
    one_vs_one = getattr(final, "decision_function_shape", "ovr") == "ovo"
    if values.shape[1] != n_seen or (one_vs_one and n_seen > 2):
        raise missing(
            owner, "decision_values", f"{name_of(final)} with {n_seen} classes"
        )
    return values


def _embed(final, block, n_rows, max_memory, who, owner, prefix):
    """Return the embeddings of a block for a classifier that makes none itself.

    They are its inputs; those of a wrapper are the inputs of the model inside.
    """
    inner = wrapped_model(final)
    if inner is None:
        return _inputs_as_embeddings(block, n_rows, max_memory, who, owner, prefix)
    block, final = transformed(inner, block), last_step(inner)
    if _gives_embeddings(final):
        return final.transform(block)
    return _embed(final, block, n_rows, max_memory, who, owner, prefix)


def _gives_embeddings(final):
    return hasattr(final, "iter_predictions") or hasattr(
        final, "predict_proba_and_embeddings"
    )


def _evaluate_block(final, block, requires, inputs):
    """Return or yield (start, stop, probabilities, embeddings) for a block of inputs.

    `inputs` are the embeddings if the estimator makes none itself.
    """
    if hasattr(final, "iter_predictions"):
        return final.iter_predictions(block, embeddings="embeddings" in requires)
    proba, embeddings = None, inputs
    if not _gives_embeddings(final):
        if "proba" in requires:
            proba = output(final, "predict_proba", block)
    elif len(requires) == 2:
        proba, embeddings = final.predict_proba_and_embeddings(block)
    elif "proba" in requires:
        proba = final.predict_proba(block)
    else:
        embeddings = final.transform(block)
    return [(0, len(proba if embeddings is None else embeddings), proba, embeddings)]


def _rows_of_a_block(X, n_rows, estimator):
    """Return how many rows of X to hand to the estimator at a time.

    Whatever the memory, so that the last bits do not depend on it.
    """
    final = last_step(estimator)
    limit = limits.predict_bytes
    if hasattr(final, "iter_predictions"):
        if final is estimator and not _is_numeric(X):
            return max(1, n_rows)  # paths: it loads them batch by batch
        limit = max(limit, limits.net_bytes)
    if hasattr(X, "tocsr"):
        return max(1, n_rows)
    if hasattr(X, "iloc"):
        rows = limit // (8 * math.prod(X.shape[1:]) + 8)
    elif _is_numeric(X):
        rows = rows_within(X, limit)
    else:
        rows = limits.object_rows
    # equal blocks: for a small last one another kernel may compute other bits
    rows = math.ceil(n_rows / math.ceil(max(1, n_rows) / max(limits.round_rows, rows)))
    return max(1, math.ceil(rows / limits.round_rows)) * limits.round_rows


def _plain_rows(X, rows):
    """Return rows of X in memory; the pages of a mapped X are given back."""
    return take_rows(X, rows) if is_mapped(X) else safe_indexing(X, rows)


def _inputs_as_embeddings(X, n_rows, max_memory, who, owner, prefix):
    """Take the inputs of a plain classifier as its embeddings.

    X is a block of the `n_rows` rows that are wanted.
    """
    if hasattr(X, "toarray"):
        size = n_rows * X.shape[1] * X.dtype.itemsize
        if X.shape[1] > limits.dense_columns or size > max_memory:
            raise MissingCapabilityError(
                f"{owner} needs dense embeddings; making the sparse matrix of "
                f"shape {(n_rows, X.shape[1])} dense takes {size:,} bytes, max_memory "
                f"is {max_memory:,}, and at most {limits.dense_columns:,} sparse "
                "columns are made dense. Reduce it first, for instance with "
                "TruncatedSVD before the classifier in a Pipeline; or take a strategy "
                "that looks at probabilities only, such as UncertaintySampling."
            )
        return X.toarray()
    if as_paths(X) is not None:
        who = f"{who} on texts or file paths"
        raise missing(owner, f"{prefix}embeddings", who)
    X = np.asarray(X)
    if X.dtype.kind not in "fiub":
        try:
            X = X.astype(np.float64)  # numbers in an array of objects
        except ValueError as error:  # a TypeError says all by itself
            who = f"{who} on data of type {X.dtype}"
            raise missing(owner, f"{prefix}embeddings", who) from error
    # images given to a plain classifier: one row of pixels an image
    return X.reshape(len(X), math.prod(X.shape[1:]))


def _is_numeric(X):
    return isinstance(X, np.ndarray) and X.dtype.kind in "fiub"


def _row_bytes(X):
    return math.prod(X.shape[1:]) * X.dtype.itemsize


def _consecutive(rows):
    return len(rows) > 0 and bool((np.diff(rows) == 1).all())


def _draws(step):
    """Tell whether a transformer, or one inside it, has a random state."""
    return any(
        name.split("__")[-1] == "random_state" for name in step.get_params(deep=True)
    )
