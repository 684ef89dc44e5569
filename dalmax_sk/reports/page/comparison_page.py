"""The page of a comparison: the verdicts in sentences, then the numbers behind them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dalmax_sk._base.files import write_text
from dalmax_sk._base.words import counted
from dalmax_sk.evaluation.comparison import Comparison, comparison_files
from dalmax_sk.evaluation.curves import BudgetCurves
from dalmax_sk.evaluation.metrics import area_under_budget_curve
from dalmax_sk.evaluation.statistics.verdicts import MAX_MORE_SEEDS
from dalmax_sk.reports.displays.budget_curve_display import BudgetCurveDisplay
from dalmax_sk.reports.displays.comparison_displays import (
    CriticalDifferenceDisplay,
    PenaltyMatrixDisplay,
)
from dalmax_sk.reports.page.document import (
    Cell,
    contents,
    document,
    facts,
    section,
    table,
)
from dalmax_sk.reports.page.markup import Content, Markup, data_uri, element
from dalmax_sk.reports.page.number_format import (
    metric_name,
    number,
    score_words,
    seconds,
)
from dalmax_sk.reports.page.provenance import settings_table
from dalmax_sk.reports.page.svg_figures import display_figure
from dalmax_sk.reports.record.environment import describe_hardware, describe_versions

__all__ = ["write_comparison_page"]

_AREA = "the area under the curve over the number of labels, divided by their range"
_MINUS = str.maketrans("-", "−")


def write_comparison_page(
    comparison: Comparison | BudgetCurves,
    path: str | os.PathLike[str],
    *,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write a comparison of strategies as one self-contained page.

    Parameters
    ----------
    comparison : Comparison or BudgetCurves
        The result of :func:`~dalmax_sk.evaluation.compare`. Of curves alone, as with a
        single seed, the page shows means and says why nothing is tested.
    path : path-like
        The file to write; its folder must exist.
    config : dict, default=None
        Settings to show: plain values by name.

    Returns
    -------
    pathlib.Path
        The file.

    See Also
    --------
    write_run_page : The page of one run.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from dalmax_sk.evaluation import BudgetCurves
    >>> from dalmax_sk.reports import write_comparison_page
    >>> frame = pd.DataFrame(
    ...     {
    ...         "strategy": "badge",
    ...         "split": 0,
    ...         "seed": 0,
    ...         "round": [0, 1],
    ...         "n_labeled": [10, 20],
    ...         "score_accuracy": [0.5, 0.75],
    ...     }
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "page.html"
    ...     page = write_comparison_page(BudgetCurves(frame), file).read_text("utf-8")
    >>> "badge" in page
    True
    """
    if isinstance(comparison, Comparison):
        parts = _compared(comparison)
        curves, metric = comparison.curves, comparison.metric
        title = f"{counted(len(comparison.table), 'strategy')} compared"
    elif isinstance(comparison, BudgetCurves):
        curves, metric = comparison, comparison.metrics[0]
        parts = _curves_only(curves)
        title = counted(len(curves.strategies), "strategy")
    else:
        raise TypeError(
            "comparison must be a Comparison, as compare() returns it, or "
            f"BudgetCurves; got {type(comparison).__name__}."
        )
    parts["costs"] = ("Cost of a round", _costs(curves))
    parts["files"] = ("Files", _downloads(comparison))
    parts["settings"] = ("Settings and versions", _settings(config))
    head = [
        _facts(curves, metric),
        contents([(anchor, title) for anchor, (title, _) in parts.items()]),
    ]
    sections = [
        section(anchor, title, *content) for anchor, (title, content) in parts.items()
    ]
    return write_text(path, document(title, sections, head=head))


_Parts = dict[str, tuple[str, list[Content]]]


def _compared(comparison: Comparison) -> _Parts:
    """Return the sections that only a comparison has, by their ids."""
    curves, metric, baseline = (
        comparison.curves,
        comparison.metric,
        comparison.baseline,
    )
    parts: _Parts = {
        "verdicts": ("The answer", _verdicts(comparison)),
        "curves": ("Curves", [_curves(curves, metric)]),
        "table": ("In numbers", _numbers(comparison)),
        "penalty": ("Who beats whom", _penalty(comparison)),
    }
    if comparison.paired:
        difference: list[Content] = [_curves(curves, metric, relative_to=baseline)]
        parts["difference"] = (f"Difference to {baseline}", difference)
        parts["ranks"] = ("Ranks", _ranks(comparison))
    return parts


def _curves_only(curves: BudgetCurves) -> _Parts:
    metric = curves.metrics[0]
    n_seeds = len(curves.seeds)
    why = (
        "One seed only: how much the scores vary by chance cannot be told from a "
        "single run a strategy, so nothing is tested here. With several seeds this "
        "page says which strategy is better."
        if n_seeds == 1
        else "These curves were not compared; compare() tests their differences."
    )
    rows: list[list[Cell]] = []
    for strategy in curves.strategies:
        _, budgets, scores = curves.by_seed(strategy, metric)  # scores (S, B)
        last = float(scores[:, -1].mean())
        area = float(np.mean(area_under_budget_curve(budgets, scores)))
        rows.append(
            [
                element("bdi", strategy),
                (float(budgets[-1]), number(int(budgets[-1]))),
                (last, score_words(last)),
                (area, score_words(area)),
            ]
        )
    columns = [
        "strategy",
        "labels",
        f"final {metric_name(metric)}",
        "mean score",
    ]
    note = element("p", f"The mean score is {_AREA}.", class_="note")
    return {
        "verdicts": ("No test", [element("p", why)]),
        "curves": ("Curves", [_curves(curves, metric)]),
        "table": ("In numbers", [table(columns, rows, sortable=True), note]),
    }


def _facts(curves: BudgetCurves, metric: str) -> Markup:
    budgets = curves.budgets()
    span = "–"
    if len(budgets):
        span = f"{number(int(budgets[0]))} to {number(int(budgets[-1]))}"
    return facts(
        [
            ("strategies", number(len(curves.strategies))),
            ("seeds", number(len(curves.seeds))),
            ("splits", number(len(curves.splits))),
            ("labels", span),
            ("score", metric_name(metric)),
        ]
    )


def _verdicts(comparison: Comparison) -> list[Content]:
    """Return the sentences, their verdicts in bold."""
    items = []
    for row in comparison.table.to_dict("records"):
        lead = f"{row['strategy']} is "
        verdict = str(row["verdict"])
        word = "the baseline" if verdict == "baseline" else verdict
        rest = comparison.verdicts[row["strategy"]].removeprefix(lead + word)
        marked = element("strong", word, class_=f"verdict {verdict}")
        items.append(element("li", lead, marked, rest))
    tested = (
        f"Tested by {comparison.wording.test_name}, at "
        f"{100 * comparison.wording.confidence_level:g} %, over "
        f"{comparison.seed_words}."
    )
    return [element("ul", items), element("p", tested, class_="note")]


def _curves(
    curves: BudgetCurves, metric: str, relative_to: str | None = None
) -> Markup:
    display = BudgetCurveDisplay.from_curves(
        curves, metric=metric, relative_to=relative_to
    )
    what = metric_name(metric)
    alt = f"{what} against the number of labels, one line a strategy"
    if relative_to is not None:
        alt = f"Difference of {what} to {relative_to} against the number of labels"
    return display_figure(display, alt=alt)


def _numbers(comparison: Comparison) -> list[Content]:
    """Return two tables: of scores and tests, and of labels."""
    wording = comparison.wording
    scores: list[list[Cell]] = []
    labels: list[list[Cell]] = []
    for row in comparison.table.to_dict("records"):
        difference, low, high = wording.differences(
            row["aubc_difference"], row["difference_low"], row["difference_high"]
        )
        is_baseline = row["verdict"] == "baseline"
        scores.append(
            [
                element("bdi", row["strategy"]),
                element("span", row["verdict"], class_=str(row["verdict"])),
                (row["aubc"], wording.score(row["aubc"])),
                _interval(
                    wording.score(row["aubc_low"]), wording.score(row["aubc_high"])
                ),
                (row["final_score"], wording.score(row["final_score"])),
                (row["aubc_difference"], "–" if is_baseline else difference),
                "–" if is_baseline else _interval(low, high),
                (row["p_adjusted"], _p_value(row["p_adjusted"])),
                (
                    row["more_seeds"],
                    _count(row["more_seeds"], f"more than {MAX_MORE_SEEDS}"),
                ),
            ]
        )
        labels.append(
            [
                element("bdi", row["strategy"]),
                (row["labels_to_target"], _labels(row["labels_to_target"])),
                _interval(_labels(row["labels_low"]), _labels(row["labels_high"])),
                (row["label_saving"], _saving(row["label_saving"])),
                "–"
                if is_baseline
                else _interval(_saving(row["saving_low"]), _saving(row["saving_high"])),
                (row["mean_rank"], f"{row['mean_rank']:.2f}"),
            ]
        )
    level = f"{100 * wording.confidence_level:g} % interval"
    score_columns = ["strategy", "verdict", "mean score", level, "final score"]
    score_columns += ["difference", f"{level} of it", "p, corrected", "more seeds"]
    label_columns = ["strategy", "labels to target", level, "labels saved"]
    label_columns += [f"{level} of them", "mean rank"]
    score_note = (
        f"The mean score is {_AREA}. More seeds: about how many would decide it, if "
        "the difference stays what it is."
    )
    label_note = (
        f"The target is a score of {wording.score(comparison.target)}; labels saved "
        f"are those of {comparison.baseline} less those of the strategy."
    )
    return [
        table(score_columns, scores, sortable=True),
        element("p", score_note, class_="note"),
        table(label_columns, labels, sortable=True),
        element("p", label_note, class_="note"),
    ]


def _interval(low: str, high: str) -> str:
    if low == high == "–":
        return "–"
    return f"{low} to {high}".replace(" ", "\N{NO-BREAK SPACE}")


def _p_value(p: float) -> str:
    if np.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _count(value: float, if_infinite: str) -> str:
    if np.isposinf(value):
        return if_infinite
    return "–" if np.isnan(value) else f"{value:,.0f}"


def _labels(value: float) -> str:
    return _count(value, "not reached")


def _saving(value: float) -> str:
    if np.isposinf(value):
        return "baseline never there"
    if np.isneginf(value):
        return "never there"
    return "–" if np.isnan(value) else f"{value:+,.0f}".translate(_MINUS)


def _penalty(comparison: Comparison) -> list[Content]:
    test = "a paired t-test" if comparison.paired else "Welch's t-test"
    words = (
        "Share of the budgets at which the strategy of the row beats that of the "
        f"column in {test} over the seeds (after Ash et al., ICLR 2020). The "
        "last row is the mean of each column: how often a strategy is beaten; less is "
        "better."
    )
    display = PenaltyMatrixDisplay.from_comparison(comparison)
    picture = display_figure(display, alt="Pairwise penalty matrix", wide=True)
    return [element("p", words), picture]


def _ranks(comparison: Comparison) -> list[Content]:
    words = (
        "Mean ranks over the seeds, 1 is best. Strategies joined by a bar are not told "
        f"apart: their mean ranks differ by less than "
        f"{comparison.critical_difference:.2f}, Nemenyi's critical difference."
    )
    if not np.isnan(comparison.friedman_p):
        words += (
            f" Friedman's test that all rank alike: p = {comparison.friedman_p:.2g}."
        )
    display = CriticalDifferenceDisplay.from_comparison(comparison)
    picture = display_figure(display, alt="Critical-difference diagram", wide=True)
    return [element("p", words), picture]


def _costs(curves: BudgetCurves) -> list[Content]:
    names = ["fit_seconds", "query_seconds", "score_seconds"]
    # the initial round picks nothing: its query would pull the mean down
    frame = curves.frame.copy()
    frame.loc[frame["round"] == 0, "query_seconds"] = np.nan
    means = frame.groupby("strategy", sort=False)[names].mean()
    rows: list[list[Cell]] = [
        [
            element("bdi", strategy),
            *(
                (float(means.loc[strategy, name]), seconds(means.loc[strategy, name]))
                for name in names
            ),
        ]
        for strategy in curves.strategies
    ]
    columns = ["strategy", "training", "picking", "scoring"]
    return [
        element("p", "Mean wall time of a round."),
        table(columns, rows, sortable=True),
    ]


def _downloads(comparison: Comparison | BudgetCurves) -> list[Content]:
    """Return the tables as files inside the page."""
    files: dict[str, str] = {}
    if isinstance(comparison, Comparison):
        files, curves = comparison_files(comparison), comparison.curves
    else:
        curves = comparison
    files["curves.csv"] = curves.frame.to_csv(index=False, lineterminator="\n")
    addresses = {
        name: data_uri("text/csv;charset=utf-8", text.encode("utf-8"))
        for name, text in files.items()
    }
    items = [
        element("li", element("a", name, href=uri, download=name))
        for name, uri in addresses.items()
    ]
    words = "The numbers of this page; they travel inside it."
    return [element("p", words), element("ul", items)]


def _settings(config: Mapping[str, Any] | None) -> list[Content]:
    parts: list[Content] = []
    if config:
        parts += [element("h3", "Settings"), settings_table(config)]
    parts += [
        element("h3", "Versions"),
        settings_table(describe_versions()),
        element("h3", "Hardware, where this page was written"),
        settings_table(describe_hardware()),
    ]
    return parts
