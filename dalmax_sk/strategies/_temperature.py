"""Temperature scaling of probabilities, calibrated on labels held out."""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

__all__ = [
    "CALIBRATIONS",
    "Calibration",
    "calibration_error",
    "scale_by_temperature",
]


def scale_by_temperature(proba, temperature):
    """Return the soft-max of the logarithms of `proba` (n, C) over `temperature`.

    What a model gives as the soft-max of its logits becomes the soft-max of the logits
    over the temperature. A probability of 0 stays 0.
    """
    if temperature == 1.0:
        return proba
    with np.errstate(divide="ignore"):
        return softmax(np.log(proba) / temperature, axis=1)


def calibration_error(confidence, is_right, n_bins):
    """Return the expected calibration error, from 0 to 1.

    Predictions are put into bins of equal width by their confidence; the error is the
    mean over predictions of ``|share that is right - mean confidence|`` of their bin.
    """
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    gaps = np.bincount(bins, weights=is_right - confidence, minlength=n_bins)
    return abs(gaps).sum() / len(confidence)


@dataclass(frozen=True, eq=False)
class Calibration:
    """A rule for the temperature, and for the labelled samples it is fitted to.

    Attributes
    ----------
    temperatures : ndarray
        Those that are tried.
    n_bins : int or None
        Of the calibration error; None: as many as there are classes.
    share : float
        Largest share of the labelled samples that is held out, rounded up.
    draws : bool
        Whether these are drawn; else they are those labelled last.
    """

    temperatures: np.ndarray
    n_bins: int | None
    share: float
    draws: bool

    def temperature(self, proba, is_right):
        """Return the temperature of the smallest calibration error, ties nearest to 1.

        `is_right` (n,) tells whether the most probable class is the label.
        """
        is_right = np.asarray(is_right, dtype=np.float64)
        n_bins = self.n_bins or proba.shape[1]
        with np.errstate(divide="ignore"):
            logs = np.log(proba / proba.max(axis=1, keepdims=True))
        errors = np.array(
            [
                calibration_error(1 / np.exp(logs / t).sum(axis=1), is_right, n_bins)
                for t in self.temperatures
            ]
        )
        # errors that differ by rounding only are ties
        best = self.temperatures[errors <= errors.min() + 1e-12]
        return float(best[abs(np.log(best)).argmin()])

    def hold_out(self, y, rng):
        """Choose labelled samples to be held out, leaving every class at least one.

        Returns
        -------
        ndarray of int
            Positions in `y`, ascending; none if no class has two.
        """
        codes = np.unique(y, return_inverse=True)[1]
        left = np.bincount(codes)
        wanted = int(np.ceil(self.share * len(y)))
        held = []
        for position in rng.permutation(len(y)) if self.draws else range(len(y))[::-1]:
            if len(held) < wanted and left[codes[position]] > 1:
                left[codes[position]] -= 1
                held.append(position)
        return np.array(sorted(held), dtype=np.int64)

    def held_out_temperature(self, pool, rng):
        """Fit the pool's model again without some labelled samples; calibrate on these.

        Parameters
        ----------
        pool : Pool
            One with an estimator.
        rng : RandomState
            Chooses the samples held out, and seeds the fit.

        Returns
        -------
        float or None
            None if no sample can be held out.
        """
        seed = rng.randint(2**31 - 1)
        held = self.hold_out(pool.y_labeled, rng)
        if len(held) == 0:
            return None
        proba = pool.held_out_proba(held, seed)
        right = proba.argmax(axis=1) == pool.y_labeled_codes[held]
        return self.temperature(proba, right)


#: By their names: the rule of the authors of UHerding, and one that may sharpen.
CALIBRATIONS = {
    "auto": Calibration(np.arange(10, 200) / 10, None, 0.3, draws=False),
    "two_sided": Calibration(np.logspace(-1, 1, 41), 15, 0.2, draws=True),
}
