"""A run that resumes from its checkpoint."""

import logging

import numpy as np

from dalmax_sk.active_learning.checkpoint import fingerprint_run
from dalmax_sk.active_learning.labels import recoded
from dalmax_sk.active_learning.oracle import SimulatedOracle
from dalmax_sk.active_learning.rounds import Round

__all__ = ["ResumingMixin"]

logger = logging.getLogger("dalmax_sk")


class ResumingMixin:
    """The checkpoint of :class:`~dalmax_sk.ActiveLearningClassifier`."""

    def _save(self):
        if self._checkpoint is None or not self._group.is_main:
            return
        self._checkpoint.write(
            {
                "base_seed": self._base_seed,
                "labels": self._labels.to_dict(),
                "added_classes": self._added_classes,
                "initial_indices": self.initial_indices_,
                "history": self.history_,
                "round": self._round.to_dict(),
                "strategy_state": self.strategy_.get_state(),
            }
        )

    def _read(self):
        """Return the stored state, or None."""
        return self._checkpoint.read(
            self._checkpoint.identity
            or fingerprint_run(
                self, self._X, self._eval_set, self._routed, self.classes_
            ),
            self._labels.n_samples,
            len(self.classes_),
        )

    def _restore(self, codes):
        """Take up the stored state if there is one; return whether there was."""
        if self._checkpoint is None:
            return False
        state = self._group.run_on_rank0(self._read)
        if state is None:
            return False
        is_simulation = isinstance(self._source, SimulatedOracle)
        if state["added_classes"]:
            before = self.classes_
            self._add_classes(state["added_classes"])
            codes = recoded(codes, before, self.classes_)
        self._labels.load_dict(state["labels"], codes, complete=is_simulation)
        self._base_seed = state["base_seed"]
        self.initial_indices_ = np.array(state["initial_indices"], dtype=np.int64)
        self.history_ = state["history"]
        self._round = Round(**state["round"])
        self.strategy_.set_state(state["strategy_state"])
        logger.info(
            "resumed from %s after round %d",
            self._checkpoint.path,
            len(self.history_) - 1,
        )
        for record in self.history_:
            self._log(record, restored=True)
        if self.refit == "continue" or self.store_estimators:
            self._replay()
        return True

    def _replay(self):
        """Repeat the fits so far: all are kept, or the weights come from all."""
        # the last fit is made by the loop itself, unless a query came after it
        n_fits = len(self.history_) - (not self._round.is_answered)
        for record in self.history_[:n_fits]:
            self._refit(record["round"], self._labeled_in(record))
