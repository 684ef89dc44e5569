"""Forecasts of learning curves, against definitions, other solvers and simulations."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq, curve_fit, lsq_linear

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.evaluation import BudgetCurves, forecast
from dalmax_sk.evaluation.extrapolation.curve_draws import Draws, _resampled
from dalmax_sk.evaluation.extrapolation.curve_fits import (
    FAMILIES,
    Fits,
    _solve,
    fit,
    fit_weights,
    polish,
    rolling_error,
)
from dalmax_sk.evaluation.forecasting import why_no_forecast

N = np.arange(50, 550, 50)  # ten points

# the formulas as the documentation gives them, with 50 labels a round
CURVES = {
    "power_law": lambda n: 0.95 - 1.2 * n**-0.45,
    "vanishing_error": lambda n: 1 - 2.5 * n**-0.5,
    "palm": lambda n: 0.9 * (1 - 0.45 ** ((n / 50 + 0.7) ** 0.6)),
    "exponential": lambda n: 0.9 - 0.4 * np.exp(-0.006 * n),
}


def noisy(name="power_law", sd=0.006, seed=0, n=N):
    return CURVES[name](n) + np.random.RandomState(seed).normal(0, sd, len(n))


def curves_of(frames):
    return BudgetCurves(
        pd.concat(
            [
                pd.DataFrame(
                    {
                        "strategy": name,
                        "split": 0,
                        "seed": seed,
                        "round": range(len(n)),
                        "n_labeled": n,
                        "score_accuracy": scores,
                    }
                )
                for name, seed, n, scores in frames
            ],
            ignore_index=True,
        )
    )


# ----------------------------------------------------------------------------- the fits


@pytest.mark.parametrize("name", FAMILIES)
def test_family_is_recovered_from_its_own_curve(name):
    # no noise: the labels needed follow from the formula
    curve = CURVES[name]
    target = float(curve(800.0))
    found = forecast((N, curve(N)), target, models=[name])
    assert found.models_.loc[name, "n_labels"] == pytest.approx(800, abs=2)
    assert found.n_labels == pytest.approx(800, rel=0.05)
    low, high = found.interval
    assert low < 800 < high


@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_are_those_of_the_formula(name):
    found = forecast((N, CURVES[name](N)), 0.99, models=[name])
    p = found.models_.loc[name, "parameters"]
    formulas = {
        "power_law": lambda n: p["a"] - p["b"] * n ** -p["c"],
        "vanishing_error": lambda n: 1 - p["b"] * n ** -p["c"],
        "exponential": lambda n: p["a"] - p["b"] * np.exp(-p["c"] * n),
        "palm": lambda n: (
            p["a"] * (1 - (1 - p["delta"]) ** ((n / 50 + p["alpha"]) ** p["beta"]))
        ),
    }
    np.testing.assert_allclose(formulas[name](N), CURVES[name](N), atol=2e-4)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["power_law", "exponential"])
def test_fit_is_as_good_as_curve_fit_from_many_starts(name, seed):
    y, unit = noisy(name, 0.01, seed), N / N[-1]
    weights = fit_weights(len(N))
    family = FAMILIES[name]

    def curve(n, a, b, c):
        return a - b * family.fall(n, np.array([c]))

    def error(values):
        return float(weights @ (values - y) ** 2)

    grid = family.grid(unit[0])
    best = math.inf
    for c in (0.1, 0.5, 1.0, 3.0):
        found, _ = curve_fit(
            curve,
            unit,
            y,
            p0=[0.9, 0.1, c],
            sigma=weights**-0.5,
            bounds=([0, 0, grid.min()], [1, np.inf, grid.max()]),
        )
        best = min(best, error(curve(unit, *found)))
    coarse = fit(family, unit, y[None], 1.0)
    fine = polish(coarse, unit, y, 1.0)
    assert error(coarse(unit)[0]) <= best * 1.01
    assert error(fine(unit)[0]) <= best * 1.0001


@pytest.mark.parametrize("seed", range(20))
def test_scale_and_ceiling_equal_bounded_least_squares(seed):
    rng = np.random.RandomState(seed)
    m = 6
    g = np.sort(rng.rand(1, m))[:, ::-1]
    y = rng.rand(1, m) * (1 if seed % 2 else 0.98) + 0.02 * (seed % 3)
    y = np.minimum(y, 1.0)
    weights = fit_weights(m)
    a, b = _solve(FAMILIES["power_law"], g, y, weights, 1.0)
    root = np.sqrt(weights)
    other = lsq_linear(
        np.column_stack([root, -root * g[0]]),
        root * y[0],
        bounds=([-np.inf, 0], [1.0, np.inf]),
        tol=1e-14,
    )

    def error(a, b):
        return weights @ (a - b * g[0] - y[0]) ** 2

    assert error(a[0, 0], b[0, 0]) <= error(*other.x) + 1e-9
    assert a[0, 0] <= 1
    assert b[0, 0] >= 0


def test_ceiling_at_its_bound_equals_bounded_least_squares():
    # without the bound the ceiling would be 1.3
    g = np.linspace(0.9, 0.5, 6)[None]
    y = 1.3 - 0.8 * g + np.random.RandomState(0).normal(0, 0.01, 6)
    weights = fit_weights(6)
    a, b = _solve(FAMILIES["power_law"], g, y, weights, 1.0)
    expected = weights @ (g[0] * (1 - y[0])) / (weights @ g[0] ** 2)
    assert a.item() == 1
    assert b.item() == pytest.approx(expected)


def test_weights_grow_with_the_square_of_the_number():
    np.testing.assert_allclose(fit_weights(4), [1 / 16, 1 / 4, 9 / 16, 1])


def test_resampled_seeds_spread_as_their_mean_does():
    rng = np.random.RandomState(0)
    scores = rng.normal(0.8, [[0.01, 0.02, 0.04]], (6, 3))
    versions = _resampled(np.zeros(3), np.full(3, 9.0), scores, 4000, rng)
    np.testing.assert_allclose(versions.mean(axis=0), scores.mean(axis=0), atol=2e-3)
    expected = scores.std(axis=0, ddof=1) / math.sqrt(6)
    np.testing.assert_allclose(versions.std(axis=0), expected, rtol=0.05)


def test_one_curve_is_resampled_by_its_residuals():
    residuals = np.array([-0.02, 0.01, 0.03])
    fitted = np.array([0.5, 0.6, 0.7])
    rng = np.random.RandomState(0)
    versions = _resampled(fitted, residuals, fitted[None], 300, rng)
    drawn = (versions - fitted).round(9)
    for j in range(3):
        values, counts = np.unique(drawn[:, j], return_counts=True)
        assert values.tolist() == residuals.tolist()
        assert counts.min() > 60


def test_many_versions_are_fitted_as_each_alone():
    family = FAMILIES["palm"]
    versions = np.stack([noisy("palm", 0.02, seed) for seed in range(7)])
    together = fit(family, N / N[-1], versions, 1.0)
    for i, version in enumerate(versions):
        alone = fit(family, N / N[-1], version[None], 1.0)
        assert together.a[i] == pytest.approx(alone.a[0])
        np.testing.assert_allclose(together.shape[i], alone.shape[0])


@pytest.mark.parametrize("name", FAMILIES)
def test_labels_for_inverts_the_curve(name):
    unit = N / N[-1]
    fits = fit(FAMILIES[name], unit, noisy(name)[None], 1.0)
    last = fits(np.ones(1))[0, 0]
    target = (last + fits.a[0]) / 2
    needed = fits.labels_for(np.array([target]))[0]
    expected = brentq(lambda n: fits(np.array([n]))[0, 0] - target, 1, 1e9)
    assert needed == pytest.approx(expected, rel=1e-6)
    assert fits.labels_for(fits.a)[0] == math.inf
    assert fits.labels_for(fits.a + 0.1)[0] == math.inf


def test_rolling_error_equals_its_definition():
    family, unit, y = FAMILIES["power_law"], N / N[-1], noisy(sd=0.02)
    errors = []
    for length in (5, 6, 7, 8, 9):
        fits = fit(family, unit[:length], y[None, :length], 1.0)
        errors += [(fits(unit[i : i + 1])[0, 0] - y[i]) ** 2 for i in range(length, 10)]
    assert rolling_error(family, unit, y, 1.0) == pytest.approx(
        math.sqrt(sum(errors) / len(errors))
    )


def test_weights_of_the_models_follow_their_rolling_errors():
    curve = (N, CURVES["exponential"](N))
    table = forecast(curve, 0.95, models=list(FAMILIES)).models_
    expected = table["rolling_error"] ** -2.0
    np.testing.assert_allclose(table["weight"], expected / expected.sum(), rtol=1e-3)
    assert table["weight"].idxmax() == "exponential"


def test_draws_are_weighted_quantiles_of_curves_that_meet_the_last_point():
    rng = np.random.RandomState(0)
    k = 50
    fits = Fits(
        FAMILIES["power_law"],
        rng.uniform(0.85, 0.99, k),
        rng.uniform(0.05, 0.2, k),
        rng.uniform(0.2, 1, (k, 1)),
    )
    factors = rng.uniform(0.5, 2, k)
    weights = rng.dirichlet(np.ones(k))
    draws = Draws([fits], [factors], weights, 1.0, np.zeros(k))
    scores = draws.scores(np.array([0.5, 1.0, 3.0]))
    for i in range(k):
        a, b, c = fits.a[i], fits.b[i], fits.shape[i, 0]
        last = a - b
        assert scores[i, 0] == pytest.approx(a - b * 0.5**-c)
        assert scores[i, 1] == pytest.approx(last)
        later = last + factors[i] * (a - b * 3.0**-c - last)
        assert scores[i, 2] == pytest.approx(min(later, 1.0))
        # where a curve is at its own later score it needs three times the labels
        if later < 1:
            needed = draws.labels_for(scores[i, 2])[i]
            assert needed == pytest.approx(3.0)
    levels = [0.05, 0.3, 0.5, 0.95]
    np.testing.assert_allclose(
        draws.quantiles(scores[:, 2], levels),
        np.quantile(scores[:, 2], levels, method="inverted_cdf", weights=weights),
    )


# ------------------------------------------------------------------------- the forecast


def test_intervals_hold_on_simulated_curves():
    # power laws and PALM curves with noise; 90 % intervals, 60 curves: at 90 % each,
    # fewer than 46 successes have a probability below 0.1 %
    inside = 0
    for seed in range(60):
        name = ("power_law", "palm", "vanishing_error")[seed % 3]
        curve = CURVES[name]
        found = forecast((N, noisy(name, 0.008, seed)), float(curve(1200.0)))
        if found.reached_at is None:
            inside += found.interval[0] <= 1200 <= found.interval[1]
        else:
            inside += 1
    assert inside >= 46


def test_higher_targets_need_more_labels():
    curve = (N, noisy())
    found = [forecast(curve, target) for target in (0.88, 0.89, 0.9, 0.92, 0.95)]
    needed = [one.n_labels for one in found]
    assert needed == sorted(needed)
    assert [one.interval for one in found] == sorted(one.interval for one in found)
    chances = [one.reachable for one in found]
    assert chances == sorted(chances, reverse=True)


def test_wider_at_a_higher_level():
    curve = (N, noisy())
    narrow = forecast(curve, 0.89, confidence_level=0.5)
    wide = forecast(curve, 0.89, confidence_level=0.95)
    assert wide.interval[0] < narrow.interval[0] <= narrow.n_labels
    assert narrow.interval[1] < wide.interval[1]
    assert narrow.n_labels == wide.n_labels


def test_less_noise_and_more_points_say_more():
    def width(n, sd):
        widths = []
        for seed in range(8):
            band = forecast((n, noisy(sd=sd, seed=seed, n=n)), 0.95).predict([1000])
            widths.append((band["high"] - band["low"]).item())
        return np.mean(widths)

    assert width(N, 0.001) < width(N, 0.004) < width(N, 0.016)
    assert width(np.arange(20, 520, 20), 0.008) < width(N[::2], 0.008)


def test_seeds_are_averaged_and_resampled():
    scores = np.stack([noisy(sd=0.02, seed=seed) for seed in range(8)])
    together = forecast((N, scores), 0.9)
    alone = forecast((N, scores[0]), 0.9)
    assert together.n_seeds == 8
    np.testing.assert_allclose(together.scores, scores.mean(axis=0))
    expected, one = together.predict([1000]), alone.predict([1000])
    assert (expected["high"] - expected["low"]).item() < (
        one["high"] - one["low"]
    ).item()


def test_two_seeds_are_averaged():
    scores = np.stack([noisy(seed=0), noisy(seed=1)])
    two, mean = forecast((N, scores), 0.9), forecast((N, scores.mean(axis=0)), 0.9)
    assert two.n_seeds == 2
    assert two.interval == mean.interval


def test_all_ways_to_give_a_curve_agree():
    scores = noisy()
    history = [
        {"n_labeled": int(n), "eval_accuracy": s, "eval_seconds": 0.1}
        for n, s in zip(N, scores, strict=True)
    ]
    curves = curves_of([("margin", 0, N, scores), ("random", 0, N, scores - 0.1)])
    expected = forecast((N, scores), 0.9)
    for curve in (
        [N.tolist(), scores.tolist()],
        history,
        curves.select(strategies=["margin"]),
    ):
        found = forecast(curve, 0.9)
        assert found.summary() == expected.summary()
        pd.testing.assert_frame_equal(found.models_, expected.models_)
    named = forecast(
        [{**r, "eval_f1": r["eval_accuracy"]} for r in history], 0.9, metric="f1"
    )
    assert named.summary() == expected.summary().replace("accuracy", "f1")


def test_history_of_a_learner(table):
    X, y = table
    learner = ActiveLearningClassifier(
        n_initial=10, query_size=10, n_rounds=6, random_state=0
    ).fit(X[:150], y[:150], eval_set=(X[150:], y[150:]))
    found = forecast(learner.history_, 0.999, max_labels=150)
    assert found.n_labeled.tolist() == [10, 20, 30, 40, 50, 60, 70]
    assert 0 <= found.reachable < 1


def test_a_correction_without_new_labels_counts_as_the_last_score():
    history = [
        {"n_labeled": int(n), "eval_accuracy": s}
        for n, s in zip([*N, N[-1]], [*noisy(), 0.9], strict=True)
    ]
    assert forecast(history, 0.95).scores[-1] == 0.9


def test_same_seed_same_forecast():
    curve = (N, noisy())
    first, second = forecast(curve, 0.9), forecast(curve, 0.9)
    assert first.interval == second.interval
    pd.testing.assert_frame_equal(first.predict([700]), second.predict([700]))
    other = forecast(curve, 0.9, random_state=1)
    assert other.predict([700])["low"].item() != first.predict([700])["low"].item()


def test_order_of_models_does_not_matter_much_and_repeats_count_once():
    curve = (N, noisy())
    found = forecast(curve, 0.9, models=["palm", "palm", "power_law"])
    assert found.models_.index.tolist() == ["palm", "power_law"]


def test_few_points_leave_big_models_out():
    assert forecast((N[:4], noisy()[:4]), 0.9).models_.index.tolist() == [
        "power_law",
        "vanishing_error",
    ]
    with pytest.raises(
        ValueError, match="palm: needs at least 5 points, the curve has 4"
    ):
        forecast((N[:4], noisy()[:4]), 0.9, models=["palm"])


def test_prediction():
    found = forecast((N, noisy(sd=0.004)), 0.95)
    at_points = found.predict(N)
    np.testing.assert_allclose(at_points["score"], found.scores, atol=0.02)
    inside = (at_points["low"] <= found.scores) & (found.scores <= at_points["high"])
    assert inside.mean() >= 0.8
    far = found.predict([600, 1000, 5000, 10**7])
    assert far["score"].is_monotonic_increasing
    widths = far["high"] - far["low"]
    assert widths.is_monotonic_increasing
    assert (far["high"] <= 1).all()
    assert far["score"].iloc[-1] == pytest.approx(found.ceiling, abs=0.01)
    for bad in ([0], [np.nan], [[1, 2]]):
        with pytest.raises(ValueError, match="n_labeled must be numbers of labels"):
            found.predict(bad)


# -------------------------------------------------------------- what cannot be forecast


def test_target_that_was_reached():
    scores = CURVES["power_law"](N)
    found = forecast((N, scores), scores[3])
    assert found.reached_at == found.n_labels == 200
    assert found.interval == (200, 200)
    assert found.reachable == 1
    assert found.summary() == f"accuracy {scores[3]:g} was reached at 200 labels."
    lucky = scores.copy()
    lucky[5] = 0.93
    assert forecast((N, lucky), 0.92).summary() == (
        f"accuracy 0.92 was reached at 300 labels. The last score is {scores[-1]:.4g}."
    )


def test_reached_with_more_labels_than_there_are():
    found = forecast((N, CURVES["power_law"](N)), 0.85, max_labels=100)
    assert found.reached_at == 300
    assert found.reachable == 0


def test_target_above_what_any_curve_can_reach():
    scores = 0.8 - 0.5 * np.exp(-0.02 * N)
    found = forecast((N, scores), 0.97, models=["power_law", "palm", "exponential"])
    assert found.n_labels == math.inf
    assert found.interval == (math.inf, math.inf)
    assert found.reachable == 0
    low, high = found.ceiling_interval
    assert low <= found.ceiling <= high < 0.97
    assert found.summary() == (
        "accuracy 0.97 is not reachable: the chance is 0 %. The curve levels off at "
        f"{found.ceiling:.3g} (90 % interval: {low:.3g} to {high:.3g})."
    )


def test_target_above_the_highest_score():
    found = forecast((N, noisy()), 90)
    assert found.reachable == 0
    assert found.n_labels == math.inf
    assert "is not reachable: it is above 1, the highest score" in found.summary()
    assert "90 % interval" in found.summary()
    assert (found.models_["n_labels"] == math.inf).all()


def test_out_of_reach_within_the_labels_there_are():
    curve = (N, noisy())
    found = forecast(curve, 0.9, max_labels=520)
    assert found.reachable < 0.5 < forecast(curve, 0.9).reachable
    assert "not reachable within 520 labels" in found.summary()
    assert f"It would take about {found.n_labels:,} labels" in found.summary()
    assert "90 %" in forecast(curve, 0.9, max_labels=10**6).summary()


def test_summary_says_how_many_more():
    found = forecast((N, noisy()), 0.88)
    assert math.isfinite(found.n_labels)
    assert found.summary().startswith(
        f"accuracy 0.88 needs about {found.n_labels:,} labels (90 % interval: "
        f"{found.interval[0]:,} "
    )
    assert f"{found.n_labels - 500:,} more than the 500 so far" in found.summary()
    assert repr(found) == f"<Forecast: {found.summary()}>"


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.5, 0.6, 0.7], "it has 3 points and at least 4"),
        ([0.5] * 6, r"its scores are constant \(0.5\)"),
        (
            [0.9, 0.8, 0.7, 0.6, 0.5],
            r"its scores do not rise \(0.9 at 50 labels, 0.5 at 250\)",
        ),
        ([50, 60, 70, 75], r"its score 75 is above max_score=1.*give fractions"),
    ],
)
def test_curves_that_say_nothing_are_refused(scores, message):
    curve = (N[: len(scores)], scores)
    with pytest.raises(ValueError, match=rf"No forecast of this curve: {message}"):
        forecast(curve, 99.0)
    assert why_no_forecast(*curve) is not None
    assert why_no_forecast(N, noisy()) is None


def test_refusal_says_if_the_target_was_reached():
    with pytest.raises(ValueError, match=r"constant.*0.4 was reached at 50 labels"):
        forecast((N, np.full(len(N), 0.5)), 0.4)


def test_scores_in_percent():
    fraction = forecast((N, noisy()), 0.9)
    percent = forecast((N, 100 * noisy()), 90, max_score=100)
    assert percent.interval == fraction.interval
    assert percent.ceiling == pytest.approx(100 * fraction.ceiling, rel=1e-4)


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        (([10, 20, 30, 40], [0.1, 0.2, 0.3]), r"got \(4,\) and \(1, 3\)"),
        (([10, 20, 20, 40], [0.1, 0.2, 0.3, 0.4]), "must be increasing and at least 1"),
        (([0, 20, 30, 40], [0.1, 0.2, 0.3, 0.4]), "must be increasing and at least 1"),
        (([10, 20, 30, 40], [0.1, np.nan, 0.3, 0.4]), "NaN or infinite"),
        ("history.csv", "curve must be a tuple .* got str"),
        ([], "curve must be a tuple"),
        ([{"n_labeled": 3, "eval_f1": 0.5}], r"'accuracy'.*round 0 has \['f1'\]"),
        ([{"n_labeled": 3, "eval_seconds": 0.5}], "round 0 has none. Pass eval_set"),
    ],
)
def test_what_is_no_curve_is_refused(curve, message):
    with pytest.raises(ValueError, match=message):
        forecast(curve, 0.9)


def test_curves_of_several_strategies_are_refused():
    curves = curves_of([("margin", 0, N, noisy()), ("random", 0, N, noisy())])
    with pytest.raises(
        ValueError, match=r"got margin, random. Choose one with .*select"
    ):
        forecast(curves, 0.9)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"models": ["cubic"]}, r"models must be some of power_law, .*got \['cubic'\]"),
        ({"models": []}, "models must be some of"),
        ({"confidence_level": 1.0}, "'confidence_level' parameter"),
        ({"n_bootstrap": 3}, "'n_bootstrap' parameter"),
        ({"max_labels": 0}, "'max_labels' parameter"),
        ({"target": math.inf}, "'target' parameter"),
    ],
)
def test_parameters_are_checked(params, message):
    params = {"target": 0.9, **params}
    with pytest.raises(ValueError, match=message):
        forecast((N, noisy()), **params)
