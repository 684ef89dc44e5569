"""The figure of a forecast shows what the forecast holds."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from dalmax_sk.evaluation import forecast
from dalmax_sk.reports import ForecastDisplay

N = np.arange(50, 550, 50)
SCORES = 0.95 - 1.2 * N**-0.45 + np.random.RandomState(1).normal(0, 0.006, len(N))


def legend(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def test_shows_points_median_and_target():
    found = forecast((N, SCORES), 0.89)
    display = ForecastDisplay.from_forecast(found, name="margin $sampling").plot()
    points = next(
        line for line in display.ax_.lines if line.get_label() == "margin $sampling"
    )
    np.testing.assert_allclose(points.get_ydata(), 100 * SCORES)
    n, drawn = display.line_.get_data()
    np.testing.assert_allclose(drawn, 100 * found.predict(n)["score"])
    assert display.ax_.get_xlabel() == "Labels (number)"
    assert display.ax_.get_ylabel() == "Test accuracy (%)"
    assert "target 89 %" in legend(display)
    assert f"labels needed: {found.n_labels:,}" in legend(display)
    assert display._repr_png_().startswith(b"\x89PNG")


def test_target_out_of_reach_has_no_bar():
    display = ForecastDisplay.from_forecast(forecast((N, SCORES), 1.5)).plot()
    assert not any("needed" in text for text in legend(display))
    assert "target 150 %" in legend(display)


def test_interval_stands_where_it_is():
    found = forecast((N, SCORES), 0.885, confidence_level=0.5)
    display = ForecastDisplay(found).plot()
    bar = next(line for line in display.ax_.lines if "interval" in line.get_label())
    assert bar.get_xdata()[0] == found.interval[0]
    assert bar.get_xdata()[1] == min(
        found.interval[1], display.ax_.get_xlim()[1] / 1.02
    )


def test_history_seeds_and_given_axes():
    history = [
        {"n_labeled": int(n), "eval_f1_macro": s}
        for n, s in zip(N, SCORES, strict=True)
    ]
    ax = Figure().add_subplot()
    display = ForecastDisplay.from_history(
        history, 0.86, metric="f1_macro", max_labels=900
    ).plot(ax)
    assert display.ax_ is ax
    assert ax.get_ylabel() == "Test f1 macro (%)"
    assert ax.get_xlim()[1] == pytest.approx(900 * 1.02)
    seeds = forecast((N, np.stack([SCORES, SCORES + 0.01, SCORES - 0.01])), 0.9)
    assert "measured (mean of 3 seeds)" in legend(ForecastDisplay(seeds).plot())


def test_other_units_are_shown_as_they_are():
    found = forecast((N, 10 * SCORES), 9, max_score=10)
    display = ForecastDisplay(found).plot()
    assert display.ax_.get_ylabel() == "Test accuracy"
    assert "target 9" in legend(display)
