"""BADGE: diverse batches of large hypothetical gradients."""

import numpy as np

from dalmax_sk._base.sklearn_compat import StrOptions
from dalmax_sk._base.storage import allocate, row_blocks
from dalmax_sk.selection import k_means_plus_plus
from dalmax_sk.strategies.base import QueryStrategy

__all__ = ["BADGE"]


class BADGE(QueryStrategy):
    r"""Pick a diverse batch of candidates with large hypothetical gradients.

    Batch Active learning by Diverse Gradient Embeddings: every candidate stands for the
    gradient that it would cause in the last layer if its most probable class were its
    label [1]_. With probabilities p, that class ŷ and the
    embedding h it is the outer product

    .. math:: g = (p - e_{\hat y}) \otimes h,

    long where the model is unsure, and pointing elsewhere for other classes and other
    looks. The batch is drawn from these vectors by k-means++ seeding [2]_: each pick
    with probability proportional to its squared distance to the nearest earlier pick,
    which asks for length and diversity at once and has no parameter to tune.

    Parameters
    ----------
    first : {"largest", "uniform"}, default="largest"
        The first pick: the candidate with the longest gradient, as in the authors'
        program, or any candidate alike, as k-means++ seeding is defined and the paper's
        algorithm says. With ``"uniform"`` a batch of one is random sampling.
    bias : bool, default=False
        Whether the gradient of the last layer's bias, ``p - onehot``, is part of the
        vector. The paper's formula leaves it out.

    See Also
    --------
    CoreSet : The same idea on plain embeddings, without chance and uncertainty.
    UncertaintySampling : The length alone.
    ClusterMargin : The least sure candidates, spread over clusters.

    Notes
    -----
    The vectors have C·d numbers a candidate and are never formed: inner products
    factorise, :math:`\langle g_i, g_j \rangle = \langle a_i, a_j \rangle \langle h_i,
    h_j \rangle` with :math:`a = p - e_{\hat y}`. Draws are made by rejection, which has
    the same distribution as drawing one by one. All of them come from one stream, so a
    larger batch begins with the picks of a smaller one. Candidates that the model is
    fully certain about have no gradient and are copies of each other.

    The formula supposes that probabilities are the soft-max of a linear map of the
    embeddings. For other models it is a heuristic: use it with a CNN or a linear
    model.

    The score of a pick is the distance of its gradient to the nearest earlier pick, of
    the first pick its length. The query leaves ``mean_gradient_norm`` in
    ``pool.info``, the mean length over all candidates.

    References
    ----------
    .. [1] J. T. Ash, C. Zhang, A. Krishnamurthy, J. Langford and A. Agarwal, "Deep
       Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds", ICLR 2020,
       algorithm 1. https://arxiv.org/abs/1906.03671
    .. [2] D. Arthur and S. Vassilvitskii, "k-means++: The Advantages of Careful
       Seeding", SODA 2007.

    Examples
    --------
    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import BADGE
    >>> pool = Pool.from_arrays(
    ...     proba=[[1.0, 0.0], [0.6, 0.4], [0.6, 0.4], [0.4, 0.6]],
    ...     embeddings=[[9.0, 0.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]],
    ...     random_state=0,
    ... )
    >>> BADGE().query(pool, n=2).tolist() in ([1, 3], [2, 3], [3, 1])
    True
    """

    names = {"badge": {}}
    category = "both"
    requires = ("proba", "embeddings")
    cost = "O(n·b·(d + C))"

    _parameter_constraints = {
        "first": [StrOptions({"largest", "uniform"})],
        "bias": ["boolean"],
    }

    def __init__(self, first="largest", bias=False):
        self.first = first
        self.bias = bias

    def _query(self, pool, n):
        proba, embeddings = pool.proba, pool.embeddings
        coefficients = allocate(
            proba.shape,
            proba.dtype,
            max_memory=pool.max_memory,
            what=f"the gradients by the scores of {len(pool):,} candidates",
        )
        norms = np.empty(len(pool))
        for rows in row_blocks(embeddings, along=[proba, coefficients]):
            # p - onehot(argmax), (n_rows, C)
            gradient = coefficients[rows]
            gradient[...] = proba[rows]
            gradient[np.arange(len(gradient)), gradient.argmax(axis=1)] -= 1.0
            squares = np.einsum("ij,ij->i", gradient, gradient)
            norms[rows] = np.sqrt(squares * self._squared_lengths(embeddings[rows]))
        pool.info["mean_gradient_norm"] = float(norms.mean())
        return k_means_plus_plus(
            embeddings,
            n,
            coefficients=coefficients,
            bias=self.bias,
            first=self.first,
            random_state=pool.random_state,
            max_memory=pool.max_memory,
            return_distances=True,
        )

    def _squared_lengths(self, embeddings):
        """Squares of the lengths of embeddings (n,), with the bias's 1 if it counts."""
        lengths = np.einsum(
            "ij,ij->i", embeddings, embeddings, dtype=np.float64, casting="same_kind"
        )
        return lengths + float(self.bias)
