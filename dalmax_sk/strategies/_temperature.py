"""Temperature scaling of probabilities, calibrated on labels held out."""

import numpy as np
from scipy.special import softmax

__all__ = [
    "best_temperature",
    "calibration_error",
    "held_out_temperature",
    "hold_out",
    "scale_by_temperature",
]

# The temperatures that are tried; 1 is among them.
TEMPERATURES = np.logspace(-1, 1, 41)
_N_BINS = 15
_SHARE_HELD_OUT = 0.2


def scale_by_temperature(proba, temperature):
    """Return the soft-max of the logarithms of `proba` (n, C) over `temperature`.

    What a model gives as the soft-max of its logits becomes the soft-max of the logits
    over the temperature. A probability of 0 stays 0.
    """
    if temperature == 1.0:
        return proba
    with np.errstate(divide="ignore"):
        return softmax(np.log(proba) / temperature, axis=1)


def calibration_error(confidence, is_right, n_bins=_N_BINS):
    """Return the expected calibration error, from 0 to 1.

    Predictions are put into bins of equal width by their confidence; the error is the
    mean over predictions of ``|share that is right - mean confidence|`` of their bin.
    """
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    gaps = np.bincount(bins, weights=is_right - confidence, minlength=n_bins)
    return abs(gaps).sum() / len(confidence)


def best_temperature(proba, is_right):
    """Return the temperature whose calibration error is smallest, ties nearest to 1.

    `is_right` (n,) tells whether the most probable class is the label.
    """
    is_right = np.asarray(is_right, dtype=np.float64)
    errors = [
        calibration_error(scale_by_temperature(proba, t).max(axis=1), is_right)
        for t in TEMPERATURES
    ]
    # errors that differ by rounding only are ties
    best = np.flatnonzero(np.array(errors) <= min(errors) + 1e-12)
    return float(TEMPERATURES[best[abs(np.log(TEMPERATURES[best])).argmin()]])


def hold_out(y, rng, share=_SHARE_HELD_OUT):
    """Choose labelled samples to be held out, leaving every class at least one.

    Returns
    -------
    ndarray of int
        At most ``share`` of the positions in `y`, rounded up; none if no class has two.
    """
    codes = np.unique(y, return_inverse=True)[1]
    left = np.bincount(codes)
    wanted = int(np.ceil(share * len(y)))
    held = []
    for position in rng.permutation(len(y)):
        if len(held) < wanted and left[codes[position]] > 1:
            left[codes[position]] -= 1
            held.append(position)
    return np.array(sorted(held), dtype=np.int64)


def held_out_temperature(pool, rng):
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
    held = hold_out(pool.y_labeled, rng)
    if len(held) == 0:
        return None
    proba = pool.held_out_proba(held, seed)
    return best_temperature(proba, proba.argmax(axis=1) == pool.y_labeled_codes[held])
