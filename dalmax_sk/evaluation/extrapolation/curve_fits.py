"""Families of rising curves, fitted to many noisy versions of one curve at a time.

Every family is ``s(n) = a - b * g(n)`` with a `g` that falls to 0: given the shape of
`g`, the best `a` and `b` within their bounds follow in closed form. So a fit is a
search over a grid of shapes, the same for all versions, and finds no local minimum.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

__all__ = [
    "FAMILIES",
    "Family",
    "Fits",
    "Floats",
    "fit",
    "fit_weights",
    "parameters",
    "polish",
    "rolling_error",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Family:
    """One kind of curve; `n` is in units of the last number of labels.

    Attributes
    ----------
    n_parameters : int
        Free parameters, `a` and `b` included.
    fall : callable
        ``g(n, shape)``; shape (..., p) against n broadcasts over the leading axes.
    rise : callable
        The inverse: the `n` at which `g` is a given value in (0, 1].
    grid : callable
        The shapes (G, p) to search, given the first `n`.
    ceiling : {"free", "highest", "scale"}
        Whether `a` is fitted by itself, is the highest score there can be, or equals
        `b`, so that the curve starts at 0.
    """

    n_parameters: int
    fall: Callable[[Floats, Floats], Floats]
    rise: Callable[[Floats, Floats], Floats]
    grid: Callable[[float], Floats]
    ceiling: Literal["free", "highest", "scale"] = "free"


def _power_fall(n: Floats, shape: Floats) -> Floats:
    return n ** -shape[..., 0]


def _power_rise(g: Floats, shape: Floats) -> Floats:
    return g ** (-1 / shape[..., 0])


def _exponential_fall(n: Floats, shape: Floats) -> Floats:
    return np.exp(-shape[..., 0] * n)


def _exponential_rise(g: Floats, shape: Floats) -> Floats:
    return -np.log(g) / shape[..., 0]


def _palm_fall(n: Floats, shape: Floats) -> Floats:
    rate, shift, power = np.moveaxis(shape, -1, 0)
    return np.exp(-rate * np.maximum(n + shift, 0.0) ** power)


def _palm_rise(g: Floats, shape: Floats) -> Floats:
    rate, shift, power = np.moveaxis(shape, -1, 0)
    return (-np.log(g) / rate) ** (1 / power) - shift


def _palm_grid(first: float) -> Floats:
    """Return rates, shifts and powers; the rate is chosen by the fall at n = 1."""
    fall = np.geomspace(0.02, 8.0, 24)  # -log g(1)
    shifts = np.array([-0.9 * first, -0.5 * first, 0.0, 0.3, 1.0])
    powers = np.geomspace(0.15, 2.0, 10)
    fall, shift, power = (
        axis.ravel() for axis in np.meshgrid(fall, shifts, powers, indexing="ij")
    )
    return np.column_stack([fall / (1 + shift) ** power, shift, power])


FAMILIES = {
    "power_law": Family(
        n_parameters=3,
        fall=_power_fall,
        rise=_power_rise,
        grid=lambda first: np.geomspace(0.05, 4.0, 120)[:, None],
    ),
    "vanishing_error": Family(
        n_parameters=2,
        fall=_power_fall,
        rise=_power_rise,
        grid=lambda first: np.geomspace(0.01, 4.0, 160)[:, None],
        ceiling="highest",
    ),
    "exponential": Family(
        n_parameters=3,
        fall=_exponential_fall,
        rise=_exponential_rise,
        grid=lambda first: np.geomspace(0.05, 5.0 / first, 160)[:, None],
    ),
    "palm": Family(
        n_parameters=4,
        fall=_palm_fall,
        rise=_palm_rise,
        grid=_palm_grid,
        ceiling="scale",
    ),
}


@dataclass(frozen=True)
class Fits:
    """Fitted curves of one family: `a` (K,), `b` (K,) and `shape` (K, p)."""

    family: Family
    a: Floats
    b: Floats
    shape: Floats

    def __call__(self, n: Floats) -> Floats:
        """Return the curves (K, len(n))."""
        fall = self.family.fall(n, self.shape[:, None, :])
        return self.a[:, None] - self.b[:, None] * fall

    def labels_for(self, target: Floats) -> Floats:
        """Return the n (K,) at which each curve is at its `target` (K,), or inf."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            g = (self.a - target) / self.b
            n = self.family.rise(np.clip(g, 0.0, 1e300), self.shape)
        return np.where(target >= self.a, np.inf, n)


def fit_weights(n_points: int) -> Floats:
    """Return weights (m,) that grow with the square of the point's number.

    Figueroa et al. let them grow with the number. The square forecasts better here:
    the first points follow the later curve least (benchmarks/backtest_forecast.py).
    """
    return (np.arange(1, n_points + 1) / n_points) ** 2


def _near(shape: Floats) -> Floats:
    """Return shapes (L, p) around one (p,), closer together than those of a grid."""
    wide = np.geomspace(0.8, 1.25, 9)  # the middle one is 1
    if len(shape) == 1:
        return shape * np.geomspace(0.95, 1.05, 11)[:, None]
    rate, shift, power = shape
    moved = np.linspace(-0.2, 0.2, 5) * (1 + abs(shift))
    axes = np.meshgrid(rate * wide, shift + moved, power * wide, indexing="ij")
    return np.column_stack([axis.ravel() for axis in axes])


def fit(
    family: Family,
    n: Floats,
    scores: Floats,
    highest: float,
    around: Floats | None = None,
) -> Fits:
    """Fit one family to many versions of a curve by weighted least squares.

    Parameters
    ----------
    family : Family
    n : ndarray of shape (m,)
        Numbers of labels in units of the last one (of the whole curve).
    scores : ndarray of shape (K, m)
        Versions of the curve.
    highest : float
        Upper bound of `a`.
    around : ndarray of shape (p,), default=None
        A shape whose neighbourhood is searched as well, more finely.

    Returns
    -------
    Fits
        The best of the grid for each version.
    """
    shapes = family.grid(float(n[0]))
    if around is not None:
        shapes = np.concatenate([shapes, _near(around)])
    g = family.fall(n, shapes[:, None, :])  # (G, m)
    weights = fit_weights(len(n))
    a, b = _solve(family, g, scores, weights, highest)  # (K, G) each
    # the squared error from moments: (K, G) numbers instead of (K, G, m)
    s_g, s_gg = g @ weights, (g * g) @ weights  # (G,)
    s_y = scores @ weights  # (K,)
    s_gy = (scores * weights) @ g.T  # (K, G)
    s_yy = (scores * scores) @ weights
    error = (
        s_yy[:, None]
        + a * a * weights.sum()
        + b * b * s_gg
        + 2 * (b * s_gy - a * s_y[:, None] - a * b * s_g)
    )
    best = error.argmin(axis=1)
    rows = np.arange(len(scores))
    return Fits(family, a[rows, best], b[rows, best], shapes[best])


def _solve(
    family: Family, g: Floats, scores: Floats, weights: Floats, highest: float
) -> tuple[Floats, Floats]:
    """Return the best a and b, each (K, G), for every version and shape."""
    s_gy = (scores * weights) @ g.T  # (K, G)
    s_g, s_gg = g @ weights, (g * g) @ weights  # (G,)
    s_y, s_1 = scores @ weights, weights.sum()
    if family.ceiling == "scale":  # s = a (1 - g)
        a = (s_y[:, None] - s_gy) / (s_1 - 2 * s_g + s_gg)
        a = np.clip(a, 0.0, highest)
        return a, a
    b_there = (highest * s_g - s_gy) / s_gg  # the best b if a is the highest score
    if family.ceiling == "highest":
        return np.full_like(b_there, highest), np.maximum(b_there, 0.0)
    mean_g, mean_y = s_g / s_1, (s_y / s_1)[:, None]
    spread = np.maximum(s_gg / s_1 - mean_g**2, 1e-300)
    b = np.maximum((mean_y * mean_g - s_gy / s_1) / spread, 0.0)
    a = mean_y + b * mean_g
    # above the bound the best a is the bound, and b follows
    return np.minimum(a, highest), np.where(a > highest, b_there, b)


def polish(start: Fits, n: Floats, scores: Floats, highest: float) -> Fits:
    """Refine the fit of one curve (m,) by bounded non-linear least squares."""
    family = start.family
    weights = np.sqrt(fit_weights(len(n)))
    grid = family.grid(float(n[0]))
    lower, upper = grid.min(axis=0), grid.max(axis=0)

    def as_fits(shape: Floats) -> Fits:
        g = family.fall(n, shape[None, None, :])  # (1, m)
        a, b = _solve(family, g, scores[None], weights**2, highest)
        return Fits(family, a[0], b[0], shape[None])

    def residuals(shape: Floats) -> Floats:
        return cast(Floats, weights * (as_fits(shape)(n)[0] - scores))

    # a and b are solved for at every step, so only the shape is searched
    solution = least_squares(
        residuals,
        np.clip(start.shape[0], lower, upper),
        bounds=(lower, upper),
        x_scale="jac",
    )
    return as_fits(solution.x)


def rolling_error(family: Family, n: Floats, scores: Floats, highest: float) -> float:
    """Return the root mean squared error of forecasts of the curve's own last points.

    The family is fitted to the first points, from half of them to all but one, and
    predicts the others.
    """
    m = len(scores)
    errors = []
    for length in range(max(3, m // 2), m):
        fits = fit(family, n[:length], scores[None, :length], highest)
        errors.append(fits(n[length:])[0] - scores[length:])
    return float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))


def parameters(name: str, fits: Fits, last: float, step: float) -> dict[str, float]:
    """Return the parameters of one fitted curve in terms of numbers of labels.

    Parameters
    ----------
    name : str
        Name of the family.
    fits : Fits
        One curve.
    last : float
        The last number of labels, the unit of the fits.
    step : float
        Labels a round, PALM's unit.

    Returns
    -------
    dict of str to float
    """
    a, b, shape = float(fits.a[0]), float(fits.b[0]), fits.shape[0]
    if name == "palm":
        rate, shift, power = map(float, shape)
        delta = -float(np.expm1(-rate * (step / last) ** power))
        return {"a": a, "delta": delta, "alpha": shift * last / step, "beta": power}
    c = float(shape[0])
    if name == "exponential":
        return {"a": a, "b": b, "c": c / last}
    return {"a": a, "b": b * last**c, "c": c}
