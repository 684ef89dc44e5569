"""BAIT: the batch that leaves the least error, by the Fisher information."""

from numbers import Integral, Real

import numpy as np

from dalmax_sk._base.limits import limits
from dalmax_sk._base.sklearn_compat import Interval, StrOptions
from dalmax_sk.selection import bait
from dalmax_sk.strategies.base import QueryStrategy

__all__ = ["BAIT"]


class BAIT(QueryStrategy):
    r"""Pick the batch that minimises a bound on the error, by Fisher information.

    After labelling a batch S the variance of the last layer's weights is about the
    inverse of the Fisher information of everything labelled; what it costs in
    predictions is weighed by the information of the pool [1]_:

    .. math:: \mathrm{tr}\Big[\big(\lambda 1 + \sum_{x \in L \cup S} I(x)\big)^{-1}\,
       \frac{1}{|U|} \sum_{x \in U} I(x)\Big], \qquad
       I(x) = (\mathrm{diag}(p) - p p^T) \otimes h h^T

    with class probabilities p, embeddings h, labelled samples L and candidates U. The
    search adds twice as many candidates as wanted, one by one, then takes away those
    that are missed least.

    Parameters
    ----------
    regularization : float, default=1.0
        λ, above 0: the precision of a Gaussian prior on the weights. With embeddings
        of small norm choose it smaller.
    oversampling : float, default=2.0
        How many times more candidates are added before some are taken away, at least 1.
    approximation : {"full", "binary"}, default="full"
        ``"binary"`` takes p̂(1 - p̂), p̂ the largest probability, for the matrix of the
        class probabilities [2]_: cost and memory no longer grow with the classes.
    n_components : int, default=None
        Project the embeddings on this many principal directions (of the candidates, not
        centred) first. None uses them as they are.
    max_candidates : int, default=None
        Look only at this number of candidates, drawn by the seed, and at least at the
        number of picks. None looks at all.

    See Also
    --------
    BADGE : Cheaper, and related: it needs one vector a candidate.

    Notes
    -----
    The score of a pick is by how much it lowered the objective when it was added. The
    query leaves ``fisher_objective`` in ``pool.info``, its value after all picks.

    The labelled samples count one by one, as the picks do. In the authors' program a
    pick weighs n times as much as a labelled sample, for n picks, and the second mean
    is over candidates and labelled samples; that was less label-efficient in our
    measurements, see the guide. The embeddings are those of
    the last layer, without the bias.

    References
    ----------
    .. [1] J. T. Ash, S. Goel, A. Krishnamurthy and S. Kakade, "Gone Fishing: Neural
       Active Learning with Fisher Embeddings", NeurIPS 2021.
       https://arxiv.org/abs/2106.09675
    .. [2] D. Huseljic, P. Hahn, M. Herde, L. Rauch and B. Sick, "Fast Fishing:
       Approximating BAIT for Efficient and Scalable Deep Active Image Classification",
       ECML PKDD 2024. https://arxiv.org/abs/2404.08981

    Examples
    --------
    Three candidates point one way, one another; two picks cover both:

    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import BAIT
    >>> pool = Pool.from_arrays(
    ...     proba=[[0.5, 0.5]] * 4,
    ...     embeddings=[[1.0, 0.0], [2.0, 0.0], [1.5, 0.0], [0.0, 2.0]],
    ... )
    >>> BAIT().query(pool, n=2)
    array([1, 3])
    """

    names = {"bait": {}}
    category = "both"
    requires = ("proba", "embeddings")
    cost = "O(n·(C·d)² + (C·d)³ + b·n·d·C²)"

    _parameter_constraints = {
        "regularization": [Interval(Real, 0, None, closed="neither")],
        "oversampling": [Interval(Real, 1, None, closed="left")],
        "approximation": [StrOptions({"full", "binary"})],
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "max_candidates": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        regularization=1.0,
        oversampling=2.0,
        approximation="full",
        n_components=None,
        max_candidates=None,
    ):
        self.regularization = regularization
        self.oversampling = oversampling
        self.approximation = approximation
        self.n_components = n_components
        self.max_candidates = max_candidates

    def _query(self, pool, n):
        rng = pool.random_state
        embeddings, proba = pool.embeddings, pool.proba
        labeled, labeled_proba = None, None
        if pool.n_labeled:
            pool.prepare(["labeled_embeddings", "labeled_proba"], type(self).__name__)
            labeled, labeled_proba = pool.labeled_embeddings, pool.labeled_proba
        index = None
        if self.max_candidates is not None and self.max_candidates < len(pool):
            if self.max_candidates < n:
                raise ValueError(
                    f"BAIT: max_candidates={self.max_candidates} is less than the "
                    f"number of picks, {n}."
                )
            index = np.sort(rng.choice(len(pool), self.max_candidates, replace=False))
            embeddings, proba = embeddings[index], proba[index]
        if self.n_components is not None:
            basis = _principal_directions(embeddings, self.n_components)
            embeddings = embeddings @ basis
            labeled = None if labeled is None else labeled @ basis
        positions, scores, objective = bait(
            embeddings,
            proba,
            n,
            labeled,
            labeled_proba,
            regularization=self.regularization,
            oversampling=self.oversampling,
            approximation=self.approximation,
            random_state=rng,
            max_memory=pool.max_memory,
            return_scores=True,
        )
        pool.info["fisher_objective"] = objective
        return (positions if index is None else index[positions]), scores


def _principal_directions(embeddings, n_components):
    """Return the (d, n_components) directions along which (n, d) rows are longest."""
    n_features = embeddings.shape[1]
    if n_components > n_features:
        raise ValueError(
            f"BAIT: n_components={n_components} is more than the number of features, "
            f"{n_features}."
        )
    moments = np.zeros((n_features, n_features))
    for start in range(0, len(embeddings), limits.checked_rows):
        rows = np.asarray(
            embeddings[start : start + limits.checked_rows], dtype=np.float64
        )
        moments += rows.T @ rows
    return np.linalg.eigh(moments)[1][:, ::-1][:, :n_components]
