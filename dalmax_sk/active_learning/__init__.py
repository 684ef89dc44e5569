"""The learner: label a pool in rounds, from an oracle or by hand."""

from dalmax_sk.active_learning.learner import ActiveLearningClassifier
from dalmax_sk.active_learning.oracle import (
    CallableOracle,
    SimulatedOracle,
    as_labels,
    find_missing,
)

__all__ = [
    "ActiveLearningClassifier",
    "CallableOracle",
    "SimulatedOracle",
    "as_labels",
    "find_missing",
]
