"""What a query strategy may see of one round."""

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state

from dalmax_sk._sklearn_compat import num_samples, safe_indexing
from dalmax_sk.images import as_paths

__all__ = ["MissingCapabilityError", "Pool", "align_columns"]

DEFAULT_MAX_MEMORY = 2**30

# need -> (what it is, how to get it); the words of the one error a user sees
_NEEDS = {
    "proba": (
        "class probabilities",
        "an estimator with predict_proba (wrap one without it in "
        "CalibratedClassifierCV) or Pool.from_arrays(proba=...)",
    ),
    "embeddings": (
        "embeddings (one feature vector a candidate)",
        "CNNClassifier, any estimator on a 2-D numeric X, a Pipeline whose steps "
        "before the classifier yield a 2-D array, or "
        "Pool.from_arrays(embeddings=...)",
    ),
    "labeled_embeddings": (
        "embeddings of the labelled samples",
        "CNNClassifier, any estimator on a 2-D numeric X, a Pipeline whose steps "
        "before the classifier yield a 2-D array, or "
        "Pool.from_arrays(labeled_embeddings=...)",
    ),
    "samples": (
        "samples from a posterior over models, of shape (K, n, C)",
        "Pool.from_arrays(samples=...)",
    ),
}


class MissingCapabilityError(ValueError):
    """A strategy needs a quantity that the estimator in its pool cannot give."""


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
    if len(seen_classes) == len(classes):
        return values
    aligned = np.full((len(values), len(classes)), fill, dtype=values.dtype)
    aligned[:, np.searchsorted(classes, seen_classes)] = values
    return aligned


class Pool:
    """The unlabelled candidates of one round, and what the model says of them.

    Every quantity is computed on first use, in batches, and kept; a strategy that asks
    for probabilities and embeddings together costs one forward pass. A strategy
    receives nothing else: neither the learner nor any label that was not revealed.

    Parameters
    ----------
    estimator : estimator or None
        The model fitted on the labelled samples; None before there are labels.
    X : array-like of shape (n_samples, ...)
        All samples, labelled and not: paths, images or a table.
    labeled_indices : array-like of int of shape (m,)
        Rows of `X` whose labels are known, in the order of `y_labeled`.
    y_labeled : array-like of shape (m,)
        Their labels.
    random_state : int, RandomState instance or None, default=None
        Source of all randomness of a query on this pool.
    max_memory : int, default=1 GiB
        Bytes that the temporary blocks of a selection may take.
    classes : array-like of shape (C,), default=None
        The full list of classes, sorted. None takes ``estimator.classes_``.
    candidate_indices : array-like of int of shape (n,), default=None
        Rows of `X` that may be picked. None means every row that is not labelled.

    Attributes
    ----------
    indices : ndarray of int of shape (n,)
        ``indices[i]`` is the row of `X` that position ``i`` of the pool stands for.
    info : dict
        A strategy may leave scalars about its query here (CoreSet its covering
        radius); the learner copies them into the round's record, except under the names
        that a record has anyway.

    See Also
    --------
    dalmax_sk.ActiveLearningClassifier : Makes one pool a round.

    Examples
    --------
    >>> import numpy as np
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import UncertaintySampling
    >>> proba = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]])
    >>> UncertaintySampling().query(Pool.from_arrays(proba=proba), n=2)
    array([1, 2])
    """

    def __init__(
        self,
        estimator,
        X,
        labeled_indices,
        y_labeled,
        random_state=None,
        max_memory=DEFAULT_MAX_MEMORY,
        *,
        classes=None,
        candidate_indices=None,
    ):
        self._estimator = estimator
        self._X = X
        self._labeled_indices = np.asarray(labeled_indices, dtype=np.int64)
        if candidate_indices is None:
            unlabeled = np.ones(num_samples(X), dtype=bool)
            unlabeled[self._labeled_indices] = False
            candidate_indices = np.flatnonzero(unlabeled)
        self.indices = np.asarray(candidate_indices, dtype=np.int64)
        self.y_labeled = np.asarray(y_labeled)
        if classes is None and estimator is not None:
            classes = estimator.classes_
        self.classes = None if classes is None else np.asarray(classes)
        self._finish(random_state, max_memory)

    def _finish(self, random_state, max_memory):
        self._seed = check_random_state(random_state).randint(2**31 - 1)
        self.max_memory = max_memory
        self.info = {}
        self._cache = {}

    @classmethod
    def from_arrays(
        cls,
        proba=None,
        embeddings=None,
        labeled_embeddings=None,
        y_labeled=None,
        samples=None,
        classes=None,
        random_state=None,
        max_memory=None,
    ):
        """Make a pool of quantities that were computed elsewhere.

        Parameters
        ----------
        proba : array-like of shape (n, C), default=None
            Class probabilities of the candidates; rows sum to 1.
        embeddings : array-like of shape (n, d), default=None
            Feature vectors of the candidates.
        labeled_embeddings : array-like of shape (m, d), default=None
            Feature vectors of the labelled samples. None means that nothing is
            labelled yet if `embeddings` are given.
        y_labeled : array-like of shape (m,), default=None
            Labels of the labelled samples.
        samples : array-like of shape (K, n, C), default=None
            Class probabilities under K samples from a posterior over models.
        classes : array-like of shape (C,), default=None
            The classes that the columns stand for; None means ``0 .. C-1``.
        random_state : int, RandomState instance or None, default=None
            Source of all randomness of a query on this pool.
        max_memory : int, default=None
            Bytes for temporary blocks; None means 1 GiB.

        Returns
        -------
        Pool

        Raises
        ------
        ValueError
            If no quantity is given, shapes do not agree, values are not finite, or
            probabilities are negative or do not sum to 1.
        """
        given = {
            "proba": _as_floats(proba, "proba", 2),
            "embeddings": _as_floats(embeddings, "embeddings", 2),
            "labeled_embeddings": _as_floats(
                labeled_embeddings, "labeled_embeddings", 2
            ),
            "samples": _as_floats(samples, "samples", 3),
        }
        given = {name: array for name, array in given.items() if array is not None}
        sizes = {
            name: array.shape[1] if name == "samples" else array.shape[0]
            for name, array in given.items()
            if name != "labeled_embeddings"
        }
        if not sizes:
            raise ValueError(
                "Pool.from_arrays needs at least one of proba (n, C), embeddings "
                "(n, d) and samples (K, n, C)."
            )
        if len(set(sizes.values())) > 1:
            raise ValueError(f"Numbers of candidates differ: {sizes}.")
        for name in ("proba", "samples"):
            if name in given:
                _check_probabilities(given[name], name)
        n_candidates = next(iter(sizes.values()))
        if "embeddings" in given:
            width = given["embeddings"].shape[1]
            labeled = given.setdefault(
                "labeled_embeddings", np.empty((0, width), given["embeddings"].dtype)
            )
            if labeled.shape[1] != width:
                raise ValueError(
                    f"labeled_embeddings have {labeled.shape[1]} columns, "
                    f"embeddings have {width}."
                )
        pool = cls.__new__(cls)
        pool._estimator = pool._X = None
        pool._labeled_indices = np.empty(0, dtype=np.int64)
        pool.indices = np.arange(n_candidates)
        pool.y_labeled = None if y_labeled is None else np.asarray(y_labeled)
        columns = [given[k].shape[-1] for k in ("proba", "samples") if k in given]
        if classes is None and columns:
            classes = np.arange(columns[0])
        pool.classes = None if classes is None else np.asarray(classes)
        if any(width != len(pool.classes) for width in columns):
            raise ValueError(
                f"classes has {len(pool.classes)} entries, proba and samples have "
                f"{columns} columns."
            )
        pool._finish(
            random_state, DEFAULT_MAX_MEMORY if max_memory is None else max_memory
        )
        pool._cache = given
        return pool

    def __len__(self):
        """Return the number of candidates."""
        return len(self.indices)

    @property
    def random_state(self):
        """A generator in the state this pool was given; take it once a query.

        It is a fresh one at every access, so the picks of a query do not depend on the
        queries made before it.
        """
        return np.random.RandomState(self._seed)

    @property
    def proba(self):
        """Class probabilities of the candidates, float64 of shape (n, C)."""
        return self._get("proba")

    @property
    def embeddings(self):
        """Feature vectors of the candidates, of shape (n, d)."""
        return self._get("embeddings")

    @property
    def labeled_embeddings(self):
        """Feature vectors of the labelled samples, of shape (m, d)."""
        return self._get("labeled_embeddings")

    @property
    def samples(self):
        """Class probabilities under K posterior samples, of shape (K, n, C)."""
        return self._get("samples")

    def prepare(self, needs, owner="This strategy"):
        """Compute the quantities `needs`, in as few passes over the data as possible.

        Parameters
        ----------
        needs : iterable of {"proba", "embeddings", "labeled_embeddings", "samples"}
            Names of the quantities.
        owner : str, default="This strategy"
            Who needs them, for the error message.

        Raises
        ------
        MissingCapabilityError
            If one of them cannot be had; it names `owner`, the need, the estimator and
            what would work.
        """
        wanted = set(needs) - self._cache.keys()
        if not wanted:
            return
        if self._X is None:
            raise self._cannot(owner, wanted.pop(), "these arrays")
        here = wanted & {"proba", "embeddings"}
        if here:
            X = safe_indexing(self._X, self.indices)
            self._cache.update(self._evaluate(X, here, owner))
        if "labeled_embeddings" in wanted:
            X = safe_indexing(self._X, self._labeled_indices)
            found = self._evaluate(X, {"embeddings"}, owner, what="labeled_embeddings")
            self._cache["labeled_embeddings"] = found["embeddings"]
        if "samples" in wanted:
            raise self._cannot(owner, "samples", _name(self._estimator))

    def _get(self, quantity):
        self.prepare([quantity])
        return self._cache[quantity]

    def _evaluate(self, X, needs, owner, what="embeddings"):
        """Return {need: array} for the rows `X` from one pass of the estimator."""
        if self._estimator is None:
            if "proba" in needs:
                raise self._cannot(owner, "proba", "a pool without a fitted estimator")
            return {"embeddings": self._inputs_as_embeddings(X, owner, what)}
        final = self._estimator
        while isinstance(final, Pipeline):
            if len(final) > 1:
                X = final[:-1].transform(X)
            final = final[-1]
        found = {}
        if "proba" in needs and not hasattr(final, "predict_proba"):
            raise self._cannot(owner, "proba", _name(final))
        if hasattr(final, "predict_proba_and_embeddings"):
            if needs == {"proba", "embeddings"}:
                proba, embeddings = final.predict_proba_and_embeddings(X)
                found = {"proba": proba, "embeddings": embeddings}
            elif "proba" in needs:
                found = {"proba": final.predict_proba(X)}
            else:
                found = {"embeddings": final.transform(X)}
        else:
            if "embeddings" in needs:
                found["embeddings"] = self._inputs_as_embeddings(X, owner, what)
            if "proba" in needs:
                found["proba"] = final.predict_proba(X)
        if "proba" in found:
            found["proba"] = align_columns(
                np.asarray(found["proba"], dtype=np.float64),
                final.classes_,
                self.classes,
            )
        return found

    def _inputs_as_embeddings(self, X, owner, what):
        """Take the inputs of a plain classifier as its embeddings."""
        if hasattr(X, "toarray"):
            size = X.shape[0] * X.shape[1] * X.dtype.itemsize
            if size > self.max_memory:
                raise MissingCapabilityError(
                    f"{owner} needs dense embeddings; making the sparse matrix of "
                    f"shape {X.shape} dense takes {size:,} bytes, max_memory is "
                    f"{self.max_memory:,}. Reduce it first, for instance with "
                    "TruncatedSVD in the Pipeline."
                )
            return X.toarray()
        if as_paths(X) is not None:
            raise self._cannot(owner, what, f"{_name(self._estimator)} on file paths")
        X = np.asarray(X)
        if X.dtype.kind not in "fiub":
            try:
                X = X.astype(np.float64)  # numbers in an array of objects
            except ValueError as error:  # a TypeError says all by itself
                who = f"{_name(self._estimator)} on data of type {X.dtype}"
                raise self._cannot(owner, what, who) from error
        # images given to a plain classifier: one row of pixels an image
        return X.reshape(len(X), int(np.prod(X.shape[1:])))

    @staticmethod
    def _cannot(owner, need, who):
        what, remedy = _NEEDS[need]
        return MissingCapabilityError(
            f"{owner} needs {what}, and {who} cannot give them. What works: {remedy}."
        )


def _name(estimator):
    return "no estimator" if estimator is None else type(estimator).__name__


def _as_floats(array, name, ndim):
    """Return `array` as finite floats with `ndim` axes (float32 stays), or None."""
    if array is None:
        return None
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
