"""The pool: all that a query strategy may see of one round."""

import copy

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from dalmax_sk._base.fits import classes_of, fit_estimator, output, predict
from dalmax_sk._base.pipelines import last_step, transformed
from dalmax_sk._base.seeds import set_missing_seeds
from dalmax_sk._base.sklearn_compat import (
    check_method_params,
    num_samples,
    safe_indexing,
)
from dalmax_sk._base.storage import DEFAULT_MAX_MEMORY
from dalmax_sk.pool.arrays import check_arrays, sliced
from dalmax_sk.pool.distances import LabeledDistances
from dalmax_sk.pool.evaluation import (
    align_columns,
    can_give,
    embedding_fingerprint,
    evaluate_rows,
    name_of,
    rows_of,
)
from dalmax_sk.pool.head import find_head
from dalmax_sk.pool.needs import missing
from dalmax_sk.pool.network import Network, is_net
from dalmax_sk.pool.posterior import check_posterior, sample_posterior

__all__ = ["Pool"]

# candidates on which a head is compared with the estimator it comes from
_N_CHECKED = 32
# candidates whose rows are looked at before there is a model
_N_PROBED = 2
# what one pass of the estimator gives, of candidates or labelled samples
_EVALUATED = ("proba", "embeddings", "decision_values")
# axes of the quantities that stand for the candidates
_AXES = {"proba": 0, "embeddings": 0, "decision_values": 0, "posterior_proba": 1}


class Pool:
    """The unlabelled candidates of one round, and the model's outputs for them.

    Every quantity is computed on first use, in batches, and kept; a strategy that asks
    for probabilities and embeddings together costs one forward pass. A strategy
    receives nothing else: neither the learner, nor any row of X, nor any label that was
    not revealed. It names candidates and labelled samples by their positions.

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
        Bytes that the temporary blocks of a selection may take. A quantity of the
        candidates that is larger goes to a temporary file, which is mapped into memory;
        it follows ``TMPDIR`` and is gone with the pool.
    classes : array-like of shape (C,), default=None
        The full list of classes, sorted. None takes ``estimator.classes_``.
    candidate_indices : array-like of int of shape (n,), default=None
        Rows of `X` that may be picked. None means every row that is not labelled.
    distances : LabeledDistances, default=None
        Distances that the learner keeps from round to round, for
        :attr:`distance_to_labeled`.
    fit_params : dict, default=None
        Metadata that `estimator` was fitted with; entries with one value a row of `X`
        are cut to the rows of a fit. Every model that a strategy fits gets it.

    Attributes
    ----------
    indices : ndarray of int of shape (n,)
        ``indices[i]`` is the row of `X` that position ``i`` of the pool stands for.
    info : dict
        A strategy may leave scalars about its query here (CoreSet its covering
        radius); the learner copies them into the round's record, except under the names
        that a record has anyway.
    unsettled : bool
        Whether :meth:`check` met a need that only a fit can settle.

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
        distances=None,
        fit_params=None,
    ):
        self._estimator = estimator
        self._X = X
        self._fit_params = fit_params or {}
        self._labeled_indices = np.asarray(labeled_indices, dtype=np.int64)
        if candidate_indices is None:
            unlabeled = np.ones(num_samples(X), dtype=bool)
            unlabeled[self._labeled_indices] = False
            candidate_indices = np.flatnonzero(unlabeled)
        self.indices = np.asarray(candidate_indices, dtype=np.int64)
        self.y_labeled = np.asarray(y_labeled)
        if classes is None and estimator is not None:
            classes = classes_of(estimator)
        self.classes = None if classes is None else np.asarray(classes)
        self._finish(random_state, max_memory, distances)

    def _finish(self, random_state, max_memory, distances=None):
        self._seed = check_random_state(random_state).randint(2**31 - 1)
        self._model_seed = _derive(self._seed, 2)
        self.max_memory = max_memory
        self.info = {}
        self.unsettled = False
        self._distances = distances
        self._given = frozenset()
        self._cache = {}
        self._axes = dict(_AXES)

    @classmethod
    def from_arrays(
        cls,
        proba=None,
        embeddings=None,
        labeled_embeddings=None,
        y_labeled=None,
        posterior_proba=None,
        classes=None,
        random_state=None,
        max_memory=None,
        *,
        labeled_proba=None,
        head=None,
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
            labelled yet if `embeddings` are given without `y_labeled`.
        y_labeled : array-like of shape (m,), default=None
            Labels of the labelled samples.
        posterior_proba : array-like of shape (K, n, C), default=None
            Class probabilities under K samples from a posterior over models.
        classes : array-like of shape (C,), default=None
            The classes that the columns stand for; None means ``0 .. C-1``.
        random_state : int, RandomState instance or None, default=None
            Source of all randomness of a query on this pool.
        max_memory : int, default=None
            Bytes for temporary blocks; None means 1 GiB.
        labeled_proba : array-like of shape (m, C), default=None
            Class probabilities of the labelled samples.
        head : tuple of array-like of shapes (C, d) and (C,), default=None
            Weight and bias of the linear layer whose soft-max on `embeddings` gives
            the probabilities. `proba` is computed from it if not given.

        Returns
        -------
        Pool

        Raises
        ------
        ValueError
            If no quantity is given, shapes do not agree, values are not finite, or
            probabilities are negative or do not sum to 1.

        Notes
        -----
        Arrays mapped from files (``np.load(..., mmap_mode="r")``) are not copied: they
        are checked and read in blocks.
        """
        max_memory = DEFAULT_MAX_MEMORY if max_memory is None else max_memory
        given, n_candidates, y_labeled, classes = check_arrays(
            proba=proba,
            embeddings=embeddings,
            labeled_embeddings=labeled_embeddings,
            labeled_proba=labeled_proba,
            posterior_proba=posterior_proba,
            head=head,
            y_labeled=y_labeled,
            classes=classes,
            max_memory=max_memory,
        )
        pool = cls.__new__(cls)
        pool._estimator = pool._X = None
        pool._fit_params = {}
        pool.indices = np.arange(n_candidates)
        pool.y_labeled = y_labeled
        pool.classes = classes
        n_labeled = 0 if y_labeled is None else len(y_labeled)
        for name in ("labeled_embeddings", "labeled_proba"):
            n_labeled = len(given[name]) if name in given else n_labeled
        pool._labeled_indices = np.arange(n_labeled)
        pool._finish(random_state, max_memory)
        pool._given = frozenset(given)
        pool._cache = given
        return pool

    def subset(self, positions):
        """Return the pool of some of the candidates.

        What was computed is sliced; the rest is computed for these candidates only. Its
        random numbers are others than this pool's.

        Parameters
        ----------
        positions : array-like of int of shape (k,)
            Positions in this pool, distinct. Position ``i`` of the subset is
            ``positions[i]`` here.

        Returns
        -------
        Pool
        """
        positions = np.asarray(positions, dtype=np.int64)
        pool = copy.copy(self)
        pool.indices = self.indices[positions]
        pool._seed = _derive(self._seed, 1)
        pool.info = {}
        pool._cache = {}
        pool._axes = dict(self._axes)
        for key, value in self._cache.items():
            axis = self._axes.get(key)
            if axis is not None:
                name = key if isinstance(key, str) else key[0]
                value = sliced(value, positions, name, self.max_memory, axis=axis)
            pool._cache[key] = value
        return pool

    def once(self, key, make, *, axis=None):
        """Return what `make` returns, called once for this pool.

        Parameters
        ----------
        key : hashable
            Name of the quantity, with all parameters that it depends on.
        make : callable
            Takes nothing.
        axis : {0, 1} or None, default=None
            Axis of the returned array that stands for the candidates, which a
            :meth:`subset` slices. None means that the quantity does not depend on the
            candidates; subsets share it.

        Returns
        -------
        object
            The same at every call with `key`; not to be written to.

        Examples
        --------
        >>> from dalmax_sk.pool import Pool
        >>> pool = Pool.from_arrays(embeddings=[[3.0, 4.0], [0.0, 2.0]])
        >>> def lengths():
        ...     return (pool.embeddings**2).sum(axis=1) ** 0.5
        >>> pool.once("lengths", lengths, axis=0)
        array([5., 2.])
        >>> pool.subset([1]).once("lengths", lengths, axis=0)
        array([2.])
        """
        if key not in self._cache:
            value = make()  # which may compute others on the way
            self._cache[key] = value
            if axis is not None:
                self._axes[key] = axis
        return self._cache[key]

    def __len__(self):
        """Return the number of candidates."""
        return len(self.indices)

    @property
    def estimator(self):
        """The model fitted on the labelled samples, or None."""
        return self._estimator

    @property
    def n_labeled(self):
        """Number m of labelled samples."""
        return len(self._labeled_indices)

    @property
    def labeled_indices(self):
        """Rows of `X` that `y_labeled` belongs to; ``0 .. m-1`` without an `X`.

        Like `indices`, for people, and for rules that know a row again in a later
        round; within a round positions are enough.
        """
        return self._labeled_indices

    @property
    def y_labeled_codes(self):
        """`y_labeled` as positions in `classes`, int of shape (m,)."""
        if self.y_labeled is None:
            return np.empty(0, dtype=np.int64)
        return np.searchsorted(self.classes, self.y_labeled)

    @property
    def given(self):
        """Names of the quantities that :meth:`from_arrays` was given, a frozenset."""
        return self._given

    @property
    def random_state(self):
        """A generator in the state this pool was given; take it once a query.

        It is a fresh one at every access, so the picks of a query do not depend on the
        queries made before it.
        """
        return np.random.RandomState(self._seed)

    @property
    def model_random_state(self):
        """A generator for whatever is computed of models and not of candidates.

        Posterior samples and committees draw from it. All subsets of a pool share it,
        so that a slice of what was computed is what the subset would have computed.
        """
        return np.random.RandomState(self._model_seed)

    @property
    def proba(self):
        """Class probabilities of the candidates, float64 of shape (n, C)."""
        return self._get("proba")

    @property
    def labeled_proba(self):
        """Class probabilities of the labelled samples, float64 of shape (m, C)."""
        return self._get("labeled_proba")

    @property
    def embeddings(self):
        """Feature vectors of the candidates, of shape (n, d)."""
        return self._get("embeddings")

    @property
    def labeled_embeddings(self):
        """Feature vectors of the labelled samples, of shape (m, d)."""
        return self._get("labeled_embeddings")

    @property
    def decision_values(self):
        """Decision values of the candidates, float64 of shape (n, S).

        One column for each of the S classes that the estimator has seen; of two classes
        the columns differ by what ``decision_function`` gives.
        """
        return self._get("decision_values")

    @property
    def distance_to_labeled(self):
        """Euclidean distance of each candidate to the nearest labelled sample, (n,).

        Between embeddings, float64, never below the true distance and above it by the
        rounding of float32; infinite if nothing is labelled. Where the embedding of a
        row is the same in every round, the learner keeps these distances, and a round
        measures those to the new labels only.
        """
        return self.once("distance_to_labeled", self._measure_distances, axis=0)

    @property
    def head(self):
        """The `LinearHead` whose soft-max on the embeddings is `proba`."""
        return self._get("head")

    @property
    def decision(self):
        """The `LinearHead` whose largest score on the embeddings is the prediction.

        Unlike `head` it says nothing of probabilities: a LinearSVC has one.
        """
        return self._get("decision")

    @property
    def network(self):
        """The neural network with this round's data, a `Network`."""
        return self._make_network("This strategy")

    def posterior_proba(self, posterior="auto", n_samples=20, owner="This strategy"):
        """Return class probabilities under samples from a posterior over models.

        Parameters
        ----------
        posterior : {"auto", "dropout", "ensemble", "laplace"}, default="auto"
            See :func:`dalmax_sk.pool.sample_posterior`.
        n_samples : int, default=20
            Number K of samples. An ensemble has as many as it has members.
        owner : str, default="This strategy"
            Who needs them, for the error message.

        Returns
        -------
        ndarray of shape (K, n, C), float64
            The samples given to :meth:`from_arrays` come before all others.
        """
        if "posterior_proba" in self._given:
            return self._cache["posterior_proba"]
        return sample_posterior(self, posterior, n_samples, owner)

    def predict(self, positions=None, *, labeled=False, owner="This strategy"):
        """Return the classes that the model predicts.

        Parameters
        ----------
        positions : array-like of int of shape (k,), default=None
            Positions among the candidates, or among the labelled samples; None means
            all of them.
        labeled : bool, default=False
            Whether labelled samples are meant.
        owner : str, default="This strategy"
            Who needs them, for the error message.

        Returns
        -------
        ndarray of shape (k,)
            Entries of `classes`.

        Raises
        ------
        MissingCapabilityError
            If the pool was made from arrays, or has no model yet.
        """
        rows = self._rows(owner, positions, labeled=labeled)
        return predict(self._model(owner), rows, self.classes)

    def held_out_proba(self, held, seed, owner="This strategy"):
        """Return probabilities of labelled samples by a model that has not seen them.

        Parameters
        ----------
        held : array-like of int of shape (k,)
            Positions among the labelled samples. A clone of the estimator is fitted on
            the others.
        seed : int
            Seed of the clone, for every ``random_state`` in it that is None, and for
            the global generators if it has none.
        owner : str, default="This strategy"
            Who needs them, for the error message.

        Returns
        -------
        ndarray of shape (k, C), float64
            0 for a class that is not among the others.

        Raises
        ------
        MissingCapabilityError
            If the pool was made from arrays, or has no model yet.
        """
        left = np.setdiff1d(np.arange(self.n_labeled), held)
        rows = self._rows(owner, left, labeled=True)
        model = clone(self._model(owner))
        set_missing_seeds(model, seed)
        model = fit_estimator(
            model,
            rows,
            self.y_labeled[left],
            self._labeled_params(left),
            seed=seed,
            classes=self.classes,
        )
        rows = self._rows(owner, held, labeled=True)
        proba = output(model, "predict_proba", rows)
        proba = np.asarray(proba, dtype=np.float64)
        return align_columns(proba, classes_of(model), self.classes)

    def prepare(self, requires, owner="This strategy"):
        """Compute the quantities `requires` in as few passes over the data as possible.

        Parameters
        ----------
        requires : iterable of str
            Names of the quantities: ``"proba"``, ``"embeddings"``,
            ``"posterior_proba"``, ``"labeled_proba"``, ``"labeled_embeddings"``,
            ``"decision_values"``, ``"head"``, ``"decision"``, ``"network"``. Of
            ``"proba|decision_values"`` the first that the estimator can give is taken.
        owner : str, default="This strategy"
            Who needs them, for the error message.

        Raises
        ------
        MissingCapabilityError
            If one of them cannot be had; it names `owner`, the need, the estimator and
            what would work.
        """
        wanted = {self._first_of(need, owner) for need in requires}
        wanted -= self._cache.keys()
        if "embeddings" not in self._cache and (
            "head" in wanted or ("decision" in wanted and self._is_network())
        ):
            wanted |= {"proba", "embeddings"}  # one pass for them and for its check
        if self._X is None and wanted - {"posterior_proba"}:
            raise self.missing(owner, min(wanted))
        for prefix, rows in (("", self.indices), ("labeled_", self._labeled_indices)):
            here = {need for need in _EVALUATED if prefix + need in wanted}
            if here:
                found = evaluate_rows(
                    self._estimator,
                    self._X,
                    rows,
                    here,
                    classes=self.classes,
                    max_memory=self.max_memory,
                    owner=owner,
                    prefix=prefix,
                )
                self._cache |= {prefix + need: found[need] for need in here}
        if "posterior_proba" in wanted:
            self.posterior_proba(owner=owner)
        if "head" in wanted:
            self.once("head", lambda: self._make_head(owner))
        if "decision" in wanted:
            self.once("decision", lambda: self._make_decision(owner))
        if "network" in wanted:
            self._make_network(owner)

    def check(self, need, owner="This strategy"):
        """Refuse at once what the estimator cannot give, as far as can be seen.

        Parameters
        ----------
        need : str
            As :meth:`prepare` takes it.
        owner : str, default="This strategy"
            Who needs it, for the error message.

        Raises
        ------
        MissingCapabilityError
            If the estimator cannot give it. In a pool without labelled samples the
            estimator need not be fitted; `unsettled` says then if a fit is
            needed to tell.
        """
        if self._X is None:
            if self._first_of(need, owner) not in self._cache:
                raise self.missing(owner, need)
            return
        can = can_give(self._estimator, self._X, need)
        if can is False:
            raise self.missing(owner, need)
        if need.endswith("embeddings"):
            if can is None:  # they are the rows themselves
                evaluate_rows(
                    None,
                    self._X,
                    self.indices[:_N_PROBED],
                    {"embeddings"},
                    classes=self.classes,
                    max_memory=self.max_memory,
                    owner=owner,
                    who=name_of(self._estimator),
                )
        elif can is None and not self.n_labeled:
            self.unsettled = True
        elif can is None and need == "posterior_proba":
            check_posterior(self, owner)
        elif can is None:
            self.prepare([need], owner)

    def can_give(self, need):
        """Tell whether the estimator can give a quantity; None if only a fit can tell.

        Parameters
        ----------
        need : str
            As :meth:`prepare` takes it.

        Returns
        -------
        bool or None
        """
        if self._X is None:
            return any(option in self._cache for option in need.split("|"))
        return can_give(self._estimator, self._X, need)

    def is_computed(self, quantity):
        """Tell whether a quantity, by `prepare`'s name for it, is at hand."""
        return quantity in self._cache

    def missing(self, owner, need, who=None):
        """Return the error to raise when the estimator cannot give what is needed.

        Parameters
        ----------
        owner : str
            Who needs it.
        need : str
            One of the names that `prepare` knows, ``"rows"`` or ``"model"``.
        who : str, default=None
            What cannot give it; None names the estimator.

        Returns
        -------
        MissingCapabilityError
        """
        if who is None:
            final = last_step(self._estimator)
            who = "these arrays" if self._X is None else name_of(final)
        return missing(owner, need, who)

    def _first_of(self, need, owner):
        """Return the quantity that is meant by a choice of several."""
        options = need.split("|")
        for option in options:
            if len(options) == 1 or option in self._cache or self.can_give(option):
                return option
        raise self.missing(owner, need)

    def _get(self, quantity):
        self.prepare([quantity])
        return self._cache[quantity]

    def _model(self, owner):
        if self._estimator is None:
            raise self.missing(owner, "model", "a pool without a fitted estimator")
        return self._estimator

    def _rows(self, owner, positions=None, *, labeled=False):
        """Return rows of X, of candidates or labelled samples, for models to take."""
        if self._X is None:
            raise self.missing(owner, "rows")
        rows = self._labeled_indices if labeled else self.indices
        rows = rows if positions is None else rows[positions]
        whose = "labelled samples" if labeled else "candidates"
        what = f"the rows of {len(rows):,} {whose}"
        return rows_of(self._X, rows, self.max_memory, what)

    def _labeled_params(self, positions=None):
        """Return the metadata for a fit on labelled samples, all or at positions."""
        rows = self._labeled_indices
        rows = rows if positions is None else rows[positions]
        return check_method_params(self._X, self._fit_params, indices=rows)

    def _split(self, X):
        """Return the classifier itself and X as the steps before it hand it on."""
        return last_step(self._estimator), transformed(self._estimator, X)

    def _measure_distances(self):
        fingerprint = None
        if self._X is not None:
            fingerprint = embedding_fingerprint(self._estimator, self._X)
        distances = self._distances
        if distances is None or fingerprint is None:
            distances = LabeledDistances()
        return distances.update(
            fingerprint,
            self.indices,
            self._labeled_indices,
            self.embeddings,
            self.labeled_embeddings,
            self.max_memory,
        )

    def _make_head(self, owner):
        """Return the head, after a look at whether it gives the probabilities."""
        head = find_head(last_step(self._estimator), self.classes)
        if head is None:
            raise self.missing(owner, "head")
        few = slice(0, _N_CHECKED)
        # mixed precision computes the last layer in bfloat16
        tolerance = 2e-2 if getattr(last_step(self._estimator), "amp", False) else 1e-3
        embeddings = np.asarray(self.embeddings[few], dtype=np.float64)
        if embeddings.shape[1] != head.weight.shape[1] or not np.allclose(
            head.proba(embeddings), self.proba[few], atol=tolerance
        ):
            raise self.missing(
                owner,
                "head",
                f"{name_of(last_step(self._estimator))}, whose probabilities are not "
                "the soft-max of a linear map,",
            )
        return head

    def _make_decision(self, owner):
        """Return the linear decision function, after a look at whether it is one."""
        if self._is_network():
            return self._make_head(owner)
        head = find_head(last_step(self._estimator), self.classes)
        if head is None or self.embeddings.shape[1] != head.weight.shape[1]:
            raise self.missing(owner, "decision")
        final, X = self._split(safe_indexing(self._X, self.indices[:_N_CHECKED]))
        predicted = np.searchsorted(self.classes, predict(final, X, self.classes))
        logits = head.logits(self.embeddings[:_N_CHECKED])
        two = np.sort(logits, axis=1)[:, -2:]
        tied = two[:, 1] - two[:, 0] <= 1e-6 * (1 + abs(two[:, 1]))
        if not (tied | (head.columns[logits.argmax(axis=1)] == predicted)).all():
            raise self.missing(owner, "decision")
        return head

    def _is_network(self):
        return is_net(last_step(self._estimator))

    def _make_network(self, owner):
        final = last_step(self._estimator)
        if not is_net(final):
            raise self.missing(owner, "network")
        return Network(
            final,
            candidates=lambda: self._split(self._rows(owner))[1],
            labeled=lambda: self._split(self._rows(owner, labeled=True))[1],
            columns=np.searchsorted(self.classes, classes_of(final)),
        )


def _derive(seed, purpose):
    return int(np.random.SeedSequence([seed, purpose]).generate_state(1)[0])
