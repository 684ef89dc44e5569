"""Herding: pick what covers the pool best, weighted by uncertainty or not."""

from numbers import Real

import numpy as np

from dalmax_sk._base.sklearn_compat import Interval, StrOptions
from dalmax_sk.pool import MissingCapabilityError
from dalmax_sk.selection import greedy_coverage, min_distance, unit_rows
from dalmax_sk.strategies._temperature import CALIBRATIONS, scale_by_temperature
from dalmax_sk.strategies.base import QueryStrategy
from dalmax_sk.strategies.uncertainty import MEASURES, uncertainty_scores

__all__ = ["MaxHerding", "UHerding"]


class MaxHerding(QueryStrategy):
    """Pick the candidates that cover the pool best, in the sense of a kernel.

    The generalised coverage of a set is how similar the points of the pool are, on
    average, to their nearest member of the set; each pick adds most to it [1]_. The
    labelled samples cover from the start. With a smooth kernel it is far less sensitive
    to its radius than :class:`ProbCover`, whose balls are the special case of a kernel
    that is 1 within the radius and 0 beyond.

    Parameters
    ----------
    sigma : float, default=1.0
        Radius of the RBF kernel ``exp(-|x - x'|² / sigma²)``, in (0, inf), in units of
        the embeddings that are compared.
    normalize : bool, default=True
        Whether to divide embeddings by their lengths first, as the paper does. Without,
        `sigma` has to suit their scale.

    See Also
    --------
    UHerding : The same coverage, weighted by uncertainty.
    ProbCover : Coverage by balls of one radius.
    FacilityLocation : Coverage by cosine similarity.

    Notes
    -----
    The score of a pick is what it added to the coverage, a number from 1 to 0. The
    query leaves ``coverage``, that of labelled samples and picks together over the
    candidates, in ``pool.info``.

    References
    ----------
    .. [1] W. Bae, J. Noh and D. J. Sutherland, "Generalized Coverage for More Robust
       Low-Budget Active Learning", ECCV 2024, algorithm 1.
       https://arxiv.org/abs/2407.12212

    Examples
    --------
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import MaxHerding
    >>> embeddings = [[0.0], [0.2], [0.4], [2.9], [3.0], [3.1]]
    >>> pool = Pool.from_arrays(embeddings=embeddings, random_state=0)
    >>> MaxHerding(normalize=False).query(pool, n=2)
    array([4, 1])
    >>> round(pool.info["coverage"], 2)
    0.98
    """

    names = {"max_herding": {}}
    category = "diversity"
    requires = ("embeddings", "labeled_embeddings")
    cost = "O(n²·d)"

    _parameter_constraints = {
        "sigma": [Interval(Real, 0, None, closed="neither")],
        "normalize": ["boolean"],
    }

    def __init__(self, sigma=1.0, normalize=True):
        self.sigma = sigma
        self.normalize = normalize

    def _query(self, pool, n):
        return herd(pool, n, pool.random_state, self.normalize, sigma=float(self.sigma))


class UHerding(QueryStrategy):
    """Pick the candidates that cover the pool's uncertainty best.

    Like :class:`MaxHerding`, but a point counts by how uncertain the model is about it
    [1]_: each pick adds most to the mean of ``U(x) · max k(x, x')``. Two parameters
    adapt to the number of labels. While labels are few, the kernel is wide, and
    calibration evens the uncertainties out if it finds the model overconfident: the
    picks are near those of MaxHerding. As labels grow, the kernel becomes narrow and
    the picks become those of uncertainty sampling.

    Parameters
    ----------
    measure : {"margin", "least_confidence", "entropy"}, default="margin"
        The uncertainty U, see :class:`UncertaintySampling`.
    sigma : "auto" or float, default="auto"
        Radius of the RBF kernel ``exp(-|x - x'|² / sigma²)``, in (0, inf). ``"auto"``
        is the smallest distance between two different labelled embeddings, and 1 while
        there are fewer than two.
    temperature : {"auto", "two_sided"} or float, default="auto"
        Probabilities p become ``p^(1/temperature)``, normalised, before U is taken; in
        (0, inf), 1 leaves them as they are. ``"auto"`` calibrates as the authors'
        program does: a clone of the model is fitted without the last 30 % of the
        labelled samples, and of 1.0, 1.1, ..., 19.9 the temperature is taken that makes
        the expected calibration error on those smallest, with as many bins as classes;
        ties go to the smallest. That costs one more fit a query, and never sharpens
        what an underconfident model says. ``"two_sided"`` may: it tries 41 temperatures
        from 0.1 to 10, with 15 bins, on a fifth drawn at random.
    normalize : bool, default=True
        Whether to divide embeddings by their lengths first, as the paper does.

    See Also
    --------
    MaxHerding : Without uncertainty; needs no model.
    UncertaintySampling : Without coverage.
    Switch : Changes from one strategy to another at a stated point.

    Notes
    -----
    Where there is nothing to weigh by, all candidates count alike and the picks are
    those of MaxHerding: before there is a model, if the model is certain of every
    candidate, and, with calibration, while no class has two labels, so that none can be
    held out. Every class keeps a label for the fit. A pool of arrays has no model to
    fit again: there the temperature is fitted to ``labeled_proba``, which should come
    from samples that the model was not trained on, and is 1 if they were not given.

    The score of a pick is what it added to the weighted coverage. The query leaves
    ``sigma``, ``coverage`` (weighted) and, unless all candidates count alike,
    ``temperature`` in ``pool.info``.

    References
    ----------
    .. [1] W. Bae, G. L. Oliveira and D. J. Sutherland, "Uncertainty Herding: One Active
       Learning Method for All Label Budgets", ICLR 2025.
       https://arxiv.org/abs/2412.20644
    .. [2] C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On Calibration of Modern
       Neural Networks", ICML 2017. https://arxiv.org/abs/1706.04599

    Examples
    --------
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import UHerding
    >>> pool = Pool.from_arrays(
    ...     embeddings=[[0.0], [0.2], [0.4], [3.0], [9.0]],
    ...     proba=[[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.5, 0.5], [0.8, 0.2]],
    ...     random_state=0,
    ... )
    >>> UHerding(normalize=False).query(pool, n=2)
    array([3, 1])
    """

    names = {"uherding": {}, "u_herding": {}}
    category = "both"
    looks_at = "probabilities and embeddings"
    cost = "O(n²·d), and one fit"

    _parameter_constraints = {
        "measure": [StrOptions(set(MEASURES))],
        "sigma": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "temperature": [
            StrOptions(set(CALIBRATIONS)),
            Interval(Real, 0, None, closed="neither"),
        ],
        "normalize": ["boolean"],
    }

    def __init__(
        self, measure="margin", sigma="auto", temperature="auto", normalize=True
    ):
        self.measure = measure
        self.sigma = sigma
        self.temperature = temperature
        self.normalize = normalize

    def _query(self, pool, n):
        rng = pool.random_state
        weight = self._weight(pool, rng) if self._has_proba(pool) else None
        sigma = self.sigma
        if sigma == "auto":
            labeled = _as_compared(pool, pool.labeled_embeddings, self.normalize)
            sigma = min_distance(labeled, max_memory=pool.max_memory)
            sigma = 1.0 if np.isinf(sigma) else sigma
        pool.info["sigma"] = float(sigma)
        return herd(
            pool, n, rng, self.normalize, sigma=float(sigma), sample_weight=weight
        )

    def _has_proba(self, pool):
        """Prepare the pool in one pass; return whether there is a model."""
        name = type(self).__name__
        required = ("embeddings", "labeled_embeddings")
        try:
            pool.prepare(("proba", *required), owner=name)
        except MissingCapabilityError:
            if pool.n_labeled or pool.estimator is not None:
                raise
            pool.prepare(required, owner=name)
            return False
        return True

    def _weight(self, pool, rng):
        """Return the uncertainties (n,), or None if all candidates count alike."""
        temperature = self.temperature
        if temperature in CALIBRATIONS:
            temperature = self._calibrate(CALIBRATIONS[temperature], pool, rng)
            if temperature is None:
                return None
        proba = scale_by_temperature(pool.proba, temperature)
        # rounding may leave a margin of -1e-17
        weight = np.maximum(uncertainty_scores(proba, self.measure), 0.0)
        if not weight.any():
            return None
        pool.info["temperature"] = float(temperature)
        return weight

    def _calibrate(self, rule, pool, rng):
        """Return the temperature, or None if too few labels are there for one."""
        if pool.estimator is not None:
            return rule.held_out_temperature(pool, rng)
        try:
            proba = pool.labeled_proba
        except MissingCapabilityError:
            return 1.0
        if pool.y_labeled is None or len(proba) == 0:
            return 1.0
        return rule.temperature(proba, proba.argmax(axis=1) == pool.y_labeled_codes)


def _as_compared(pool, embeddings, normalize):
    if not normalize:
        return embeddings
    return unit_rows(embeddings, max_memory=max(1, pool.max_memory // 4))


def herd(pool, n, rng, normalize, **params):
    """Return picks and gains of greedy coverage, the labelled samples as centres."""
    labeled = pool.labeled_embeddings
    positions, gains, coverage = greedy_coverage(
        _as_compared(pool, pool.embeddings, normalize),
        n,
        centers=_as_compared(pool, labeled, normalize) if len(labeled) else None,
        random_state=rng,
        max_memory=pool.max_memory,
        return_gains=True,
        **params,
    )
    pool.info["coverage"] = coverage
    return positions, gains
