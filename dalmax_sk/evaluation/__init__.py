"""Experiments that compare strategies: scores against numbers of labels.

Importing this package loads no torch; running an experiment does.
"""

from dalmax_sk.evaluation.comparison import Comparison, compare
from dalmax_sk.evaluation.curves import BudgetCurves
from dalmax_sk.evaluation.experiment import budget_curve
from dalmax_sk.evaluation.forecasting import Forecast, forecast
from dalmax_sk.evaluation.metrics import (
    area_under_budget_curve,
    area_under_budget_curve_scorer,
)

__all__ = [
    "BudgetCurves",
    "Comparison",
    "Forecast",
    "area_under_budget_curve",
    "area_under_budget_curve_scorer",
    "budget_curve",
    "compare",
    "forecast",
]
