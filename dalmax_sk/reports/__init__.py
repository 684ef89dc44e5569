"""What a run leaves behind: figures, tables, records, copies of the picked images.

Everything here is given a history or arrays and draws or writes what they hold.
"""

from dalmax_sk.reports.displays.budget_curve_display import (
    BudgetCurve,
    BudgetCurveDisplay,
)
from dalmax_sk.reports.displays.comparison_displays import (
    CriticalDifferenceDisplay,
    PenaltyMatrixDisplay,
)
from dalmax_sk.reports.displays.forecast_display import ForecastDisplay
from dalmax_sk.reports.displays.run_displays import (
    ActiveLearningCurveDisplay,
    ConfusionHeatmapDisplay,
    TrainingHistoryDisplay,
)
from dalmax_sk.reports.displays.selection_display import SelectionDisplay
from dalmax_sk.reports.page import (
    write_comparison_page,
    write_results_page,
    write_run_page,
)
from dalmax_sk.reports.record.adversarial_images import write_adversarial_images
from dalmax_sk.reports.record.environment import describe_hardware, describe_versions
from dalmax_sk.reports.record.files import (
    write_confusion_matrix,
    write_final_accuracy,
    write_history_csv,
    write_infos,
    write_learning_curve,
    write_run_json,
    write_training_plots,
)
from dalmax_sk.reports.record.picks import describe_query
from dalmax_sk.reports.record.run_record import describe_picks, describe_round
from dalmax_sk.reports.record.scores import describe_test
from dalmax_sk.reports.record.selected_images import copy_names, write_selected_images
from dalmax_sk.reports.record.strict_json import to_json, to_plain

__all__ = [
    "ActiveLearningCurveDisplay",
    "BudgetCurve",
    "BudgetCurveDisplay",
    "ConfusionHeatmapDisplay",
    "CriticalDifferenceDisplay",
    "ForecastDisplay",
    "PenaltyMatrixDisplay",
    "SelectionDisplay",
    "TrainingHistoryDisplay",
    "copy_names",
    "describe_hardware",
    "describe_picks",
    "describe_query",
    "describe_round",
    "describe_test",
    "describe_versions",
    "to_json",
    "to_plain",
    "write_adversarial_images",
    "write_comparison_page",
    "write_confusion_matrix",
    "write_final_accuracy",
    "write_history_csv",
    "write_infos",
    "write_learning_curve",
    "write_results_page",
    "write_run_json",
    "write_run_page",
    "write_selected_images",
    "write_training_plots",
]
