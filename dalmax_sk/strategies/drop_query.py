"""DropQuery: candidates whose prediction does not survive dropout of their features."""

from numbers import Integral, Real

import numpy as np

from dalmax_sk._base import progress
from dalmax_sk._base.limits import limits
from dalmax_sk._base.sklearn_compat import Interval
from dalmax_sk._base.storage import row_blocks
from dalmax_sk.pool.arrays import sliced
from dalmax_sk.selection import k_means_select, unit_rows
from dalmax_sk.strategies.base import QueryStrategy

__all__ = ["DropQuery"]


class DropQuery(QueryStrategy):
    r"""Pick diverse candidates whose prediction changes under dropout of features [1]_.

    The linear layer at the end of the model predicts each candidate from its embedding,
    and `n_samples` times again from copies with a share of the features dropped.
    Candidates for which more than half of the predictions differ from the first, or
    fewer if there are not enough of those, are clustered by k-means, one cluster a
    pick, and the one nearest each centre is picked.

    Parameters
    ----------
    n_samples : int, default=3
        How many times features are dropped; the authors' M.
    dropout : float, default=0.75
        Probability of dropping a feature, in (0, 1).
    normalize : bool, default=True
        Cluster embeddings scaled to length 1, as the authors' program does.
    enough : float, default=25.0
        Candidates wanted for each pick before they are clustered, at least 0. While
        there are fewer, one differing prediction less makes a candidate, down to a
        single one. The authors' program has 25; 0 keeps to more than half, as the paper
        says.

    See Also
    --------
    DiversitySampling : The clustering alone; as ``initial_strategy`` it is the authors'
        start without labels.
    ALFAMix : Mixes features of the labelled classes in.

    Notes
    -----
    Features are dropped as a dropout layer in training does: each value of each
    candidate by itself, and the others are multiplied by ``1 / (1 - dropout)``. The
    model needs a linear layer, of a CNNClassifier, a LogisticRegression or a LinearSVC,
    but no dropout of its own.

    With :math:`\hat y` the plain prediction and :math:`\hat y_j` those under dropout, a
    candidate is inconsistent if :math:`\sum_j [\hat y_j \ne \hat y] > t`. For n picks t
    is the largest of M // 2, M // 2 - 1, ..., 0 that gives ``enough * n`` inconsistent
    candidates, or 0. With M = 3 and fewer than that, any differing prediction suffices.
    If there are fewer inconsistent candidates than picks wanted, they are all picked,
    and the others follow by the number of differing predictions, ties at random.

    The score of a pick is the share of its predictions that differ. The query leaves
    ``n_inconsistent`` and ``n_differing``, how many predictions must differ at least,
    in ``pool.info``.

    The features of the whole pool are drawn for one of the M copies after the other,
    candidate by candidate.

    References
    ----------
    .. [1] S. R. Gupte, J. Aklilu, J. J. Nirschl and S. Yeung-Levy, "Revisiting Active
       Learning in the Era of Vision Foundation Models", Transactions on Machine
       Learning Research, 2024. https://arxiv.org/abs/2401.14555

    Examples
    --------
    The two candidates in the middle are less sure than the others:

    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import DropQuery
    >>> pool = Pool.from_arrays(
    ...     embeddings=[[9.0, 8.0], [-8.0, -9.0], [5.0, -4.9], [-4.9, 5.0]],
    ...     head=([[-1.0, -1.0], [1.0, 1.0]], [0.0, 0.0]),
    ...     random_state=0,
    ... )
    >>> strategy = DropQuery(n_samples=9, dropout=0.5, enough=0)
    >>> sorted(strategy.query(pool, n=2).tolist())
    [2, 3]
    """

    names = {"drop_query": {}}
    category = "both"
    requires = ("embeddings", "decision")
    cost = "O(K·n·d·C), then k-means"

    _parameter_constraints = {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="neither")],
        "normalize": ["boolean"],
        "enough": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, n_samples=3, dropout=0.75, normalize=True, enough=25.0):
        self.n_samples = n_samples
        self.dropout = dropout
        self.normalize = normalize
        self.enough = enough

    def _query(self, pool, n):
        rng = pool.random_state
        differing = self._count_differing(
            pool.embeddings, pool.decision, rng, pool.max_memory
        )
        threshold = self.n_samples // 2
        while threshold and np.sum(differing > threshold) < self.enough * n:
            threshold -= 1
        inconsistent = np.flatnonzero(differing > threshold)
        pool.info["n_inconsistent"] = len(inconsistent)
        pool.info["n_differing"] = threshold + 1
        if len(inconsistent) > n:
            features = sliced(
                pool.embeddings, inconsistent, "embeddings", pool.max_memory
            )
            if self.normalize:
                features = unit_rows(features, max_memory=max(1, pool.max_memory // 4))
            chosen = k_means_select(
                features, n, random_state=rng, max_memory=pool.max_memory
            )
            picks = inconsistent[chosen]
        else:
            order = rng.permutation(len(pool))
            picks = order[np.argsort(-differing[order], kind="stable")][:n]
        return picks, differing[picks] / self.n_samples

    def _count_differing(self, embeddings, head, rng, max_memory):
        """Return how many predictions under dropout differ from the plain one, (n,)."""
        n, d = embeddings.shape
        # float32 draws of a bit generator are a quarter of the cost of the pool's own
        generator = np.random.default_rng(rng.randint(2**32, size=4, dtype=np.uint64))
        # a block, its draws, the mask and what the matrix product copies
        per_row = 8 * (5 * d + 2 * len(head.weight))
        rows = max(1, min(limits.product_rows, max_memory // per_row))
        keep = 1 - self.dropout
        plain = np.empty(n, dtype=np.int64)
        differing = np.zeros(n, dtype=np.int64)
        weight = head.weight.T / keep
        for sample in range(self.n_samples):
            for part in row_blocks(embeddings, rows):
                block = np.asarray(embeddings[part], dtype=np.float64)
                if sample == 0:
                    plain[part] = head.logits(block).argmax(axis=1)
                kept = generator.random(block.shape, dtype=np.float32) >= self.dropout
                predicted = ((block * kept) @ weight + head.bias).argmax(axis=1)
                differing[part] += predicted != plain[part]
            progress.report("query", sample + 1, self.n_samples)
        return differing
