"""The beginning of a run: validation, and the initial set."""

import functools

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.utils import check_consistent_length, check_random_state, get_tags
from sklearn.utils.metadata_routing import process_routing

from dalmax_sk._base.pipelines import components, without_last
from dalmax_sk._base.seeds import derive_seed, global_seed, set_missing_seeds
from dalmax_sk._base.sklearn_compat import routing_enabled
from dalmax_sk.active_learning.callbacks import check_callbacks
from dalmax_sk.active_learning.checkpoint import as_checkpoint
from dalmax_sk.active_learning.classes import (
    check_missing_label,
    find_classes,
    merged_classes,
)
from dalmax_sk.active_learning.inputs import check_rows
from dalmax_sk.active_learning.labels import UNKNOWN, LabelState
from dalmax_sk.active_learning.oracle import CallableOracle, SimulatedOracle, as_labels
from dalmax_sk.active_learning.rounds import SEED_INITIAL, Round
from dalmax_sk.active_learning.schedules import (
    balanced_indices,
    check_schedule,
    initial_size,
)
from dalmax_sk.active_learning.validation import (
    check_eval_set,
    check_stopping,
    default_estimator,
    given_classes,
    prepare_estimator,
)
from dalmax_sk.images.outputs import check_outside_images
from dalmax_sk.pool.distances import LabeledDistances
from dalmax_sk.strategies import RandomSampling, UncertaintySampling
from dalmax_sk.strategies._functions import as_strategy

__all__ = ["PreparationMixin"]

# Rows on which it is seen if a strategy can work, and labels of each class in a trial
# fit: cross-validation inside the estimator needs some.
_N_PROBED, _N_TRIAL = 32, 10


class PreparationMixin:
    """The beginning of a run of :class:`~dalmax_sk.ActiveLearningClassifier`."""

    def _get_estimator(self, X=None):
        return default_estimator(X) if self.estimator is None else self.estimator

    def _check_X(self, X, *, reset):
        return check_rows(self, X, reset=reset)

    def _prepare_run(self, X, y, eval_set, fit_params):
        """Validate everything, then restore a checkpoint or label the initial set."""
        X, y = self._check_data(X, y)
        for name in ("estimator_", "estimators_", "_labels"):
            vars(self).pop(name, None)  # a failing fit leaves nothing of other data
        self._X = X
        estimator = self._get_estimator(X)
        self.classes_ = find_classes(
            y, given_classes(self.classes, estimator), self.missing_label
        )
        self._labels = LabelState(len(y), self.classes_, self.missing_label)
        if eval_set is not None:
            check_X = functools.partial(self._check_X, reset=False)
            eval_set = check_eval_set(eval_set, check_X, self._labels)
        self._eval_set = eval_set
        self._check_params(estimator, fit_params)
        codes = self._labels.encode(y, "y")
        self._source = self._find_source(y, codes)
        self.initial_indices_ = np.empty(0, dtype=np.int64)
        self.history_ = []
        self._round = Round()
        self._added_classes = []
        self._distances = LabeledDistances()
        self._checkpoint = as_checkpoint(self.checkpoint_dir)
        if self._checkpoint is not None and self._checkpoint.identity is None:
            check_outside_images(self._checkpoint.path.parent, X, "checkpoint_dir")
        self._check_strategy((codes != UNKNOWN).any())
        if not self._restore(codes):
            self._label_initial(codes)

    def _check_data(self, X, y):
        X = self._check_X(X, reset=True)
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None"
            )
        y = as_labels(y)
        check_consistent_length(X, y)
        check_missing_label(y, self.missing_label)
        return X, y

    def _check_params(self, estimator, fit_params):
        """Validate and keep what the rounds are made with."""
        self._routed = (
            process_routing(self, "fit", **fit_params)["estimator"]["fit"]
            if routing_enabled() and fit_params
            else {}
        )
        self._prepare_estimator(estimator)
        strategy = UncertaintySampling() if self.strategy is None else self.strategy
        self.strategy_ = clone(as_strategy(strategy))
        self.strategy_._validate_params()
        self._rules = check_stopping(self.stopping)
        self._callbacks = check_callbacks(self.callbacks)
        check_schedule(self.query_size, self._labels.n_samples)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        self._base_seed = self._group.broadcast(seed)

    def _check_strategy(self, has_labels):
        """Refuse a strategy that asks for what the estimator cannot give.

        Where only a fit can tell and labels cost something, the estimator is fitted on
        trial: on a few rows, with classes in turn as their labels. Else the first fit
        tells.
        """
        rows = np.arange(min(_N_PROBED, self._labels.n_samples))
        nothing = self._labels.order[:0], self._labels.y[:0]
        pool = self._pool_of(self._unfitted, self._X, nothing, rows)
        self.strategy_._check_pool(pool)
        self._unsettled = pool.unsettled
        is_paid = not isinstance(self._source, SimulatedOracle)
        if pool.unsettled and is_paid and not has_labels:
            n = min(self._labels.n_samples, _N_TRIAL * len(self.classes_))
            y = self.classes_[np.arange(n) % len(self.classes_)]
            trial = self._fitted(0, (np.arange(n), y))
            self._settle(trial, (np.arange(n), y), rows)

    def _settle(self, estimator, labeled, candidates):
        """Check the strategy again, with a fitted estimator."""
        if self._unsettled:
            rows = candidates[:_N_PROBED]
            pool = self._pool_of(estimator, self._X, labeled, rows)
            self.strategy_._check_pool(pool)
        self._unsettled = False

    def _cold_inputs(self):
        """Return X as a strategy sees it that picks before there is a label.

        The steps before the classifier that need no labels are fitted on all of X.
        """
        steps = []
        for step in without_last(self._unfitted):
            if any(get_tags(part).target_tags.required for part in components(step)):
                break
            steps.append(step)
        if not steps or isinstance(self._cold(), RandomSampling):
            return self._X
        steps = clone(make_pipeline(*steps))
        seed = derive_seed(self._base_seed, 0, SEED_INITIAL)
        set_missing_seeds(steps, seed)
        with global_seed(steps, seed):
            return steps.fit_transform(self._X)

    def _find_source(self, y, codes):
        """Return whom to ask for labels, None for a person."""
        is_known = codes != UNKNOWN
        if not is_known.any() and self.initial_strategy == "balanced":
            raise ValueError(
                "initial_strategy='balanced' needs the labels of all rows; "
                f"{len(codes)} of {len(codes)} are missing. Use 'random' or a strategy."
            )
        if self.oracle is not None:
            return CallableOracle(self.oracle, self._X)
        return SimulatedOracle(y) if is_known.all() else None

    def _label_initial(self, codes):
        """Label the initial set: that of `y`, or one that is drawn."""
        rows = np.flatnonzero(codes != UNKNOWN)
        if len(rows) and not isinstance(self._source, SimulatedOracle):
            self._labels.add(rows, codes[rows])
        elif self._source is not None:
            self._draw_initial(codes)
        self.initial_indices_ = self.labeled_indices_
        self._save()

    def _n_initial(self):
        return initial_size(self.n_initial, self._labels.n_samples, self._rules)

    def _draw_initial(self, codes):
        """Label the initial set of a simulation or an oracle run."""
        n = self._round.n_requested = self._n_initial()
        if self.initial_strategy == "balanced":
            seed = derive_seed(self._base_seed, 0, SEED_INITIAL)
            rng = np.random.RandomState(seed)
            self._ask(balanced_indices(codes, len(self.classes_), n, rng), 0)
        # an oracle may label none of the rows
        while not len(self._labels.order):
            n = min(n, len(self._labels.candidates))
            if not n:
                raise ValueError("The oracle labelled none of the rows.")
            self._ask(self._pick(n)[0], 0)

    # ------------------------------------------------------------------ further classes

    def _prepare_estimator(self, estimator):
        self._unfitted = prepare_estimator(
            estimator, self.classes_, self.refit == "continue"
        )

    def _add_classes(self, classes):
        """Take further classes into account: in the labels and for the next fit."""
        classes = merged_classes(self.classes_, classes)
        if len(classes) == len(self.classes_):
            return
        new = np.setdiff1d(classes, self.classes_.astype(classes.dtype))
        self._added_classes += new.tolist()
        self._labels.widen(classes)
        self.classes_ = classes
        self._prepare_estimator(self._get_estimator(self._X))
