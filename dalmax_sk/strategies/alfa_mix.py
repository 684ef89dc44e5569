"""ALFA-Mix: candidates whose prediction changes when features are mixed in."""

import math
from numbers import Real

import numpy as np

from dalmax_sk._base import progress
from dalmax_sk._base.limits import limits
from dalmax_sk._base.sklearn_compat import Interval
from dalmax_sk.pool.arrays import sliced
from dalmax_sk.selection import k_means_select, unit_rows
from dalmax_sk.strategies.base import QueryStrategy

__all__ = ["ALFAMix"]

# Arrays of the size of a block's embeddings that are alive at once.
_COPIES = 8


class ALFAMix(QueryStrategy):
    r"""Pick diverse candidates whose prediction flips when features are mixed in [1]_.

    The embedding of a candidate is mixed, feature by feature, with an anchor: the mean
    embedding of the labelled samples of one class, or of all of them for classes that
    have no label yet. Where a little of one of the anchors
    is enough to change the prediction, the candidate has features that the model does
    not know what to do with. Such candidates are clustered by k-means, one cluster a
    pick, and the one nearest each centre is picked.

    Parameters
    ----------
    eps : float, default=0.2
        How much may be mixed in, times the square root of the number of features (the
        authors' ε is ``eps / sqrt(d)``). While no more candidates flip than picks are
        wanted, twice as much is tried, three times and so on, until `eps` times that is
        at least 1.
    normalize : bool, default=True
        Cluster embeddings scaled to length 1, as the authors' code does.

    See Also
    --------
    DropQuery : Leaves features out in place of mixing others in.
    DiversitySampling : The clustering alone.

    Notes
    -----
    With the embedding z, the anchor z*, the gradient g at z of the cross-entropy of the
    predicted class, and the element-wise product ⊙ and division ⊘, the mix and its
    closed form are

    .. math::

       \tilde z = z + \alpha \odot (z^* - z), \qquad
       \alpha = \epsilon \, \|z^* - z\|_2 \, \frac{g}{\|g\|_2} \oslash (z^* - z) .

    So :math:`\tilde z` lies :math:`\epsilon \|z^* - z\|` from z along the gradient,
    except that features in which z and z* are equal cannot change. As the logits are
    linear in :math:`\tilde z`, the smallest ε at which each anchor flips the prediction
    is known exactly, and no mix is ever built.

    If not even the largest ε flips enough candidates, the rest of the batch is drawn at
    random. Scores of picks are minus the smallest ε that flips them, times ``sqrt(d)``,
    and -inf where none does. The query leaves in ``pool.info``: ``n_inconsistent``, the
    number of candidates that were clustered; ``eps``, the largest tried; ``n_random``.

    References
    ----------
    .. [1] A. Parvaneh, E. Abbasnejad, D. Teney, R. Haffari, A. van den Hengel and J. Q.
       Shi, "Active Learning by Feature Mixing", CVPR 2022.
       https://arxiv.org/abs/2203.07034

    Examples
    --------
    Two classes with anchors at -1 and 1; the candidates near 0 flip first:

    >>> from dalmax_sk.pool import Pool
    >>> from dalmax_sk.strategies import ALFAMix
    >>> pool = Pool.from_arrays(
    ...     embeddings=[[-0.9], [-0.1], [0.05], [0.8]],
    ...     labeled_embeddings=[[-1.0], [1.0]],
    ...     y_labeled=[0, 1],
    ...     head=([[-4.0], [4.0]], [0.0, 0.0]),
    ...     random_state=0,
    ... )
    >>> ALFAMix().query(pool, n=1).tolist() in ([1], [2])
    True
    """

    names = {"alfa_mix": {}}
    category = "both"
    requires = ("proba", "embeddings", "labeled_embeddings", "head")
    cost = "O(n·d·C), then k-means"

    _parameter_constraints = {
        "eps": [Interval(Real, 0, None, closed="neither")],
        "normalize": ["boolean"],
    }

    def __init__(self, eps=0.2, normalize=True):
        self.eps = eps
        self.normalize = normalize

    def _query(self, pool, n):
        embeddings = pool.embeddings
        anchors = self._anchors(pool)
        flips = flip_sizes(embeddings, anchors, pool.head, pool.max_memory)
        flips *= np.sqrt(embeddings.shape[1])
        # the first multiple of eps that flips more than n, or the first to reach 1
        largest = max(1, math.ceil((1 - 1e-9) / self.eps))
        needed = np.partition(flips, n)[n] / self.eps if n < len(flips) else np.inf
        tried = self.eps * (largest if needed >= largest else math.floor(needed) + 1)
        rng = pool.random_state
        inconsistent = np.flatnonzero(flips < tried)
        picks = inconsistent
        if len(inconsistent) > n:
            features = sliced(embeddings, inconsistent, "embeddings", pool.max_memory)
            if self.normalize:
                features = unit_rows(features, max_memory=max(1, pool.max_memory // 4))
            chosen = k_means_select(
                features, n, random_state=rng, max_memory=pool.max_memory
            )
            picks = inconsistent[chosen]
        rest = np.setdiff1d(np.arange(len(pool)), inconsistent)
        n_random = n - len(picks)
        picks = np.concatenate([picks, rng.permutation(rest)[:n_random]])
        pool.info["n_inconsistent"] = len(inconsistent)
        pool.info["eps"] = float(tried)
        pool.info["n_random"] = n_random
        return picks, -flips[picks]

    def _anchors(self, pool):
        """Return the mean embedding of each class with labels, (A, d) float64.

        The last is that of all labelled samples, if a class has none.
        """
        labeled, codes = pool.labeled_embeddings, pool.y_labeled_codes
        if len(labeled) == 0 or len(codes) != len(labeled):
            raise ValueError(
                "ALFAMix mixes candidates with class means, but the pool has "
                f"{len(labeled)} labelled embeddings and {len(codes)} labels. Label an "
                "initial set first, or give Pool.from_arrays labeled_embeddings and "
                "y_labeled."
            )
        members = [codes == code for code in np.unique(codes)]
        if len(members) < pool.head.n_classes:
            members.append(slice(None))
        return np.stack([labeled[of].mean(axis=0, dtype=np.float64) for of in members])


def flip_sizes(embeddings, anchors, head, max_memory):
    """Return the smallest ε of the closed-form mix that flips each prediction.

    Parameters
    ----------
    embeddings : ndarray of shape (n, d)
    anchors : ndarray of shape (A, d)
    head : LinearHead
    max_memory : int
        Bytes that blocks may take.

    Returns
    -------
    ndarray of shape (n,), float64
        Infinity where no ε does; the prediction flips for every larger ε.
    """
    n, d = embeddings.shape
    weight = head.weight
    flips = np.full(n, np.inf)
    per_row = 8 * (_COPIES * d + len(anchors) + 6 * len(weight))
    rows = max(1, min(limits.product_rows, max_memory // per_row))
    anchor_squares = (anchors**2).sum(axis=1)
    for start in range(0, n, rows):
        block = np.asarray(embeddings[start : start + rows], dtype=np.float64)
        logits = head.logits(block)  # (b, S)
        predicted = logits.argmax(axis=1)
        direction = _directions(logits, predicted, weight)  # (b, d)
        slopes = direction @ weight.T  # (b, S): change of the logits along it
        squares = (block**2).sum(axis=1)[:, None] + anchor_squares
        squares -= 2 * (block @ anchors.T)
        distances = np.sqrt(np.maximum(squares, 0))  # (b, A)
        best = flips[start : start + rows]
        for anchor, distance in zip(anchors, distances.T, strict=True):
            own = slopes
            equal = block == anchor
            columns = np.flatnonzero(equal.any(axis=0))
            if len(columns):
                # features in which both are equal do not move
                stuck = direction[:, columns] * equal[:, columns]
                own = slopes - stuck @ weight[:, columns].T
                # and where all are, the expansion of the distance leaves rounding
                distance = np.where(equal.all(axis=1), 0.0, distance)
            np.minimum(best, _first_flip(logits, predicted, own, distance), out=best)
        if start // rows % 16 == 15 or start + rows >= n:
            progress.report("query", min(start + rows, n), n)
    return flips


def _directions(logits, predicted, weight):
    """Return unit gradients of the cross-entropy of the predicted class, (b, d).

    The gradient is ``sum_c p_c (w_c - w_y)``, and only its direction counts. Dividing
    the probabilities of the other classes by their sum keeps it where the model is so
    sure that they vanish beside 1.
    """
    index = np.arange(len(logits))
    others = logits.copy()
    others[index, predicted] = -np.inf
    if others.shape[1] == 1:
        return np.zeros((len(logits), weight.shape[1]))
    share = np.exp(others - others.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    share[index, predicted] = -1.0
    gradient = share @ weight
    lengths = np.linalg.norm(gradient, axis=1, keepdims=True)
    return np.divide(gradient, lengths, out=gradient, where=lengths > 0)


def _first_flip(logits, predicted, slopes, distance):
    """Return the least ε at which a logit overtakes the predicted one, (b,)."""
    index = np.arange(len(logits))
    gap = logits[index, predicted][:, None] - logits  # (b, S), at least 0
    gain = (slopes - slopes[index, predicted][:, None]) * distance[:, None]
    gain[index, predicted] = 0.0
    first = np.divide(gap, gain, out=np.full_like(gap, np.inf), where=gain > 0)
    return first.min(axis=1)
