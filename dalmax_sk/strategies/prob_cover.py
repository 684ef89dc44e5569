"""ProbCover: cover as much of the pool as possible by balls of one radius."""

from numbers import Integral, Real

import numpy as np

from dalmax_sk._base.sklearn_compat import Interval, StrOptions
from dalmax_sk.selection import ball_cover, pure_ball_radius, unit_rows
from dalmax_sk.selection.kit.arrays import concatenate
from dalmax_sk.strategies.base import QueryStrategy

__all__ = ["ProbCover"]


class ProbCover(QueryStrategy):
    """Pick the candidates whose balls cover most of the pool that is not yet covered.

    A point is covered if it lies within the radius of a labelled sample or a pick. Each
    pick is the candidate whose ball holds most uncovered points [1]_: dense regions
    first, outliers last. Made for few labels and good embeddings.

    Parameters
    ----------
    radius : "auto" or float, default="auto"
        The radius of the balls, in (0, inf), in units of the embeddings that are
        compared. ``"auto"`` is the largest at which a share `purity` of all balls is
        pure, that is, holds points of one k-means cluster only, with as many clusters
        as there are classes, over labelled samples and candidates together [1]_.
    purity : float, default=0.95
        The share of pure balls, in (0, 1]. Unused with a given `radius`.
    n_classes : int, default=None
        Number of clusters for the purity, at least 2. None takes the number of classes
        that the pool knows (at least 2).
    normalize : bool, default=True
        Whether to divide embeddings by their lengths first, as the authors do.

    See Also
    --------
    MaxHerding : Coverage by a smooth kernel, far less sensitive to its radius.
    CoreSet : Covers everything and asks for the smallest radius.

    Notes
    -----
    The score of a pick is the share of the candidates that it covered first. Once all
    candidates are covered no ball adds anything, and further picks are random. The
    query leaves ``radius`` and ``coverage`` (the share of candidates covered in the
    end) in ``pool.info``.

    References
    ----------
    .. [1] O. Yehuda, A. Dekel, G. Hacohen and D. Weinshall, "Active Learning Through a
       Covering Lens", NeurIPS 2022. https://arxiv.org/abs/2205.11320

    Examples
    --------
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import ProbCover
    >>> embeddings = [[0.0], [1.0], [2.0], [9.0], [10.0], [30.0]]
    >>> pool = Pool.from_arrays(embeddings=embeddings, random_state=0)
    >>> ProbCover(radius=1.0, normalize=False).query(pool, n=1)
    array([1])
    >>> pool.info["coverage"]
    0.5
    """

    names = {"prob_cover": {}, "probcover": {}}
    category = "diversity"
    requires = ("embeddings", "labeled_embeddings")
    cost = "O(n²·d)"

    _parameter_constraints = {
        "radius": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "purity": [Interval(Real, 0, 1, closed="right")],
        "n_classes": [Interval(Integral, 2, None, closed="left"), None],
        "normalize": ["boolean"],
    }

    def __init__(self, radius="auto", purity=0.95, n_classes=None, normalize=True):
        self.radius = radius
        self.purity = purity
        self.n_classes = n_classes
        self.normalize = normalize

    def _query(self, pool, n):
        rng = pool.random_state
        room = max(1, pool.max_memory // 4)
        points = concatenate(pool.embeddings, pool.labeled_embeddings, room)
        if self.normalize:
            points = unit_rows(points, max_memory=room)
        radius = self.radius
        if radius == "auto":
            radius = self._pure_radius(pool, points, rng)
        candidates, labeled = points[: len(pool)], points[len(pool) :]
        positions, gains, coverage = ball_cover(
            candidates,
            n,
            float(radius),
            centers=labeled if len(labeled) else None,
            random_state=rng,
            max_memory=pool.max_memory,
            return_gains=True,
        )
        pool.info.update(radius=float(radius), coverage=coverage)
        return positions, gains

    def _pure_radius(self, pool, points, rng):
        n_classes = self.n_classes
        if n_classes is None:
            if pool.classes is None:
                raise ValueError(
                    "ProbCover cannot choose its radius: nothing is labelled, and the "
                    "number of classes is unknown. Give ProbCover(n_classes=...) or "
                    "ProbCover(radius=...)."
                )
            n_classes = max(2, len(pool.classes))
        radius = pure_ball_radius(
            points,
            min(n_classes, len(points)),
            purity=float(self.purity),
            random_state=rng,
            max_memory=pool.max_memory,
        )
        # Where all points are one, every radius is as good.
        return 1.0 if np.isinf(radius) else radius
