"""When to stop asking for labels."""

from dalmax_sk.stopping.base import AllOf, StoppingRule
from dalmax_sk.stopping.budget import Budget
from dalmax_sk.stopping.forecast import ForecastRule
from dalmax_sk.stopping.scores import PerformancePlateau, TargetScore
from dalmax_sk.stopping.stabilizing_predictions import StabilizingPredictions
from dalmax_sk.stopping.uncertainty import (
    ExpectedError,
    MaxUncertainty,
    OverallUncertainty,
)

__all__ = [
    "AllOf",
    "Budget",
    "ExpectedError",
    "ForecastRule",
    "MaxUncertainty",
    "OverallUncertainty",
    "PerformancePlateau",
    "StabilizingPredictions",
    "StoppingRule",
    "TargetScore",
]
