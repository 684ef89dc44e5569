"""Figures of experiments: what they draw, and that it can be read."""

from itertools import combinations, pairwise

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from dalmax_sk.evaluation import BudgetCurves, budget_curve, compare
from dalmax_sk.reports import (
    BudgetCurve,
    BudgetCurveDisplay,
    CriticalDifferenceDisplay,
    PenaltyMatrixDisplay,
)
from dalmax_sk.reports.displays.display_base import line_style


def make_curves(n_strategies=3, n_seeds=3, n_budgets=9, scale=1.0):
    rng = np.random.RandomState(0)
    names = ["random_sampling", *(f"strategy_{i}" for i in range(1, n_strategies))]
    gains = rng.normal(0, 0.05, n_strategies)
    return BudgetCurves(
        pd.DataFrame(
            {
                "strategy": name,
                "split": 0,
                "seed": seed,
                "round": number,
                "n_labeled": 50 * (number + 1),
                "score_accuracy": scale
                * (0.5 + (0.04 + gain / 9) * number + rng.normal(0, 0.01)),
            }
            for name, gain in zip(names, gains, strict=True)
            for seed in range(n_seeds)
            for number in range(n_budgets)
        )
    )


def draw(display):
    display.plot()
    FigureCanvasAgg(display.figure_).draw()
    return display


def makers():
    curves = make_curves()
    comparison = compare(curves)
    return {
        "budget": lambda: BudgetCurveDisplay.from_curves(curves),
        "penalty": lambda: PenaltyMatrixDisplay.from_comparison(comparison),
        "ranks": lambda: CriticalDifferenceDisplay.from_comparison(comparison),
    }


@pytest.mark.parametrize("kind", ["budget", "penalty", "ranks"])
def test_plot_on_given_axes_and_in_a_notebook(kind):
    make = makers()[kind]
    before = dict(matplotlib.rcParams)
    ax = Figure().add_subplot()
    display = make()
    assert display.plot(ax=ax) is display
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert make()._repr_png_().startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == before


# ------------------------------------------------------------------------ budget curves


def test_curves_are_means_over_the_seeds_in_percent():
    curves = make_curves()
    display = BudgetCurveDisplay.from_curves(curves).plot()
    assert list(display.lines_) == curves.strategies
    for name, line in display.lines_.items():
        _, budgets, values = curves.by_seed(name)
        assert_array_equal(line.get_xdata(), budgets)
        assert_allclose(line.get_ydata(), 100 * values.mean(axis=0))
    assert display.ax_.get_ylabel() == "Test accuracy (%)"
    assert display.ax_.get_xlabel() == "Labels (number)"


def test_differences_are_paired_by_seed():
    curves = make_curves()
    display = BudgetCurveDisplay.from_curves(
        curves, relative_to="strategy_1", band="std"
    ).plot()
    assert list(display.lines_) == ["random_sampling", "strategy_2"]
    differences = curves.by_seed("strategy_2")[2] - curves.by_seed("strategy_1")[2]
    drawn = display.lines_["strategy_2"].get_ydata()
    assert_allclose(drawn, 100 * differences.mean(axis=0))
    curve = display.curves["strategy_2"]
    spread = differences.std(axis=0, ddof=1)
    assert_allclose(np.subtract(curve.high, curve.low), 2 * spread)
    assert display.ax_.get_ylabel() == "Test accuracy minus strategy_1's (points)"
    assert "standard deviation" in display.ax_.get_legend().get_title().get_text()


def test_differences_need_the_same_seeds():
    frame = make_curves().frame
    lacking = (frame["strategy"] == "strategy_1") & (frame["seed"] == 2)
    curves = BudgetCurves(frame[~lacking])
    with pytest.raises(ValueError, match=r"same seeds, .* only one of them has \[2\]"):
        BudgetCurveDisplay.from_curves(curves, relative_to="random_sampling")


def test_other_scores_are_not_percent():
    curves = make_curves(scale=3.0)
    display = BudgetCurveDisplay.from_curves(curves).plot()
    assert display.ax_.get_ylabel() == "Test accuracy"
    _, _, values = curves.by_seed("strategy_1")
    drawn = display.lines_["strategy_1"].get_ydata()
    assert_allclose(drawn, values.mean(axis=0))


def test_bands_are_intervals_of_the_mean_while_they_can_be_seen():
    few = BudgetCurveDisplay.from_curves(make_curves(4, n_seeds=4))
    curve = few.curves["strategy_1"]
    assert (np.asarray(curve.low) < curve.scores).all()
    assert (np.asarray(curve.high) > curve.scores).all()
    assert len(few.plot().ax_.collections) == 4
    many = BudgetCurveDisplay.from_curves(make_curves(8))
    assert many.curves["strategy_1"].low is None
    asked = BudgetCurveDisplay.from_curves(make_curves(8, n_seeds=4), band="ci").plot()
    assert len(asked.ax_.collections) == 8
    one_seed = BudgetCurveDisplay.from_curves(make_curves(n_seeds=1)).plot()
    assert not one_seed.ax_.collections
    with pytest.raises(ValueError, match=r"one seed only.*band='std'"):
        BudgetCurveDisplay.from_curves(make_curves(n_seeds=1), band="std")
    with pytest.raises(ValueError, match="band must be"):
        BudgetCurveDisplay.from_curves(make_curves(), band="sem")


def test_highlighted_curves_stand_before_grey_ones():
    curves = make_curves(12, n_seeds=4)
    display = BudgetCurveDisplay.from_curves(curves, highlight=["strategy_3"]).plot()
    grey = [name for name, line in display.lines_.items() if line.get_color() == "0.78"]
    assert len(grey) == 10
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts[-1] == "10 others"
    assert sorted(texts[:-1]) == ["random_sampling", "strategy_3"]
    assert len(display.ax_.collections) == 2  # bands of those in colour only


def test_unknown_names_are_refused():
    curves = make_curves()
    for wrong in ({"strategies": ["x"]}, {"highlight": ["x"]}, {"relative_to": "x"}):
        with pytest.raises(ValueError, match="'x'"):
            BudgetCurveDisplay.from_curves(curves, **wrong)


def test_thirty_lines_are_told_apart():
    styles = [line_style(number) for number in range(30)]
    looks = {(style["color"], str(style["linestyle"])) for style in styles}
    assert len(looks) == 30
    # without colours they differ by dashes and markers alone
    assert len({(str(s["linestyle"]), s["marker"]) for s in styles}) == 30
    for one, other in pairwise(styles):
        assert all(one[key] != other[key] for key in one)


@pytest.mark.parametrize("n_strategies", [2, 10, 30])
def test_legend_names_every_curve_beside_the_plot(n_strategies):
    display = draw(BudgetCurveDisplay.from_curves(make_curves(n_strategies)))
    legend = display.ax_.get_legend()
    texts = [text.get_text() for text in legend.get_texts()]
    assert sorted(texts) == sorted(display.lines_)
    # in the order in which the curves end
    ends = [display.lines_[name].get_ydata()[-1] for name in texts]
    assert ends == sorted(ends, reverse=True)
    box = legend.get_window_extent()
    assert box.x0 >= display.ax_.get_window_extent().x1
    figure = display.figure_.bbox
    assert box.x1 <= figure.x1 + 1
    assert box.y0 >= figure.y0 - 1


def test_names_are_no_formulas():
    curve = BudgetCurve([1, 2], [0.1, 0.2])
    names = ["$5", r"$\frac{", "_hidden"]
    display = draw(BudgetCurveDisplay(dict.fromkeys(names, curve), score_name="x_$"))
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert sorted(texts) == sorted(names)
    draw(PenaltyMatrixDisplay(np.zeros((2, 2)), names[:2]))
    draw(CriticalDifferenceDisplay([1, 2], names[:2], 0.5, []))


def test_from_estimator_runs_the_experiment():
    X, y = load_iris(return_X_y=True)
    experiment = {
        "strategies": ["random_sampling", "margin_sampling"],
        "cv": 2,
        "seeds": 2,
        "n_initial": 6,
        "query_size": 4,
        "n_rounds": 2,
    }
    model = LogisticRegression(C=0.1)
    display = BudgetCurveDisplay.from_estimator(
        model, X, y, relative_to="random_sampling", **experiment
    )
    wanted = BudgetCurveDisplay.from_curves(
        budget_curve(model, X, y, **experiment), relative_to="random_sampling"
    )
    assert list(display.curves) == ["margin_sampling"]
    for name in ("n_labeled", "scores", "low", "high"):
        assert_array_equal(
            getattr(display.curves["margin_sampling"], name),
            getattr(wanted.curves["margin_sampling"], name),
        )


# ---------------------------------------------------------------------- penalty matrix


def test_penalty_matrix_stands_in_the_order_of_its_means():
    wins = [[0, 0.25, 0], [0.5, 0, 0], [1.0, 0.6, 0]]
    display = draw(PenaltyMatrixDisplay(wins, ["a", "b", "c"]))
    assert display.order_ == ["c", "b", "a"]
    by_place = {text.get_position(): text.get_text() for text in display.ax_.texts}
    assert by_place == {
        # column, row: c beats b at 60 %, a at 100 %; b beats a, a beats b
        (1.5, 0.5): "60",
        (2.5, 0.5): "100",
        (2.5, 1.5): "50",
        (1.5, 2.5): "25",
        # means over the two others
        (0.5, 4): "0",
        (1.5, 4): "42",
        (2.5, 4): "75",
    }


@pytest.mark.parametrize("n_strategies", [2, 10, 30])
def test_penalty_matrix_can_be_read(n_strategies):
    # properties: numbers stay in their cells, names apart, all within the figure
    names = [f"strategy_with_a_name_{i}" for i in range(n_strategies)]
    wins = np.ones((n_strategies, n_strategies)) - np.eye(n_strategies)
    display = draw(PenaltyMatrixDisplay(wins, names))
    ax = display.ax_
    (x0, _), (x1, _) = ax.transData.transform([(0, 0), (1, 0)])
    for text in ax.texts:
        assert text.get_fontsize() >= 7
        assert text.get_window_extent().width < x1 - x0
    labels = [label.get_window_extent() for label in ax.get_yticklabels()]
    labels.sort(key=lambda box: box.y0)
    assert all(one.y1 <= other.y0 + 1 for one, other in pairwise(labels))
    figure = display.figure_.bbox
    for label in [*ax.get_yticklabels(), *ax.get_xticklabels()]:
        box = label.get_window_extent()
        assert box.x0 >= figure.x0 - 1
        assert box.y0 >= figure.y0 - 1


def test_penalty_matrix_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 2\); 3 strategies"):
        PenaltyMatrixDisplay(np.zeros((2, 2)), list("abc")).plot()


# ------------------------------------------------------------------ critical difference


def test_bars_span_their_groups_and_do_not_touch():
    ranks = [1.0, 1.8, 2.6, 3.4, 4.2]
    groups = [["a", "b"], ["b", "c"], ["d", "e"]]
    display = CriticalDifferenceDisplay(ranks, list("abcde"), 1.0, groups).plot()
    spans = [bar.get_xdata().tolist() for bar in display.bars_]
    assert spans == [[1.0, 1.8], [1.8, 2.6], [3.4, 4.2]]
    heights = [bar.get_ydata()[0] for bar in display.bars_]
    # the second would touch the first; the third fits beside it
    assert heights[0] == heights[2] != heights[1]


@pytest.mark.parametrize(("n_strategies", "n_seeds"), [(2, 2), (10, 5), (30, 5)])
def test_names_of_the_diagram_are_apart_and_inside(n_strategies, n_seeds):
    comparison = compare(make_curves(n_strategies, n_seeds), n_bootstrap=199)
    display = draw(CriticalDifferenceDisplay.from_comparison(comparison))
    boxes = [text.get_window_extent() for text in display.ax_.texts]
    for one, other in combinations(boxes, 2):
        assert not (
            one.x0 < other.x1 - 1
            and other.x0 < one.x1 - 1
            and one.y0 < other.y1 - 1
            and other.y0 < one.y1 - 1
        )
    figure = display.figure_.bbox
    for box in boxes:
        assert figure.x0 - 1 <= box.x0
        assert box.x1 <= figure.x1 + 1
    names = " ".join(text.get_text() for text in display.ax_.texts)
    for name, rank in comparison.ranks.mean().items():
        assert name in names
        assert f"{rank:.2f}" in names
    assert f"critical difference {comparison.critical_difference:.2f}" in names


def test_ranks_of_another_number_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2,\); 3 strategies"):
        CriticalDifferenceDisplay([1, 2], list("abc"), 1.0, []).plot()


@pytest.mark.parametrize("relative_to", [None, "strategy_1"])
@pytest.mark.parametrize("n_seeds", [2, 3])
def test_few_seeds_are_thin_lines_within_the_figure(n_seeds, relative_to):
    # properties: every seed is shown, none is cut off, and only means are in the legend
    curves = make_curves(n_seeds=n_seeds)
    display = draw(BudgetCurveDisplay.from_curves(curves, relative_to=relative_to))
    assert not display.ax_.collections
    thin = [line for line in display.ax_.lines if line.get_zorder() == 1]
    assert len(thin) == n_seeds * len(display.lines_)
    low, high = display.ax_.get_ylim()
    drawn = np.concatenate([line.get_ydata() for line in display.ax_.lines])
    assert low < drawn.min() < drawn.max() < high
    assert high - low <= 1.3 * np.ptp(drawn)
    for name, line in display.lines_.items():
        own = [other.get_ydata() for other in thin if same_colour(other, line)]
        assert_allclose(np.mean(own, axis=0), line.get_ydata())
        assert name in curves.strategies
    legend = display.ax_.get_legend()
    assert len(legend.get_texts()) == 3
    assert f"single seeds,\n{n_seeds} seeds" in legend.get_title().get_text()


def same_colour(one, other):
    return one.get_color() == other.get_color()


@pytest.mark.parametrize("relative_to", [None, "s0"])
def test_bands_of_two_seeds_stay_within_what_can_be(relative_to):
    # properties: no fraction below 0 or above 1, and the axis shows what was asked for
    rows = [
        (f"s{i}", seed, n, value)
        for i in range(2)
        for seed in range(2)
        for n, value in ((10, 0.1 + 0.5 * seed + 0.1 * i), (20, 0.9 - 0.6 * seed * i))
    ]
    frame = pd.DataFrame(rows, columns=["strategy", "seed", "n_labeled", "value"])
    frame["round"] = frame["n_labeled"] // 10 - 1
    frame = frame.assign(split=0, score_accuracy=frame.pop("value"))
    display = BudgetCurveDisplay.from_curves(
        BudgetCurves(frame), relative_to=relative_to, band="ci"
    )
    lowest = 0.0 if relative_to is None else -1.0
    display.plot()
    low, high = display.ax_.get_ylim()
    for curve in display.curves.values():
        assert np.min(curve.low) >= lowest
        assert np.max(curve.high) <= 1.0
        assert low <= 100 * np.min(curve.low) < 100 * np.max(curve.high) <= high


@pytest.mark.parametrize(("n_budgets", "n_ticks"), [(2, 2), (5, 5), (9, 9), (40, 10)])
def test_ticks_are_numbers_of_labels_that_were_reached(n_budgets, n_ticks):
    curves = make_curves(n_budgets=n_budgets)
    display = draw(BudgetCurveDisplay.from_curves(curves))
    ticks = display.ax_.get_xticks()
    assert set(ticks) <= set(curves.budgets())
    assert n_ticks * 0.6 <= len(ticks) <= 11


def test_curves_that_are_not_paired_have_no_ranks():
    curves = make_curves()
    comparison = compare(curves, paired=False)
    with pytest.raises(ValueError, match=r"paired=False.*have no ranks"):
        CriticalDifferenceDisplay.from_comparison(comparison)
    assert len(draw(PenaltyMatrixDisplay.from_comparison(comparison)).order_) == 3
