"""Facility location: every point is served by its most similar pick."""

from numbers import Real

import numpy as np

from dalmax_sk._base.sklearn_compat import Interval, StrOptions
from dalmax_sk.selection import greedy_coverage, top_n
from dalmax_sk.strategies.base import QueryStrategy
from dalmax_sk.strategies.uncertainty import MEASURES, uncertainty_scores

__all__ = ["FacilityLocation"]


class FacilityLocation(QueryStrategy):
    """Pick candidates so that every candidate has a similar one among the picks.

    Greedy maximisation of the facility-location function, the sum over the candidates
    of the similarity to the most similar of picks and labelled samples [1]_ [2]_. With
    `filter_factor` only the most uncertain candidates take part (filtered active
    submodular selection, FASS [1]_).

    Parameters
    ----------
    similarity : {"cosine", "rbf"}, default="cosine"
        ``(1 + cos(x, x')) / 2``, or ``exp(-|x - x'|² / sigma²)``.
    sigma : float, default=1.0
        Radius of ``"rbf"``, in (0, inf). Unused with ``"cosine"``.
    filter_factor : float, default=None
        If given, at least 1: the picks come from the ``filter_factor * n`` candidates
        of the largest uncertainty, and these are what is to be covered. None takes all.
    measure : {"entropy", "margin", "least_confidence"}, default="entropy"
        The uncertainty of `filter_factor`, see :class:`UncertaintySampling`.

    See Also
    --------
    MaxHerding : The same with an RBF kernel on normalised embeddings.
    CoreSet : Makes the worst served point as near as possible, not the average.

    Notes
    -----
    In [1]_ labelled samples serve nobody, so that new picks may be near them; here they
    do, because their labels are known.

    The score of a pick is what it added to the mean similarity, a number from 1 to 0.
    The query leaves ``coverage``, the mean after all picks, in ``pool.info``.

    References
    ----------
    .. [1] K. Wei, R. Iyer and J. Bilmes, "Submodularity in Data Subset Selection and
       Active Learning", ICML 2015. https://proceedings.mlr.press/v37/wei15.html
    .. [2] H. Lin and J. Bilmes, "A Class of Submodular Functions for Document
       Summarization", ACL 2011. https://aclanthology.org/P11-1052/

    Examples
    --------
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import FacilityLocation
    >>> embeddings = [[1, 0], [2, 0.2], [1, 0.2], [0, 1], [0.2, 2], [0.3, 1]]
    >>> pool = Pool.from_arrays(embeddings=embeddings, random_state=0)
    >>> FacilityLocation().query(pool, n=2)
    array([5, 1])
    """

    names = {"facility_location": {}}
    category = "diversity"
    cost = "O(n²·d)"

    _parameter_constraints = {
        "similarity": [StrOptions({"cosine", "rbf"})],
        "sigma": [Interval(Real, 0, None, closed="neither")],
        "filter_factor": [Interval(Real, 1, None, closed="left"), None],
        "measure": [StrOptions(set(MEASURES))],
    }

    def __init__(
        self, similarity="cosine", sigma=1.0, filter_factor=None, measure="entropy"
    ):
        self.similarity = similarity
        self.sigma = sigma
        self.filter_factor = filter_factor
        self.measure = measure

    @property
    def requires(self):
        required = ("embeddings", "labeled_embeddings")
        return required if self.filter_factor is None else ("proba", *required)

    def _query(self, pool, n):
        rng = pool.random_state
        labeled = pool.labeled_embeddings
        kept = self._filter(pool, n, rng)
        positions, gains, coverage = greedy_coverage(
            pool.embeddings[kept],
            n,
            centers=labeled if len(labeled) else None,
            kernel=self.similarity,
            sigma=float(self.sigma),
            random_state=rng,
            max_memory=pool.max_memory,
            return_gains=True,
        )
        pool.info["coverage"] = coverage
        return (positions if self.filter_factor is None else kept[positions]), gains

    def _filter(self, pool, n, rng):
        """Return the positions that take part: a slice, or an array."""
        if self.filter_factor is None:
            return slice(None)
        n_kept = min(len(pool), int(np.ceil(self.filter_factor * n)))
        return top_n(
            uncertainty_scores(pool.proba, self.measure), n_kept, random_state=rng
        )
