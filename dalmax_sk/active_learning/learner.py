"""The active-learning loop as a scikit-learn classifier."""

import copy
import logging
import os
import time
import warnings
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.dummy import DummyClassifier
from sklearn.utils import (
    get_tags,
)
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
)

from dalmax_sk._base import progress
from dalmax_sk._base.pipelines import last_step
from dalmax_sk._base.processes import peak_bytes, process_group_of
from dalmax_sk._base.seeds import derive_seed
from dalmax_sk._base.sklearn_compat import (
    HasMethods,
    Interval,
    RealNotInt,
    StrOptions,
    fit_context,
    raise_for_params,
)
from dalmax_sk._base.storage import DEFAULT_MAX_MEMORY, release_pages
from dalmax_sk.active_learning.callbacks import call
from dalmax_sk.active_learning.fits import fit_labeled
from dalmax_sk.active_learning.history import HistoryMixin
from dalmax_sk.active_learning.predictions import PredictionsMixin
from dalmax_sk.active_learning.preparation import PreparationMixin
from dalmax_sk.active_learning.resuming import ResumingMixin
from dalmax_sk.active_learning.rounds import (
    SEED_FIT,
    SEED_QUERY,
    Round,
    evaluate,
    log_round,
    round_context,
)
from dalmax_sk.active_learning.schedules import (
    next_size,
    reason_of_rules,
    round_limit,
)
from dalmax_sk.active_learning.teaching import TeachingMixin
from dalmax_sk.pool import Pool
from dalmax_sk.strategies import QueryStrategy, RandomSampling

__all__ = ["ActiveLearningClassifier"]

logger = logging.getLogger("dalmax_sk")


class ActiveLearningClassifier(
    PreparationMixin,
    ResumingMixin,
    TeachingMixin,
    PredictionsMixin,
    HistoryMixin,
    ClassifierMixin,
    MetaEstimatorMixin,
    BaseEstimator,
):
    """A classifier whose ``fit`` spends a label budget in rounds.

    A round fits `estimator` on the labelled rows, lets `strategy` pick from the others,
    asks for their labels and repeats. Labels come from one of three places:

    - **Simulation**, when `y` is fully known: ``fit`` hides it and reveals only what it
      asks for. This is what cross-validation and grid search do.
    - **By hand**, when entries of `y` are missing: ``fit`` trains on what is labelled;
      :meth:`query` proposes rows, :meth:`teach` adds their labels and refits.
    - **oracle**: the same, with a function that is asked instead of a person.

    Parameters
    ----------
    estimator : estimator, default=None
        The classifier to train, cloned. None means
        :class:`~dalmax_sk.CNNClassifier` for image files and image arrays, and
        :class:`~sklearn.linear_model.LogisticRegression` for 2-D tables.
    strategy : QueryStrategy, str or callable, default=None
        How to pick. None means margin
        :class:`~dalmax_sk.strategies.UncertaintySampling`; a string is a name of
        :func:`~dalmax_sk.strategies.strategy_names`; a function is called as
        ``f(pool, n)`` and returns `n` positions in the pool.
    n_initial : int or float, default=0.1
        Size of the initial labelled set: a number of rows, or a fraction of X (rounded
        up). Unused when `y` is partly labelled: those rows are the initial set.
    query_size : int, float, sequence or callable, default=0.05
        Labels to ask for in a round: a number, a fraction of X (rounded up), a schedule
        with one entry a round (the last one holds on), or ``f(round) -> int or float``
        with rounds counted from 1. The last batch is shorter if the candidates run out.
    n_rounds : int or None, default=5
        Rounds of querying. None goes on to the end of a `query_size` sequence, or else
        until no candidates are left.
    initial_strategy : {"random", "balanced"} or QueryStrategy, default="random"
        How the initial set is drawn. ``"balanced"`` takes classes in equal numbers, as
        published protocols do: it **uses the labels of all rows** and is for simulation
        only. A strategy (cold start) sees the inputs as the steps of a pipeline that
        need no labels make them.
    refit : {"scratch", "continue"}, default="scratch"
        Fit a fresh clone each round, or continue from the present weights. The latter
        needs an estimator whose ``warm_start`` trains its weights on; ensembles and
        trees are refused. Classes that it was not told of start it from scratch.
    oracle : callable, default=None
        ``oracle(X_rows, indices) -> labels``, asked for the labels of rows of X that
        `y` leaves open. Where it returns a missing value (None, NaN), the row is set
        aside and not asked for again.
    stopping : StoppingRule, callable, list of these or None, default=None
        When to stop before `n_rounds`: rules of :mod:`dalmax_sk.stopping`, or
        ``f(history_) -> bool or str``. Where labels are taught by hand, what the rules
        say is in ``stop_reason_`` after each :meth:`teach`; a
        :class:`~dalmax_sk.stopping.Budget` limits what :meth:`query` proposes.
    callbacks : list or None, default=None
        Objects that add to ``history_``, called in their order. Each has one or both
        of ``on_query_end(learner, pool, positions)``, after the strategy has picked
        `positions` and before their labels are asked for, and ``on_fit_end(learner,
        record)``, after a fit and its scores. What they return (a dict, or None)
        becomes part of the round's record; see Notes.
    classes : array-like of shape (n_classes,), default=None
        All classes that may occur. None takes the estimator's ``classes`` if it has
        any, else those in `y`. Needed where `y` has no label of some class yet; see
        also :meth:`add_classes`.
    missing_label : scalar, default=None
        A value of `y` that means "not labelled", besides None, NaN and what is masked
        or missing in pandas' types. It has to be of the type of the labels.
    scoring : str, callable, list, tuple, dict or None, default=None
        Scores on ``eval_set`` after each round, as in
        :func:`~sklearn.model_selection.cross_validate`. None means accuracy, balanced
        accuracy, macro and weighted F1.
    checkpoint_dir : str or path-like, default=None
        A folder for the state of the run. ``fit`` writes it after every query and every
        fit, and resumes from it: the picks and scores are those of a run that was never
        stopped. It must not lie among the class folders of image files.
    store_estimators : bool, default=False
        Keep the fitted estimator of every round in ``estimators_``. The ``staged_...``
        methods then need not fit them again.
    max_memory : int, default=1 GiB
        Bytes that the temporary blocks of a selection may take.
    verbose : int, default=0
        1 logs each round, 2 more.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial set, of every query, and of every ``random_state`` inside
        `estimator` that is None.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    estimator_ : estimator
        The classifier fitted on all labels known at the end.
    estimators_ : list of estimator
        The fitted estimator of each round. Only with ``store_estimators=True``.
    strategy_ : QueryStrategy
        The strategy in use.
    labeled_indices_ : ndarray of int of shape (n_labeled,)
        Rows of X whose labels are known, in the order in which they were acquired.
    initial_indices_ : ndarray of int
        The first of them: the initial set.
    query_history_ : list of ndarray of int
        Rows picked in each round, in order of preference.
    n_rounds_ : int
        Rounds of querying done.
    history_ : list of dict
        One record a round, the first for the initial set: ``round``, ``n_labeled``,
        ``queried`` (rows), ``query_scores``, ``n_requested``, ``fit_seconds``,
        ``query_seconds``, ``eval_seconds``, ``observe_seconds`` (of stopping rules that
        look at the pool; what they compute, the query need not), ``peak_bytes``
        (largest resident memory of the process so far), ``eval_<score>``, what the
        strategy reports (CoreSet: ``covering_radius``), ``fit_history`` (epochs of a
        CNN) and what `callbacks` add.
    stop_reason_ : str
        Why the rounds ended.
    n_features_in_ : int
        Number of columns of a table; absent for paths and images.
    feature_names_in_ : ndarray of str
        Column names, if X is a DataFrame with string columns.

    See Also
    --------
    dalmax_sk.CNNClassifier : The default for images.
    dalmax_sk.strategies.QueryStrategy : Base class for one's own strategies.

    Notes
    -----
    Row numbers in all attributes and methods are rows of the X given to ``fit``. The
    fitted object keeps a reference to that X, for :meth:`query`.

    While all labels are of one class and there are others, nothing can be learned: the
    model of such a round predicts that class, the next rows are picked as those of the
    initial set are (at random, or by `initial_strategy`), and rules that read scores
    stop nothing. Numbers of labels stay as planned, so a budget holds and curves of
    several seeds begin alike.

    Callbacks: ``on_query_end`` is also called for rows that are picked without a model
    (``pool.estimator`` is None then), and after every :meth:`query` by hand that picks
    new rows, of which the last counts. ``on_fit_end`` gets a copy of the record as it
    stands after the observations of stopping rules. Keys are strings; values must be
    such that JSON can hold them if there is a checkpoint. A key that the record has, or
    may have (``eval_...`` at a query), is an error. Rounds that a checkpoint restores
    are not repeated, and callbacks may change between the parts of a run.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from dalmax_sk import ActiveLearningClassifier
    >>> from dalmax_sk.strategies import CoreSet
    >>> X, y = load_iris(return_X_y=True)
    >>> learner = ActiveLearningClassifier(
    ...     strategy=CoreSet(), n_initial=10, query_size=5, n_rounds=3, random_state=0
    ... ).fit(X, y)
    >>> len(learner.labeled_indices_), learner.n_rounds_
    (25, 3)

    With a person who answers:

    >>> import numpy as np
    >>> y_partial = np.where(np.arange(len(y)) % 10 == 0, y, -1)
    >>> learner = ActiveLearningClassifier(missing_label=-1, random_state=0)
    >>> rows = learner.fit(X, y_partial).query(2)
    >>> len(learner.teach(rows, y[rows]).labeled_indices_)
    17

    With a callback that notes how sure the model was of its picks:

    >>> class Confidence:
    ...     def on_query_end(self, learner, pool, positions):
    ...         if pool.estimator is not None:
    ...             largest = pool.proba[positions].max(axis=1)
    ...             return {"confidence": float(largest.mean())}
    >>> learner.set_params(callbacks=[Confidence()], n_rounds=2).fit(X, y)
    ActiveLearningClassifier(...)
    >>> [round(record["confidence"], 2) for record in learner.history_[1:]]
    [0.51, 0.52]
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit"]), None],
        "strategy": [QueryStrategy, str, callable, None],
        "n_initial": [
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="right"),
        ],
        "query_size": [
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="right"),
            "array-like",
            callable,
        ],
        "n_rounds": [Interval(Integral, 0, None, closed="left"), None],
        "initial_strategy": [StrOptions({"random", "balanced"}), QueryStrategy],
        "refit": [StrOptions({"scratch", "continue"})],
        "oracle": [callable, None],
        "stopping": [HasMethods(["should_stop"]), callable, list, None],
        "callbacks": [list, None],
        "classes": ["array-like", None],
        "missing_label": "no_validation",
        "scoring": [str, callable, list, tuple, dict, None],
        "checkpoint_dir": [str, os.PathLike, None],
        "store_estimators": ["boolean"],
        "max_memory": [Interval(Integral, 1, None, closed="left")],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator=None,
        strategy=None,
        *,
        n_initial=0.1,
        query_size=0.05,
        n_rounds=5,
        initial_strategy="random",
        refit="scratch",
        oracle=None,
        stopping=None,
        callbacks=None,
        classes=None,
        missing_label=None,
        scoring=None,
        checkpoint_dir=None,
        store_estimators=False,
        max_memory=DEFAULT_MAX_MEMORY,
        verbose=0,
        random_state=None,
    ):
        self.estimator = estimator
        self.strategy = strategy
        self.n_initial = n_initial
        self.query_size = query_size
        self.n_rounds = n_rounds
        self.initial_strategy = initial_strategy
        self.refit = refit
        self.oracle = oracle
        self.stopping = stopping
        self.callbacks = callbacks
        self.classes = classes
        self.missing_label = missing_label
        self.scoring = scoring
        self.checkpoint_dir = checkpoint_dir
        self.store_estimators = store_estimators
        self.max_memory = max_memory
        self.verbose = verbose
        self.random_state = random_state

    # ------------------------------------------------------------------ public: fitting

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, eval_set=None, **fit_params):
        """Run the rounds.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Image paths (1-D), images (3-D or 4-D) or a table (2-D).
        y : array-like of shape (n_samples,)
            Labels. Complete: a simulation. With missing entries: the rows to label.
        eval_set : tuple (X_eval, y_eval), default=None
            Held-out data, scored after each round and never trained on.
        **fit_params : dict
            Metadata for the estimator's ``fit`` (with metadata routing enabled);
            entries with one value a row of X are cut to the labelled rows.

        Returns
        -------
        self : ActiveLearningClassifier

        Raises
        ------
        ValueError
            If data or parameters do not fit each other. An exception raised by the
            estimator, the oracle or the strategy passes through with the round number
            added to its message.
        """
        raise_for_params(fit_params, self, "fit")
        with progress.logged(self.verbose):
            self._prepare_run(X, y, eval_set, fit_params)
            self._run()
        return self

    # ------------------------------------------------------------------------- protocol

    def __sklearn_is_fitted__(self):
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        child = get_tags(self._get_estimator())
        tags.non_deterministic = child.non_deterministic
        tags.input_tags.allow_nan = child.input_tags.allow_nan
        tags.input_tags.sparse = child.input_tags.sparse
        if child.classifier_tags is not None:
            tags.classifier_tags.multi_class = child.classifier_tags.multi_class
        return tags

    def get_metadata_routing(self):
        """Return how metadata is routed: ``fit`` passes it on to the estimator's.

        Returns
        -------
        MetadataRouter
        """
        return (
            MetadataRouter(owner=self)
            .add_self_request(self)
            .add(
                estimator=self._get_estimator(),
                method_mapping=MethodMapping().add(caller="fit", callee="fit"),
            )
        )

    # ----------------------------------------------------------------------- the rounds

    def _run(self):
        """Alternate fits and queries until something says stop."""
        if not len(self.labeled_indices_):
            self.stop_reason_ = "nothing is labelled yet: call query() and teach()"
            return
        if self._source is None and self._labels.one_class_only:
            self._warn_of_one_class()
            self.stop_reason_ = "one class only so far: call query() and teach()"
            return
        if self.history_ and not self._round.is_answered:
            self._refit(len(self.history_) - 1)  # restored between a fit and a query
        else:
            self._fit_round()
        # a rule that looks at the clock must not part the processes of a group
        while (reason := self._group.broadcast(self._reason_to_stop())) is None:
            self._query_round()
            self._fit_round()
        self.stop_reason_ = reason
        self._round.pool = None  # which holds whole arrays
        logger.info("stopped: %s", reason)
        if self._labels.one_class_only:
            self._warn_of_one_class()

    def _warn_of_one_class(self):
        known = f"All {len(self._labels.order)} labels so far are of one class"
        advice = (
            "the estimator is fitted once another class is taught."
            if self._source is None
            else f"the run ended ({self.stop_reason_}) before a second class was "
            "found. The model predicts this class for every row; a larger n_initial "
            "or more rounds may find another."
        )
        label = self._labels.y[:1].tolist()[0]
        warnings.warn(f"{known}, {label!r}; {advice}", UserWarning, stacklevel=4)

    def _reason_to_stop(self):
        if self._source is None:  # a rule's word is advice then
            by_hand = "labels are taught by hand: call query() and teach()"
            return reason_of_rules(self._rules, self.history_) or by_hand
        limit = round_limit(self.n_rounds, self.query_size)
        if limit is not None and self.n_rounds_ >= limit:
            return f"{limit} rounds are done"
        if not len(self._labels.candidates):
            return "no candidates are left"
        return reason_of_rules(self._active_rules, self.history_)

    @property
    def _active_rules(self):
        """The rules that may stop: a score says nothing while there is one class."""
        if not self._labels.one_class_only:
            return self._rules
        return [rule for rule in self._rules if not getattr(rule, "reads_scores", 0)]

    def _next_size(self):
        return next_size(
            self.query_size, self._labels.n_samples, self._rules, self.history_
        )

    def _query_round(self):
        """Pick, and ask for the labels."""
        n_requested = self._group.broadcast(self._next_size())
        n = min(n_requested, len(self._labels.candidates))
        if n < n_requested:
            logger.info("%d labels wanted, %d candidates left", n_requested, n)
        with self._group.sharded_inference():
            rows, scores = self._pick(n)
        rows, scores = self._group.broadcast((rows, scores))
        self._ask(rows, len(self.history_))
        self._round.queried = rows.tolist()
        self._round.query_scores = None if scores is None else scores.tolist()
        self._round.n_requested = n_requested
        self._save()

    def _pick(self, n):
        """Return `n` rows of X and their scores from the strategy in turn."""
        number, started = len(self.history_), time.perf_counter()
        strategy = self._cold() if self._is_cold else self.strategy_
        pool, self._round.pool = self._round.pool or self._make_pool(), None
        doing = f"{type(strategy).__name__} picking {n} of {len(pool)}"
        with round_context(number, doing):
            positions, scores = strategy.query(pool, n, return_scores=True)
        self._round.query_seconds = time.perf_counter() - started
        self._round.notes = pool.info | call(
            self._callbacks, "on_query_end", number, pool.info, self, pool, positions
        )
        return pool.indices[positions], scores

    def _make_pool(self):
        """Return the pool of the next query."""
        candidates = self._labels.candidates
        if self._round.pending:
            proposed = [row for row, _ in self._round.pending]
            candidates = np.setdiff1d(candidates, proposed, assume_unique=True)
        labeled = self._labels.order, self._labels.y
        if self._is_cold:
            return self._pool_of(None, self._cold_inputs(), labeled, candidates)
        return self._pool_of(self.estimator_, self._X, labeled, candidates)

    def _pool_of(self, estimator, X, labeled, candidates):
        """Return a pool of these candidates; `labeled` is (rows, labels)."""
        release_pages(self._X)  # of a file: what checks and fits have read of it
        return Pool(
            estimator,
            X,
            *labeled,
            random_state=derive_seed(self._base_seed, len(self.history_), SEED_QUERY),
            max_memory=self.max_memory,
            classes=self.classes_,
            candidate_indices=candidates,
            distances=self._distances,
            fit_params=self._routed,
        )

    def _observe(self, record):
        """Add to the round's record what stopping rules want to see of the pool.

        The pool is kept for the query that follows, which finds computed what a rule
        has computed.
        """
        observers = [rule for rule in self._rules if hasattr(rule, "observe")]
        if not observers or self._is_cold or not len(self._labels.candidates):
            return
        started = time.perf_counter()
        self._round.pool = self._make_pool()
        for rule in observers:
            doing = f"{type(rule).__name__} observing the pool"
            with round_context(record["round"], doing), self._group.sharded_inference():
                record |= rule.observe(self._round.pool)
        record["observe_seconds"] = time.perf_counter() - started

    @property
    def _is_cold(self):
        """Whether there is no model that has seen two classes."""
        return not self.__sklearn_is_fitted__() or self._labels.one_class_only

    def _cold(self):
        """Return the strategy that picks without a model."""
        if isinstance(self.initial_strategy, QueryStrategy):
            return self.initial_strategy
        return RandomSampling()

    def _ask(self, rows, round_number):
        """Get labels of `rows` from the source and keep them."""
        with round_context(round_number, f"the oracle labelling {len(rows)} rows"):
            answer = self._group.run_on_rank0(self._source, rows)
            codes = self._labels.encode(answer, "the oracle's answer")
        self._labels.add(rows, codes)

    def _fit_round(self):
        """Fit on all labels and write the round's record."""
        number, now = len(self.history_), self._round
        n_labeled = len(self.labeled_indices_)
        record = {
            "round": number,
            "n_labeled": n_labeled,
            "queried": now.queried,
            "query_scores": now.query_scores,
            "n_requested": n_labeled if now.n_requested is None else now.n_requested,
            "query_seconds": now.query_seconds,
            "fit_seconds": self._refit(number),
        }
        record |= self._evaluate(number)
        record["peak_bytes"] = peak_bytes()
        for key, value in now.notes.items():
            record.setdefault(key, value)
        if len(self._labels.candidates) and not self._is_cold:
            labeled = self._labels.order, self._labels.y
            self._settle(self.estimator_, labeled, self._labels.candidates)
        epochs = getattr(last_step(self.estimator_), "history_", None)
        if epochs is not None:
            record["fit_history"] = list(epochs)
        self.history_.append(record)
        self._round = Round(pending=now.pending)
        self._observe(record)
        with self._group.sharded_inference():
            record |= call(
                self._callbacks, "on_fit_end", number, record, self, dict(record)
            )
        self._save()
        self._log(record, restored=False)

    def _evaluate(self, round_number):
        """Return the scores on the evaluation set, and the seconds they took."""
        started = time.perf_counter()
        scores = {}
        if self._eval_set is not None:
            doing = "scoring on eval_set"
            absent = np.setdiff1d(self.classes_, self._eval_set[1])
            if len(absent):
                doing += (
                    f", which has no row of the classes {absent[:10].tolist()}; a "
                    "metric that has to know them is given labels=: "
                    "scoring=make_scorer(metric, labels=classes, ...)"
                )
            with (
                round_context(round_number, doing),
                self._group.sharded_inference(),
            ):
                scores = evaluate(self, self._eval_set, self.scoring)
        return scores | {"eval_seconds": time.perf_counter() - started}

    def _refit(self, round_number, labeled=None):
        """Fit the estimator; return the seconds it took.

        `labeled` is (rows, labels), None for all that are known.
        """
        started = time.perf_counter()
        warm = self.refit == "continue" and hasattr(self, "estimator_")
        self.estimator_ = self._fitted(
            round_number,
            labeled or (self._labels.order, self._labels.y),
            previous=self.estimator_ if warm else None,
        )
        seconds = time.perf_counter() - started
        if self.store_estimators:
            keep = copy.deepcopy if self.refit == "continue" else lambda model: model
            stored = vars(self).setdefault("estimators_", [])
            stored[round_number:] = [keep(self.estimator_)]
        return seconds

    def _fitted(self, round_number, labeled, previous=None):
        """Return the estimator of a round, fitted on `labeled`: (rows, labels).

        `previous` goes on from its weights; else a fresh clone gets the round's seeds.
        Where all labels are of one class, the model predicts it.
        """
        rows, y = labeled
        if self._labels.is_one_class(y):
            return DummyClassifier(strategy="most_frequent").fit(rows[:, None], y)
        return fit_labeled(
            self._unfitted,
            self._X,
            rows,
            y,
            classes=self.classes_,
            params=self._routed,
            seed=derive_seed(self._base_seed, round_number, SEED_FIT),
            round_number=round_number,
            previous=previous,
        )

    def _log(self, record, restored):
        log_round(
            record,
            self.n_rounds,
            initial_indices=self.initial_indices_,
            restored=restored,
        )

    @property
    def _group(self):
        """The processes that run the same rounds; with most estimators only this."""
        return process_group_of(self._unfitted)
