"""Plausible continuations of a learning curve."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

from dalmax_sk.evaluation.extrapolation.curve_fits import (
    FAMILIES,
    Fits,
    Floats,
    fit,
    fit_weights,
    parameters,
    polish,
    rolling_error,
)

__all__ = ["Draws", "fit_all", "labels_alone"]

# The spread of the factor by which fits misjudge the gain still to come: the standard
# deviation of its logarithm. The smallest, in steps of 0.05, with which 90 % intervals
# hold 90 % of the outcomes on learning curves of scikit-learn's models;
# benchmarks/backtest_forecast.py tests it on curves of neural networks as well, which
# played no part in this choice.
GAIN_SPREAD = 0.25
# A curve that needs more than this multiple of the labels so far never reaches its
# target.
HORIZON = 1000.0
# From this number of seeds on, the seeds' curves are resampled and not the residuals.
MIN_SEEDS = 3


@dataclass(frozen=True)
class Draws:
    """Plausible continuations of a curve; n in units of the last number of labels.

    The curve that was fitted is kept up to the last point; from there on its gain is
    multiplied by a factor, for the families are only approximately right.
    """

    fits: list[Fits]  # one entry a family, each of K curves
    factors: list[Floats]  # of the gain, (K,) each
    weights: Floats  # (families * K,), sum 1
    highest: float
    noise: Floats  # of a measured score, (families * K,)

    def scores(self, n: Floats, noisy: bool = False) -> Floats:
        """Return the curves (families * K, len(n))."""
        parts = []
        for fits, factor in zip(self.fits, self.factors, strict=True):
            values, last = fits(n), fits(np.ones(1))  # (K, len(n)), (K, 1)
            later = last + factor[:, None] * (values - last)
            parts.append(np.where(n > 1, later, values))
        curves = np.concatenate(parts)
        return np.minimum(curves + noisy * self.noise[:, None], self.highest)

    def ceilings(self) -> Floats:
        """Return the limits (families * K,) of the curves."""
        parts = []
        for fits, factor in zip(self.fits, self.factors, strict=True):
            last = fits(np.ones(1))[:, 0]
            parts.append(last + factor * (fits.a - last))
        return np.minimum(np.concatenate(parts), self.highest)

    def labels_for(self, target: float) -> Floats:
        """Return where the curves reach `target`, (families * K,); at least 1."""
        if target > self.highest:
            return np.full(len(self.weights), np.inf)
        parts = []
        for fits, factor in zip(self.fits, self.factors, strict=True):
            last = fits(np.ones(1))[:, 0]
            parts.append(fits.labels_for(last + (target - last) / factor))
        needed = np.maximum(np.concatenate(parts), 1.0)
        return np.where(needed > HORIZON, np.inf, needed)

    def quantiles(self, values: Floats, levels: Sequence[float]) -> Floats:
        """Return weighted quantiles (len(levels),) of `values` (families * K,)."""
        order = np.argsort(values)
        below = np.cumsum(self.weights[order])
        places = np.searchsorted(below, np.asarray(levels) * below[-1])
        return values[order][np.minimum(places, len(values) - 1)]


def fit_all(
    n: Floats,
    seed_scores: Floats,
    families: Sequence[str],
    highest: float,
    n_bootstrap: int,
    rng: np.random.RandomState,
) -> tuple[Draws, pd.DataFrame]:
    """Return the draws and the table of the models (with the fits as a column)."""
    unit, mean = n / n[-1], seed_scores.mean(axis=0)
    weights = fit_weights(len(n))
    fits, factors, noises, rows = [], [], [], []
    spread = np.exp(GAIN_SPREAD * _normal_scores(n_bootstrap))
    for name in families:
        family = FAMILIES[name]
        point = polish(fit(family, unit, mean[None], highest), unit, mean, highest)
        residuals = mean - point(unit)[0]
        # fitted residuals are smaller than the errors by the parameters spent
        residuals *= math.sqrt(len(n) / (len(n) - family.n_parameters))
        versions = _resampled(point(unit)[0], residuals, seed_scores, n_bootstrap, rng)
        versions = np.minimum(versions, highest)
        fits.append(fit(family, unit, versions, highest, around=point.shape[0]))
        factors.append(rng.permutation(spread))
        noises.append(np.average(residuals**2, weights=weights))
        error = rolling_error(family, unit, mean, highest)
        step = float(np.median(np.diff(n)))
        rows.append(
            {
                "model": name,
                "rolling_error": error,
                "ceiling": float(point.a[0]),
                "parameters": parameters(name, point, n[-1], step),
                "fit": point,
            }
        )
    table = pd.DataFrame(rows).set_index("model")
    # inverse squared errors; the floor, far below any noise, is for exact curves
    table["weight"] = 1 / (table["rolling_error"] ** 2 + (1e-6 * highest) ** 2)
    table["weight"] /= table["weight"].sum()
    variance = float(table["weight"] @ np.array(noises))
    noise = math.sqrt(variance) * _normal_scores(n_bootstrap * len(families))
    each = np.repeat(table["weight"].to_numpy() / n_bootstrap, n_bootstrap)
    return Draws(fits, factors, each, highest, rng.permutation(noise)), table


def _resampled(
    fitted: Floats,
    residuals: Floats,
    seed_scores: Floats,
    n_bootstrap: int,
    rng: np.random.RandomState,
) -> Floats:
    """Return versions (n_bootstrap, m) of the curve as they might have been."""
    n_seeds, m = seed_scores.shape
    if n_seeds < MIN_SEEDS:
        return fitted + residuals[rng.randint(0, m, (n_bootstrap, m))]
    mean = seed_scores.mean(axis=0)
    chosen = rng.randint(0, n_seeds, (n_bootstrap, n_seeds))
    deviations = (seed_scores - mean)[chosen].mean(axis=1)
    # resampling n seeds shows (n - 1) / n of the variance of their mean
    return mean + deviations * math.sqrt(n_seeds / (n_seeds - 1))


def labels_alone(
    table: pd.DataFrame, target: float, last: float, highest: float
) -> list[float]:
    """Return the labels that each model by itself expects to need."""
    if target > highest:
        return [math.inf] * len(table)
    needed = [fits.labels_for(np.array([target]))[0] for fits in table["fit"]]
    return [last * x if x <= HORIZON else math.inf for x in needed]


def _normal_scores(n: int) -> Floats:
    """Return n quantiles of the normal distribution: a sample without its noise."""
    scores: Floats = norm.ppf((np.arange(n) + 0.5) / n)
    return scores
