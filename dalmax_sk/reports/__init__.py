"""Figures, tables, records and pages of runs, and copies of the picked images.

Everything here draws or writes the content of a history or of arrays.
"""

from dalmax_sk._base.lazy import lazy_names

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

# loaded when first asked for: figures need matplotlib
_HOMES = {
    **dict.fromkeys(
        ("BudgetCurve", "BudgetCurveDisplay"),
        "dalmax_sk.reports.displays.budget_curve_display",
    ),
    **dict.fromkeys(
        ("CriticalDifferenceDisplay", "PenaltyMatrixDisplay"),
        "dalmax_sk.reports.displays.comparison_displays",
    ),
    "ForecastDisplay": "dalmax_sk.reports.displays.forecast_display",
    **dict.fromkeys(
        (
            "ActiveLearningCurveDisplay",
            "ConfusionHeatmapDisplay",
            "TrainingHistoryDisplay",
        ),
        "dalmax_sk.reports.displays.run_displays",
    ),
    "SelectionDisplay": "dalmax_sk.reports.displays.selection_display",
    **dict.fromkeys(
        ("write_comparison_page", "write_results_page", "write_run_page"),
        "dalmax_sk.reports.page",
    ),
    **dict.fromkeys(
        ("describe_hardware", "describe_versions"),
        "dalmax_sk.reports.record.environment",
    ),
    **dict.fromkeys(
        ("write_confusion_matrix", "write_learning_curve", "write_training_plots"),
        "dalmax_sk.reports.record.run_figures",
    ),
    **dict.fromkeys(
        ("write_final_accuracy", "write_history_csv", "write_infos"),
        "dalmax_sk.reports.record.run_tables",
    ),
    "write_adversarial_images": "dalmax_sk.reports.record.adversarial_images",
    "describe_query": "dalmax_sk.reports.record.pick_predictions",
    **dict.fromkeys(
        ("describe_picks", "describe_round", "write_run_json"),
        "dalmax_sk.reports.record.run_json",
    ),
    "describe_test": "dalmax_sk.reports.record.class_scores",
    **dict.fromkeys(
        ("copy_names", "write_selected_images"),
        "dalmax_sk.reports.record.selected_images",
    ),
    **dict.fromkeys(
        ("to_json", "to_plain"),
        "dalmax_sk.reports.record.strict_json",
    ),
}
__getattr__, __dir__ = lazy_names(__name__, _HOMES, globals())
